"""Turns pictures upright, by the orientations of Exif (1 to 8; 1 is upright).

Exif 2.32 (CIPA DC-008), 4.6.5 A, Orientation. FFmpeg has it as a matrix (libavutil/display.h).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

_T = TypeVar("_T", bound=np.generic)

UPRIGHT = 1
ORIENTATIONS = range(1, 9)

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# By the signs of a matrix's a and d, or of b and c if it swaps the sides.
_STRAIGHT = {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}
_SWAPPED = {(1, 1): 5, (1, -1): 6, (-1, -1): 7, (-1, 1): 8}


def swaps_sides(orientation: int) -> bool:
    """Return whether width and height are swapped."""
    return orientation in _SWAPPED.values()


def turned(values: NDArray[_T], orientation: int) -> NDArray[_T]:
    """Return values [H, W, ...] upright; a view."""
    if swaps_sides(orientation):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def turned_image(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image upright; the same object if it is already."""
    how = _TRANSPOSES.get(orientation)
    return image if how is None else image.transpose(how)


def exif_orientation(image: Image.Image) -> int:
    """Return the orientation in a picture's Exif data; upright if it is missing or invalid."""
    try:
        said = image.getexif().get(ExifTags.Base.Orientation)
    # Exif data is optional, and Pillow raises nearly anything if it is broken.
    except Exception:  # noqa: BLE001
        return UPRIGHT
    return said if isinstance(said, int) and said in _TRANSPOSES else UPRIGHT


def matrix_orientation(matrix: Sequence[int]) -> int:
    """Return the orientation nearest to a display matrix: a, b, u, c, d, v, x, y, w."""
    a, b, _, c, d = matrix[:5]
    table, first, second = _STRAIGHT, a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        table, first, second = _SWAPPED, b, c
    if not first or not second:
        return UPRIGHT
    return table[first // abs(first), second // abs(second)]


def frame_orientation(frame: Any) -> int:
    """Return the orientation of a decoded frame of PyAV: from its file, codec or Exif data."""
    # PyAV is installed if there are frames of it.
    kinds = importlib.import_module("av.sidedata.sidedata").Type
    data = frame.side_data.get(kinds.DISPLAYMATRIX)
    if data is None:
        return UPRIGHT
    return matrix_orientation(np.frombuffer(data, dtype=np.int32).tolist())
