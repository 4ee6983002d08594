"""Readers of model files that need no engine: tensors, metadata, labels, operators.

They are plain Python and treat files as untrusted: every offset is checked, the amount of data read
is limited, and invalid content raises `ModelError` with its location.
"""
