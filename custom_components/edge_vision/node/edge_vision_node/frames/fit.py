"""Resizes pictures, and computes where they lie in the result."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..detections import Placement

# The whole frame as a part.
WHOLE = (0.0, 0.0, 1.0, 1.0)


def fit(
    image: Image.Image,
    size: tuple[int, int],
    part: Sequence[float] = WHOLE,
    *,
    letterbox: bool = False,
    pad: int = 0,
) -> tuple[Image.Image, Placement]:
    """Return a part of an image in another size, and where the whole image lies in the result.

    Args:
        image: RGB.
        size: width and height in pixels.
        part: x_min, y_min, x_max, y_max, normalized and not empty.
        letterbox: keep the part's shape, from the top left, instead of stretching it.
        pad: gray level of the padding.
    """
    left, top, right, bottom = (
        edge * pixels for edge, pixels in zip(part, image.size * 2, strict=True)
    )
    box = (left, top, right, bottom)
    inner = inner_size((right - left, bottom - top), size, letterbox=letterbox)
    fitted = _resize(image, inner, box)
    if inner != size:
        inner_image, fitted = fitted, Image.new("RGB", size, (pad,) * 3)
        fitted.paste(inner_image)
    return fitted, placed(part, inner, size)


def inner_size(
    part: tuple[float, float], size: tuple[int, int], *, letterbox: bool
) -> tuple[int, int]:
    """Return the width and height in pixels that a part of a size gets in `size`."""
    if not letterbox:
        return size
    ratio = min(size[0] / part[0], size[1] / part[1])
    return max(1, round(part[0] * ratio)), max(1, round(part[1] * ratio))


def placed(part: Sequence[float], inner: tuple[int, int], size: tuple[int, int]) -> Placement:
    """Return where a whole image lies in `size` if its `part` fills `inner`, from the top left."""
    scale_x = inner[0] / size[0] / (part[2] - part[0])
    scale_y = inner[1] / size[1] / (part[3] - part[1])
    return Placement(scale_x, scale_y, -part[0] * scale_x, -part[1] * scale_y)


def _resize(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Image.Image:
    if image.size == size and box == (0.0, 0.0, float(size[0]), float(size[1])):
        return image
    shrinks = box[2] - box[0] >= size[0] and box[3] - box[1] >= size[1]
    # Averaging areas is faster than bilinear with the same accuracy (person AP on a street
    # sequence 0.787 both ways). For enlarging it would only produce blocks.
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return image.resize(size, method, box=box)
