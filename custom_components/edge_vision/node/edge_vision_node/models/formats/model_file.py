"""The result of reading a model file, and limits for its content."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ModelError

# 1 GiB of float32: far more than any picture model needs; larger tensors are malicious.
MAX_ELEMENTS = 2**28
# For all outputs together: 150 classes for each of 512 x 512 cells are 40 million numbers.
MAX_ANSWER = 2**26


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output. A side of `shape` is None if the file does not define it.

    `batch`: the name of the first side in an ONNX file, if it is undefined and has a name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    batch: str | None = None

    @property
    def text(self) -> str:
        """Return a description for messages."""
        sides = ", ".join("any" if side is None else str(side) for side in self.shape)
        return f"{self.name} [{sides}] {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class PictureDescription:
    """The input picture, with the fields of `InputSpec`; the layout is always NHWC.

    Most compiled models scale pixels themselves, so by default pixels are passed unchanged.
    """

    width: int
    height: int
    colour: str = "RGB"
    resize: str = "letterbox"
    pad: int = 114
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Description:
    """The content of the `model.json` next to a .hef file.

    `inputs` and `outputs` are the names of the tensors as printed by `hailortcli parse-hef`, the
    outputs in the order that the head expects. `dtype`: "uint8" or "float32".
    """

    task: str
    input: PictureDescription
    head: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: str = "uint8"
    name: str = ""
    labels: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    license: str = "not stated"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The content of a model file.

    Attributes:
        format: "ONNX", "TensorFlow Lite", "ncnn", "OpenVINO IR" or "Hailo HEF".
        engine: ID of the preferred engine for this format.
        roles: role → file, as expected by the engine.
        inputs, outputs: tensors in the order of the file.
        metadata: keys and values as found, and "producer" if the file names it.
        labels: labels in the file, if any.
        custom_operators: operators that need a specific accelerator or library.
        quantised: (scale, zero point) of the input, if it has them.
        normalised: (mean, standard deviation) per channel, if the metadata contains them.
        external: files that contain the weights of this one.
        description: description in a file next to the model, for formats without metadata.
        beside: the file with the description.
    """

    format: str
    engine: str
    roles: dict[str, Path]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    custom_operators: tuple[str, ...] = ()
    quantised: tuple[float, int] | None = None
    normalised: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    external: tuple[str, ...] = ()
    description: Description | None = None
    beside: Path | None = None


def sibling(path: Path, suffix: str) -> Path:
    """Return the file with the same name and another suffix, in lowercase or uppercase."""
    capital = path.with_suffix(suffix.upper())
    return capital if capital.is_file() else path.with_suffix(suffix)


def require_sane(name: str, shape: tuple[int | None, ...]) -> None:
    """Raise `ModelError` if a tensor is larger than in any picture model."""
    sides = [1 if side is None else side for side in shape]
    if len(sides) > 8 or min(sides, default=1) < 0 or math.prod(sides) > MAX_ELEMENTS:
        raise ModelError(f"The tensor {name} has the absurd shape {sides}")


def require_answer(numbers: int) -> None:
    """Raise `ModelError` if the outputs for one picture are larger than any head can read."""
    if numbers > MAX_ANSWER:
        raise ModelError(
            f"It returns {numbers} numbers for one picture; the limit is {MAX_ANSWER}, which is"
            " more than any model for pictures needs"
        )
