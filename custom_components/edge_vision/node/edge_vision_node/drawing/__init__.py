"""Boxes, keypoints, outlines and letters on pictures."""
