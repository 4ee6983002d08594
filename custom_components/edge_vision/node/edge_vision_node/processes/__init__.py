"""Processes of the node: the parent's handle and the child's side."""
