"""Worker processes: each runs the models of one accelerator, apart from the node.

Why processes: native code crashes, hangs and leaks. A worker that does costs its own accelerator a
moment; the node, the other accelerators and the hub never notice more than an error. And a model
file of unknown origin is first loaded in a worker of its own, with limits.
"""
