"""Pictures with their detections drawn in."""

from __future__ import annotations

import colorsys
import io
import zlib
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from .protocol import ClassScore, DetectedObject
from .skeleton import draw_keypoints

_JPEG_QUALITY = 85
# Hues that stay apart on foliage, asphalt and night pictures; people and pets have fixed ones.
_HUES = {"person": 0.03, "cat": 0.83, "dog": 0.58, "car": 0.42, "truck": 0.47, "bicycle": 0.14}


def _colour(label: str) -> tuple[int, int, int]:
    hue = _HUES.get(label, zlib.crc32(label.encode()) % 997 / 997)
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.78, 0.98)
    return round(red * 255), round(green * 255), round(blue * 255)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def annotate(
    image: Image.Image, objects: Sequence[DetectedObject], classes: Sequence[ClassScore] = ()
) -> Image.Image:
    """Return a copy of an RGB picture with a box, a label and the keypoints of each object.

    Line width and text scale with the picture. The most confident object is drawn last, on top;
    the best of `classes`, for the whole picture, is written into its top left corner.
    """
    result = image.copy()
    draw = ImageDraw.Draw(result, "RGBA")
    unit = max(image.width, image.height) / 640
    line = max(2, round(2.2 * unit))
    font = _font(max(11, round(13 * unit)))
    for item in reversed(objects):
        colour = _colour(item.label)
        box = (
            item.box.x_min * (image.width - 1),
            item.box.y_min * (image.height - 1),
            item.box.x_max * (image.width - 1),
            item.box.y_max * (image.height - 1),
        )
        shorter = min(box[2] - box[0], box[3] - box[1])
        radius = min(round(5 * unit), int(shorter / 4))
        draw.rounded_rectangle(box, radius, fill=(*colour, 26), outline=(*colour, 255), width=line)
        if item.keypoints:
            extent = max(box[2] - box[0], box[3] - box[1])
            draw_keypoints(draw, item.keypoints, image.size, extent, colour, line)
        text = f"{item.label} {item.confidence:.0f}%"
        if item.posture is not None:
            text = f"{item.posture}, {text}"
        # Above the box; inside it where there is no room above.
        _draw_label(draw, text, (box[0], box[1]), colour, font, line, image.size)
    if classes:
        best = classes[0]
        text, colour = f"{best.label} {best.confidence:.0f}%", _colour(best.label)
        _draw_label(draw, text, (2 * line, 2 * line), colour, font, line, image.size)
    return result


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    place: tuple[float, float],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
    size: tuple[int, int],
) -> None:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = line + 1
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(place[0], 0), max(size[0] - width, 0))  # never beyond the picture
    y = place[1] - height if place[1] >= height else place[1]
    draw.rounded_rectangle((x, y, x + width, y + height), line, fill=(*colour, 235))
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (16, 16, 16, 255) if luminance > 110 else (255, 255, 255, 255)
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=ink)


def to_jpeg(image: Image.Image) -> bytes:
    """Return an RGB picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
