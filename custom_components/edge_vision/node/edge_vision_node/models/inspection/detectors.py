"""Detectors: one function for each family tells whether a model is of it, and how it is read.

They look at the shapes and names of outputs, as the heads document them, and at what a run of the
model gave. Each returns a guess or None; the most certain one wins.
"""

from __future__ import annotations

from . import coco
from .clues import Clues, Output, fit_labels
from .guess import IMAGENET, JOINTS, Guess, letterboxed, with_classes

# Coordinates above this are pixels, not shares of the picture.
_NORMALISED = 2.0


# --- SSD ------------------------------------------------------------------------------------------


def ssd_postprocess(clues: Clues) -> Guess | None:
    """Boxes, classes, scores and count, by TFLite_Detection_PostProcess or its like."""
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
        # Scores are the ones that stay within 0 to 1; classes are mostly larger.
        rows.sort(key=lambda output: output.probed.maximum if output.probed else 0.0, reverse=True)
        ordered = [*boxes, *rows, *count]
    guess = Guess(
        "detection",
        {"type": "ssd_postprocess"},
        95.0 if by_name else 75.0,
        [
            "Four outputs named TFLite_Detection_PostProcess: an SSD that ends in finished boxes"
            if by_name
            else "Boxes, two numbers for each and a count: an SSD that ends in finished boxes"
        ],
        outputs=[output.name for output in ordered],
        mean=(127.5, 127.5, 127.5),
        deviation=(127.5, 127.5, 127.5),
    )
    return with_classes(clues, guess, len(clues.labels) or 90, ids=True)


def ssd(clues: Clues) -> Guess | None:
    """Return the raw SSD whose anchors are known: 1917 of them at 300 x 300."""
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
        ["1917 boxes against anchors, and class logits: an SSD MobileNet of 300 x 300"],
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
    if len(clues.outputs) != 1 or len(clues.shapes[0]) != 2:
        return None
    output = clues.outputs[0]
    rows, columns = output.shape
    cells = clues.cells(8, 16, 32)
    if columns < 6:
        return None
    if rows == cells:
        guess = Guess(
            "detection",
            {"type": "yolox"},
            85.0,
            [f"{rows} rows, one for each cell of three grids, and {columns} columns: YOLOX"],
            colour="BGR",
            deviation=(1.0, 1.0, 1.0),
        )
        peak = output.peak(2)
        if peak is not None and peak > clues.picture.width / 8:
            guess.head["decoded"] = True
            guess.reasons.append(f"Its boxes are up to {peak:.0f} wide: decoded already")
        return with_classes(clues, letterboxed(guess), columns - 5)
    if rows in (3 * cells, 3 * clues.cells(8, 16, 32, 64), 3 * clues.cells(16, 32)):
        guess = Guess(
            "detection",
            {"type": "yolov5"},
            90.0,
            [f"{rows} rows, three for each cell of the grids: YOLOv5 or YOLOv7"],
        )
        return with_classes(clues, letterboxed(_normalised(clues, output, guess)), columns - 5)
    return None


def _normalised(clues: Clues, output: Output, guess: Guess) -> Guess:
    peak = output.peak(0)
    if clues.content.format == "TensorFlow Lite" if peak is None else peak <= _NORMALISED:
        guess.head["normalised"] = True
        guess.reasons.append("Its coordinates are shares of the picture, not pixels")
    return guess


def yolov8(clues: Clues) -> Guess | None:
    """[4 + C + 3 K, N]: YOLOv8, v9, 11 and their pose models."""
    if len(clues.outputs) != 1 or len(clues.shapes[0]) != 2:
        return None
    output = clues.outputs[0]
    channels, columns = output.shape
    if columns not in (clues.cells(8, 16, 32), clues.cells(8, 16, 32, 64)) or channels < 5:
        return None
    keypoints = 0
    shape = [int(x) for x in clues.metadata.get("kpt_shape", "").strip("[]() ").split(",") if x]
    if len(shape) == 2 and shape[1] == 3:
        keypoints = shape[0]
    elif channels == 56 and len(clues.labels) in (0, 1):
        keypoints = 17
    guess = Guess(
        "pose" if keypoints else "detection",
        {"type": "yolov8"},
        90.0,
        [f"{channels} channels for {columns} cells: YOLOv8, YOLOv9 or YOLO11"],
    )
    if keypoints:
        guess.head["keypoints"] = keypoints
        guess.keypoints = _points(keypoints)
        guess.reasons.append(f"{keypoints} keypoints for each object")
    classes = channels - 4 - 3 * keypoints
    if classes < 1:
        return None
    if keypoints and classes == 1 and not clues.labels:
        guess.head["classes"], guess.labels = 1, ("person",)
        return letterboxed(_normalised(clues, output, guess))
    return with_classes(clues, letterboxed(_normalised(clues, output, guess)), classes)


