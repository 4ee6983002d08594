"""What a reader of model files returns, and the limits of what it may find."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ModelError

# 1 GiB of float32: no picture model comes near it, and a larger one is made to hurt.
MAX_ELEMENTS = 2**28
# Of all outputs together: 150 classes for each of 512 x 512 cells are 40 million numbers.
MAX_ANSWER = 2**26


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output. A side of `shape` is None where the file leaves it open.

    `batch`: what an ONNX file calls its first side, where that is open and has a name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    batch: str | None = None

    @property
    def text(self) -> str:
        """Return it in words."""
        sides = ", ".join("any" if side is None else str(side) for side in self.shape)
        return f"{self.name} [{sides}] {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class PictureDescription:
    """What the model wants to see, as `InputSpec` has it; the layout is always NHWC.

    Compiled models mostly scale the pixels themselves, so by default they get them as they are.
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
    """The content of the `model.json` beside a .hef file.

    `inputs` and `outputs` are the tensors' names, as `hailortcli parse-hef` prints them; the
    outputs in the order in which the head wants them. `dtype`: "uint8" or "float32".
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
    """What a file says about itself.

    Attributes:
        format: "ONNX", "TensorFlow Lite", "ncnn", "OpenVINO IR" or "Hailo HEF".
        engine: id of the engine that reads this format first.
        roles: role → file, as the engine wants them.
        inputs, outputs: tensors in the file's order.
        metadata: keys and values as found, and "producer" where the file says it.
        labels: where the file brings some.
        custom_operators: that need an accelerator or library of their own.
        quantised: (scale, zero point) of the input, where it has them.
        normalised: (mean, standard deviation) per channel, where the metadata tells.
        external: files that this one reads its weights from.
        description: what a file beside it says, where the model says nothing of itself.
        beside: that file.
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
    """Return the file of the same name with another suffix, in small letters or in capitals."""
    capital = path.with_suffix(suffix.upper())
    return capital if capital.is_file() else path.with_suffix(suffix)


def require_sane(name: str, shape: tuple[int | None, ...]) -> None:
    """Raise `ModelError` where a tensor is larger than any picture model's."""
    sides = [1 if side is None else side for side in shape]
    if len(sides) > 8 or min(sides, default=1) < 0 or math.prod(sides) > MAX_ELEMENTS:
        raise ModelError(f"The tensor {name} has the absurd shape {sides}")


def require_answer(numbers: int) -> None:
    """Raise `ModelError` where a model answers one picture with more than any head can read."""
    if numbers > MAX_ANSWER:
        raise ModelError(
            f"It answers one picture with {numbers} numbers; the limit is {MAX_ANSWER}, which is"
            " more than any model for pictures needs"
        )
