"""Recognizes finished detections: rows of numbers, or one tensor per kind of number.

Exporters agree neither on the order nor on names, so a run of the model decides: classes are whole
numbers, scores lie between 0 and 1. If the run found nothing, names and conventions decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...models.heads.end_to_end import BOX
from ...workers.messages import ProbedColumn
from . import coco
from .clues import Clues, Output
from .guess import MOST_SHARE, Guess, in_shares, letterboxed, point_names, with_classes

_MOST_ROWS = 5000
_MOST_CLASSES = 50_000
_TOLERANCE = 0.01

_USUAL = (*BOX, "score", "class")
_ONE_CLASS = (*BOX, "score")
_PADDLE = ("class", "score", *BOX)
_SWAPPED = (*BOX, "class", "score")
_YOLO_V7 = ("batch", *BOX, "class", "score")
_YOLO_NAS = ("batch", *BOX, "score", "class")
_OPENVINO = ("batch", "class", "score", *BOX)
_WHOSE = {
    _USUAL: "as in YOLOv10 and YOLO26",
    _ONE_CLASS: "of its only class",
    _PADDLE: "in the order of PaddleDetection",
    _SWAPPED: "with the class before the score",
    _YOLO_V7: "as in the export of YOLOv7 with suppression",
    _YOLO_NAS: "as in YOLO-NAS",
    _OPENVINO: "as in OpenVINO's DetectionOutput",
}


def end_to_end(clues: Clues) -> Guess | None:
    """[N, 6 + 3 K] or [N, 7]: a row per detection, from exports with non-maximum suppression."""
    tables = [output for output in clues.outputs if len(output.table) == 2]
    # There may be an output with the number of rows.
    others = [output for output in clues.outputs if output not in tables]
    if len(tables) != 1 or not all(_is_count(output) for output in others):
        return None
    output = tables[0]
    rows, width = output.table
    keypoints = _keypoints(clues, output)
    one = width == 5 and len(clues.labels) < 2
    if rows > _MOST_ROWS or (width not in (6, 7) and not keypoints and not one):
        return None
    if width == 7 and clues.task == "obb":
        return None
    columns = _USUAL if keypoints else _order(output)
    if columns is None:
        return None
    guess = Guess(
        "pose" if keypoints else "detection",
        {"type": "end_to_end"},
        50.0 if one else 85.0,
        [f"Rows of {width} numbers: finished detections, {_WHOSE[columns]}"],
        outputs=[output.name],
    )
    if columns != _USUAL:
        guess.head["columns"] = list(columns)
    if not _seen(output) and not keypoints and width == 7:
        guess.confidence -= 10
        guess.reasons.append(
            "Nothing was found, so their order is unknown: test it on a picture with known objects"
        )
    if keypoints:
        guess.head["keypoints"] = keypoints
        guess.keypoints = point_names(keypoints)
    classes = len(clues.labels) or (1 if keypoints or one else len(coco.labels()))
    if columns == _OPENVINO and clues.labels:
        _after_background(clues, guess)
    else:
        guess = with_classes(clues, guess, classes)
    if keypoints and not clues.labels:
        guess.labels = ("person",)
    at = columns.index("x_min")
    _note_shares(clues, guess, _peak(output, range(at, at + 4)), columns == _OPENVINO)
    return guess if columns == _OPENVINO else letterboxed(guess)


def finished(clues: Clues) -> Guess | None:
    """Recognize boxes, scores and classes in separate tensors, perhaps with a count."""
    parts = _parts(clues)
    if parts is None:
        return None
    outputs, roles, reason = parts
    boxes = outputs[next(i for i, role in enumerate(roles) if "boxes" in role)]
    tensorflow = any("detection_" in output.name for output in outputs)
    guess = Guess(
        "detection",
        {"type": "finished", "parts": list(roles)},
        88.0,
        [reason],
        outputs=[output.name for output in outputs],
    )
    if tensorflow:
        guess.head["box"] = "yxyx"
    # TorchVision and TensorFlow count classes from 1; TorchVision has no batch.
    if tensorflow or (set(roles) == {"boxes", "scores", "classes"} and _without_batch(clues)):
        _after_background(clues, guess)
    else:
        guess = with_classes(clues, guess, len(clues.labels) or len(coco.labels()), ids=True)
    _note_shares(clues, guess, _peak(boxes, range(4)), tensorflow)
    if "scored_boxes" in roles:
        # RTMDet, which MMDeploy exports most.
        guess.colour, guess.mean = "BGR", (103.53, 116.28, 123.675)
        guess.deviation = (57.375, 57.12, 58.395)
        guess.reasons.append("Assumed to need the colors and scaling of RTMDet; check them")
    if tensorflow:
        guess.deviation = (1.0, 1.0, 1.0)
        return guess
    return letterboxed(guess)


def decoded_detr(clues: Clues) -> Guess | None:
    """Recognize labels, boxes and scores of RT-DETR and D-FINE, which take the picture's size."""
    if len(clues.content.inputs) < 2:
        return None
    boxes = [o for o in clues.outputs if len(o.shape) == 2 and o.shape[1] == 4]
    rows = [o for o in clues.outputs if len(o.shape) == 1]
    if len(clues.outputs) != 3 or len(boxes) != 1 or len(rows) != 2:
        return None
    labels = _classes_among(rows)
    if labels is None:
        return None
    scores = [o for o in rows if o is not labels]
    guess = Guess(
        "detection",
        {"type": "detr", "form": "decoded"},
        90.0,
        ["Labels, boxes and scores: the official export of RT-DETR or D-FINE"],
        outputs=[labels.name, boxes[0].name, scores[0].name],
    )
    return with_classes(clues, guess, len(clues.labels) or len(coco.labels()))


