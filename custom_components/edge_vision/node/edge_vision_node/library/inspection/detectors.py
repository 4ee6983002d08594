"""Recognizes detectors: one function per family says whether and how a model can be read.

The functions use shapes and names of outputs, as the heads document them, and the outputs of a run.
Each returns a guess or None; the most certain one wins.
"""

from __future__ import annotations

import re

from . import coco
from .clues import Clues, Output, fit_labels
from .guess import IMAGENET, MOST_SHARE, Guess, in_shares, letterboxed, point_names, with_classes

_TOLERANCE = 0.01


def _looks_like_boxes(output: Output) -> tuple[bool, bool, float]:
    """Return a measure that is larger for boxes than for scores or logits."""
    name, probed = output.name.lower(), output.probed
    low, peak = (probed.minimum, probed.maximum) if probed else (0.0, 0.0)
    return "box" in name or "det" in name, low >= 0, peak


# --- SSD ------------------------------------------------------------------------------------------


def ssd_postprocess(clues: Clues) -> Guess | None:
    """Recognize boxes, classes, scores and count of TFLite_Detection_PostProcess and the like."""
    if len(clues.outputs) != 4:
        return None
    named = [o for o in clues.outputs if "TFLite_Detection_PostProcess" in o.name]
    by_name = len(named) == 4
    if by_name:
        ordered = sorted(named, key=lambda output: output.name)
    else:
        boxes = [o for o in clues.outputs if len(o.shape) == 2 and o.shape[1] == 4]
        rows = [o for o in clues.outputs if len(o.shape) == 1 and o.shape[0] > 1]
        count = [o for o in clues.outputs if o.shape in ((1,), ())]
        if (len(boxes), len(rows), len(count)) != (1, 2, 1) or rows[0].shape != rows[1].shape:
            return None
        if any(o.dtype != "float32" for o in rows):
            return None
        if boxes[0].probed is not None and boxes[0].probed.maximum > MOST_SHARE:
            return None
        # Scores are within 0 to 1; classes are mostly larger.
        rows.sort(key=lambda output: output.probed.maximum if output.probed else 0.0, reverse=True)
        ordered = [*boxes, *rows, *count]
    guess = Guess(
        "detection",
        {"type": "ssd_postprocess"},
        95.0 if by_name else 92.0 if clues.picture.layout == "NHWC" else 75.0,
        [
            "Four outputs named TFLite_Detection_PostProcess: an SSD that ends in finished boxes"
            if by_name
            else "Boxes, two numbers for each, and a count: an SSD that ends in finished boxes"
        ],
        outputs=[output.name for output in ordered],
        mean=(127.5, 127.5, 127.5),
        deviation=(127.5, 127.5, 127.5),
    )
    return with_classes(clues, guess, len(clues.labels) or 90, ids=True)


def ssd(clues: Clues) -> Guess | None:
    """Recognize raw SSD with known anchors: 1917 at 300 x 300."""
    boxes = [o for o in clues.outputs if o.shape in ((1917, 4), (1917, 1, 4))]
    logits = [o for o in clues.outputs if len(o.shape) == 2 and o.shape[0] == 1917 != o.shape[1]]
    logits = [o for o in logits if o.shape[1] != 4]
    if len(clues.outputs) != 2 or len(boxes) != 1 or len(logits) != 1:
        return None
    columns = logits[0].shape[1]
    guess = Guess(
        "detection",
        {"type": "ssd", "box_scales": [10, 10, 5, 5]},
        85.0,
        ["1917 boxes relative to anchors, and class logits: an SSD MobileNet of 300 x 300"],
        outputs=[boxes[0].name, logits[0].name],
        side=300,
        mean=(127.5, 127.5, 127.5),
        deviation=(127.5, 127.5, 127.5),
    )
    guess.head["anchors"] = {
        "grid_sizes": [19, 10, 5, 3, 2, 1],
        "min_scale": 0.2,
        "max_scale": 0.95,
        "aspect_ratios": [1, 2, 0.5, 3, 0.3333],
        "reduce_lowest": True,
        "lowest_scale": 0.1,
        "interpolated_aspect_ratio": 1.0,
    }
    labels, class_ids = fit_labels(clues.labels, columns - 1, guess.reasons)
    guess.labels = labels
    # The first column is the background.
    guess.head["class_ids"] = [i + 1 for i in class_ids or range(columns - 1)]
    return guess


