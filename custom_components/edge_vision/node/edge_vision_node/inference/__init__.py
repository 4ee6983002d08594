"""A model on a frame: where to look, what the model sees, what it answers."""
