"""One loaded config entry: its node, its cameras, its events."""
