"""Runs models on frames: which parts to use, the model's input, merging its outputs."""
