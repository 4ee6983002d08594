"""Turns clues into a proposal: the family of a model, and its manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import ModelError
from ...models.formats.model_file import Description, ModelFile, Tensor
from ...models.labels import GAP, Names, from_metadata
from ...workers.messages import ProbedOutput
from . import detectors, others, rows
from .clues import Clues, PictureInput, find_outputs, fit_labels, without_background
from .guess import Guess

_FAMILIES: tuple[Callable[[Clues], Guess | None], ...] = (
    detectors.ssd_postprocess,
    detectors.ssd,
    detectors.yolox_or_yolov5,
    detectors.yolov8,
    detectors.yolov8_transposed,
    rows.end_to_end,
    rows.finished,
    detectors.nanodet,
    detectors.fastestdet,
    detectors.boxes_and_scores,
    rows.decoded_detr,
    others.movenet,
    others.blaze,
    others.landmarks,
    others.yunet,
    others.vector,
    others.segmentation,
)
# Names of an input for the size of the picture: width and height, or the reverse.
_SIZES = ("orig_target_sizes", "target_sizes", "image_size")
_SIZES_REVERSED = ("im_shape",)
# Input for the scale of the picture: 1, so boxes are in its pixels.
_SCALES = ("scale_factor",)
# Ultralytics' name of a task → ours. Its other tasks are refused.
_TASKS = {"detect": "detection", "pose": "pose", "classify": "classification"}
# Heads that take the number of classes from the outputs, not from the labels.
_COUNTS_CLASSES = frozenset(
    {
        *("yolox", "yolov5", "yolov8", "yolo_nas", "nanodet", "fastestdet", "classification"),
        *("segmentation",),
    }
)

# Those of them that may have a background class.
_MAY_HAVE_BACKGROUND = frozenset({"yolo_nas", "classification", "segmentation"})

SUPPORTED = (
    "Supported are: SSD (raw, or ending in TFLite_Detection_PostProcess), YOLOX, YOLOv5, YOLOv7,"
    " YOLOv8, YOLOv9, YOLO11 and their pose models, YOLOv10 and YOLO26, YOLO-NAS, RT-DETR, D-FINE,"
    " RF-DETR, exports that end in finished detections (TensorRT's NMS, MMDeploy, PaddleDetection,"
    " TorchVision), NanoDet-Plus, FastestDet, MoveNet, BlazeFace, BlazePose, YuNet, classification,"
    " embeddings and semantic segmentation"
)


def recognise(
    content: ModelFile,
    picture: PictureInput,
    probed: tuple[ProbedOutput, ...],
    labels: Sequence[Names] = (),
) -> Guess:
    """Return the most certain guess.

    `labels`: the ways to read the user's labels, the most likely first. The first one with as many
    labels as the model has classes is used; without any, the file's own.

    Raises `ModelError` that says what was found and what is supported.
    """
    if content.description is not None:
        return described(content.description, labels[0] if labels else ())
    stated = from_metadata(content.metadata.get("names", ""))
    outputs = find_outputs(content, picture, probed)
    first: Guess | None = None
    for names in labels or (content.labels or stated,):
        kept, background = without_background(names)
        metadata = content.metadata
        task = metadata.get("task")
        clues = Clues(content, picture, outputs, kept, background, metadata, task)
        guess = _best(clues, stated=not labels and bool(stated))
        if _fits_labels(clues, guess):
            return guess
        first = first or guess
    assert first is not None  # there was at least one way
    return first


def _best(clues: Clues, *, stated: bool) -> Guess:
    """Return the most certain guess with some labels. Raises `ModelError`."""
    _refuse_known_strangers(clues)
    guesses = [guess for family in _FAMILIES if (guess := family(clues)) is not None]
    if not guesses:
        raise _unknown(clues)
    guesses = _without_contradictions(clues, guesses, stated=stated)
    best = max(guesses, key=lambda guess: guess.confidence)
    if others_like_it := [g for g in guesses if g is not best]:
        names = ", ".join(sorted({str(guess.head["type"]) for guess in others_like_it}))
        best.reasons.append(f"It could also be {names}")
        best.confidence -= 10
    if clues.task and "names" in clues.metadata:
        best.reasons.append("The metadata of Ultralytics contains its labels")
        best.confidence = min(best.confidence + 5, 99.0)
    if not best.outputs:
        best.outputs = [tensor.name for tensor in clues.content.outputs]
    return best


def _without_contradictions(clues: Clues, guesses: list[Guess], *, stated: bool) -> list[Guess]:
    """Return the guesses that agree with the labels and the metadata. Raises `ModelError`.

    `stated`: the labels are the file's own, which are right. Labels of the user may belong to
    another model: they decide between guesses, but a single guess only asks to check them.
    """
    task = _TASKS.get(clues.task or "")
    agreeing = [guess for guess in guesses if task in (None, guess.task)]
    fitting = [guess for guess in agreeing if _fits_labels(clues, guess)]
    if fitting:
        return fitting
    if agreeing and not stated:
        return agreeing
    read = ", ".join(
        f"{guess.head['type']} with {guess.head.get('classes', 'other')} classes"
        for guess in agreeing or guesses
    )
    said = f"is for {clues.task!r}" if not agreeing else f"has {len(clues.labels)} labels"
    raise ModelError(
        f"Its outputs look like {read}, but its metadata says that it {said}: {_shapes(clues)}."
        " Specify a head with head.type if you know which one fits"
    )


def _fits_labels(clues: Clues, guess: Guess) -> bool:
    classes: int | None = guess.head.get("classes")
    if not clues.labels or guess.head["type"] not in _COUNTS_CLASSES or classes is None:
        return True
    if GAP in clues.labels:  # not all classes have names
        return len(clues.labels) <= classes
    # There may be a background class, with a name or without.
    unnamed = 1 if guess.head["type"] in _MAY_HAVE_BACKGROUND else 0
    return classes - unnamed <= len(clues.labels) <= classes


def _shapes(clues: Clues) -> str:
    return ", ".join(f"{output.name} {list(output.shape)}" for output in clues.outputs) or "none"


def _unknown(clues: Clues) -> ModelError:
    """Return the message about unknown outputs."""
    grids = [output for output in clues.outputs if len(output.shape) in (3, 4)]
    if len(grids) == len(clues.outputs) > 1 and all(
        detectors.is_grid(clues, output) for output in grids
    ):
        return ModelError(
            f"Its outputs are raw grids, {_shapes(clues)}; export it so that it decodes its boxes"
            " (YOLOv7: with --grid), or with suppression built in"
        )
    return ModelError(
        f"Its outputs do not match a known family of models: {_shapes(clues)}. {SUPPORTED}"
    )


def described(description: Description, labels: tuple[str, ...]) -> Guess:
    """Return the guess of the user's description, for a model without metadata."""
    reasons = ["As specified in its model.json"]
    picture, head = description.input, dict(description.head)
    kept, background = without_background(labels or description.labels)
    if background and head.get("classes") == len(kept) + 1:
        kept = ("background", *kept)
    if isinstance(classes := head.get("classes"), int):
        kept, class_ids = fit_labels(kept, classes, reasons)
        if class_ids:
            head.setdefault("class_ids", list(class_ids))
    mean, scale = picture.mean, picture.scale
    return Guess(
        description.task,
        head,
        100.0,
        reasons,
        labels=kept,
        outputs=list(description.outputs),
        keypoints=description.keypoints,
        resize=picture.resize,
        pad=picture.pad,
        colour=picture.colour,
        mean=(mean[0], mean[1], mean[2]),
        deviation=(1 / scale[0], 1 / scale[1], 1 / scale[2]),
    )