# --- Rows -----------------------------------------------------------------------------------------


def _is_count(output: Output) -> bool:
    return all(side in (0, 1) for side in output.shape) and len(output.shape) <= 2


def _keypoints(clues: Clues, output: Output) -> int:
    """Return how many keypoints follow the six numbers of a row; 0 if implausible."""
    keypoints, rest = divmod(output.table[1] - 6, 3)
    if keypoints < 1 or rest or keypoints > 133 or clues.task not in (None, "pose"):
        return 0
    stated = clues.metadata.get("kpt_shape", "").strip("[]() ").partition(",")[0]
    if stated.isdigit():
        return keypoints if keypoints == int(stated) else 0
    if clues.task == "pose":
        return keypoints
    if len(clues.labels) > 1 or output.table[1] - 4 == len(coco.labels()):
        return 0
    columns = output.probed.columns if output.probed else ()
    plausible = keypoints in (5, 17) or len(clues.labels) == 1
    return keypoints if plausible and (not columns or _fits(_USUAL, columns)) else 0


def _order(output: Output) -> tuple[str, ...] | None:
    """Return the first order of a row's numbers that the run does not contradict."""
    name = output.name.lower()
    orders: tuple[tuple[str, ...], ...]
    if output.table[1] == 5:
        orders = (_ONE_CLASS,)
    elif output.table[1] == 6:
        paddle = "nms" in name or "tmp_" in name or "concat" in name
        orders = (_PADDLE, _USUAL, _SWAPPED) if paddle else (_USUAL, _PADDLE, _SWAPPED)
    elif len(output.shape) > 2 or "detection_out" in name:
        orders = (_OPENVINO, _YOLO_NAS, _YOLO_V7)
    elif "flat" in name:
        orders = (_YOLO_NAS, _YOLO_V7, _OPENVINO)
    else:
        orders = (_YOLO_V7, _YOLO_NAS, _OPENVINO)
    columns = output.probed.columns if output.probed else ()
    return next((order for order in orders if _fits(order, columns)), None)


def _fits(order: Sequence[str], columns: Sequence[ProbedColumn]) -> bool:
    """Return whether the numbers of a run fit an order."""
    for name, column in zip(order, columns, strict=False):
        if name == "score" and not -1 <= column.low <= column.peak <= 1 + _TOLERANCE:
            return False
        if name == "class" and not (
            column.whole and column.low >= -1 and column.peak < _MOST_CLASSES
        ):
            return False
        if name == "batch" and not (column.whole and column.low >= -1 and column.peak <= 0):
            return False
    return True


def _seen(output: Output) -> bool:
    return output.probed is not None and bool(output.probed.columns)


def _peak(output: Output, columns: range) -> float:
    """Return the largest number of some columns in a run, 0 if nothing was found."""
    probed = output.probed.columns if output.probed else ()
    return max((probed[i].peak for i in columns if i < len(probed)), default=0.0)


def _note_shares(clues: Clues, guess: Guess, peak: float, usually: bool) -> None:
    """Set whether coordinates are shares of the picture; `usually` if nothing was found."""
    unknown = usually or clues.content.format == "TensorFlow Lite"
    if 0 < peak <= MOST_SHARE or (not peak and unknown):
        in_shares(guess)


