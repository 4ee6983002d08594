"""Frames to tensors: what a model's input wants to see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..detections import FILLS, Placement
from ..errors import ModelError
from ..models.manifest import EngineSpec, InputSpec
from .decode import Frame


class Preprocessor:
    """Turns frames into the input tensor of one model for one engine."""

    def __init__(self, spec: InputSpec, engine: EngineSpec) -> None:
        """Prepare for an input. Raises `ModelError` where the manifest asks for the unknown."""
        self._layout = _known("layout", engine.layout or spec.layout, ("NHWC", "NCHW"))
        self._resize = _known("resize", spec.resize, ("stretch", "letterbox"))
        self._reversed = _known("colour", spec.colour, ("RGB", "BGR")) == "BGR"
        # "uint8" hands the pixels over as they are: a quantised model scales them itself.
        self._raw = _known("dtype", engine.dtype, ("float32", "uint8")) == "uint8"
        self._pad = (spec.pad,) * 3
        self.size = (spec.width, spec.height)
        self.dtype = np.dtype(engine.dtype)
        # of a tensor: one picture, three channels
        self.shape = (
            (1, spec.height, spec.width, 3)
            if self._layout == "NHWC"
            else (1, 3, spec.height, spec.width)
        )
        # One row of pixels long: numpy is ten times slower on an inner dimension of three.
        self._scale = np.tile(np.asarray(spec.scale, dtype=np.float32), spec.width)
        self._offset = np.tile(np.asarray(spec.mean, dtype=np.float32), spec.width) * -self._scale

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], Placement]:
        """Return a contiguous tensor of `shape` and `dtype`, and where the frame lies in it."""
        image, placement = self._fit(frame.image)
        pixels = np.asarray(image)
        if self._reversed:
            pixels = pixels[..., ::-1]
        if self._raw:
            tensor: NDArray[Any] = pixels
        else:
            rows = pixels.reshape(len(pixels), -1) * self._scale
            rows += self._offset
            tensor = rows.reshape(pixels.shape)
        if self._layout == "NCHW":
            tensor = tensor.transpose(2, 0, 1)
        return np.ascontiguousarray(tensor)[np.newaxis], placement

    def _fit(self, image: Image.Image) -> tuple[Image.Image, Placement]:
        if self._resize == "stretch":
            return _resize(image, self.size), FILLS
        # The whole frame in its own shape, from the top left corner; the rest is padding.
        width, height = self.size
        ratio = min(width / image.width, height / image.height)
        size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        padded = Image.new("RGB", self.size, self._pad)
        padded.paste(_resize(image, size))
        return padded, Placement(scale_x=size[0] / width, scale_y=size[1] / height)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    shrinks = image.width >= size[0] and image.height >= size[1]
    # Averaging areas is faster than bilinear with the same accuracy (person AP on a street
    # sequence 0.787 both ways); enlarging that way would only make blocks.
    return image.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


def _known(what: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ModelError(f"Unknown input {what} {value!r}; this version knows {', '.join(choices)}")
    return value
