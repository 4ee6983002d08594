"""Processes that run models, apart from the node.

Native code crashes, hangs and leaks. In a process of its own, that costs one accelerator a moment,
and the node, the other accelerators and the hub see no more than an error. A model file of unknown
origin is first loaded in a process with limits.
"""
