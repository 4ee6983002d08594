"""The SSD head compared with a plain reference, one anchor at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import Detections, non_maximum_suppression
from edge_vision_node.errors import InferenceError, ModelError
from edge_vision_node.models.heads import build_head
from edge_vision_node.models.heads.ssd import AnchorSpec, SsdSpec, make_anchors
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import read
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SPEC: dict[str, Any] = dict(ModelStore().get(None).manifest.head)
SIZE = (300, 300)
ANCHORS = 1917
CLASSES = 91


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


def plain_head(encodings: Any, logits: Any, min_score: float) -> list[Any]:
    """Decode following the definition of the box coder, box by box."""
    anchors = make_anchors(read(SsdSpec, SPEC).anchors).tolist()
    found = []
    for (y, x, h, w), (ty, tx, th, tw), row in zip(
        anchors, encodings.tolist(), logits.tolist(), strict=True
    ):
        for label, column in enumerate(SPEC["class_ids"]):
            score = 1 / (1 + math.exp(-row[column]))
            if score >= min_score:
                cy, cx = ty / 10 * h + y, tx / 10 * w + x
                height, width = math.exp(th / 5) * h, math.exp(tw / 5) * w
                box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
                found.append((score, label, [min(max(v, 0.0), 1.0) for v in box]))
    return plain_nms(found, SsdSpec.iou_threshold)


def raw_outputs(seed: int, objects: int) -> tuple[Any, Any]:
    """Noise with some objects found by many anchors, as in real outputs."""
    random = np.random.default_rng(seed)
    encodings = random.normal(0, 1, (1, ANCHORS, 4)).astype(np.float32)
    logits = random.normal(-7, 1, (1, ANCHORS, CLASSES)).astype(np.float32)
    for _ in range(objects):
        start = random.integers(0, ANCHORS - 12)
        column = random.integers(1, CLASSES)
        logits[0, start : start + 12, column] = random.normal(1, 1.5, 12)
    return encodings, logits


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_plain_reference(seed: int) -> None:
    encodings, logits = raw_outputs(seed, objects=8)
    found = build_head(SPEC, SIZE)((encodings, logits), 0.4)
    expected = plain_head(encodings[0], logits[0], 0.4)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, [e[0] for e in expected], atol=1e-5)
    assert found.class_ids.tolist() == [e[1] for e in expected]
    np.testing.assert_allclose(found.boxes, [e[2] for e in expected], atol=1e-4)


def test_nothing_above_the_threshold_is_an_empty_answer() -> None:
    encodings, logits = raw_outputs(0, objects=0)
    found = build_head(SPEC, SIZE)((encodings, logits), 0.5)
    assert (len(found), found.boxes.shape) == (0, (0, 4))


def test_a_crowd_of_candidates_is_bounded() -> None:
    encodings, logits = raw_outputs(0, objects=0)
    logits[:] = 5.0
    assert len(build_head(SPEC, SIZE)((encodings, logits), 0.3)) <= 100


def test_an_output_of_another_shape_is_an_error_not_an_empty_answer() -> None:
    encodings, logits = raw_outputs(0, objects=0)
    with pytest.raises(InferenceError, match="do not fit"):
        build_head(SPEC, SIZE)((encodings[:, :100], logits), 0.3)


def test_an_output_that_is_not_finite_is_an_error_not_an_empty_answer() -> None:
    encodings, logits = raw_outputs(0, objects=0)
    logits[0, 7, 1] = np.nan
    with pytest.raises(InferenceError, match="not finite"):
        build_head(SPEC, SIZE)((encodings, logits), 0.3)


def test_anchors_are_those_of_the_model() -> None:
    anchors = make_anchors(read(SsdSpec, SPEC).anchors)
    assert anchors.shape == (ANCHORS, 4)
    assert anchors.dtype == np.float32
    # finest grid, first cell: 0.1 at 1:1, then 0.2 at 2:1 and 1:2 (y, x, height, width)
    np.testing.assert_allclose(
        anchors[:3],
        [
            [0.5 / 19, 0.5 / 19, 0.1, 0.1],
            [0.5 / 19, 0.5 / 19, 0.2 / 2**0.5, 0.2 * 2**0.5],
            [0.5 / 19, 0.5 / 19, 0.2 * 2**0.5, 0.2 / 2**0.5],
        ],
        rtol=1e-5,
    )
    # coarsest grid: one cell in the middle, the last one between 0.95 and 1
    np.testing.assert_allclose(anchors[-1], [0.5, 0.5, 0.95**0.5, 0.95**0.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [({"type": "ssd"}, "incomplete"), ({"type": "nonsense"}, "Unknown head"), ({}, "Unknown head")],
)
def test_a_wrong_head_is_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        build_head(spec, SIZE)


def test_a_grid_without_the_reduced_layer_has_an_anchor_per_ratio_and_one_between() -> None:
    spec = AnchorSpec(
        grid_sizes=(2,),
        min_scale=0.5,
        max_scale=0.5,
        aspect_ratios=(1.0, 2.0),
        interpolated_aspect_ratio=1.0,
        reduce_lowest=False,
        lowest_scale=0.1,
    )
    assert make_anchors(spec).shape == (12, 4)


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(0, 25), st.just(4)), elements=st.floats(0, 1, width=32)
    ),
    st.integers(0, 2**31),
)
def test_suppression_keeps_what_the_plain_one_keeps(corners: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    boxes = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1
    )
    scores = random.permutation(np.linspace(0.1, 0.9, len(boxes))).astype(np.float32)
    class_ids = random.integers(0, 2, len(boxes)).astype(np.int32)
    kept = non_maximum_suppression(Detections(boxes, scores, class_ids), 0.5, 100)
    plain = plain_nms(
        list(zip(scores.tolist(), class_ids.tolist(), boxes.astype(float).tolist(), strict=True)),
        0.5,
    )
    # boxes with an overlap exactly at the threshold may be kept or not
    if len(kept) == len(plain):
        assert kept.scores.tolist() == [item[0] for item in plain]
    else:
        overlaps = [iou(a, b) for a in boxes.tolist() for b in boxes.tolist()]
        assert any(abs(value - 0.5) < 1e-5 for value in overlaps)
