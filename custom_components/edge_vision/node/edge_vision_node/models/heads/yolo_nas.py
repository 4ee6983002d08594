"""YOLO-NAS and PP-YOLOE: decoded corner boxes and class scores, as two outputs.

Source: the documentation of SuperGradients' `model.export()`, without its post-processing.

Outputs: boxes float32 [1, N, 4] x_min, y_min, x_max, y_max in pixels of the input, and scores
float32 [1, N, C] (0-1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import normalized, read_spec, rows_of, strongest, suppressed, tensors


@dataclass(frozen=True, kw_only=True)
class YoloNasSpec:
    """The manifest's `head` for this family.

    `classes`: C. `transposed`: whether scores are [1, C, N], as in PaddleDetection.
    `normalised`: whether coordinates are 0-1 instead of pixels.
    """

    classes: int
    transposed: bool = False
    normalised: bool = False
    iou_threshold: float = 0.6


class YoloNasHead:
    """Reads [boxes float32 [1, N, 4], scores float32 [1, N, C]]."""

    def __init__(self, spec: YoloNasSpec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height)."""
        self._spec = spec
        self._size = None if spec.normalised else size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        shape = (rows_of(outputs), self._spec.classes)
        boxes, classes = tensors(
            outputs, (None, 4), shape[::-1] if self._spec.transposed else shape
        )
        if self._spec.transposed:
            classes = classes.T
        chosen = strongest(classes.max(axis=1), min_score)
        found = classes[chosen]
        class_ids = found.argmax(axis=1)
        candidates = Detections(
            normalized(boxes[chosen], self._size),
            found[np.arange(len(found)), class_ids],
            class_ids.astype(np.int32),
        )
        return suppressed(candidates, self._spec.iou_threshold)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> YoloNasHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return YoloNasHead(read_spec(YoloNasSpec, spec), size)