def end_to_end(clues: Clues) -> Guess | None:
    """[N, 6 + 3 K] with a few hundred rows: YOLOv10, YOLO26, or an export with built-in NMS."""
    if len(clues.outputs) != 1 or len(clues.shapes[0]) != 2:
        return None
    output = clues.outputs[0]
    rows, columns = output.shape
    keypoints, rest = divmod(columns - 6, 3)
    if not 1 <= rows <= 1000 or columns < 6 or rest or keypoints > 40:
        return None
    guess = Guess(
        "pose" if keypoints else "detection",
        {"type": "end_to_end"},
        85.0,
        [f"{rows} rows of {columns} numbers: finished detections, as YOLOv10 and YOLO26 give them"],
    )
    if keypoints:
        guess.head["keypoints"] = keypoints
        guess.keypoints = _points(keypoints)
    classes = len(clues.labels) or (1 if keypoints else len(coco.labels()))
    guess = with_classes(clues, letterboxed(guess), classes)
    if keypoints and not clues.labels:
        guess.labels = ("person",)
    # What they hold is only known where something was found.
    peak = max((output.peak(i) or 0.0 for i in range(4)), default=0.0)
    if 0 < peak <= _NORMALISED or (not peak and clues.content.format == "TensorFlow Lite"):
        guess.head["normalised"] = True
        guess.reasons.append("Its coordinates are shares of the picture, not pixels")
    return guess


def _points(count: int) -> tuple[str, ...]:
    return JOINTS if count == len(JOINTS) else tuple(f"point_{i}" for i in range(count))


def nanodet(clues: Clues) -> Guess | None:
    """[N, C + 4 bins] for the cells of four grids."""
    if len(clues.outputs) != 1 or len(clues.shapes[0]) != 2:
        return None
    rows, columns = clues.shapes[0]
    if rows != clues.cells(8, 16, 32, 64) or columns <= 32:
        return None
    guess = Guess(
        "detection",
        {"type": "nanodet", "bins": 8},
        75.0,
        [f"{rows} rows for four grids, {columns} columns: NanoDet-Plus"],
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
    """Two outputs: DETR with its queries, or YOLO-NAS with a row for each cell."""
    tables = [o for o in clues.outputs if len(o.shape) == 2]
    boxes = [o for o in tables if o.shape[1] == 4]
    scores = [o for o in tables if o.shape[1] != 4]
    if len(clues.outputs) != 2 or len(boxes) != 1 or len(scores) != 1:
        return None
    rows, classes = scores[0].shape
    if boxes[0].shape[0] != rows or rows == 1917:
        return None
    if rows > 1000:
        guess = Guess(
            "detection",
            {"type": "yolo_nas"},
            80.0,
            [f"{rows} boxes and {classes} scores for each: YOLO-NAS or PP-YOLOE"],
            outputs=[boxes[0].name, scores[0].name],
        )
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
        guess.reasons.append("92 logits, the last of them for nothing: the first DETR")
    elif classes == 91:
        guess.mean, guess.deviation = IMAGENET
        guess.reasons.append("91 logits: RF-DETR, which wants ImageNet's normalisation")
    labels = clues.labels
    if not labels and classes in (91, 92):
        guess.labels = coco.labels()
        guess.head.update({"classes": classes, "class_ids": list(coco.category_ids())})
        return guess
    return with_classes(clues, guess, classes, ids=True)


def decoded_detr(clues: Clues) -> Guess | None:
    """Labels, boxes and scores of RT-DETR and D-FINE, which also want the picture's size."""
    boxes = [o for o in clues.outputs if len(o.shape) == 2 and o.shape[1] == 4]
    rows = [o for o in clues.outputs if len(o.shape) == 1]
    if len(clues.outputs) != 3 or len(boxes) != 1 or len(rows) != 2:
        return None
    dtypes = {tensor.name: tensor.dtype for tensor in clues.content.outputs}
    labels = [o for o in rows if dtypes[o.name].startswith("int") or "label" in o.name.lower()]
    if len(labels) != 1:
        return None
    scores = [o for o in rows if o is not labels[0]]
    guess = Guess(
        "detection",
        {"type": "detr", "form": "decoded"},
        85.0,
        ["Labels, boxes and scores: RT-DETR or D-FINE as their makers export them"],
        outputs=[labels[0].name, boxes[0].name, scores[0].name],
    )
    return with_classes(clues, guess, len(clues.labels) or len(coco.labels()))
