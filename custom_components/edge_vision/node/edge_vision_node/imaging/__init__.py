"""Processes that decode, mask and draw pictures, apart from the node and the engines.

Pictures of cameras are not trusted. One that takes too long to decode, or crashes the decoder,
costs a process that is thrown away. Pictures that look expensive, or whose camera has sent an
expensive one, are decoded in a process for that camera, so that no other camera waits.
"""
