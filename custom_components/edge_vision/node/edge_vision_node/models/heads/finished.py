"""Finished detections in separate tensors: boxes, scores, classes, optionally their number.

Sources: TensorRT's EfficientNMS and BatchedNMS plug-ins (YOLOv7, YOLOv6, DAMO-YOLO and others
export to them), the "batch" form of SuperGradients' export of YOLO-NAS, MMDeploy's `dets` and
`labels`, TorchVision's detection models, the TensorFlow Object Detection API's SavedModels.

Outputs, each with or without dimensions of length 1, in the order given in the manifest:
    "boxes": float32 [N, 4], corners; "scores": float32 [N], 0-1; "classes": [N];
    "scored_boxes": float32 [N, 5], corners and score, instead of the first two;
    "count": the number of used rows; the other rows contain arbitrary memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from ...errors import InferenceError, ModelError
from .decoding import (
    best_first,
    check_finite,
    checked_classes,
    class_of_column,
    normalized,
    one_of,
    read_spec,
    strongest,
)

# Columns of x_min, y_min, x_max and y_max.
_ORDERS = {"xyxy": [0, 1, 2, 3], "yxyx": [1, 0, 3, 2]}


@dataclass(frozen=True, kw_only=True)
class FinishedSpec:
    """The manifest's `head` for this family.

    `classes`: number of classes. `parts`: the meaning of each output. `class_ids`: the model's
    class for each label, if they differ. `box`: "xyxy", or "yxyx" as in TensorFlow. `normalised`:
    whether coordinates are 0-1 instead of pixels.
    """

    classes: int
    parts: tuple[str, ...] = ("boxes", "scores", "classes")
    class_ids: tuple[int, ...] = ()
    box: str = "xyxy"
    normalised: bool = False


class FinishedHead:
    """Reads the outputs named by `parts`."""

    def __init__(self, spec: FinishedSpec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height). Raises `ModelError`."""
        scored = "scored_boxes" in spec.parts
        needed = {"scored_boxes", "classes"} if scored else {"boxes", "scores", "classes"}
        if len(set(spec.parts)) != len(spec.parts) or set(spec.parts) - {"count"} != needed:
            raise ModelError(
                "The parts in the manifest must be boxes, scores and classes, or scored_boxes and"
                f" classes, optionally with count; they are {', '.join(spec.parts)}"
            )
        self._parts = spec.parts
        self._class_of_column = class_of_column(spec.class_ids, spec.classes)
        self._columns = _ORDERS[one_of("box", spec.box, tuple(_ORDERS))]
        self._size = None if spec.normalised else size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        if len(outputs) != len(self._parts):
            raise InferenceError(
                f"The model returned {len(outputs)} outputs, but its manifest expects"
                f" {len(self._parts)}"
            )
        found = dict(zip(self._parts, outputs, strict=True))
        boxes, scores = self._boxes(found)
        classes = _column(found["classes"])
        rows = len(scores)
        if len(boxes) != rows or len(classes) != rows:
            shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
            raise InferenceError(f"The model's outputs {shapes} do not fit each other")
        if (count := found.get("count")) is not None:
            rows = _count(count, rows)
        boxes, scores, classes = boxes[:rows], scores[:rows], classes[:rows]
        for numbers in (boxes, scores, classes):
            check_finite(numbers)
        chosen = strongest(scores, min_score)
        columns = checked_classes(classes[chosen], len(self._class_of_column))
        boxes = boxes[chosen][:, self._columns]
        detections = Detections(
            normalized(boxes, self._size), scores[chosen], self._class_of_column[columns]
        )
        return best_first(detections.keep(detections.class_ids >= 0))

    @staticmethod
    def _boxes(
        found: Mapping[str, NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes [N, 4] and scores [N]."""
        if (scored := found.get("scored_boxes")) is not None:
            table = _table(scored, 5)
            return table[:, :4], table[:, 4]
        return _table(found["boxes"], 4), _column(found["scores"])


def _table(output: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    if output.ndim < 2 or output.shape[-1] != columns:
        raise InferenceError(
            f"The model's output {tuple(output.shape)} should have {columns} numbers per row"
        )
    return output.reshape(-1, columns).astype(np.float32, copy=False)


def _column(output: NDArray[np.float32]) -> NDArray[np.float32]:
    if sum(side != 1 for side in output.shape) > 1:
        raise InferenceError(
            f"The model's output {tuple(output.shape)} should have one number per box"
        )
    return output.ravel().astype(np.float32, copy=False)


def _count(output: NDArray[np.float32], most: int) -> int:
    if output.size != 1 or not 0 <= output.ravel()[0] <= most:
        raise InferenceError(f"The model's number of detections {output.ravel()[:5]} is invalid")
    return int(output.ravel()[0])


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> FinishedHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return FinishedHead(read_spec(FinishedSpec, spec), size)
