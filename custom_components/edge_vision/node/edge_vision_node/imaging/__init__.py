"""Picture processes: they decode, mask and draw, apart from the node and from the engines.

Why processes: a picture comes from a camera, and a camera may be anybody's. What takes too long to
decode, or crashes a decoder, costs a process that is thrown away. A picture that looks expensive,
or whose camera has sent one that was, is decoded in a process of that camera's own, so that no
other camera waits for it.
"""
