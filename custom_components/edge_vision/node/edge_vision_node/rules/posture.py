"""Posture: what a body's keypoints say about how it is held.

Geometry of a picture taken more or less level, y downwards, in pixels (a frame is not square):

- *lying*: the trunk, from the middle of the hips to the middle of the shoulders, is nearer to the
  horizontal than to the vertical (more than `_LYING_DEGREES` from upright).
- *sitting*: the trunk is upright, and a thigh, from hip to knee, points away from straight down by
  more than `_SITTING_DEGREES`, or looks shorter than `_SHORT_THIGH` of the trunk: so does a thigh
  that points at the camera. A squat counts as sitting: to a camera it is the same.
- *standing*: the trunk is upright and a thigh hangs down. The knees must be seen: a desk hides
  them, and a person who sits behind one is not reported as standing.
- *unclear*: too few of these points are seen.

The angles are halfway between the clear cases; they are not trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from ..protocol import DetectedObject, Keypoint

_LYING_DEGREES = 50.0
_SITTING_DEGREES = 45.0
_SHORT_THIGH = 0.5
# Of a keypoint, in percent; below that it is a guess of the model.
_MIN_CONFIDENCE = 20.0

_Point = tuple[float, float]


class Posture(StrEnum):
    """How a body is held."""

    STANDING = "standing"
    SITTING = "sitting"
    LYING = "lying"
    UNCLEAR = "unclear"


def posture(keypoints: Sequence[Keypoint], width: int, height: int) -> Posture:
    """Return the posture of one body.

    Args:
        keypoints: named as COCO's (`left_hip`, …); others are ignored.
        width: of the frame in pixels, for keypoints are normalised.
        height: likewise.
    """
    seen = {
        point.name: (point.x * width, point.y * height)
        for point in keypoints
        if point.confidence >= _MIN_CONFIDENCE
    }
    shoulders, hips = _middle(seen, "shoulder"), _middle(seen, "hip")
    if shoulders is None or hips is None:
        return Posture.UNCLEAR
    trunk = math.dist(shoulders, hips)
    if trunk < 1:  # seen from above, or a guess
        return Posture.UNCLEAR
    if _from_vertical(shoulders, hips) > _LYING_DEGREES:
        return Posture.LYING
    thighs = [
        (seen[f"{side}_hip"], seen[f"{side}_knee"])
        for side in ("left", "right")
        if f"{side}_hip" in seen and f"{side}_knee" in seen
    ]
    if not thighs:
        return Posture.UNCLEAR
    bent = any(
        knee[1] < hip[1]
        or math.dist(hip, knee) < _SHORT_THIGH * trunk
        or _from_vertical(hip, knee) > _SITTING_DEGREES
        for hip, knee in thighs
    )
    return Posture.SITTING if bent else Posture.STANDING


def with_postures(
    objects: Sequence[DetectedObject], width: int, height: int
) -> tuple[DetectedObject, ...]:
    """Return the bodies of a frame of that many pixels, each with its posture."""
    return tuple(replace(item, posture=posture(item.keypoints, width, height)) for item in objects)


def _middle(seen: Mapping[str, _Point], joint: str) -> _Point | None:
    """Return the middle of the left and the right one, or the one that is seen."""
    found = [seen[name] for side in ("left", "right") if (name := f"{side}_{joint}") in seen]
    if not found:
        return None
    return sum(x for x, _ in found) / len(found), sum(y for _, y in found) / len(found)


def _from_vertical(one: _Point, other: _Point) -> float:
    """Return the angle between the line through two points and the vertical, 0 to 90 degrees."""
    return math.degrees(math.atan2(abs(one[0] - other[0]), abs(one[1] - other[1])))
