"""YOLOv8, YOLOv9 and YOLO11 as Ultralytics exports them, and their pose models.

Source: the documentation of Ultralytics' export mode (`nms=False`); with built-in NMS, the family
is "end_to_end".

Output: float32 [1, 4 + C + 3 K, N]: center x, center y, width, height, class scores (0-1), and for
each of K keypoints x, y and visibility (0-1). ONNX exports use pixels of the input, TFLite and
CoreML exports use normalized coordinates.
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
    normalized,
    normalized_keypoints,
    read_spec,
    strongest,
    suppressed,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class YoloV8Spec:
    """The manifest's `head` for this family.

    `classes`: C. `keypoints`: K, 0 for a model that only finds boxes. `normalised`: whether
    coordinates are 0-1 instead of pixels. `transposed`: whether the output is [1, N, channels],
    as with some converters and with Ultralytics' export of RT-DETR.
    """

    classes: int
    keypoints: int = 0
    normalised: bool = False
    transposed: bool = False
    iou_threshold: float = 0.45


class YoloV8Head:
    """Decodes [predictions float32 [1, 4 + C + 3 K, N]]."""

    def __init__(self, spec: YoloV8Spec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height)."""
        self._spec = spec
        self._size = None if spec.normalised else size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        first_keypoint = 4 + self._spec.classes
        channels = first_keypoint + 3 * self._spec.keypoints
        if self._spec.transposed:
            (rows,) = tensors(outputs, (None, channels))
            predictions = rows.T
        else:
            (predictions,) = tensors(outputs, (channels, None))
        classes = predictions[4:first_keypoint]
        # The best score of every column is cheap; its class is only computed for the chosen ones.
        chosen = strongest(classes.max(axis=0), min_score)
        found = predictions[:, chosen].T
        of_classes = found[:, 4:first_keypoint]
        class_ids = of_classes.argmax(axis=1)
        scores = of_classes[np.arange(len(found)), class_ids]
        boxes = normalized(corners(found[:, :2], found[:, 2:4]), self._size)
        keypoints = None
        if self._spec.keypoints:
            points = found[:, first_keypoint:].reshape(len(found), self._spec.keypoints, 3)
            keypoints = normalized_keypoints(points, self._size)
        candidates = Detections(boxes, scores, class_ids.astype(np.int32), keypoints)
        return suppressed(candidates, self._spec.iou_threshold)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> YoloV8Head:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return YoloV8Head(read_spec(YoloV8Spec, spec), size)
