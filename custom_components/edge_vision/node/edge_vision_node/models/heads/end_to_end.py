"""Models that end in finished detections: YOLOv10, YOLO26, and exports with built-in NMS.

Sources: Wang et al., "YOLOv10: Real-Time End-to-End Object Detection" (2024); the documentation of
Ultralytics' export mode (`nms=True`).

Output: float32 [1, N, 6 + 3 K]: x_min, y_min, x_max, y_max, score, class, and for each of K
keypoints x, y and visibility (0-1). Unused rows have score 0, or a class below 0. ONNX exports use
pixels of the input, TFLite exports use normalized coordinates.

Other exporters use another order, or add the number of the picture: YOLOv7, YOLOv6 and DAMO-YOLO
("batch", box, "class", "score"), YOLO-NAS ("batch", box, "score", "class"), PaddleDetection
("class", "score", box), OpenVINO's DetectionOutput ("batch", "class", "score", box). `columns`
specifies the order. Models with only one class may omit it.
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
    best_first,
    checked_classes,
    class_of_column,
    normalized,
    normalized_keypoints,
    read_spec,
    strongest,
    tensors,
)

BOX = ("x_min", "y_min", "x_max", "y_max")
_NEEDED = {*BOX, "score"}


@dataclass(frozen=True, kw_only=True)
class EndToEndSpec:
    """The manifest's `head` for this family.

    `classes`: number of classes. `keypoints`: K. `normalised`: whether coordinates are 0-1 instead
    of pixels. `columns`: the meaning of the numbers in a row, before its keypoints. `class_ids`:
    the model's class for each label, if they differ.
    """

    classes: int
    keypoints: int = 0
    normalised: bool = False
    columns: tuple[str, ...] = (*BOX, "score", "class")
    class_ids: tuple[int, ...] = ()


class EndToEndHead:
    """Reads [detections float32 [1, N, 6 + 3 K]]."""

    def __init__(self, spec: EndToEndSpec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height). Raises `ModelError`."""
        if len(set(spec.columns)) != len(spec.columns) or not (
            _NEEDED <= set(spec.columns) <= {*_NEEDED, "class", "batch"}
        ):
            raise ModelError(
                "The columns in the manifest must be class, score, x_max, x_min, y_max, y_min in"
                f" the model's order, optionally with batch; they are {', '.join(spec.columns)}"
            )
        if "class" not in spec.columns and spec.classes != 1:
            raise ModelError("The columns in the manifest have no class, so there can be only one")
        self._box = [spec.columns.index(name) for name in BOX]
        self._score = spec.columns.index("score")
        self._class = spec.columns.index("class") if "class" in spec.columns else None
        self._batch = spec.columns.index("batch") if "batch" in spec.columns else None
        self._class_of_column = class_of_column(spec.class_ids, spec.classes)
        self._spec = spec
        self._size = None if spec.normalised else size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        first_keypoint, count = len(self._spec.columns), self._spec.keypoints
        (rows,) = tensors(outputs, (None, first_keypoint + 3 * count))
        if self._class is not None:
            rows = rows[rows[:, self._class] >= 0]
        if self._batch is not None:  # there is only one picture; other rows are unused
            rows = rows[rows[:, self._batch] == 0]
        found = rows[strongest(rows[:, self._score], min_score)]
        numbers = np.zeros(len(found), np.float32) if self._class is None else found[:, self._class]
        columns = checked_classes(numbers, len(self._class_of_column))
        keypoints = None
        if count:
            points = found[:, first_keypoint:].reshape(len(found), count, 3)
            keypoints = normalized_keypoints(points, self._size)
        boxes = normalized(found[:, self._box], self._size)
        class_ids = self._class_of_column[columns]
        detections = Detections(boxes, found[:, self._score], class_ids, keypoints)
        return best_first(detections.keep(class_ids >= 0))


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> EndToEndHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return EndToEndHead(read_spec(EndToEndSpec, spec), size)
