"""The clues about a model: tensors, outputs of a run, metadata and labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import ModelError
from ...models.formats.model_file import ModelFile, Tensor
from ...models.labels import GAP
from ...models.names import clean
from ...protocol import ModelTensor
from ...workers.messages import ProbedOutput
from . import coco

# First lines of label files for the background class.
_BACKGROUND = frozenset({"background", "__background__", "empty", GAP, "bg"})
# Lines for a class that does not exist, as in Coral's list of COCO's 90 classes.
_GAPS = frozenset({GAP, "n/a"})
# Columns of boxes, or of finished detections.
_ROWS = (4, 5, 6, 7)
_DEFAULT_SIDE = 640
_COMMON_OPERATORS = ("TFLite_Detection_PostProcess", "edgetpu-custom-op")


@dataclass(frozen=True)
class PictureInput:
    """The input that takes the picture."""

    tensor: Tensor
    width: int
    height: int
    layout: str

    @property
    def open(self) -> bool:
        """Return whether the file leaves the size of the picture open."""
        return None in self.tensor.shape[1:]


@dataclass(frozen=True)
class Output:
    """An output: its shape without the batch, and statistics of a run, if there was one."""

    name: str
    shape: tuple[int, ...]
    probed: ProbedOutput | None = None
    dtype: str = "float32"

    @property
    def table(self) -> tuple[int, ...]:
        """Return its shape without dimensions of length 1, but with at least two."""
        sides = list(self.shape)
        while len(sides) > 2 and 1 in sides:
            sides.remove(1)
        return tuple(sides)

    def peak(self, channel: int) -> float | None:
        """Return the largest number of a channel in a run."""
        if self.probed is None or channel >= len(self.probed.peaks):
            return None
        return self.probed.peaks[channel]

    def low(self, channel: int) -> float | None:
        """Return the smallest number of a channel in a run."""
        if self.probed is None or channel >= len(self.probed.lows):
            return None
        return self.probed.lows[channel]


@dataclass(frozen=True)
class Clues:
    """All clues about a model."""

    content: ModelFile
    picture: PictureInput
    outputs: tuple[Output, ...]
    labels: tuple[str, ...]
    background: bool  # whether the label file began with the background class
    metadata: dict[str, str]
    task: str | None = None  # of the metadata, as Ultralytics writes it

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the outputs' shapes."""
        return tuple(output.shape for output in self.outputs)

    def cells(self, *strides: int) -> int:
        """Return the number of cells in the grids of some strides."""
        width, height = self.picture.width, self.picture.height
        return sum(-(-width // stride) * -(-height // stride) for stride in strides)


def find_picture(content: ModelFile, metadata: dict[str, str]) -> PictureInput:
    """Return the input that takes the picture. Raises `ModelError` if there is none."""
    for tensor in content.inputs:
        shape = tensor.shape
        if len(shape) == 4 and tensor.dtype != "int64":
            nhwc = shape[3] in (1, 3) and shape[1] not in (1, 3)
            if not nhwc and shape[1] not in (1, 3, None):
                continue
            if (shape[0] or 1) != 1:
                raise ModelError(
                    f"Its input {tensor.text} needs {shape[0]} pictures at once; export it with a"
                    " batch size of one"
                )
            if (shape[3] if nhwc else shape[1]) == 1:
                raise ModelError(
                    f"Its input {tensor.text} is a grayscale picture; only models for color"
                    " pictures are supported"
                )
            height, width = shape[1:3] if nhwc else shape[2:4]
            sides = [int(side) for side in re.findall(r"\d+", metadata.get("imgsz", ""))[:2]]
            default = sides[0] if sides else _DEFAULT_SIDE
            return PictureInput(
                tensor,
                width or (sides[-1] if sides else default),
                height or default,
                "NHWC" if nhwc else "NCHW",
            )
    raise ModelError(
        "None of its inputs accepts a picture: expected a shape of 1 x 3 x height x width or 1 x"
        f" height x width x 3{_strange_operations(content)}"
    )


def _strange_operations(content: ModelFile) -> str:
    strange = [name for name in content.custom_operators if name not in _COMMON_OPERATORS]
    if not strange:
        return ""
    return f"; and it uses the operation {', '.join(strange)}, which belongs to another program"


def find_outputs(
    content: ModelFile, picture: PictureInput, probed: tuple[ProbedOutput, ...]
) -> tuple[Output, ...]:
    """Return the outputs, with the shapes of a run if there was one."""
    found = []
    for i, tensor in enumerate(content.outputs):
        item = probed[i] if probed else None
        shape = item.shape if item else tuple(side or 0 for side in tensor.shape)
        if _has_batch(tensor, picture.tensor, shape):
            shape = shape[1:]
        found.append(Output(tensor.name, shape, item, tensor.dtype))
    return tuple(found)


def _has_batch(tensor: Tensor, picture: Tensor, shape: tuple[int, ...]) -> bool:
    """Return whether the first dimension of an output is the batch, not the number of detections.

    `shape`: of a run, with 0 for unknown sides.
    """
    if len(shape) < 2 or shape[0] > 1:
        return False
    if len(shape) > 2 or shape[1] not in _ROWS or not tensor.shape or tensor.shape[0] == 1:
        return True
    # If it is open: it is the batch if the picture's is open as well and has the same name.
    return picture.shape[0] is None and tensor.batch == picture.batch


def describe(tensor: Tensor, probed: ProbedOutput | None = None) -> ModelTensor:
    """Return the description of a tensor for messages, with the shape of a run if there was one."""
    shape = tuple(-1 if side is None else side for side in tensor.shape)
    return ModelTensor(
        name=clean(tensor.name), shape=probed.shape if probed else shape, dtype=tensor.dtype
    )


# --- Labels -----------------------------------------------------------------------------------


def fit_labels(
    labels: tuple[str, ...], classes: int, reasons: list[str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Match labels with a model's classes; return both, the classes as `class_ids` or empty.

    Lines for gaps are removed. Without labels, those of COCO are used if their number fits, else
    numbers.
    """
    if not labels and classes == len(coco.labels()):
        reasons.append("80 classes: assumed to be those of COCO")
        return coco.labels(), ()
    if not labels and classes in (90, 91):
        first = 91 - classes
        reasons.append(f"{classes} classes: assumed to be the category IDs of COCO")
        return coco.labels(), tuple(number - first for number in coco.category_ids())
    if not labels:
        reasons.append(f"Its {classes} classes have no names and get numbers; add labels")
        return tuple(f"class {i}" for i in range(classes)), ()
    kept = [
        (i, clean(label) or f"class {i}")
        for i, label in enumerate(labels)
        if label.strip().lower() not in _GAPS
    ]
    if len(labels) != classes:
        reasons.append(f"There are {len(labels)} labels for {classes} classes; check them")
    kept = [(i, label) for i, label in kept if i < classes]
    if len(kept) == classes:
        return tuple(label for _, label in kept), ()
    return tuple(label for _, label in kept), tuple(i for i, _ in kept)


def without_background(labels: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return labels without a background class at the start, and whether there was one."""
    if labels and labels[0].strip().lower() in _BACKGROUND:
        return labels[1:], True
    return labels, False
