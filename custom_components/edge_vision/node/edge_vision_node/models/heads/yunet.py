"""YuNet: faces with five keypoints.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023); the model in the OpenCV
model zoo for OpenCV's FaceDetectorYN.

Outputs: class scores [1, N, 1] for each stride, then objectness [1, N, 1], then boxes [1, N, 4],
then keypoints [1, N, 10], each for all strides from fine to coarse; all float32, scores 0-1.
The center is (x + column) * stride, the width exp(w) * stride, a keypoint (x + column) * stride;
the score is the square root of class score times objectness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import (
    corners,
    grid,
    normalized,
    normalized_keypoints,
    read_spec,
    strongest,
    suppressed,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class YuNetSpec:
    """The manifest's `head` for this family."""

    strides: tuple[int, ...] = (8, 16, 32)
    keypoints: int = 5
    iou_threshold: float = 0.3


class YuNetHead:
    """Decodes the twelve outputs; see the module."""

    def __init__(self, spec: YuNetSpec, size: tuple[int, int]) -> None:
        """Prepare the grids for an input of `size` (width, height)."""
        self._spec = spec
        self._size = size
        self._cells, self._strides = grid(size, spec.strides)
        counts = [len(grid(size, (stride,))[0]) for stride in spec.strides]
        values = (1, 1, 4, 2 * spec.keypoints)
        self._shapes = [(count, value) for value in values for count in counts]

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the faces that score at least `min_score`."""
        parts = tensors(outputs, *self._shapes)
        layers = len(self._spec.strides)
        classes, objects, boxes, keypoints = (
            np.concatenate(parts[i : i + layers]) for i in range(0, len(parts), layers)
        )
        scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
        chosen = strongest(scores, min_score)
        cells, strides = self._cells[chosen], self._strides[chosen]
        found, scores = boxes[chosen], scores[chosen]
        with np.errstate(over="ignore"):  # normalized() refuses what is not finite
            sizes = np.exp(found[:, 2:]) * strides
        points = np.empty((len(chosen), self._spec.keypoints, 3), dtype=np.float32)
        offsets = keypoints[chosen].reshape(len(chosen), self._spec.keypoints, 2)
        points[..., :2] = (offsets + cells[:, np.newaxis]) * strides[:, np.newaxis]
        points[..., 2] = scores[:, np.newaxis]
        candidates = Detections(
            normalized(corners((found[:, :2] + cells) * strides, sizes), self._size),
            scores,
            np.zeros(len(chosen), dtype=np.int32),
            normalized_keypoints(points, self._size),
        )
        return suppressed(candidates, self._spec.iou_threshold)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> YuNetHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return YuNetHead(read_spec(YuNetSpec, spec), size)