# --- YOLO and its relatives -----------------------------------------------------------------------


def yolox_or_yolov5(clues: Clues) -> Guess | None:
    """[N, 5 + C]: a row for each cell (YOLOX), or for each of three anchors of a cell (YOLOv5)."""
    if (output := _table(clues)) is None:
        return None
    rows, columns = output.table
    cells = clues.cells(8, 16, 32)
    if columns < 6:
        return None
    if rows == cells and _is_one(output, 4):
        confidence = 85.0
        reason = f"{rows} rows, one for each cell, whose objectness is 1 everywhere: YOLOv6"
    elif rows == cells:
        return _yolox(clues, output)
    elif rows in (3 * cells, 3 * clues.cells(8, 16, 32, 64), 3 * clues.cells(16, 32)):
        confidence = 90.0
        reason = f"{rows} rows, three for each cell of the grids: YOLOv5 or YOLOv7"
    else:
        return None
    guess = Guess("detection", {"type": "yolov5"}, confidence, [reason], outputs=[output.name])
    return with_classes(clues, letterboxed(_normalised(clues, output, guess)), columns - 5)


def _yolox(clues: Clues, output: Output) -> Guess:
    rows, columns = output.table
    guess = Guess(
        "detection",
        {"type": "yolox"},
        85.0,
        [f"{rows} rows, one for each cell of three grids, and {columns} columns: YOLOX"],
        outputs=[output.name],
        colour="BGR",
        deviation=(1.0, 1.0, 1.0),
    )
    peak = output.peak(2)
    if peak is not None and peak > clues.picture.width / 8:
        guess.head["decoded"] = True
        guess.reasons.append(f"Its boxes are up to {peak:.0f} wide: already decoded")
    _doubt_scores(output, columns, guess)
    told = _has_objectness(clues, output)
    if told is not None:
        guess.confidence += 5 if told else -30
    return with_classes(clues, letterboxed(guess), columns - 5)


# YOLOX learns classes only for cells with an object; in the other cells its class scores add up to
# 0.5 and more. Scores of models without objectness are nearly 0 there.
_LEAST_BEYOND = 0.1


def _is_one(output: Output, channel: int) -> bool:
    return output.low(channel) == output.peak(channel) == 1.0


def _has_objectness(clues: Clues, output: Output) -> bool | None:
    """Return whether a run shows YOLOX's five numbers before the classes, or YOLOv8's four.

    None if the run does not tell.
    """
    centre, least = output.peak(0), min(output.low(2) or 0.0, output.low(3) or 0.0)
    if output.probed is None or centre is None or centre == output.low(0):
        return None
    if least < 0:
        return True  # logarithms of sizes: no size is negative
    if centre <= 1:
        return False  # shares of the picture, which YOLOX does not use
    if centre < clues.picture.width / 4 or _is_one(output, 4):
        return True  # offsets within cells: centers in pixels would reach the far side
    if output.probed.maximum > max(output.probed.peaks[:4]) or any(
        peak > 1 + _TOLERANCE for peak in output.probed.peaks[4:]
    ):
        return None  # with keypoints
    return output.probed.beyond > _LEAST_BEYOND


def _normalised(clues: Clues, output: Output, guess: Guess) -> Guess:
    peak = output.peak(0)
    if clues.content.format == "TensorFlow Lite" if peak is None else peak <= MOST_SHARE:
        return in_shares(guess)
    return guess


# The grids of YOLOv8 and its successors: the usual ones, with P6, with P2, and two only.
_GRIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


def yolov8(clues: Clues) -> Guess | None:
    """[4 + C + 3 K, N]: YOLOv8, v9, 11 and their pose models."""
    if (output := _table(clues)) is None:
        return None
    channels, cells = output.table
    if cells not in {clues.cells(*strides) for strides in _GRIDS}:
        return None
    reason = f"{channels} channels for {cells} cells: YOLOv8, YOLOv9 or YOLO11"
    return _channels(clues, output, channels, 90.0, reason)


