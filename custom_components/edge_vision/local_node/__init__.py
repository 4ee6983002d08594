"""The node that Home Assistant runs as a process of its own."""
