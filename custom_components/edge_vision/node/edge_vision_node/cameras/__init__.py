"""Live video: one process per camera that reads, decodes and gates it, and hands out small crops.

Why a process each: decoders are native code that reads what a stranger sends. One that crashes or
hangs costs its own camera a moment. And the pixels of a full frame never leave that process: the
node asks for what a model needs (300x300 crops), or for a picture.
"""
