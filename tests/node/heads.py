"""Helpers for tests of heads: recorded outputs, valid outputs, plain references."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edge_vision_node.models.heads import Head, build_head

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Recorded:
    """The outputs of a model and their decoding by its library (see make_head_fixtures.py)."""

    spec: dict[str, Any]
    size: tuple[int, int]
    outputs: list[Any]
    answer: dict[str, Any]

    @property
    def head(self) -> Head:
        return build_head(self.spec, self.size)


def recorded(name: str) -> Recorded:
    with np.load(DATA / f"head_{name}.npz") as file:
        arrays = {key: file[key] for key in file}
    outputs = [arrays.pop(f"output{i}") for i in range(12) if f"output{i}" in arrays]
    spec, size = json.loads(str(arrays.pop("head"))), tuple(arrays.pop("size").tolist())
    return Recorded(spec, size, outputs, arrays)


Tensor = Any
# head → (head of the manifest, size of the input, function that creates valid outputs)
Sample = tuple[dict[str, Any], tuple[int, int], Callable[[np.random.Generator], list[Tensor]]]


def _scores(random: np.random.Generator, *shape: int) -> Tensor:
    return random.uniform(0, 1, shape).astype(np.float32)


def _numbers(random: np.random.Generator, *shape: int) -> Tensor:
    return random.normal(0, 1, shape).astype(np.float32)


def _corners(random: np.random.Generator, *shape: int) -> Tensor:
    """Boxes in 0-1 whose second corner is below and to the right of the first."""
    first = random.uniform(0, 0.5, (*shape, 2))
    boxes = np.concatenate([first, first + random.uniform(0.1, 0.5, (*shape, 2))], axis=-1)
    return boxes.astype(np.float32)


def _rows(random: np.random.Generator, *columns: str) -> Tensor:
    """Rows of finished detections, with the columns of the head `end_to_end`."""
    boxes = _corners(random, 1, 20) * 64
    parts = {
        "batch": np.zeros((1, 20), np.float32),
        "score": _scores(random, 1, 20),
        "class": random.integers(0, 3, (1, 20)).astype(np.float32),
        **{name: boxes[..., i] for i, name in enumerate(("x_min", "y_min", "x_max", "y_max"))},
    }
    return np.stack([parts[name] for name in columns], axis=-1)


SAMPLES: dict[str, Sample] = {
    "blaze": (
        {"type": "blaze", "keypoints": 6, "strides": [8, 16, 16, 16], "circle": [0, 1]},
        (128, 128),
        lambda r: [_numbers(r, 1, 896, 16) * 20, _numbers(r, 1, 896, 1)],
    ),
    "classification": (
        {"type": "classification", "classes": 7},
        (32, 32),
        lambda r: [_scores(r, 1, 7)],
    ),
    "detr": (
        {"type": "detr", "classes": 5},
        (64, 64),
        lambda r: [_numbers(r, 1, 30, 5), _scores(r, 1, 30, 4)],
    ),
    "detr_decoded": (
        {"type": "detr", "classes": 5, "form": "decoded"},
        (64, 64),
        lambda r: [r.integers(0, 5, (1, 30)), _corners(r, 1, 30) * 64, _scores(r, 1, 30)],
    ),
    "embedding": (
        {"type": "embedding", "dimensions": 16},
        (32, 32),
        lambda r: [_numbers(r, 1, 1, 1, 16)],
    ),
    "end_to_end": (
        {"type": "end_to_end", "classes": 3, "keypoints": 2},
        (64, 64),
        lambda r: [
            np.concatenate(
                [
                    _corners(r, 1, 20) * 64,
                    _scores(r, 1, 20, 1),
                    r.integers(0, 3, (1, 20, 1)).astype(np.float32),
                    _scores(r, 1, 20, 6) * 64,
                ],
                axis=2,
            )
        ],
    ),
    "fastestdet": (
        {"type": "fastestdet", "classes": 4},
        (352, 352),
        lambda r: [_scores(r, 1, 9, 22, 22)],
    ),
    "end_to_end_rows": (
        {
            "type": "end_to_end",
            "classes": 3,
            "columns": ["batch", "x_min", "y_min", "x_max", "y_max", "class", "score"],
        },
        (64, 64),
        lambda r: [
            _rows(r, "batch", "x_min", "y_min", "x_max", "y_max", "class", "score")[0],
        ],
    ),
    "finished": (
        {"type": "finished", "classes": 3, "parts": ["count", "boxes", "scores", "classes"]},
        (64, 64),
        lambda r: [
            np.array([[20]]),
            _corners(r, 1, 20) * 64,
            _scores(r, 1, 20),
            r.integers(0, 3, (1, 20)),
        ],
    ),
    "finished_pairs": (
        {
            "type": "finished",
            "classes": 4,
            "parts": ["scored_boxes", "classes"],
            "class_ids": [1, 3],
        },
        (64, 64),
        lambda r: [
            np.concatenate([_corners(r, 20) * 64, _scores(r, 20, 1)], axis=-1),
            r.integers(0, 4, 20),
        ],
    ),
    "landmarks": (
        {"type": "landmarks", "points": 6, "values": 5, "keep": [0, 5]},
        (64, 64),
        lambda r: [_scores(r, 1, 1, 1, 30) * 64, np.full((1, 1, 1, 1), 3, np.float32)],
    ),
    "movenet": ({"type": "movenet"}, (192, 192), lambda r: [_scores(r, 1, 1, 17, 3)]),
    "movenet_raw": (
        {"type": "movenet"},
        (192, 192),
        lambda r: [_numbers(r, 1, channels, 48, 48) for channels in (1, 34, 17, 34)],
    ),
    "nanodet": (
        {"type": "nanodet", "classes": 3},
        (96, 64),
        lambda r: [np.concatenate([_scores(r, 1, 128, 3), _numbers(r, 1, 128, 32)], axis=2)],
    ),
    "segmentation": (
        {"type": "segmentation", "classes": 3, "class_ids": [1, 2]},
        (16, 16),
        lambda r: [_numbers(r, 1, 3, 8, 8)],
    ),
    "ssd_postprocess": (
        {"type": "ssd_postprocess", "classes": 4},
        (300, 300),
        lambda r: [
            _scores(r, 1, 10, 4),
            r.integers(0, 4, (1, 10)).astype(np.float32),
            _scores(r, 1, 10),
            np.array([10], np.float32),
        ],
    ),
    "yolo_nas": (
        {"type": "yolo_nas", "classes": 3},
        (64, 64),
        lambda r: [_scores(r, 1, 84, 4) * 64, _scores(r, 1, 84, 3)],
    ),
    "yolov5": (
        {"type": "yolov5", "classes": 3},
        (64, 64),
        lambda r: [_scores(r, 1, 60, 8)],
    ),
    "yolov8": (
        {"type": "yolov8", "classes": 3, "keypoints": 2},
        (64, 64),
        lambda r: [_scores(r, 1, 13, 84)],
    ),
    "yolo_nas_transposed": (
        {"type": "yolo_nas", "classes": 3, "transposed": True},
        (64, 64),
        lambda r: [_corners(r, 1, 84) * 64, _scores(r, 1, 3, 84)],
    ),
    "yolov8_transposed": (
        {"type": "yolov8", "classes": 3, "transposed": True},
        (64, 64),
        lambda r: [_scores(r, 1, 84, 7)],
    ),
    "yolox": (
        {"type": "yolox", "classes": 3},
        (64, 64),
        lambda r: [_scores(r, 1, 84, 8)],
    ),
    "yunet": (
        {"type": "yunet"},
        (64, 64),
        lambda r: [_scores(r, 1, n, v) for v in (1, 1, 4, 10) for n in (64, 16, 4)],
    ),
}


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def plain_nms(found: list[tuple[float, int, list[float]]], threshold: float) -> list[Any]:
    kept: list[Any] = []
    for item in sorted(found, key=lambda f: -f[0]):
        if all(k[1] != item[1] or iou(k[2], item[2]) <= threshold for k in kept):
            kept.append(item)
    return kept


def clipped(x_min: float, y_min: float, x_max: float, y_max: float) -> list[float]:
    return [min(max(value, 0.0), 1.0) for value in (x_min, y_min, x_max, y_max)]
