"""Models: what a manifest says, where its files are, and how its tensors are read."""
