"""Edge Vision node: runs the frames, models and accelerators of one device."""

__version__ = "0.1.0"
