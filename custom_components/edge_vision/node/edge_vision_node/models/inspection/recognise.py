"""From clues to a proposal: which family a model is of, and what its manifest should say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ModelError
from ...workers.messages import ProbedOutput
from ..formats import ModelFile, Tensor
from ..formats.hef import Description
from . import detectors, others
from .clues import Clues, Picture, find_outputs, fit_labels, named_labels, without_background
from .guess import Guess

_FAMILIES: tuple[Callable[[Clues], Guess | None], ...] = (
    detectors.ssd_postprocess,
    detectors.ssd,
    detectors.yolox_or_yolov5,
    detectors.yolov8,
    detectors.end_to_end,
    detectors.nanodet,
    detectors.fastestdet,
    detectors.boxes_and_scores,
    detectors.decoded_detr,
    others.movenet,
    others.blaze,
    others.landmarks,
    others.yunet,
    others.vector,
    others.segmentation,
)
# What a picture's size is called by the models that ask for it.
_SIZES = ("orig_target_sizes", "target_sizes", "im_shape", "image_size")

SUPPORTED = (
    "Supported are: SSD (raw, or ending in TFLite_Detection_PostProcess), YOLOX, YOLOv5, YOLOv7,"
    " YOLOv8, YOLOv9, YOLO11 and their pose models, YOLOv10 and YOLO26, YOLO-NAS, RT-DETR, D-FINE,"
    " RF-DETR, NanoDet-Plus, FastestDet, MoveNet, BlazeFace, BlazePose, YuNet, classification,"
    " embeddings and semantic segmentation"
)


def recognise(
    content: ModelFile,
    picture: Picture,
    probed: tuple[ProbedOutput, ...],
    labels: tuple[str, ...],
) -> Guess:
    """Return the most certain guess. `labels` are the user's; empty takes the file's own.

    Raises `ModelError` saying what was seen and what is supported.
    """
    metadata = content.metadata
    if content.description is not None:
        return described(content.description, labels)
    own = labels or content.labels or named_labels(metadata)
    kept, background = without_background(own)
    clues = Clues(content, picture, find_outputs(content, probed), kept, background, metadata)
    _refuse_known_strangers(clues)
    guesses = [guess for family in _FAMILIES if (guess := family(clues)) is not None]
    if not guesses:
        outputs = ", ".join(f"{output.name} {list(output.shape)}" for output in clues.outputs)
        raise ModelError(
            f"Its outputs fit no family of models that is known here: {outputs}. {SUPPORTED}"
        )
    best = max(guesses, key=lambda guess: guess.confidence)
    if others_like_it := [g for g in guesses if g is not best]:
        names = ", ".join(sorted({str(guess.head["type"]) for guess in others_like_it}))
        best.reasons.append(f"It could also be {names}")
        best.confidence -= 10
    if content.metadata.get("task") and named_labels(metadata):
        best.reasons.append("Ultralytics' metadata names its labels")
        best.confidence = min(best.confidence + 5, 99.0)
    if not best.outputs:
        best.outputs = [tensor.name for tensor in content.outputs]
    return best


def described(description: Description, labels: tuple[str, ...]) -> Guess:
    """Return what the user says of a model that says nothing of itself."""
    reasons = ["As the model.json beside it says"]
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


def further_inputs(content: ModelFile, picture: Picture) -> dict[str, dict[str, Any]]:
    """Return constants for inputs beside the picture. Raises `ModelError` where one is unknown."""
    constants: dict[str, dict[str, Any]] = {}
    for tensor in content.inputs:
        if tensor is picture.tensor:
            continue
        if _is_size(tensor):
            value = [[picture.width, picture.height]]
            constants[tensor.name] = {"dtype": tensor.dtype, "value": value}
        else:
            raise ModelError(
                f"Besides the picture it wants {tensor.text}, for example what it remembers of the"
                " frame before; only models that look at one picture are supported"
            )
    return constants


def _is_size(tensor: Tensor) -> bool:
    sides = [side for side in tensor.shape if side not in (1, None)]
    return tensor.name in _SIZES and sides == [2] and tensor.dtype.startswith(("int", "float"))


def _refuse_known_strangers(clues: Clues) -> None:
    """Raise `ModelError` for what is recognised and not supported."""
    task = clues.metadata.get("task")
    prototypes = [o for o in clues.outputs if len(o.shape) == 3 and 32 in (o.shape[0], o.shape[2])]
    if task == "segment" or (len(clues.outputs) == 2 and len(prototypes) == 1):
        raise ModelError(
            "It segments instances (boxes with a mask each), which is not supported; export the"
            " same model for detection"
        )
    if task == "obb":
        raise ModelError(
            "It finds rotated boxes, which are not supported; use one for upright ones"
        )
