"""Draws boxes, keypoints, outlines and text on pictures."""
