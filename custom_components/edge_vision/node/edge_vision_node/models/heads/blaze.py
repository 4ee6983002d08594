"""MediaPipe's detectors of the BlazeFace kind: faces (6 keypoints) and bodies (4 keypoints).

Sources: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs"
(2019); Bazarevsky et al., "BlazePose" (2020); the options of MediaPipe's SsdAnchorsCalculator and
TensorsToDetectionsCalculator in its face_detection and pose_detection modules.

Outputs: regressors float32 [1, N, 4 + 2 K]: center x, center y, width, height, then x and y of K
keypoints, all in pixels of the input relative to the anchor's center; and logits float32 [1, N, 1].
Anchors have a position but no size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from ...errors import ModelError
from .decoding import (
    MAX_DETECTIONS,
    corners,
    grid,
    logit,
    normalized,
    normalized_keypoints,
    read_spec,
    sigmoid,
    strongest,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class BlazeSpec:
    """The manifest's `head` for this family.

    `strides`: strides of the anchor layers, from fine to coarse; layers with the same stride share
    a grid. `anchors`: anchors per cell in each layer. `circle`: two keypoints, the center of a
    circle and a point on it; the box of the detection encloses that circle. BlazePose marks whole
    bodies this way, while its own box is that of the head.
    """

    keypoints: int
    strides: tuple[int, ...]
    anchors: int = 2
    circle: tuple[int, ...] = ()
    iou_threshold: float = 0.3


class BlazeHead:
    """Decodes [regressors float32 [1, N, 4 + 2 K], logits float32 [1, N, 1]]."""

    def __init__(self, spec: BlazeSpec, size: tuple[int, int]) -> None:
        """Prepare the anchors for an input of `size` (width, height). Raises `ModelError`."""
        if spec.circle and (
            len(spec.circle) != 2 or not all(0 <= i < spec.keypoints for i in spec.circle)
        ):
            raise ModelError("The manifest's circle must name two of the keypoints")
        self._spec = spec
        self._size = size
        layers = []
        for stride in dict.fromkeys(spec.strides):
            cells, strides = grid(size, (stride,))
            in_a_cell = spec.anchors * spec.strides.count(stride)
            layers.append(np.repeat((cells + 0.5) * strides, in_a_cell, axis=0))
        self._anchors: NDArray[np.float32] = np.concatenate(layers)

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        count, values = len(self._anchors), 4 + 2 * self._spec.keypoints
        regressors, logits = tensors(outputs, (count, values), (count, 1))
        chosen = strongest(logits[:, 0], logit(min_score))
        found, anchors = regressors[chosen], self._anchors[chosen]
        scores = sigmoid(logits[chosen, 0])
        points = np.empty((len(found), self._spec.keypoints, 3), dtype=np.float32)
        points[..., :2] = (
            found[:, 4:].reshape(len(found), self._spec.keypoints, 2) + anchors[:, np.newaxis]
        )
        # The model has no scores for single keypoints.
        points[..., 2] = scores[:, np.newaxis]
        candidates = Detections(
            normalized(corners(found[:, :2] + anchors, found[:, 2:4]), self._size),
            scores,
            np.zeros(len(found), dtype=np.int32),
            normalized_keypoints(points, self._size),
        )
        candidates = candidates.keep(candidates.upright)
        result = blended(candidates, self._spec.iou_threshold)
        return (self._round_circles(result) if self._spec.circle else result).in_frame()

    def _round_circles(self, found: Detections) -> Detections:
        assert found.keypoints is not None
        points = found.keypoints[:, list(self._spec.circle), :2] * np.array(self._size)
        radii = np.linalg.norm(points[:, 1] - points[:, 0], axis=1, keepdims=True)
        boxes = normalized(corners(points[:, 0], np.tile(2 * radii, 2)), self._size)
        return Detections(boxes, found.scores, found.class_ids, found.keypoints)


def blended(candidates: Detections, iou_threshold: float) -> Detections:
    """Return one detection for each cluster of overlapping ones, best first.

    The coordinates are the mean of the cluster, weighted by score, which is steadier in a video
    than the best box (BlazeFace, section 4.2). The score is that of the best one.
    """
    order = np.argsort(-candidates.scores, kind="stable")
    ordered = candidates.keep(order)
    boxes, scores, points = ordered.boxes, ordered.scores, ordered.keypoints
    assert points is not None
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    left = np.arange(len(ordered))
    kept: list[int] = []
    new_boxes, new_points = [], []
    while len(left) and len(kept) < MAX_DETECTIONS:
        first = left[0]
        extent = np.minimum(boxes[first, 2:], boxes[left, 2:]) - np.maximum(
            boxes[first, :2], boxes[left, :2]
        )
        overlap = np.maximum(extent, 0).prod(axis=1)
        union = areas[first] + areas[left] - overlap
        together = overlap > iou_threshold * union
        together[0] = True  # a box without an area does not overlap anything, not even itself
        cluster = left[together]
        weights = scores[cluster] / scores[cluster].sum()
        kept.append(int(first))
        new_boxes.append(weights @ boxes[cluster])
        new_points.append(np.tensordot(weights, points[cluster, :, :2], axes=1))
        left = left[~together]
    result = ordered.keep(np.asarray(kept, dtype=np.intp))
    if not kept:
        return result
    assert result.keypoints is not None
    result.keypoints[..., :2] = new_points
    return Detections(
        np.array(new_boxes, dtype=np.float32), result.scores, result.class_ids, result.keypoints
    )


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> BlazeHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return BlazeHead(read_spec(BlazeSpec, spec), size)
