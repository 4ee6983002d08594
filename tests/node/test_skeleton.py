"""Keypoints in annotated pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from edge_vision_node.drawing.boxes import annotate
from edge_vision_node.protocol import Box, DetectedObject, Keypoint
from PIL import Image

BOX = Box(x_min=0.1, y_min=0.1, x_max=0.9, y_max=0.9)
GREY = Image.new("RGB", (401, 401), (90, 90, 90))


def pixels(*points: tuple[str, float, float, float]) -> Any:
    keypoints = tuple(Keypoint(name=n, x=x, y=y, confidence=c) for n, x, y, c in points)
    item = DetectedObject(label="person", confidence=90.0, box=BOX, keypoints=keypoints)
    return np.asarray(annotate(GREY, [item])).astype(int)


def changed(*points: tuple[str, float, float, float]) -> Any:
    """Return where a picture with keypoints differs from the one without."""
    return (pixels(*points) != pixels()).any(axis=2)


def test_a_limb_joins_the_joints_that_the_model_is_sure_of() -> None:
    where = changed(("left_shoulder", 0.3, 0.5, 90.0), ("left_elbow", 0.7, 0.5, 90.0))
    assert where[200, 120:280].all()
    assert not where[170].any() and not where[230].any()


def test_a_guess_is_not_drawn() -> None:
    where = changed(("left_shoulder", 0.3, 0.5, 90.0), ("left_elbow", 0.7, 0.5, 12.0))
    assert where[200, 120]
    assert not where[200, 140:].any()


def test_points_without_a_limb_between_them_are_dots() -> None:
    where = changed(("left_wrist", 0.3, 0.5, 90.0), ("right_knee", 0.7, 0.5, 90.0))
    assert where[200, 120] and where[200, 280]
    assert not where[200, 140:260].any()


def test_a_point_outside_the_picture_is_no_error() -> None:
    assert changed(("nose", 1.4, -0.2, 90.0), ("left_eye", 0.5, 0.5, 90.0))[200, 200]
