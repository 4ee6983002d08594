"""Models that end in finished detections: YOLOv10, YOLO26, and exports with built-in NMS.

Sources: Wang et al., "YOLOv10: Real-Time End-to-End Object Detection" (2024); the documentation of
Ultralytics' export mode (`nms=True`).

Output: float32 [1, N, 6 + 3 K]: x_min, y_min, x_max, y_max, score, class, and for each of K
keypoints x, y and visibility (0-1). Rows that are not used have score 0. ONNX exports give pixels
of the input, TFLite ones normalised numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import (
    best_first,
    checked_classes,
    normalised,
    normalised_keypoints,
    read_spec,
    strongest,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class EndToEndSpec:
    """The manifest's `head` for this family.

    `classes`: how many there are. `keypoints`: K. `normalised`: whether coordinates are in 0-1 and
    not in pixels.
    """

    classes: int
    keypoints: int = 0
    normalised: bool = False


class EndToEndHead:
    """Reads [detections float32 [1, N, 6 + 3 K]]."""

    def __init__(self, spec: EndToEndSpec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height)."""
        self._spec = spec
        self._size = None if spec.normalised else size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return what scores at least `min_score`."""
        (rows,) = tensors(outputs, (None, 6 + 3 * self._spec.keypoints))
        found = rows[strongest(rows[:, 4], min_score)]
        class_ids = checked_classes(found[:, 5], self._spec.classes)
        keypoints = None
        if self._spec.keypoints:
            keypoints = normalised_keypoints(
                found[:, 6:].reshape(len(found), self._spec.keypoints, 3), self._size
            )
        boxes = normalised(found[:, :4], self._size)
        return best_first(Detections(boxes, found[:, 4], class_ids, keypoints))


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> EndToEndHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return EndToEndHead(read_spec(EndToEndSpec, spec), size)
