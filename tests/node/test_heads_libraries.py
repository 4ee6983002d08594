"""Heads compared with the libraries of the families: both decode the same outputs.

The outputs are random or from randomly initialized networks; make_head_fixtures.py lists the
libraries. No library is needed here.
"""

from __future__ import annotations

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.findings import Segmentation
from edge_vision_node.models.heads import build_head

from .heads import recorded

EXACT = ("rf_detr", "rt_detr", "detr", "yolov10", "yolov8_nms")
WITH_SUPPRESSION = ("yolov5", "yolov8", "yolov9", "yolo11", "yolo_pose", "yolo_nas", "yunet")


@pytest.mark.parametrize("family", EXACT + WITH_SUPPRESSION)
def test_reads_what_the_library_reads(family: str) -> None:
    sample = recorded(family)
    # The library uses scores above the threshold, the head also scores equal to it.
    found = sample.head(sample.outputs, float(sample.answer["min_score"]) + 1e-6)
    assert isinstance(found, Detections)
    # Random networks also find objects outside the frame, which the head omits.
    sides = sample.answer["boxes"][:, 2:] - sample.answer["boxes"][:, :2]
    inside = (sides > 1e-4).all(axis=1)
    answer = {
        key: value[inside] if np.shape(value)[:1] == inside.shape else value
        for key, value in sample.answer.items()
    }
    assert len(found) == len(answer["scores"]) > 5
    np.testing.assert_allclose(found.scores, answer["scores"], atol=2e-5)
    # Detections with nearly equal scores may be in a different order.
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
        visible = ((expected[..., :2] > 0) & (expected[..., :2] < 1)).all(axis=-1)
        assert visible.mean() > 0.3
        np.testing.assert_allclose(points[visible], expected[visible], atol=2e-4)
    else:
        assert found.keypoints is None


def test_normalised_boxes_are_the_same_boxes() -> None:
    sample = recorded("yolov8")
    whole = sample.head(sample.outputs, 0.5)
    scaled = sample.outputs[0].copy()
    scaled[:, :4] /= sample.size[0]
    again = build_head({**sample.spec, "normalised": True}, sample.size)([scaled], 0.5)
    assert isinstance(whole, Detections) and isinstance(again, Detections)
    np.testing.assert_allclose(whole.boxes, again.boxes, atol=1e-6)


# --- NanoDet and segmentation ---------------------------------------------------------------------


class RecordedNet:
    """An ncnn network that returns arrays, for the decoder in ncnn."""

    def __init__(self, answers: dict[str, np.ndarray]) -> None:
        self._answers = answers

    def create_extractor(self) -> RecordedNet:
        return self

    def input(self, _name: str, _picture: object) -> None:
        """Accept the picture, which is not used."""

    def extract(self, name: str) -> tuple[int, np.ndarray]:
        return 0, self._answers[name]


@pytest.mark.parametrize("seed", range(5))
def test_nanodet_is_read_as_ncnns_own_package_reads_it(seed: int) -> None:
    """ncnn's model zoo is an independent decoder of the first NanoDet.

    NanoDet-Plus has the same rows; its points are at the corners of cells (`offset` 0, which is a
    factor here), and it has a fourth grid. No package on PyPI was found that decodes them;
    test_heads_plain.py has a plain reference.
    """
    nanodet = pytest.importorskip("ncnn.model_zoo.nanodet")
    size, strides, classes, bins = (160, 128), (8, 16, 32), 80, 8
    random = np.random.default_rng(seed)
    scores, distances, answers = [], [], {}
    names = (("792", "795"), ("814", "817"), ("836", "839"))
    for stride, (score_name, box_name) in zip(strides, names, strict=True):
        cells = (size[0] // stride) * (size[1] // stride)
        # At most one class per cell: ncnn returns a box for each class, the head only for the best.
        score = random.uniform(0, 0.2, (cells, classes))
        chosen = random.random(cells) < 0.2
        score[chosen, random.integers(0, classes, chosen.sum())] = random.uniform(
            0.3, 1, chosen.sum()
        )
        scores.append(score.astype(np.float32))
        distances.append(random.normal(0, 2, (cells, 4 * bins)).astype(np.float32))
        answers |= {score_name: scores[-1], box_name: distances[-1]}
    reader = object.__new__(nanodet.NanoDet)
    reader.__dict__.update(
        target_size=size[0],
        prob_threshold=0.4,
        nms_threshold=0.5,
        mean_vals=[0, 0, 0],
        norm_vals=[1, 1, 1],
        net=RecordedNet(answers),
        reg_max=bins - 1,
        strides=list(strides),
        num_candidate=1000,
        top_k=-1,
    )
    theirs = reader(np.zeros((size[1], size[0], 3), np.uint8))
    spec = {"type": "nanodet", "classes": classes, "strides": strides, "offset": 0.5}
    head = build_head({**spec, "iou_threshold": 0.5}, size)
    rows = np.concatenate([np.concatenate(scores), np.concatenate(distances)], axis=1)
    found = head([rows[np.newaxis]], 0.4)
    assert isinstance(found, Detections)
    assert len(found) == len(theirs) > 10
    expected = {round(float(item.prob), 5): item for item in theirs}
    compared = 0
    for box, score, class_id in zip(found.boxes, found.scores, found.class_ids, strict=True):
        item = expected[round(float(score), 5)]
        assert int(item.label) == class_id
        # It cuts boxes at the edges differently.
        if (box > 0).all() and (box < 1).all():
            compared += 1
            left, top = item.rect.x, item.rect.y
            corners = [left, top, left + item.rect.w, top + item.rect.h]
            np.testing.assert_allclose(box * np.array(size * 2), corners, atol=2e-3)
    assert compared > 5


def test_every_cell_has_the_class_that_transformers_gives_it() -> None:
    """Logits of SegFormer decoded by transformers, and the sigmoid of torch for masks."""
    sample = recorded("segformer")
    (logits,) = sample.outputs
    spec, size = sample.spec, sample.size
    found = sample.head([logits], 0.5)
    assert isinstance(found, Segmentation)
    np.testing.assert_array_equal(found.class_map, sample.answer["class_map"])
    last = build_head({**spec, "layout": "NHWC"}, size)([logits.transpose(0, 2, 3, 1)], 0.5)
    assert isinstance(last, Segmentation)
    np.testing.assert_array_equal(last.class_map, sample.answer["class_map"])
    one = {"type": "segmentation", "classes": 1, "form": "mask_logits"}
    mask = build_head(one, size)([logits[:, :1]], 0.5)
    assert isinstance(mask, Segmentation)
    np.testing.assert_array_equal(mask.class_map == 0, sample.answer["mask"])
