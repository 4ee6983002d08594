"""Recordings of boards as their kernels show them, and the tree that is made of one."""
