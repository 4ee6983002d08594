"""Frames to tensors: what a model's input wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..detections import Placement
from ..errors import ModelError
from ..models.manifest import EngineSpec, InputSpec
from .decode import Frame

# A whole frame, as a part of itself.
WHOLE = (0.0, 0.0, 1.0, 1.0)


class Preprocessor:
    """Turns frames into the input tensor of one model for one engine."""

    def __init__(self, spec: InputSpec, engine: EngineSpec) -> None:
        """Prepare for an input. Raises `ModelError` where the manifest asks for the unknown."""
        self._layout = _known("layout", engine.layout or spec.layout, ("NHWC", "NCHW"))
        self._letterbox = _known("resize", spec.resize, ("stretch", "letterbox")) == "letterbox"
        self._reversed = _known("colour", spec.colour, ("RGB", "BGR")) == "BGR"
        # "uint8" hands the pixels over as they are: a quantised model scales them itself.
        self._raw = _known("dtype", engine.dtype, ("float32", "uint8")) == "uint8"
        self._pad = spec.pad
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

    def __call__(
        self, frame: Frame, part: Sequence[float] = WHOLE
    ) -> tuple[NDArray[Any], Placement]:
        """Return a contiguous tensor of `shape` and `dtype`, and where the frame lies in it.

        `part` is what to show of the frame: x_min, y_min, x_max, y_max, normalised, with an area.
        """
        image, placement = fit(
            frame.image, self.size, part, letterbox=self._letterbox, pad=self._pad
        )
        return self.tensor(np.asarray(image)), placement

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the tensor of an RGB picture, uint8 [H, W, 3], that has the model's size."""
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
        return np.ascontiguousarray(tensor)[np.newaxis]


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
        part: x_min, y_min, x_max, y_max, normalised, with an area.
        letterbox: keep the part's shape, from the top left, instead of stretching it.
        pad: grey level of the rest.
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
    """Return the width and height, in pixels, that a part of such a size gets in `size`."""
    if not letterbox:
        return size
    ratio = min(size[0] / part[0], size[1] / part[1])
    return max(1, round(part[0] * ratio)), max(1, round(part[1] * ratio))


def placed(part: Sequence[float], inner: tuple[int, int], size: tuple[int, int]) -> Placement:
    """Return where a whole image lies in `size` whose `part` fills `inner`, from the top left."""
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
    # sequence 0.787 both ways); enlarging that way would only make blocks.
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return image.resize(size, method, box=box)


def _known(what: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ModelError(f"Unknown input {what} {value!r}; this version knows {', '.join(choices)}")
    return value
