"""Draws keypoints on pictures: joints and the limbs between them, features of faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import ImageDraw

from ..protocol import Keypoint

# A point below this confidence is a guess; its limb would be drawn across the picture.
_MIN_CONFIDENCE = 30.0
_SHADOW = (0, 0, 0, 150)
_DOT = (255, 255, 255, 255)


def _both(*pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in pairs)


# By the names of points in models. A limb is drawn if the model has both of its ends.
_LIMBS = (
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    *_both(
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("shoulder", "hip"),
        ("hip", "knee"),
        ("knee", "ankle"),
        ("ankle", "heel"),
        ("heel", "foot_index"),
        ("wrist", "index"),
        ("wrist", "thumb"),
    ),
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    *_both(("eye", "ear")),
    ("hip_centre", "shoulder_centre"),
    # the outlines of a face's eyes and mouth
    *_both(*((f"eye_{i}", f"eye_{i % 6 + 1}") for i in range(1, 7))),
    ("mouth_left", "mouth_upper"),
    ("mouth_upper", "mouth_right"),
    ("mouth_right", "mouth_lower"),
    ("mouth_lower", "mouth_left"),
)
# Auxiliary points of a model that do not lie on the body.
_HIDDEN = ("full_body_circle", "upper_body_circle")


def draw_keypoints(
    draw: ImageDraw.ImageDraw,
    keypoints: Sequence[Keypoint],
    size: tuple[int, int],
    extent: float,
    colour: tuple[int, int, int],
    line: int,
) -> None:
    """Draw an object's keypoints.

    Args:
        draw: of an RGB picture, in mode RGBA.
        keypoints: of one object; uncertain ones are skipped.
        size: of the picture, in pixels.
        extent: the longer side of the object's box, in pixels: small bodies get thin limbs.
        colour: of the object.
        line: width of its box's outline.
    """
    places = {
        point.name: (point.x * (size[0] - 1), point.y * (size[1] - 1))
        for point in keypoints
        if point.confidence >= _MIN_CONFIDENCE and point.name not in _HIDDEN
    }
    # Many points on a small object are dots of one pixel; the joints of a body are larger.
    radius = max(1.0, min(1.5 * line, extent / (5 * max(len(keypoints), 8))))
    width = max(1, round(radius))
    limbs = _limbs(places)
    for limb in limbs:
        draw.line(limb, fill=_SHADOW, width=width + 2)
    for limb in limbs:
        draw.line(limb, fill=(*colour, 255), width=width)
    for x, y in places.values():
        outer, inner = radius + 1, radius * 0.55
        draw.ellipse((x - outer, y - outer, x + outer, y + outer), fill=(*colour, 255))
        draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=_DOT)


def _limbs(
    places: Mapping[str, tuple[float, float]],
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return [(places[a], places[b]) for a, b in _LIMBS if a in places and b in places]
