"""Microcontrollers: too small for a node, but large enough for a tiny model."""
