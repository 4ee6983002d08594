"""Tracking: which detection in this frame is which object of the frames before. Pure."""