def yolov8_transposed(clues: Clues) -> Guess | None:
    """[N, 4 + C + 3 K]: the same from other converters; also Ultralytics' export of RT-DETR."""
    if (output := _table(clues)) is None:
        return None
    rows, channels = output.table
    if rows in {clues.cells(*strides) for strides in _GRIDS}:
        reason = f"{rows} cells with {channels} channels: YOLOv8 or a similar model, transposed"
        guess = _channels(clues, output, channels, _sureness(clues, output, channels), reason)
    elif (
        rows in (100, 300)
        and channels - 4 == (len(clues.labels) or len(coco.labels()))
        and _are_sigmoids(output)
    ):
        reason = f"{rows} rows with a box and {channels - 4} scores: RT-DETR by Ultralytics"
        guess = _channels(clues, output, channels, 88.0, reason)
        if guess is not None and output.probed is None:
            guess.head["normalised"] = True
        if guess is not None:
            guess.resize = "stretch"
    else:
        return None
    if guess is not None:
        guess.head["transposed"] = True
    return guess


def _are_sigmoids(output: Output) -> bool:
    """Return whether all numbers of a run lie between 0 and 1, exclusively.

    Finished detections have whole class numbers and unused rows.
    """
    if output.probed is None:
        return output.table[1] not in (5, 6, 7)
    columns = output.probed.columns
    return bool(columns) and all(0 <= c.low <= c.peak <= 1 and not c.whole for c in columns)


def _doubt_scores(output: Output, end: int, guess: Guess) -> None:
    """Lower the confidence of a guess if the numbers from the fifth on are no scores."""
    for channel in range(4, end):
        low, peak = output.low(channel), output.peak(channel)
        if (
            low is not None
            and peak is not None
            and not -_TOLERANCE <= low <= peak <= 1 + _TOLERANCE
        ):
            guess.confidence -= 40
            guess.reasons.append(f"Its scores are not between 0 and 1, but up to {peak:.2g}")
            return


def _sureness(clues: Clues, output: Output, channels: int) -> float:
    """Return the confidence that cells have four numbers before the scores, not YOLOX's five."""
    if len(clues.labels) == channels - 4:
        return 90.0
    if "ultralytics" in clues.metadata.get("description", "").lower() or clues.task is not None:
        return 90.0
    told = _has_objectness(clues, output)
    if told is not None:
        return 45.0 if told else 90.0
    return 90.0 if channels - 4 == len(coco.labels()) else 60.0


def _channels(
    clues: Clues, output: Output, channels: int, confidence: float, reason: str
) -> Guess | None:
    """Return the meaning of 4 + C + 3 K numbers per cell."""
    keypoints = 0
    shape = [int(x) for x in re.findall(r"\d+", clues.metadata.get("kpt_shape", ""))]
    if len(shape) == 2 and shape[1] == 3:
        keypoints = shape[0]
    elif channels == 56 and len(clues.labels) in (0, 1):
        keypoints = 17
    guess = Guess(
        "pose" if keypoints else "detection",
        {"type": "yolov8"},
        confidence,
        [reason],
        outputs=[output.name],
    )
    if keypoints:
        guess.head["keypoints"] = keypoints
        guess.keypoints = point_names(keypoints)
        guess.reasons.append(f"{keypoints} keypoints for each object")
    classes = channels - 4 - 3 * keypoints
    if classes < 1:
        return None
    _doubt_scores(output, 4 + classes, guess)
    if keypoints and classes == 1 and not clues.labels:
        guess.head["classes"], guess.labels = 1, ("person",)
        return letterboxed(_normalised(clues, output, guess))
    return with_classes(clues, letterboxed(_normalised(clues, output, guess)), classes)


def _table(clues: Clues) -> Output | None:
    """Return the only output with rows and columns; raw grids beside it are redundant."""
    tables = [output for output in clues.outputs if len(output.table) == 2]
    others = [output for output in clues.outputs if len(output.table) != 2]
    if len(tables) != 1 or not all(is_grid(clues, output) for output in others):
        return None
    return tables[0]


