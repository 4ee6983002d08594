"""Stand in the way of a package that takes long to load, and longer to be measured."""

raise ImportError("it is left out of these tests")
