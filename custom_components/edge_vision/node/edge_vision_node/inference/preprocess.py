"""Turns frames into the tensors of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Placement
from ..errors import ModelError
from ..frames.decode import Frame
from ..frames.fit import WHOLE, fit
from ..models.manifest import EngineSpec, InputSpec


class Preprocessor:
    """Turns frames into the input tensor of one model for one engine."""

    def __init__(self, spec: InputSpec, engine: EngineSpec) -> None:
        """Prepare for an input. Raises `ModelError` for unknown values in the manifest."""
        self._layout = _known("layout", engine.layout or spec.layout, ("NHWC", "NCHW"))
        self._letterbox = _known("resize", spec.resize, ("stretch", "letterbox")) == "letterbox"
        self._reversed = _known("colour", spec.colour, ("RGB", "BGR")) == "BGR"
        # "uint8" passes the pixels unchanged: a quantized model scales them itself.
        self._raw = _known("dtype", engine.dtype, ("float32", "uint8")) == "uint8"
        self._pad = spec.pad
        self.size = (spec.width, spec.height)
        self.dtype = np.dtype(engine.dtype)
        # one picture, three channels
        self.shape = (
            (1, spec.height, spec.width, 3)
            if self._layout == "NHWC"
            else (1, 3, spec.height, spec.width)
        )
        # One row long: numpy is ten times slower on an inner dimension of three.
        self._scale = np.tile(np.asarray(spec.scale, dtype=np.float32), spec.width)
        self._offset = np.tile(np.asarray(spec.mean, dtype=np.float32), spec.width) * -self._scale

    def __call__(
        self, frame: Frame, part: Sequence[float] = WHOLE
    ) -> tuple[NDArray[Any], Placement]:
        """Return a contiguous tensor of `shape` and `dtype`, and where the frame lies in it.

        `part`: of the frame, as x_min, y_min, x_max, y_max, normalized and not empty.
        """
        image, placement = fit(
            frame.image, self.size, part, letterbox=self._letterbox, pad=self._pad
        )
        return self.tensor(np.asarray(image)), placement

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the tensor of an RGB picture, uint8 [H, W, 3], of the model's size."""
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


def _known(what: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ModelError(
            f"Unknown input {what} {value!r}; this version supports {', '.join(choices)}"
        )
    return value
