"""The Blaze family with recorded outputs of real models, compared with results of MediaPipe.

The outputs are from the models in mediapipe 0.10.14; see make_mediapipe_fixtures.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.models.heads import build_head

from .heads import recorded


def in_crop(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Points of the picture in the coordinates of the crop for the model."""
    return (points - place[:, 2]) @ np.linalg.inv(place[:, :2]).T


def test_faces_are_mediapipes() -> None:
    sample = recorded("blazeface")
    found = sample.head(sample.outputs, 0.5)
    assert isinstance(found, Detections) and found.keypoints is not None
    assert len(found) == len(sample.answer["scores"]) == 1
    np.testing.assert_allclose(found.scores, sample.answer["scores"], atol=1e-4)
    np.testing.assert_allclose(found.boxes, sample.answer["boxes"], atol=1e-4)
    np.testing.assert_allclose(found.keypoints[..., :2], sample.answer["points"], atol=1e-4)


def test_face_landmarks_lie_where_mediapipe_has_them() -> None:
    sample = recorded("face_mesh")
    found = sample.head(sample.outputs, 0.5)
    assert isinstance(found, Detections) and found.keypoints is not None
    assert found.keypoints.shape == (1, 468, 3)
    expected = in_crop(sample.answer["points"], sample.answer["place"])
    distances = np.linalg.norm(found.keypoints[0, :, :2] - expected, axis=1)
    # as a share of the side of the crop
    assert np.median(distances) < 0.003
    assert distances.max() < 0.01


def test_body_landmarks_lie_where_mediapipe_has_them() -> None:
    sample = recorded("blazepose")
    found = sample.head(sample.outputs, 0.5)
    assert isinstance(found, Detections) and found.keypoints is not None
    assert found.keypoints.shape == (1, 39, 3)
    expected = in_crop(sample.answer["points"][:, :2], sample.answer["place"])
    distances = np.linalg.norm(found.keypoints[0, :33, :2] - expected, axis=1)
    # As a share of the side of the crop. MediaPipe refines the points with the heat map of the
    # model, which the head does not use.
    assert np.median(distances) < 0.015
    assert distances.max() < 0.05
    np.testing.assert_allclose(found.keypoints[0, :33, 2], sample.answer["points"][:, 2], atol=0.05)


def test_bodies_are_found_round_their_hips() -> None:
    sample = recorded("blazepose_detector")
    spec = {**sample.spec, "circle": [0, 1]}
    found = build_head(spec, sample.size)(sample.outputs, 0.5)
    assert isinstance(found, Detections) and found.keypoints is not None
    assert len(found) == 1
    points = sample.answer["points"][:, :2] / sample.answer["scale"]
    hips, shoulders = points[[23, 24]].mean(axis=0), points[[11, 12]].mean(axis=0)
    np.testing.assert_allclose(found.keypoints[0, 0, :2], hips, atol=0.03)
    np.testing.assert_allclose(found.keypoints[0, 2, :2], shoulders, atol=0.05)
    x_min, y_min, x_max, y_max = found.boxes[0]
    seen = points[sample.answer["points"][:, 2] > 0.9]
    assert (seen >= [x_min - 0.02, y_min - 0.02]).all()
    assert (seen <= [x_max + 0.02, y_max + 0.02]).all()


def test_a_cluster_is_blended_by_score() -> None:
    from edge_vision_node.models.heads.blaze import blended

    boxes = np.array([[0.0, 0.0, 0.4, 0.4], [0.04, 0.0, 0.44, 0.4], [0.6, 0.6, 0.9, 0.9]], "f4")
    scores = np.array([0.9, 0.3, 0.8], "f4")
    points = boxes[:, np.newaxis, :3].copy()
    merged = blended(Detections(boxes, scores, np.zeros(3, "i4"), points), 0.3)
    assert merged.scores.tolist() == pytest.approx([0.9, 0.8])
    np.testing.assert_allclose(merged.boxes[0], [0.01, 0.0, 0.41, 0.4], atol=1e-6)
    np.testing.assert_allclose(merged.boxes[1], boxes[2], atol=1e-6)
    assert merged.keypoints is not None
    np.testing.assert_allclose(merged.keypoints[0, 0, :2], [0.01, 0.0], atol=1e-6)


def test_one_of_the_points_may_be_kept() -> None:
    sample = recorded("face_mesh")
    whole = sample.head(sample.outputs, 0.5)
    some = build_head({**sample.spec, "keep": [152, 1]}, sample.size)(sample.outputs, 0.5)
    assert isinstance(whole, Detections) and isinstance(some, Detections)
    assert whole.keypoints is not None and some.keypoints is not None
    np.testing.assert_array_equal(some.keypoints, whole.keypoints[:, [152, 1]])
    np.testing.assert_array_equal(some.boxes, whole.boxes)


def test_no_face_is_an_empty_answer() -> None:
    sample = recorded("face_mesh")
    outputs = [sample.outputs[0], np.full((1, 1, 1, 1), -5, np.float32)]
    found = sample.head(outputs, 0.5)
    assert isinstance(found, Detections)
    assert len(found) == 0
