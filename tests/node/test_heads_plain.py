"""Heads compared with plain references, one cell at a time, based on papers and model cards.

If the library of a family is available, test_heads_libraries.py compares with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.errors import InferenceError
from edge_vision_node.findings import Classification, Embedding, Segmentation
from edge_vision_node.models.heads import build_head

from .heads import clipped, plain_nms

RANDOM_SEEDS = range(4)


def cells(width: int, height: int, strides: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Column, row and stride of every cell."""
    for stride in strides:
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                yield column, row, stride


def same(found: Any, expected: list[Any]) -> None:
    """Check that `found` is the part of `expected` with an area within the frame."""
    assert isinstance(found, Detections)
    cut = [(score, label, clipped(*box)) for score, label, box in expected]
    cut = [item for item in cut if item[2][2] > item[2][0] and item[2][3] > item[2][1]]
    assert len(found) == len(cut) > 3
    expected = cut
    np.testing.assert_allclose(found.scores, [item[0] for item in expected], atol=1e-5)
    assert found.class_ids.tolist() == [item[1] for item in expected]
    np.testing.assert_allclose(found.boxes, [item[2] for item in expected], atol=1e-4)


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
@pytest.mark.parametrize("decoded", [False, True])
def test_yolox(seed: int, decoded: bool) -> None:
    random = np.random.default_rng(seed)
    width, height, classes = 96, 64, 4
    grid = list(cells(width, height, (8, 16, 32)))
    output = random.uniform(0, 1, (1, len(grid), 5 + classes)).astype(np.float32)
    output[..., :4] = random.normal(0, 0.7, (1, len(grid), 4))
    rows = output[0].astype(float).copy()
    found = []
    for row, (column, line, stride) in zip(rows, grid, strict=True):
        x, y = (row[0] + column) * stride, (row[1] + line) * stride
        w, h = math.exp(row[2]) * stride, math.exp(row[3]) * stride
        row[:4] = x, y, w, h
        label = max(range(classes), key=lambda i, row=row: row[5 + i])
        score = row[4] * row[5 + label]
        box = [(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height]
        if score >= 0.45:
            found.append((score, label, box))
    if decoded:
        output[0] = rows
    head = build_head({"type": "yolox", "classes": classes, "decoded": decoded}, (width, height))
    same(head([output], 0.45), plain_nms(found, 0.45))


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_nanodet(seed: int, offset: float) -> None:
    random = np.random.default_rng(seed)
    width, height, classes, bins = 96, 64, 3, 8
    grid = list(cells(width, height, (8, 16, 32, 64)))
    output = random.normal(0, 1.5, (1, len(grid), classes + 4 * bins)).astype(np.float32)
    output[..., :classes] = random.uniform(0, 1, (1, len(grid), classes)) ** 2
    found = []
    for row, (column, line, stride) in zip(output[0].tolist(), grid, strict=True):
        edges = []
        for side in range(4):
            powers = [math.exp(v) for v in row[classes + side * bins :][:bins]]
            edges.append(sum(i * p for i, p in enumerate(powers)) / sum(powers) * stride)
        x, y = (column + offset) * stride, (line + offset) * stride
        label = max(range(classes), key=lambda i, row=row: row[i])
        box = [
            (x - edges[0]) / width,
            (y - edges[1]) / height,
            (x + edges[2]) / width,
            (y + edges[3]) / height,
        ]
        if row[label] >= 0.4:
            found.append((row[label], label, box))
    head = build_head({"type": "nanodet", "classes": classes, "offset": offset}, (width, height))
    same(head([output], 0.4), plain_nms(found, 0.6))


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_fastestdet(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes, columns, lines = 3, 8, 6
    output = random.uniform(0, 1, (1, 5 + classes, lines, columns)).astype(np.float32)
    output[:, 1:5] = random.normal(0, 1, (1, 4, lines, columns))
    found = []
    for line in range(lines):
        for column in range(columns):
            objectness, x, y, w, h, *scores = output[0, :, line, column].tolist()
            label = max(range(classes), key=lambda i, scores=scores: scores[i])
            score = objectness**0.6 * scores[label] ** 0.4
            cx, cy = (math.tanh(x) + column) / columns, (math.tanh(y) + line) / lines
            w, h = 1 / (1 + math.exp(-w)), 1 / (1 + math.exp(-h))
            if score >= 0.6:
                found.append((score, label, [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]))
    head = build_head({"type": "fastestdet", "classes": classes}, (columns * 16, lines * 16))
    same(head([output], 0.6), plain_nms(found, 0.45))


def test_a_decoded_detr() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (1, 20))
    boxes = np.sort(random.uniform(0, 1, (1, 20, 2, 2)), axis=2).reshape(1, 20, 4)
    scores = random.uniform(0, 1, (1, 20)).astype(np.float32)
    pixels = (boxes * [80, 40, 80, 40]).astype(np.float32)
    found = build_head({"type": "detr", "classes": 3, "form": "decoded"}, (80, 40))(
        [labels, pixels, scores], 0.5
    )
    expected = [
        (score, label, box)
        for score, label, box in zip(scores[0], labels[0], boxes[0], strict=True)
        if score >= 0.5
    ]
    same(found, sorted(expected, key=lambda item: -item[0]))


def test_finished_ssd_detections() -> None:
    head = build_head({"type": "ssd_postprocess", "classes": 4, "class_ids": [3, 0]}, (300, 300))
    boxes = np.array([[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [-0.2, 0.5, 0.6, 1.3], [9, 9, 9, 9]]])
    classes = np.array([[3, 1, 0, 77]])
    scores = np.array([[0.6, 0.9, 0.8, np.nan]])
    found = head([a.astype(np.float32) for a in (boxes, classes, scores, np.array([3]))], 0.5)
    assert isinstance(found, Detections)
    # best first; class 1 has no label; the fourth row is unused
    assert found.class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(found.boxes, [[0.5, 0, 1, 0.6], [0.2, 0.1, 0.4, 0.3]], atol=1e-6)
    with pytest.raises(InferenceError, match=r"number of detections .* is invalid"):
        head([a.astype(np.float32) for a in (boxes, classes, scores, np.array([5]))], 0.5)


def test_classes_that_exclude_each_other_or_not() -> None:
    logits = np.array([[1.0, 3.0, -200.0, 90.0]], np.float32)
    expected = [[math.exp(v - 90) for v in logits[0]], [1 / (1 + math.exp(-v)) for v in logits[0]]]
    for score, values in zip(("softmax", "sigmoid"), expected, strict=True):
        head = build_head({"type": "classification", "classes": 4, "score": score}, (8, 8))
        result = head([logits], 0.5)
        assert isinstance(result, Classification)
        np.testing.assert_allclose(result.scores, values, atol=1e-6)
    head = build_head({"type": "classification", "classes": 4}, (8, 8))
    with pytest.raises(InferenceError, match="softmax or sigmoid"):
        head([logits], 0.5)


def test_classes_with_dimensions_of_length_one() -> None:
    head = build_head({"type": "classification", "classes": 3}, (8, 8))
    result = head([np.array([0.2, 0.7, 0.1], np.float32).reshape(1, 3, 1, 1)], 0.5)
    assert isinstance(result, Classification)
    assert result.scores.argmax() == 1 and result.scores.shape == (3,)


def test_an_embedding_has_the_length_one() -> None:
    head = build_head({"type": "embedding", "dimensions": 3}, (8, 8))
    for factor in (1, 1e-30, 1e30):
        result = head([np.array([[3, 0, -4]], np.float32) * np.float32(factor)], 0.5)
        assert isinstance(result, Embedding)
        np.testing.assert_allclose(result.vector, [0.6, 0, -0.8], atol=1e-6)
    with pytest.raises(InferenceError, match="zeros"):
        head([np.zeros((1, 3), np.float32)], 0.5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_best_class_of_every_cell(layout: str) -> None:
    logits = np.random.default_rng(0).normal(0, 1, (1, 4, 5, 6)).astype(np.float32)
    label_of = {0: -1, 1: 1, 2: -1, 3: 0}
    expected = [
        [label_of[max(range(4), key=lambda c, y=y, x=x: logits[0, c, y, x])] for x in range(6)]
        for y in range(5)
    ]
    spec = {"type": "segmentation", "classes": 4, "class_ids": [3, 1], "layout": layout}
    output = logits if layout == "NCHW" else logits.transpose(0, 2, 3, 1)
    result = build_head(spec, (6, 5))([output], 0.5)
    assert isinstance(result, Segmentation)
    assert result.class_map.tolist() == expected
    assert result.class_map.dtype == np.int32


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 1, 2, 3)])
def test_a_map_of_classes(shape: tuple[int, ...]) -> None:
    head = build_head(
        {"type": "segmentation", "classes": 21, "form": "map", "class_ids": [15]}, (3, 2)
    )
    result = head([np.array([0, 15, 3, 15, 15, 20]).reshape(shape)], 0.5)
    assert isinstance(result, Segmentation)
    assert result.class_map.tolist() == [[-1, 0, -1], [0, 0, -1]]


