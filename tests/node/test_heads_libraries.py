"""Heads against the families' own libraries: the same outputs, read by both.

The outputs come from randomly initialised networks or are random; who read them is in
make_head_fixtures.py. No library is needed here.
"""

from __future__ import annotations

import numpy as np
import pytest
from edge_vision_node.detections import Detections

from .heads import recorded

EXACT = ("rf_detr", "rt_detr", "detr", "yolov10", "yolov8_nms")
WITH_SUPPRESSION = ("yolov5", "yolov8", "yolov9", "yolo11", "yolo_pose", "yolo_nas", "yunet")


@pytest.mark.parametrize("family", EXACT + WITH_SUPPRESSION)
def test_reads_what_the_library_reads(family: str) -> None:
    sample = recorded(family)
    # The library counts what is above the threshold, the head what is not below it.
    found = sample.head(sample.outputs, float(sample.answer["min_score"]) + 1e-6)
    assert isinstance(found, Detections)
    answer = sample.answer
    assert len(found) == len(answer["scores"]) > 5
    np.testing.assert_allclose(found.scores, answer["scores"], atol=2e-5)
    # Detections of almost the same score may come in another order.
    pairs = [
        min(
            (
                (i, float(np.abs(found.boxes[i] - box).max()))
                for i in np.flatnonzero(np.abs(found.scores - score) < 4e-5).tolist()
                if found.class_ids[i] == class_id
            ),
            key=lambda pair: pair[1],
        )
        for box, score, class_id in zip(
            answer["boxes"], answer["scores"], answer["class_ids"], strict=True
        )
    ]
    assert max(distance for _, distance in pairs) < 2e-4
    if "keypoints" in answer:
        assert found.keypoints is not None
        order = [i for i, _ in pairs]
        points, expected = found.keypoints[order], answer["keypoints"]
        inside = ((expected[..., :2] > 0) & (expected[..., :2] < 1)).all(axis=-1)
        assert inside.mean() > 0.3
        np.testing.assert_allclose(points[inside], expected[inside], atol=2e-4)
    else:
        assert found.keypoints is None


def test_normalised_boxes_are_the_same_boxes() -> None:
    sample = recorded("yolov8")
    whole = sample.head(sample.outputs, 0.5)
    scaled = sample.outputs[0].copy()
    scaled[:, :4] /= sample.size[0]
    from edge_vision_node.models.heads import build_head

    again = build_head({**sample.spec, "normalised": True}, sample.size)([scaled], 0.5)
    assert isinstance(whole, Detections) and isinstance(again, Detections)
    np.testing.assert_allclose(whole.boxes, again.boxes, atol=1e-6)
