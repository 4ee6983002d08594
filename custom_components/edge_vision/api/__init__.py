"""How the hub speaks with a node."""
