"""YOLOv5 (and v7, which has the same export): decoded boxes with objectness.

Source: the `export.py` of the YOLOv5 repository, without `--nms`.

Output: float32 [1, N, 5 + C]: center x, center y, width, height, objectness and class scores
(0-1). ONNX and OpenVINO exports have boxes in pixels of the input, TFLite exports normalized ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import corners, normalized, read_spec, suppressed, tensors
from .yolox import objects


@dataclass(frozen=True, kw_only=True)
class YoloV5Spec:
    """The manifest's `head` for this family.

    `classes`: C. `normalised`: whether boxes are 0-1 instead of pixels.
    """

    classes: int
    normalised: bool = False
    iou_threshold: float = 0.45


class YoloV5Head:
    """Decodes [predictions float32 [1, N, 5 + C]]."""

    def __init__(self, spec: YoloV5Spec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height)."""
        self._spec = spec
        self._size = None if spec.normalised else size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        (predictions,) = tensors(outputs, (None, 5 + self._spec.classes))
        rows, scores, class_ids = objects(predictions, min_score)
        found = predictions[rows]
        boxes = normalized(corners(found[:, :2], found[:, 2:4]), self._size)
        return suppressed(Detections(boxes, scores, class_ids), self._spec.iou_threshold)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> YoloV5Head:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return YoloV5Head(read_spec(YoloV5Spec, spec), size)
