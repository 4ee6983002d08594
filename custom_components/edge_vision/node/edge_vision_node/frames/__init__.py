"""Frames: from the bytes of a camera to the tensor of a model."""
