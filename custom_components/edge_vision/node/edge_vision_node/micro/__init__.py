"""Microcontrollers: they cannot run a node, but a tiny model may fit one."""
