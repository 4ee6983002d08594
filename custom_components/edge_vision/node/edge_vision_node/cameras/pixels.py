"""A kept frame: its pixels as a decoder left them, and what is made of them when asked for."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..protocol import Box, Point

# Formats whose first plane is brightness, a byte per pixel.
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray")
_MOST_SHARP_PIXELS = 192

# Polygons.
Masks = tuple[tuple[Point, ...], ...]


def brightness(frame: Any) -> NDArray[np.uint8]:
    """Return a frame's brightness, uint8 [H, W]; a view where the decoder gives it."""
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width]


class KeptFrame:
    """A frame whose pixels can be asked for. Safe from several threads."""

    def __init__(self, number: int, captured_at: str, frame: Any) -> None:
        """Keep a frame of PyAV; nothing is converted before somebody asks."""
        self.number = number
        self.captured_at = captured_at
        self._frame = frame
        self._images: dict[Masks, Image.Image] = {}
        self._lock = threading.Lock()

    def image(self, masks: Masks) -> Image.Image:
        """Return it as RGB, with these privacy masks burned in."""
        with self._lock:
            return self._image(masks)

    def _image(self, masks: Masks) -> Image.Image:
        image = self._images.get(masks)
        if image is None:
            # The conversion is the dear part: views with other masks share it.
            image = self._image(()).copy() if masks else self._frame.to_image()
            burn(image, masks)
            self._images[masks] = image
        return image

    def jpeg(
        self, masks: Masks, max_width: int | None, quality: int
    ) -> tuple[bytes, tuple[int, int]]:
        """Return it as JPEG, with these privacy masks burned in, and its size in pixels."""
        image = self.image(masks)
        if max_width is not None and image.width > max_width:
            size = (max_width, max(1, round(image.height * max_width / image.width)))
            image = image.resize(size, Image.Resampling.BOX)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return out.getvalue(), image.size

    def sharpness(self, region: Box) -> float:
        """Return the variance of the Laplacian of a region's brightness.

        To be compared between frames of one camera (Pech-Pacheco et al., "Diatom autofocusing in
        brightfield microscopy", 2000).
        """
        grey = brightness(self._frame)
        height, width = grey.shape
        part = grey[
            int(region.y_min * height) : max(1, round(region.y_max * height)),
            int(region.x_min * width) : max(1, round(region.x_max * width)),
        ]
        step = max(1, max(part.shape) // _MOST_SHARP_PIXELS)
        pixels = part[::step, ::step].astype(np.int16)
        if min(pixels.shape) < 3:
            return 0.0
        laplacian = (
            4 * pixels[1:-1, 1:-1]
            - pixels[:-2, 1:-1]
            - pixels[2:, 1:-1]
            - pixels[1:-1, :-2]
            - pixels[1:-1, 2:]
        )
        return float(laplacian.var())


def burn(image: Image.Image, masks: Sequence[Sequence[Point]]) -> None:
    """Blacken areas of an image, in place."""
    draw = ImageDraw.Draw(image)
    for mask in masks:
        draw.polygon([(point.x * image.width, point.y * image.height) for point in mask], "black")
