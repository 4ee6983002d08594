"""Edge Vision: local AI detection for the cameras of Home Assistant."""
