"""Time of decoding and suppression for a crowded output, compared with a plain reference.

Usage: python -m tests.bench.heads [--objects 60] [--runs 30] [--json]

Every family decodes an output of its usual size with OBJECTS objects, each found by a dozen
neighboring cells, above noise. The reference decodes the same output in plain Python, one candidate
at a time, and finds the same objects. Both run alternately in one process; the figures are medians
of processor time in milliseconds. Ratios are valid for other machines, milliseconds are not.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from edge_vision_node.models.heads import build_head
from edge_vision_node.models.heads.ssd import SsdSpec, make_anchors
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import read

MIN_SCORE = 0.4
CLASSES = 80
Found = tuple[float, int, tuple[float, float, float, float]]
Plain = Callable[[list[NDArray[np.float32]]], list[Found]]


@dataclass(frozen=True)
class Case:
    """A family: head of the manifest, size of the input, outputs, and their plain decoding."""

    name: str
    head: dict[str, Any]
    size: tuple[int, int]
    outputs: list[NDArray[np.float32]]
    plain: Plain
    iou: float | None


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the IoU of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def plain_nms(found: list[Found], iou: float | None) -> list[Found]:
    """Return the best of each cluster, best first."""
    kept: list[Found] = []
    for item in sorted(found, key=lambda f: -f[0]):
        if iou is None or all(k[1] != item[1] or overlap(k[2], item[2]) <= iou for k in kept):
            kept.append(item)
    return kept[:100]


def around(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    """Return the corners of a box around its center."""
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def scores(random: np.random.Generator, count: int, objects: int, columns: int) -> Any:
    """Return scores [count, columns]: noise, and a dozen neighbors for each object."""
    result = random.uniform(0, 0.15, (count, columns)).astype(np.float32)
    for start in np.linspace(0, count - 12, objects).astype(int):
        result[start : start + 12, random.integers(columns)] = random.uniform(0.5, 0.95, 12)
    return result


def grid(size: int, strides: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return column, row and stride of every cell."""
    return [
        (x, y, stride)
        for stride in strides
        for y in range(size // stride)
        for x in range(size // stride)
    ]


def best_class(row: list[float]) -> int:
    """Return the index of the largest number."""
    return max(range(len(row)), key=row.__getitem__)


def ssd(random: np.random.Generator, objects: int) -> Case:
    """Return the case of the default model."""
    spec = dict(ModelStore().get(None).manifest.head)
    anchors = make_anchors(read(SsdSpec, spec).anchors)
    # The head only uses the best 400 candidates.
    values = scores(random, len(anchors), min(objects, 30), 91)
    logits = np.log(values + 1e-4) - np.log1p(-values)
    encodings = random.normal(0, 0.5, (1, len(anchors), 4)).astype(np.float32)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        rows = zip(anchors.tolist(), outputs[0][0].tolist(), outputs[1][0].tolist(), strict=True)
        for (y, x, h, w), (ty, tx, th, tw), row in rows:
            for label, column in enumerate(spec["class_ids"]):
                score = 1 / (1 + math.exp(-row[column]))
                if score >= MIN_SCORE:
                    size = (math.exp(tw / 5) * w, math.exp(th / 5) * h)
                    box = around(tx / 10 * w + x, ty / 10 * h + y, *size)
                    x_min, y_min, x_max, y_max = (min(max(value, 0.0), 1.0) for value in box)
                    found.append((score, label, (x_min, y_min, x_max, y_max)))
        return found

    return Case("SSD, raw", spec, (300, 300), [encodings, logits[np.newaxis]], plain, 0.6)


def yolox(random: np.random.Generator, objects: int) -> Case:
    """Return the case of YOLOX-nano."""
    cells = grid(416, (8, 16, 32))
    values = scores(random, len(cells), objects, CLASSES)
    rows = np.concatenate(
        [
            random.normal(0, 0.3, (len(cells), 2)),
            random.normal(1, 0.2, (len(cells), 2)),
            values.max(axis=1, keepdims=True) ** 0.1,
            values,
        ],
        axis=1,
    ).astype(np.float32)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for (column, line, stride), row in zip(cells, outputs[0][0].tolist(), strict=True):
            label = best_class(row[5:])
            score = row[4] * row[5 + label]
            if score >= MIN_SCORE:
                x, y = (row[0] + column) * stride, (row[1] + line) * stride
                box = (x, y, math.exp(row[2]) * stride, math.exp(row[3]) * stride)
                found.append((score, label, around(*(value / 416 for value in box))))
        return found

    head = {"type": "yolox", "classes": CLASSES}
    return Case("YOLOX 416", head, (416, 416), [rows[np.newaxis]], plain, 0.45)


def yolov5(random: np.random.Generator, objects: int) -> Case:
    """Return the case of YOLOv5: 25200 rows at 640 pixels."""
    values = scores(random, 25200, objects, CLASSES)
    rows = np.concatenate(
        [
            np.linspace(20, 620, 25200)[:, np.newaxis].repeat(2, 1),
            random.uniform(30, 60, (25200, 2)),
            np.where(values.max(axis=1, keepdims=True) > MIN_SCORE, 0.95, 0.02),
            values,
        ],
        axis=1,
    ).astype(np.float32)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for row in outputs[0][0].tolist():
            label = best_class(row[5:])
            if (score := row[4] * row[5 + label]) >= MIN_SCORE:
                found.append((score, label, around(*(value / 640 for value in row[:4]))))
        return found

    head = {"type": "yolov5", "classes": CLASSES}
    return Case("YOLOv5 640", head, (640, 640), [rows[np.newaxis]], plain, 0.45)


def yolov8(random: np.random.Generator, objects: int) -> Case:
    """Return the case of YOLOv8: 8400 columns at 640 pixels."""
    values = scores(random, 8400, objects, CLASSES)
    centers = np.linspace(20, 620, 8400)[:, np.newaxis].repeat(2, 1)
    rows = np.concatenate([centers, random.uniform(30, 60, (8400, 2)), values], axis=1)
    output = np.ascontiguousarray(rows.T[np.newaxis], dtype=np.float32)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for row in outputs[0][0].T.tolist():
            label = best_class(row[4:])
            if row[4 + label] >= MIN_SCORE:
                found.append((row[4 + label], label, around(*(value / 640 for value in row[:4]))))
        return found

    head = {"type": "yolov8", "classes": CLASSES}
    return Case("YOLOv8/9/11 640", head, (640, 640), [output], plain, 0.45)


def yolo_nas(random: np.random.Generator, objects: int) -> Case:
    """Return the case of YOLO-NAS: 8400 rows at 640 pixels, as two outputs."""
    values = scores(random, 8400, objects, CLASSES)
    corner = np.linspace(0, 580, 8400)[:, np.newaxis].repeat(2, 1)
    boxes = np.concatenate([corner, corner + random.uniform(30, 60, (8400, 2))], axis=1)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for box, row in zip(outputs[0][0].tolist(), outputs[1][0].tolist(), strict=True):
            label = best_class(row)
            if row[label] >= MIN_SCORE:
                x_min, y_min, x_max, y_max = (value / 640 for value in box)
                found.append((row[label], label, (x_min, y_min, x_max, y_max)))
        return found

    head = {"type": "yolo_nas", "classes": CLASSES}
    outputs = [boxes[np.newaxis].astype(np.float32), values[np.newaxis]]
    return Case("YOLO-NAS 640", head, (640, 640), outputs, plain, 0.6)


def nanodet(random: np.random.Generator, objects: int) -> Case:
    """Return the case of NanoDet-Plus at 416 pixels."""
    cells = grid(416, (8, 16, 32)) + [(x, y, 64) for y in range(7) for x in range(7)]
    values = scores(random, len(cells), objects, CLASSES)
    rows = np.concatenate([values, random.normal(0, 1, (len(cells), 32))], axis=1)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for (column, line, stride), row in zip(cells, outputs[0][0].tolist(), strict=True):
            label = best_class(row[:CLASSES])
            if row[label] >= MIN_SCORE:
                edges = []
                for side in range(4):
                    powers = [math.exp(v) for v in row[CLASSES + side * 8 :][:8]]
                    edges.append(sum(i * p for i, p in enumerate(powers)) / sum(powers))
                box = (column - edges[0], line - edges[1], column + edges[2], line + edges[3])
                x_min, y_min, x_max, y_max = (value * stride / 416 for value in box)
                found.append((row[label], label, (x_min, y_min, x_max, y_max)))
        return found

    head = {"type": "nanodet", "classes": CLASSES}
    output = rows[np.newaxis].astype(np.float32)
    return Case("NanoDet-Plus 416", head, (416, 416), [output], plain, 0.6)


def fastestdet(random: np.random.Generator, objects: int) -> Case:
    """Return the case of FastestDet: one grid of 22 x 22."""
    values = scores(random, 484, min(objects, 40), CLASSES)
    objectness = np.where(values.max(axis=1, keepdims=True) > MIN_SCORE, 0.9, 0.05)
    rows = np.concatenate([objectness, random.normal(-2, 0.5, (484, 4)), values], axis=1)
    output = np.ascontiguousarray(rows.T.reshape(1, -1, 22, 22), dtype=np.float32)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for i, row in enumerate(outputs[0][0].reshape(-1, 484).T.tolist()):
            label = best_class(row[5:])
            score = row[0] ** 0.6 * row[5 + label] ** 0.4
            if score >= MIN_SCORE:
                x, y = (math.tanh(row[1]) + i % 22) / 22, (math.tanh(row[2]) + i // 22) / 22
                size = (1 / (1 + math.exp(-row[3])), 1 / (1 + math.exp(-row[4])))
                found.append((score, label, around(x, y, *size)))
        return found

    head = {"type": "fastestdet", "classes": CLASSES}
    return Case("FastestDet 352", head, (352, 352), [output], plain, 0.45)


def detr(random: np.random.Generator, objects: int) -> Case:
    """Return the case of the DETR family: 300 queries."""
    values = scores(random, 300, min(objects, 24), CLASSES)
    logits = (np.log(values + 1e-4) - np.log1p(-values))[np.newaxis]
    boxes = random.uniform(0.2, 0.5, (1, 300, 4)).astype(np.float32)

    def plain(outputs: list[NDArray[np.float32]]) -> list[Found]:
        found: list[Found] = []
        for row, box in zip(outputs[0][0].tolist(), outputs[1][0].tolist(), strict=True):
            for label, value in enumerate(row):
                if (score := 1 / (1 + math.exp(-value))) >= MIN_SCORE:
                    found.append((score, label, around(*box)))
        return found

    head = {"type": "detr", "classes": CLASSES}
    return Case("DETR family", head, (640, 640), [logits, boxes], plain, None)


CASES = (ssd, yolox, yolov5, yolov8, yolo_nas, nanodet, fastestdet, detr)


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Return the medians of both, and whether they find the same objects."""
    head = build_head(case.head, case.size)
    found: Any = head(case.outputs, MIN_SCORE)
    expected = plain_nms(case.plain(case.outputs), case.iou)
    expected_scores = [item[0] for item in expected]
    same = len(found) == len(expected) and np.allclose(found.scores, expected_scores, atol=1e-3)
    ours, plain = [], []
    for _ in range(runs):
        started = time.thread_time()
        head(case.outputs, MIN_SCORE)
        between = time.thread_time()
        plain_nms(case.plain(case.outputs), case.iou)
        ours.append((between - started) * 1000)
        plain.append((time.thread_time() - between) * 1000)
    head_ms, plain_ms = statistics.median(ours), statistics.median(plain)
    return {
        "family": case.name,
        "found": len(found),
        "same": bool(same),
        "head_ms": round(head_ms, 3),
        "plain_ms": round(plain_ms, 2),
        "ratio": round(plain_ms / head_ms, 1),
    }


def main() -> None:
    """Print a row for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    random = np.random.default_rng(1)
    rows = [measure(make(random, options.objects), options.runs) for make in CASES]
    if options.json:
        print(json.dumps({"objects": options.objects, "runs": options.runs, "heads": rows}))
        return
    print(f"{'family':18}{'found':>6}{'same':>6}{'head ms':>10}{'plain ms':>10}{'ratio':>8}")
    for row in rows:
        print(
            f"{row['family']:18}{row['found']:6}{row['same']!s:>6}{row['head_ms']:10.2f}"
            f"{row['plain_ms']:10.1f}{row['ratio']:8.0f}"
        )


if __name__ == "__main__":
    main()
