"""SSD whose graph ends in `TFLite_Detection_PostProcess`: finished detections.

Source: the TensorFlow Object Detection API's `export_tflite_ssd_graph.py` and the documentation of
the operator. SSD models for the Edge TPU have this form.

Outputs, in this order in the manifest: boxes float32 [1, N, 4] y_min, x_min, y_max, x_max,
normalized; classes float32 [1, N]; scores float32 [1, N] (0-1); the number of used rows, float32
[1]. The exports of TensorFlow 2 have the same four outputs under other names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from ...errors import InferenceError
from .decoding import (
    best_first,
    checked_classes,
    class_of_column,
    normalized,
    read_spec,
    strongest,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class SsdPostprocessSpec:
    """The manifest's `head` for this family.

    `classes`: number of classes, without the background. `class_ids`: the model's class for each
    label, if they differ (the 90 category IDs of COCO have gaps).
    """

    classes: int
    class_ids: tuple[int, ...] = ()


class SsdPostprocessHead:
    """Reads [boxes, classes, scores, count]."""

    def __init__(self, spec: SsdPostprocessSpec) -> None:
        """Prepare the labels of the model's classes."""
        self._class_of_column = class_of_column(spec.class_ids, spec.classes)

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        if len(outputs) != 4:
            raise InferenceError(
                f"The model returned {len(outputs)} outputs, but its manifest expects 4"
            )
        count = outputs[3].ravel()
        if count.size != 1 or not 0 <= count[0] <= outputs[1].size:
            raise InferenceError(f"The model's number of detections {count} is invalid")
        # Unused rows contain arbitrary memory, so remove them before any check.
        rows = int(count[0])
        found = [
            output[:, :rows] if output.ndim == sides else output[:rows]  # the batch may be omitted
            for output, sides in zip(outputs[:3], (3, 2, 2), strict=True)
        ]
        boxes, classes, scores = tensors(found, (rows, 4), (rows,), (rows,))
        chosen = strongest(scores, min_score)
        columns = checked_classes(classes[chosen], len(self._class_of_column))
        detections = Detections(
            normalized(boxes[chosen][:, [1, 0, 3, 2]]),
            scores[chosen],
            self._class_of_column[columns],
        )
        return best_first(detections.keep(detections.class_ids >= 0))


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> SsdPostprocessHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return SsdPostprocessHead(read_spec(SsdPostprocessSpec, spec))