def further_inputs(content: ModelFile, picture: PictureInput) -> dict[str, dict[str, Any]]:
    """Return constants for inputs beside the picture. Raises `ModelError` for unknown ones."""
    constants: dict[str, dict[str, Any]] = {}
    for tensor in content.inputs:
        if tensor is picture.tensor:
            continue
        if _is_pair(tensor, _SIZES):
            value: list[list[int]] = [[picture.width, picture.height]]
            constants[tensor.name] = {"dtype": tensor.dtype, "value": value}
        elif _is_pair(tensor, _SIZES_REVERSED):
            value = [[picture.height, picture.width]]
            constants[tensor.name] = {"dtype": tensor.dtype, "value": value}
        elif _is_pair(tensor, _SCALES):
            constants[tensor.name] = {"dtype": tensor.dtype, "value": [[1, 1]]}
        else:
            raise ModelError(
                f"In addition to the picture, it needs {tensor.text}, for example results of the"
                " previous frame; only models for single pictures are supported"
            )
    return constants


def _is_pair(tensor: Tensor, names: tuple[str, ...]) -> bool:
    sides = [side for side in tensor.shape if side not in (1, None)]
    return tensor.name in names and sides == [2] and tensor.dtype.startswith(("int", "float"))


def _refuse_known_strangers(clues: Clues) -> None:
    """Raise `ModelError` for models that are recognized but not supported."""
    task = clues.task
    quarter = clues.picture.width // 4
    prototypes = [
        o
        for o in clues.outputs
        if len(o.shape) == 3
        and 32 in (o.shape[0], o.shape[2])
        and (len(clues.outputs) == 2 or quarter in o.shape)
    ]
    masks = [o for o in clues.outputs if "mask" in o.name.lower() and len(o.shape) >= 3]
    if (
        task == "segment"
        or (len(clues.outputs) >= 2 and len(prototypes) == 1)
        or (len(clues.outputs) >= 3 and masks)
    ):
        raise ModelError(
            "It segments instances (boxes with a mask each), which is not supported; export the"
            " same model for detection"
        )
    if task == "obb":
        raise ModelError(
            "It finds rotated boxes, which are not supported; use a model for upright boxes"
        )
    if task == "pose" and re.fullmatch(r"\W*\d+\s*,\s*2\W*", clues.metadata.get("kpt_shape", "")):
        raise ModelError(
            "Its keypoints have no visibility (two numbers each in kpt_shape), which is not"
            " supported; train it with three"
        )
