"""Pictures and video frames: decoding, orientation, resizing, motion."""
