"""What every test shares."""

from hypothesis import settings

# How long an example takes says nothing about whether it is right.
settings.register_profile("edge_vision", deadline=None)
settings.load_profile("edge_vision")