def test_masks() -> None:
    mask = np.array([0.2, 0.5, 0.8], np.float32).reshape(1, 1, 3, 1)
    spec = {"type": "segmentation", "classes": 1, "layout": "NHWC", "form": "mask"}
    result = build_head(spec, (3, 1))([mask], 0.5)
    assert isinstance(result, Segmentation) and result.class_map.tolist() == [[-1, 0, 0]]
    logits = build_head({**spec, "form": "mask_logits"}, (3, 1))
    result = logits([(mask - np.float32(0.5)) * 20], 0.6)
    assert isinstance(result, Segmentation) and result.class_map.tolist() == [[-1, -1, 0]]
    with pytest.raises(InferenceError, match="mask_logits"):
        build_head(spec, (3, 1))([mask * 9], 0.5)


def test_a_person_of_seventeen_points() -> None:
    points = np.zeros((1, 1, 17, 3), np.float32)
    points[0, 0, :9] = [0.5, 0.25, 0.8]
    points[0, 0, 0] = [0.1, 0.3, 0.8]
    points[0, 0, 16] = [0.99, 0.99, 0.05]  # a guess that must not enlarge the box
    found = build_head({"type": "movenet"}, (192, 192))([points], 0.5)
    assert isinstance(found, Detections) and found.keypoints is not None
    assert found.scores.tolist() == pytest.approx([0.8])
    np.testing.assert_allclose(found.boxes, [[0.25, 0.1, 0.3, 0.5]], atol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 0], [0.3, 0.1, 0.8])
    # three of seventeen points are not a person
    points[0, 0, 3:, 2] = 0.1
    assert len(build_head({"type": "movenet"}, (192, 192))([points], 0.5)) == 0  # type: ignore[arg-type]
