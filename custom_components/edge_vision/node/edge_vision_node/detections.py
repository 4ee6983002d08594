"""Detections of one frame as aligned arrays: the one currency between heads, rules and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .protocol import Box, DetectedObject


@dataclass(frozen=True, eq=False)
class Detections:
    """What a head found in one frame, best first.

    Attributes:
        boxes: float32 [N, 4], x_min, y_min, x_max, y_max, normalised to the full frame, in 0-1.
        scores: float32 [N], 0-1.
        class_ids: int32 [N], index into the model's labels.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return those that a boolean mask [N] or an index array [M] selects."""
        return Detections(self.boxes[index], self.scores[index], self.class_ids[index])

    def of_classes(self, class_ids: NDArray[np.int32] | None) -> Detections:
        """Return those of some classes; None keeps all."""
        return self if class_ids is None else self.keep(np.isin(self.class_ids, class_ids))

    def objects(self, labels: Sequence[str]) -> tuple[DetectedObject, ...]:
        """Return them as messages carry them: labels, percentages and rounded boxes."""
        return tuple(
            DetectedObject(
                label=labels[class_id],
                confidence=round(score * 100, 1),
                box=Box(
                    x_min=round(box[0], 4),
                    y_min=round(box[1], 4),
                    x_max=round(box[2], 4),
                    y_max=round(box[3], 4),
                ),
            )
            for box, score, class_id in zip(
                self.boxes.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
            )
        )


def non_maximum_suppression(detections: Detections, iou_threshold: float, limit: int) -> Detections:
    """Keep the best of each cluster of overlapping boxes, class by class (greedy NMS).

    Args:
        detections: candidates in any order.
        iou_threshold: two boxes of a class with a larger intersection over union are one object.
        limit: how many to return at most.

    Returns:
        the survivors, best first.
    """
    order = np.argsort(-detections.scores, kind="stable")
    ordered = detections.keep(order)
    x_min, y_min, x_max, y_max = ordered.boxes.T
    areas = (x_max - x_min) * (y_max - y_min)
    alive = np.ones(len(ordered), dtype=np.bool_)
    kept: list[int] = []
    for i in range(len(ordered)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == limit:
            break
        rest = slice(i + 1, None)
        width = np.minimum(x_max[i], x_max[rest]) - np.maximum(x_min[i], x_min[rest])
        height = np.minimum(y_max[i], y_max[rest]) - np.maximum(y_min[i], y_min[rest])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        union = areas[i] + areas[rest] - overlap
        same = ordered.class_ids[rest] == ordered.class_ids[i]
        alive[rest] &= ~(same & (overlap > iou_threshold * union))
    return ordered.keep(np.asarray(kept, dtype=np.intp))
