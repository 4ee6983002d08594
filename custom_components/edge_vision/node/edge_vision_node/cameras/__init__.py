"""Live video: one process per camera that reads, decodes and detects motion.

Decoders are native code that reads untrusted data. One that crashes or hangs costs only its own
camera a moment. The pixels of a whole frame never leave the process: the node asks for what a model
needs (300x300 crops), or for a picture.
"""
