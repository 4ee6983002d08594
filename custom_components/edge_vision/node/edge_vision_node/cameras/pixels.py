"""Kept frames: a decoder's pixels, and the crops and pictures made from them."""

from __future__ import annotations

import functools
import importlib
import io
import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..detections import Placement
from ..frames.fit import inner_size, placed
from ..frames.masks import NO_MASKS, Masks, draw_polygons
from ..frames.orientation import UPRIGHT, swaps_sides, turned
from ..protocol import Box

# Formats with a plane of brightness and two of color, one byte per value: how many pixels wide and
# high a color value is.
_YUV = {
    **dict.fromkeys(("yuv420p", "yuvj420p"), (2, 2)),
    **dict.fromkeys(("yuv422p", "yuvj422p"), (2, 1)),
    **dict.fromkeys(("yuv444p", "yuvj444p"), (1, 1)),
}
# The format between scaling and RGB, which FFmpeg converts fast.
_BETWEEN = {
    **dict.fromkeys(("yuv420p", "yuv422p"), "yuv422p"),
    **dict.fromkeys(("yuvj420p", "yuvj422p"), "yuvj422p"),
}
_NO_COLOUR = 128
_FULL_RANGE = 2
# Formats whose first plane is brightness, one byte per pixel.
_PLANAR = (*_YUV, "nv12", "gray")
# Sharpness is measured at this length of the longer side; finer blur is ignored.
_MOST_SHARP_PIXELS = 256
# Variance of the Laplacian per variance of noise; median of the noise mask per its deviation.
_LAPLACIAN_NOISE, _MASK_NOISE = 20.0, 0.6745 * 6

_scaling = threading.Lock()


def brightness(frame: Any) -> NDArray[np.uint8]:
    """Return a frame's brightness, uint8 [H, W]; a view of the decoder's plane if it has one."""
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="gray")
    return _values(frame.planes[0])


def upright(frame: Any, orientation: int) -> Any:
    """Return a frame turned upright; `orientation` is numbered by Exif."""
    if orientation == UPRIGHT:
        return frame
    frame = _planar(frame)
    width, height = frame.width, frame.height
    if swaps_sides(orientation):
        width, height = height, width
        wide, high = _YUV[frame.format.name]
        if wide != high:
            # There is no format for the turned planes if color is finer in one direction.
            full = frame.format.name.startswith("yuvj")
            frame = frame.reformat(format="yuvj420p" if full else "yuv420p")
    made = _like(frame, width, height)
    for source, target in zip(frame.planes, made.planes, strict=True):
        _values(target)[:] = turned(_values(source), orientation)
    return made


