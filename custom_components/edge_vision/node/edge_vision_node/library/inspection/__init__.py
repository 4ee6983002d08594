"""Inspects the user's own models: proposes how to read a file, and tries it."""
