"""Draws detections on pictures."""

from __future__ import annotations

import colorsys
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..protocol import ClassScore, DetectedObject
from .keypoints import draw_keypoints
from .lettering import Text

_JPEG_QUALITY = 85
# Hues that stand out on foliage, asphalt and night pictures; people and pets have fixed ones.
_HUES = {"person": 0.03, "cat": 0.83, "dog": 0.58, "car": 0.42, "truck": 0.47, "bicycle": 0.14}


def _colour(label: str) -> tuple[int, int, int]:
    hue = _HUES.get(label, zlib.crc32(label.encode("utf-8", "replace")) % 997 / 997)
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.78, 0.98)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class _Pen:
    """Width of lines, size of text, and how much a box is tinted."""

    line: int
    letters: int
    tint: int


def annotate(
    image: Image.Image,
    objects: Sequence[DetectedObject],
    classes: Sequence[ClassScore] = (),
    subjects: Sequence[DetectedObject] | None = None,
) -> Image.Image:
    """Return a copy of an RGB picture with a box, a label and the keypoints of each object.

    Line width and text scale with the picture. The most confident object is drawn last, on top.
    The best of `classes`, for the whole picture, is written in its top left corner. Objects whose
    index is in `subjects` stand out from the others; None: all look alike.
    """
    result = image.copy()
    draw = ImageDraw.Draw(result, "RGBA")
    unit = max(image.width, image.height) / 640
    usual = _Pen(max(2, round(2.2 * unit)), max(11, round(13 * unit)), 26)
    thick = _Pen(max(3, round(3.6 * unit)), max(12, round(16 * unit)), 40)
    thin = _Pen(max(1, round(unit)), max(9, round(10 * unit)), 0)
    subjects = () if subjects is None else subjects
    for item in reversed(objects):
        if item not in subjects:
            _draw_object(draw, item, thin if subjects else usual, image.size)
    for item in reversed(objects):
        if item in subjects:
            _draw_object(draw, item, thick, image.size)
    if classes:
        best, pen = classes[0], usual
        text = f"{best.label} {best.confidence:.0f}%"
        place = (2.0 * pen.line, 2.0 * pen.line)
        _draw_label(draw, text, place, _colour(best.label), pen, image.size)
    return result


def _draw_object(
    draw: ImageDraw.ImageDraw, item: DetectedObject, pen: _Pen, size: tuple[int, int]
) -> None:
    width, height = size[0] - 1, size[1] - 1
    # A model may return anything; the picture is drawn all the same.
    x_min, x_max = sorted(_within(value) * width for value in (item.box.x_min, item.box.x_max))
    y_min, y_max = sorted(_within(value) * height for value in (item.box.y_min, item.box.y_max))
    colour = _colour(item.label)
    shorter, extent = sorted((x_max - x_min, y_max - y_min))
    radius = min(2.2 * pen.line, int(shorter / 4))
    draw.rounded_rectangle(
        (x_min, y_min, x_max, y_max),
        radius,
        fill=(*colour, pen.tint) if pen.tint else None,
        outline=(*colour, 255),
        width=pen.line,
    )
    if item.keypoints:
        draw_keypoints(draw, item.keypoints, size, extent, colour, pen.line)
    text = f"{item.label} {item.confidence:.0f}%"
    if item.posture is not None:
        text = f"{item.posture}, {text}"
    # Above the box, or inside it if there is no room above.
    _draw_label(draw, text, (x_min, y_min), colour, pen, size)


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    place: tuple[float, float],
    colour: tuple[int, int, int],
    pen: _Pen,
    size: tuple[int, int],
) -> None:
    line, written = pen.line, Text.of(text, pen.letters)
    pad = line + 1
    width, height = written.width + 2 * pad, written.height + 2 * pad
    x = min(max(place[0], 0), max(size[0] - width, 0))  # not beyond the picture
    y = place[1] - height if place[1] >= height else place[1]
    draw.rounded_rectangle((x, y, x + width, y + height), line, fill=(*colour, 235))
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (16, 16, 16, 255) if luminance > 110 else (255, 255, 255, 255)
    written.draw(draw, (x + pad, y + pad), ink)


def to_jpeg(image: Image.Image) -> bytes:
    """Return an RGB picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