class KeptFrame:
    """A frame whose pixels can be requested, also from several threads.

    Only what is requested is converted: FFmpeg's scaler turns the decoder's planes into a model's
    input in less time than it takes to convert the whole frame to RGB.
    """

    def __init__(self, number: int, captured_at: str, frame: Any) -> None:
        """Keep a frame of PyAV."""
        self.number = number
        self.captured_at = captured_at
        self._frame = frame
        self._frames: dict[Masks, Any] = {}
        self._lock = threading.Lock()

    def crop(
        self,
        masks: Masks,
        region: Box,
        size: tuple[int, int],
        *,
        letterbox: bool = False,
        pad: int = 0,
    ) -> tuple[NDArray[np.uint8], Placement]:
        """Return a region in another size, privacy masks burned in, and where the frame lies in it.

        Args:
            masks: privacy masks.
            region: the part to show; its borders move outwards to the next color value.
            size: width and height in pixels.
            letterbox: keep the region's shape, from the top left, instead of stretching it.
            pad: gray level of the padding.

        Returns: uint8 RGB [height, width, 3], and the placement of the whole frame.
        """
        with self._lock:
            frame = self._masked(masks)
            part = _Part.of(frame, region)
            shape = (part.right - part.left, part.bottom - part.top)
            inner = inner_size(shape, size, letterbox=letterbox)
            pixels = _scaled(part.cut(frame), inner)
        if inner != size:
            padded = np.full((size[1], size[0], 3), pad, dtype=np.uint8)
            padded[: inner[1], : inner[0]] = pixels
            pixels = padded
        share = (
            part.left / frame.width,
            part.top / frame.height,
            part.right / frame.width,
            part.bottom / frame.height,
        )
        return pixels, placed(share, inner, size)

    def jpeg(
        self, masks: Masks, max_width: int | None, quality: int
    ) -> tuple[bytes, tuple[int, int]]:
        """Return it as JPEG with privacy masks burned in, and its size in pixels."""
        with self._lock:
            frame = self._masked(masks)
            size = (frame.width, frame.height)
            if max_width is not None and frame.width > max_width:
                size = (max_width, max(1, round(frame.height * max_width / frame.width)))
            image = Image.fromarray(_scaled(frame, size))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return out.getvalue(), size

    def _masked(self, masks: Masks) -> Any:
        """Return the frame with masks burned in, shared by views with the same masks."""
        if masks not in self._frames:
            plain = self._frames.get(NO_MASKS) or _planar(self._frame)
            self._frames[NO_MASKS] = plain
            self._frames[masks] = _burned(plain, masks) if masks else plain
        return self._frames[masks]

    def sharpness(self, region: Box) -> float:
        """Return the variance of the Laplacian of a region's brightness, less that of its noise.

        Comparable between frames of one camera (Pech-Pacheco et al., "Diatom autofocusing in
        brightfield microscopy", 2000; noise: Immerkær, "Fast noise variance estimation", 1996, with
        a median, because edges are no noise).
        """
        grey = brightness(self._frame)
        height, width = grey.shape
        part = grey[
            int(region.y_min * height) : max(1, round(region.y_max * height)),
            int(region.x_min * width) : max(1, round(region.x_max * width)),
        ]
        step = max(1, -(-max(part.shape) // _MOST_SHARP_PIXELS))
        if min(part.shape) < 3 * step:
            return 0.0
        # Pillow copies a view with gaps slowly.
        whole = Image.fromarray(np.ascontiguousarray(part))
        pixels = np.asarray(whole.reduce(step)).astype(np.int16)
        across = pixels[:, :-2] - 2 * pixels[:, 1:-1] + pixels[:, 2:]
        down = pixels[:-2] - 2 * pixels[1:-1] + pixels[2:]
        laplacian = (across[1:-1] + down[:, 1:-1]).astype(np.float32)
        mask = np.abs(across[:-2:2, ::2] - 2 * across[1:-1:2, ::2] + across[2::2, ::2])
        noise = float(np.median(mask)) / _MASK_NOISE
        return max(0.0, float(laplacian.var()) - _LAPLACIAN_NOISE * noise**2)


@dataclass(frozen=True)
class _Part:
    """A part of a frame in pixels, with borders at which every plane can be cut."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, frame: Any, region: Box) -> _Part:
        """Return the smallest part that contains a region."""
        wide, high = _YUV[frame.format.name]
        left = min(int(region.x_min * frame.width), frame.width - 1) // wide * wide
        top = min(int(region.y_min * frame.height), frame.height - 1) // high * high
        right = -(-math.ceil(region.x_max * frame.width) // wide) * wide
        bottom = -(-math.ceil(region.y_max * frame.height) // high) * high
        return cls(left, top, min(right, frame.width), min(bottom, frame.height))

    def cut(self, frame: Any) -> Any:
        """Return the part as a frame."""
        if (self.left, self.top, self.right, self.bottom) == (0, 0, frame.width, frame.height):
            return frame
        part = _like(frame, self.right - self.left, self.bottom - self.top)
        for number, (source, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
            wide, high = _YUV[frame.format.name] if number else (1, 1)
            into = _values(target)
            left, top = self.left // wide, self.top // high
            into[:] = _values(source)[top : top + len(into), left : left + into.shape[1]]
        return part


def _values(plane: Any) -> NDArray[np.uint8]:
    """Return a plane's values, uint8 [H, W], without a copy."""
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _like(frame: Any, width: int, height: int) -> Any:
    """Return an empty frame of another size with the same format and color range."""
    made = type(frame)(width, height, frame.format.name)
    made.color_range, made.colorspace = frame.color_range, frame.colorspace
    return made


def _planar(frame: Any) -> Any:
    return frame if frame.format.name in _YUV else frame.reformat(format="yuv420p")


def _scaled(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a frame as uint8 RGB [H, W, 3] of a size."""
    # Averaging areas is as accurate as slower methods for shrinking. For enlarging it would only
    # produce blocks.
    shrinks = frame.width >= size[0] and frame.height >= size[1]
    method = "AREA" if shrinks else "BILINEAR"
    between = _BETWEEN.get(frame.format.name)
    if between and size != (frame.width, frame.height) and size[0] % 2 == 0:
        # FFmpeg scales planes fast and converts them to RGB fast, but not both at once.
        frame = _reformatted(frame, size, between, method)
    plane = _reformatted(frame, size, "rgb24", method).planes[0]
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)
    # In rows: numpy copies an inner dimension of three ten times slower.
    return np.ascontiguousarray(rows[:, : 3 * size[0]]).reshape(-1, size[0], 3)


def _reformatted(frame: Any, size: tuple[int, int], kind: str, method: str) -> Any:
    shape = (frame.width, frame.height, frame.format.name)
    with _scaling:
        scaler = _scaler(shape, size, kind, method)
        try:
            # Starting threads would take longer than scaling.
            return scaler.reformat(frame, *size, kind, interpolation=method, threads=1)
        except TypeError:  # PyAV before 17
            return scaler.reformat(frame, *size, kind, interpolation=method)


@functools.lru_cache(maxsize=64)
def _scaler(_shape: object, _size: object, _kind: str, _method: str) -> Any:
    """Return a cached scaler: creating one takes as long as scaling."""
    # PyAV may be missing on nodes that only use stills.
    return importlib.import_module("av.video.reformatter").VideoReformatter()


def _burned(frame: Any, masks: Masks) -> Any:
    """Return a frame with areas blackened."""
    hidden = Image.new("1", (frame.width, frame.height))
    draw = ImageDraw.Draw(hidden)
    draw_polygons(draw, masks, (frame.width, frame.height), 1)
    full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    burned = _like(frame, frame.width, frame.height)
    for number, (source, target) in enumerate(zip(frame.planes, burned.planes, strict=True)):
        wide, high = _YUV[frame.format.name] if number else (1, 1)
        into = _values(target)
        into[:] = _values(source)
        # Color values that cover a hidden pixel are hidden as well.
        blocks = np.zeros((into.shape[0], high, into.shape[1], wide), dtype=bool)
        blocks.reshape(into.shape[0] * high, -1)[: frame.height, : frame.width] = hidden
        into[blocks.any(axis=(1, 3))] = _NO_COLOUR if number else (0 if full else 16)
    return burned