# --- Separate tensors -------------------------------------------------------------------------

_Parts = tuple[list[Output], tuple[str, ...], str]
# Names in TensorRT's plug-ins, SuperGradients and TensorFlow.
_NAMED = {
    "count": ("num_det", "num_pred", "num_boxes", "num_detections", "valid_det"),
    "boxes": ("boxes", "bboxes", "rois"),
    "scores": ("scores", "conf"),
    "classes": ("classes", "labels", "class_ids", "cls"),
}
_RAW = ("raw_", "anchor", "multiclass", "refined", "proposal")


def _parts(clues: Clues) -> _Parts | None:
    return _by_name(clues) or _by_shape(clues)


def _by_name(clues: Clues) -> _Parts | None:
    """Find the outputs by name."""
    found: dict[str, Output] = {}
    for role, words in _NAMED.items():
        for output in clues.outputs:
            name = output.name.lower()
            if output in found.values() or any(word in name for word in _RAW):
                continue
            if any(word in name for word in words) and _can_be(role, output):
                if role in found:
                    return None
                found[role] = output
    if not {"boxes", "scores", "classes"} <= set(found):
        return None
    if "count" not in found and len(clues.outputs) > 3:
        return None
    rows = _length(found["boxes"])
    if any(_length(found[role]) != rows for role in ("scores", "classes")):
        return None
    order = [output for output in clues.outputs if output in found.values()]
    roles = tuple(next(role for role, it in found.items() if it is output) for output in order)
    return order, roles, f"{', '.join(output.name for output in order)}: finished detections"


def _by_shape(clues: Clues) -> _Parts | None:
    """Find the outputs by shape: boxes with classes, and scores if separate."""
    tables = [o for o in clues.outputs if len(o.table) == 2 and o.table[1] in (4, 5)]
    if len(tables) != 1:
        return None
    table = tables[0]
    counts = [o for o in clues.outputs if _is_count(o) and table.table[0] > 1][:1]
    columns = [o for o in clues.outputs if o not in (table, *counts) and len(o.table) == 1]
    if len(columns) + len(counts) + 1 != len(clues.outputs):
        return None
    classes = _classes_among(columns)
    if any(_length(o) != table.table[0] for o in columns) or classes is None:
        return None
    rest = [o for o in columns if o is not classes]
    counted = ("count",) * len(counts)
    if table.table[1] == 5 and not rest:
        reason = "Boxes with a score, and their classes: detections of MMDeploy"
        return [table, classes, *counts], ("scored_boxes", "classes", *counted), reason
    if table.table[1] == 4 and len(rest) == 1:
        reason = "Boxes, scores and classes: finished detections"
        return [table, rest[0], classes, *counts], ("boxes", "scores", "classes", *counted), reason
    return None


def _classes_among(columns: Sequence[Output]) -> Output | None:
    """Return which of one or two outputs has the classes; the other one has the scores."""
    tests: tuple[Callable[[Output], bool], ...] = (
        lambda o: o.dtype.startswith(("int", "uint")),
        lambda o: any(word in o.name.lower() for word in _NAMED["classes"]),
        lambda o: o.probed is not None and o.probed.whole and o.probed.maximum > 1,
        lambda o: o.probed is not None and o.probed.whole,
    )
    for is_class in tests:
        if len(found := [o for o in columns if is_class(o)]) == 1:
            return found[0]
    return None


def _can_be(role: str, output: Output) -> bool:
    if role == "count":
        return _is_count(output)
    if role == "boxes":
        return len(output.table) == 2 and output.table[1] == 4
    return len(output.table) == 1 or output.table[1] == 1


def _length(output: Output) -> int:
    return output.table[0] if output.table else 1


def _without_batch(clues: Clues) -> bool:
    """Return whether outputs have no batch, as in TorchVision."""
    return any(len(tensor.shape) == 1 and tensor.shape[0] != 1 for tensor in clues.content.outputs)


def _after_background(clues: Clues, guess: Guess) -> None:
    """Add labels for classes that count from 1."""
    if not clues.labels:
        guess.labels = coco.labels()
        guess.head.update({"classes": 91, "class_ids": list(coco.category_ids())})
        guess.reasons.append("Its classes start at 1: assumed to be the category IDs of COCO")
        return
    count = len(clues.labels)
    guess.head.update({"classes": count + 1, "class_ids": list(range(1, count + 1))})
    guess.labels = clues.labels
    guess.reasons.append("Its classes start at 1, after the background")
