"""What is in a model file, read without any engine: tensors, metadata, labels, operators.

These readers are plain Python over bytes that anybody may have made: every offset is checked, what
is read is bounded, and what makes no sense is a `ModelError` that says where.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ModelError
from ...plain_files import open_plain

if TYPE_CHECKING:
    from .hef import Description

# 1 GiB of float32: no picture model comes near it, and a larger one is made to hurt.
MAX_ELEMENTS = 2**28
# Of all outputs together: 150 classes for each of 512 x 512 cells are 40 million numbers.
MAX_ANSWER = 2**26
# What the main file of a model ends in.
SUFFIXES = (".onnx", ".tflite", ".param", ".xml", ".hef")
# Of inputs and outputs together: detectors of faces have a dozen.
MAX_ENDS = 256


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


def read_model_file(path: Path) -> ModelFile:
    """Read a model file of any known format; what belongs to it lies beside it.

    Raises `ModelError` saying what was found instead, or that its tensors are absurd.
    """
    content = _read_model_file(path)
    ends = len(content.inputs) + len(content.outputs)
    if ends > MAX_ENDS:
        raise ModelError(f"{path.name} has {ends} inputs and outputs; {MAX_ENDS} are the most")
    for tensor in content.inputs:
        require_sane(tensor.name, tensor.shape)
    require_answer(sum(math.prod(side or 1 for side in out.shape) for out in content.outputs))
    return content


def _read_model_file(path: Path) -> ModelFile:
    from . import hef, ncnn, onnx, openvino, strangers, tflite  # noqa: PLC0415 - each needs what is above

    try:
        with open_plain(path) as file:
            head = file.read(64)
    except OSError as err:
        raise ModelError(f"{path.name} cannot be read: {err.strerror}") from err
    if not head:
        raise ModelError(f"{path.name} is empty")
    if head[4:8] == b"TFL3":
        return tflite.read(path)
    if head.startswith(b"7767517"):
        return ncnn.read(path)
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"<?xml", b"<net")):
        return openvino.read(path)
    what = strangers.by_head(head)
    if path.suffix.lower() == ".onnx" and what is not None:
        raise ModelError(strangers.refusal(path.name, what))
    if path.suffix.lower() == ".onnx" or onnx.looks_like(head):
        return onnx.read(path)
    if path.suffix.lower() == ".hef" or head.startswith(hef.MAGIC):
        return hef.read_hef(path)
    what = strangers.by_suffix(path.name) or what
    raise ModelError(strangers.refusal(path.name, what))
