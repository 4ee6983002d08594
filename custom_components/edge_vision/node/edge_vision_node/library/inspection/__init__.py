"""Bring your own model: look at a file, propose how to read it, try it, let the user correct it."""
