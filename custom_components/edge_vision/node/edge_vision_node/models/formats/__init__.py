"""What is in a model file, read without any engine: tensors, metadata, labels, operators.

These readers are plain Python over bytes that anybody may have made: every offset is checked, what
is read is bounded, and what makes no sense is a `ModelError` that says where.
"""