def is_grid(clues: Clues, output: Output) -> bool:
    """Return whether an output has numbers for each cell of a usual grid."""
    width, height = clues.picture.width, clues.picture.height
    grids = {(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32, 64)}
    sides = output.shape
    return len(sides) in (3, 4) and any(sides[i : i + 2] in grids for i in range(len(sides) - 1))


def nanodet(clues: Clues) -> Guess | None:
    """[N, C + 4 bins] for the cells of four grids."""
    if (output := _table(clues)) is None:
        return None
    rows, columns = output.table
    if rows != clues.cells(8, 16, 32, 64) or columns <= 32:
        return None
    guess = Guess(
        "detection",
        {"type": "nanodet", "bins": 8},
        75.0,
        [f"{rows} rows for four grids, {columns} columns: NanoDet-Plus"],
        outputs=[output.name],
        colour="BGR",
        mean=(103.53, 116.28, 123.675),
        deviation=(57.375, 57.12, 58.395),
    )
    return with_classes(clues, guess, columns - 32)


def fastestdet(clues: Clues) -> Guess | None:
    """[5 + C, rows, columns] on the grid of stride 16."""
    if len(clues.outputs) != 1 or len(clues.shapes[0]) != 3:
        return None
    channels, rows, columns = clues.shapes[0]
    picture = clues.picture
    if channels < 6 or (rows, columns) != (picture.height // 16, picture.width // 16):
        return None
    guess = Guess(
        "detection",
        {"type": "fastestdet"},
        80.0,
        [f"{channels} channels on one grid of {columns} x {rows}: FastestDet"],
        colour="BGR",
    )
    return with_classes(clues, guess, channels - 5)


def boxes_and_scores(clues: Clues) -> Guess | None:
    """Recognize two outputs: DETR with its queries, or YOLO-NAS with a row per cell."""
    tables = [o for o in clues.outputs if len(o.table) == 2]
    boxes = [o for o in tables if o.table[1] == 4 and o.table[0] > 4]
    if len(boxes) == 2:  # four classes
        boxes = sorted(boxes, key=_looks_like_boxes)[1:]
    scores = [o for o in tables if o not in boxes]
    if len(clues.outputs) != 2 or len(boxes) != 1 or len(scores) != 1:
        return None
    rows, classes = scores[0].table
    transposed = boxes[0].table[0] == classes != rows
    if transposed:
        rows, classes = classes, rows
    if boxes[0].table[0] != rows or rows == 1917:
        return None
    # Usual numbers of queries; as many cells would be a coincidence.
    if rows > 1000 or transposed or (rows == clues.cells(8, 16, 32) and rows not in (100, 300)):
        guess = Guess(
            "detection",
            {"type": "yolo_nas"},
            80.0,
            [f"{rows} boxes and {classes} scores for each: YOLO-NAS, DAMO-YOLO or PP-YOLOE"],
            outputs=[boxes[0].name, scores[0].name],
        )
        if transposed:
            guess.head["transposed"] = True
        _normalised(clues, boxes[0], guess)
        return with_classes(clues, letterboxed(guess), classes)
    guess = Guess(
        "detection",
        {"type": "detr"},
        80.0,
        [f"{rows} queries with a box and {classes} logits each: RT-DETR, D-FINE or RF-DETR"],
        outputs=[scores[0].name, boxes[0].name],
    )
    if classes == 92:
        guess.head["score"] = "softmax"
        guess.mean, guess.deviation = IMAGENET
        guess.reasons.append('92 logits, the last one for "no object": the first DETR')
    elif classes == 91:
        guess.mean, guess.deviation = IMAGENET
        guess.reasons.append("91 logits: RF-DETR, which needs the normalization of ImageNet")
    labels = clues.labels
    if not labels and classes in (91, 92):
        guess.labels = coco.labels()
        guess.head.update({"classes": classes, "class_ids": list(coco.category_ids())})
        return guess
    return with_classes(clues, guess, classes, ids=True)
