"""What there is to go by: a file's tensors, what a run of it gave, its metadata and labels."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import ModelError
from ...protocol import ModelTensor
from ...workers.messages import ProbedOutput
from ..formats import ModelFile, Tensor
from . import coco

_MAX_LABEL_BYTES = 1024 * 1024
_MAX_LABELS = 50_000
# First lines of label files that stand for "nothing".
_BACKGROUND = frozenset({"background", "__background__", "empty", "???", "bg"})
# Lines that stand for a class that does not exist, as in Coral's list of COCO's 90.
_GAPS = frozenset({"???", "n/a", ""})
_NUMBERED = re.compile(r"\s*\d+\s*[:,\s]\s*(\S.*)")
_DEFAULT_SIDE = 640
_COMMON_OPERATORS = ("TFLite_Detection_PostProcess", "edgetpu-custom-op")


@dataclass(frozen=True)
class Picture:
    """The input that takes the picture."""

    tensor: Tensor
    width: int
    height: int
    layout: str

    @property
    def open(self) -> bool:
        """Return whether the file leaves the picture's size open."""
        return None in self.tensor.shape[1:]


@dataclass(frozen=True)
class Output:
    """An output: its shape without the batch of one, and what a run gave, if there was one."""

    name: str
    shape: tuple[int, ...]
    probed: ProbedOutput | None = None

    def peak(self, channel: int) -> float | None:
        """Return the largest number of a channel in a run."""
        if self.probed is None or channel >= len(self.probed.peaks):
            return None
        return self.probed.peaks[channel]


@dataclass(frozen=True)
class Clues:
    """All of it."""

    content: ModelFile
    picture: Picture
    outputs: tuple[Output, ...]
    labels: tuple[str, ...]
    background: bool  # whether the label file began with a line for "nothing"
    metadata: dict[str, str]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the outputs' shapes."""
        return tuple(output.shape for output in self.outputs)

    def cells(self, *strides: int) -> int:
        """Return how many cells the grids of some strides have together."""
        width, height = self.picture.width, self.picture.height
        return sum(-(-width // stride) * -(-height // stride) for stride in strides)


def find_picture(content: ModelFile, metadata: dict[str, str]) -> Picture:
    """Return the input that takes the picture. Raises `ModelError` where there is none."""
    for tensor in content.inputs:
        shape = tensor.shape
        if len(shape) == 4 and (shape[0] is None or shape[0] == 1) and tensor.dtype != "int64":
            nhwc = shape[3] in (1, 3) and shape[1] not in (1, 3)
            if not nhwc and shape[1] not in (1, 3, None):
                continue
            if (shape[3] if nhwc else shape[1]) == 1:
                raise ModelError(
                    f"Its input {tensor.text} is a picture in shades of grey; only models for"
                    " coloured pictures are supported"
                )
            height, width = shape[1:3] if nhwc else shape[2:4]
            sides = [int(side) for side in re.findall(r"\d+", metadata.get("imgsz", ""))[:2]]
            default = sides[0] if sides else _DEFAULT_SIDE
            return Picture(
                tensor,
                width or (sides[-1] if sides else default),
                height or default,
                "NHWC" if nhwc else "NCHW",
            )
    raise ModelError(
        "None of its inputs takes a picture: one of shape 1 x 3 x height x width or 1 x height x"
        f" width x 3 was expected{_strange_operations(content)}"
    )


def _strange_operations(content: ModelFile) -> str:
    strange = [name for name in content.custom_operators if name not in _COMMON_OPERATORS]
    if not strange:
        return ""
    return f"; and it uses the operation {', '.join(strange)}, which belongs to another program"


def find_outputs(content: ModelFile, probed: tuple[ProbedOutput, ...]) -> tuple[Output, ...]:
    """Return the outputs, with the shapes that a run gave where there was one."""
    if probed:
        return tuple(
            Output(tensor.name, item.shape[1:] if len(item.shape) > 1 else item.shape, item)
            for tensor, item in zip(content.outputs, probed, strict=True)
        )
    return tuple(
        Output(tensor.name, tuple(side or 0 for side in tensor.shape[1:]))
        for tensor in content.outputs
    )


def describe(tensor: Tensor, probed: ProbedOutput | None = None) -> ModelTensor:
    """Return a tensor as messages carry it: with the shape of a run where there was one."""
    shape = tuple(-1 if side is None else side for side in tensor.shape)
    return ModelTensor(
        name=tensor.name, shape=probed.shape if probed else shape, dtype=tensor.dtype
    )


# --- Labels -----------------------------------------------------------------------------------


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label file: a label a line, perhaps with its number before it. Raises `ModelError`."""
    try:
        if path.stat().st_size > _MAX_LABEL_BYTES:
            raise ModelError(f"{path.name} is too large for a list of labels")
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ModelError(f"The labels {path.name} cannot be read: {err}") from err
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or len(lines) > _MAX_LABELS:
        raise ModelError(f"{path.name} has {len(lines)} labels; a line for each was expected")
    if all(_NUMBERED.fullmatch(line) for line in lines):
        numbered: dict[int, str] = {}
        for line in lines:
            match = _NUMBERED.fullmatch(line)
            assert match is not None
            numbered[int(re.findall(r"\d+", line)[0])] = match[1].strip()
        if max(numbered) < _MAX_LABELS:
            return tuple(numbered.get(i, "???") for i in range(max(numbered) + 1))
    return tuple(line.strip() for line in lines)


def named_labels(metadata: dict[str, str]) -> tuple[str, ...]:
    """Return the labels that Ultralytics writes into a model's metadata: {0: 'person', …}."""
    text = metadata.get("names", "")
    if not text or len(text) > _MAX_LABEL_BYTES:
        return ()
    try:
        names = ast.literal_eval(text)
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names, key=int)]
        return tuple(str(name) for name in names)[:_MAX_LABELS]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ()


def fit_labels(
    labels: tuple[str, ...], classes: int, reasons: list[str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Match labels with a model's classes; returns both, the classes as `class_ids` or empty.

    Lines that stand for a gap fall out. Without labels those of COCO are taken where the number
    fits, else numbers.
    """
    if not labels and classes == len(coco.labels()):
        reasons.append("80 classes: taken for those of COCO")
        return coco.labels(), ()
    if not labels and classes in (90, 91):
        first = 91 - classes
        reasons.append(f"{classes} classes: taken for the category ids of COCO")
        return coco.labels(), tuple(number - first for number in coco.category_ids())
    if not labels:
        reasons.append(f"It names none of its {classes} classes: they get numbers; bring labels")
        return tuple(f"class {i}" for i in range(classes)), ()
    kept = [(i, label) for i, label in enumerate(labels) if label.lower() not in _GAPS]
    if len(labels) != classes:
        reasons.append(f"There are {len(labels)} labels for {classes} classes: check them")
    kept = [(i, label) for i, label in kept if i < classes]
    if len(kept) == classes:
        return tuple(label for _, label in kept), ()
    return tuple(label for _, label in kept), tuple(i for i, _ in kept)


def without_background(labels: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return labels without a first line that stands for "nothing", and whether there was one."""
    if labels and labels[0].lower() in _BACKGROUND:
        return labels[1:], True
    return labels, False
