"""Detections of one frame as aligned arrays: the one currency between heads, rules and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .protocol import Box, DetectedObject, Keypoint


@dataclass(frozen=True)
class Placement:
    """Where the frame lies in the model's input, both normalised to 0-1.

    A point x of the frame is at x * scale_x + offset_x of the input.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0


FILLS = Placement()
# A box narrower than this share of the frame has no area: half a pixel of a 4K picture.
_LEAST_SIDE = 1e-4


@dataclass(frozen=True, eq=False)
class Detections:
    """What a head found in one frame, best first.

    Attributes:
        boxes: float32 [N, 4], x_min, y_min, x_max, y_max, normalised to the full frame, in 0-1.
        scores: float32 [N], 0-1.
        class_ids: int32 [N], index into the model's labels.
        keypoints: float32 [N, K, 3], x, y (normalised as boxes are) and score; K may be 0.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    keypoints: NDArray[np.float32] | None = None

    @classmethod
    def none(cls) -> Detections:
        """Return what a look finds that finds nothing."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return those that a boolean mask [N] or an index array [M] selects."""
        keypoints = None if self.keypoints is None else self.keypoints[index]
        return Detections(self.boxes[index], self.scores[index], self.class_ids[index], keypoints)

    def of_classes(self, class_ids: NDArray[np.int32] | None) -> Detections:
        """Return those of some classes; None keeps all."""
        return self if class_ids is None else self.keep(np.isin(self.class_ids, class_ids))

    @property
    def upright(self) -> NDArray[np.bool_]:
        """Return which boxes are boxes: of finite numbers, and with an area."""
        with np.errstate(invalid="ignore"):  # infinity less infinity
            sides = self.boxes[:, 2:] - self.boxes[:, :2]
        upright: NDArray[np.bool_] = np.asarray((sides >= _LEAST_SIDE).all(axis=1))
        return upright & np.asarray(np.isfinite(self.boxes).all(axis=1))

    def in_frame(self) -> Detections:
        """Return them with their boxes cut at the frame's edges.

        What has no area there is no find, whatever a model says: every head's results, and what is
        moved from a part of a frame into the whole, come by here.
        """
        found = self.keep(self.upright)
        boxes = np.clip(found.boxes, 0, 1)
        cut = Detections(boxes, found.scores, found.class_ids, found.keypoints)
        kept = cut.upright
        return cut if kept.all() else cut.keep(kept)

    def objects(
        self, labels: Sequence[str], keypoint_names: Sequence[str] = ()
    ) -> tuple[DetectedObject, ...]:
        """Return them as messages carry them: labels, percentages, rounded boxes and keypoints."""
        points = [[]] * len(self) if self.keypoints is None else self.keypoints.tolist()
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
                keypoints=tuple(
                    Keypoint(
                        name=name,
                        x=round(point[0], 4),
                        y=round(point[1], 4),
                        confidence=round(point[2] * 100, 1),
                    )
                    for name, point in zip(keypoint_names, keypoints, strict=True)
                ),
            )
            for box, score, class_id, keypoints in zip(
                self.boxes.tolist(),
                self.scores.tolist(),
                self.class_ids.tolist(),
                points,
                strict=True,
            )
        )

    def placed(self, placement: Placement) -> Detections:
        """Return them in coordinates of the frame, from those of the model's input."""
        if placement == FILLS:
            return self.in_frame()
        scale = np.array([placement.scale_x, placement.scale_y], dtype=np.float32)
        offset = np.array([placement.offset_x, placement.offset_y], dtype=np.float32)
        boxes = (self.boxes.reshape(-1, 2, 2) - offset) / scale
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints.copy()
            keypoints[..., :2] = (keypoints[..., :2] - offset) / scale
        moved = Detections(boxes.reshape(-1, 4), self.scores, self.class_ids, keypoints)
        return moved.in_frame()


def joined(parts: Sequence[Detections]) -> Detections:
    """Return detections of one picture as one, in their order; all have keypoints."""
    if not parts:
        return Detections(
            np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32)
        )
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
        np.concatenate([part.keypoints for part in parts if part.keypoints is not None]),
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
