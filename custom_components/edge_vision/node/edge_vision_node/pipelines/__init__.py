"""Cameras being watched: stills and live video, what is there, what is pushed."""
