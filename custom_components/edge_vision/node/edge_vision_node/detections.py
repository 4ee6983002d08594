"""Detections of a frame as aligned arrays: the common type of heads, rules and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .protocol import Box, DetectedObject, Keypoint


@dataclass(frozen=True)
class Placement:
    """The position of the frame in the input of the model, both normalized to 0-1.

    A point x of the frame is at x * scale_x + offset_x of the input.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0


FILLS = Placement()
# Boxes narrower than this share of the frame have no area: half a pixel of a 4K picture.
_LEAST_SIDE = 1e-4


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of a head in a frame, best first.

    Attributes:
        boxes: float32 [N, 4], x_min, y_min, x_max, y_max, normalized to the full frame, in 0-1.
        scores: float32 [N], 0-1.
        class_ids: int32 [N], index into the model's labels.
        keypoints: float32 [N, K, 3], x, y (normalized like boxes) and score; K may be 0.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    keypoints: NDArray[np.float32] | None = None

    @classmethod
    def none(cls) -> Detections:
        """Return an empty result."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))

    @classmethod
    def of_objects(
        cls, objects: Sequence[DetectedObject], labels: Sequence[str], keypoints: int = 0
    ) -> Detections:
        """Return what messages say as arrays; the opposite of `objects`.

        Args:
            objects: of one frame.
            labels: of the model.
            keypoints: how many the model finds of each object.
        """
        boxes = [(o.box.x_min, o.box.y_min, o.box.x_max, o.box.y_max) for o in objects]
        points = [[(p.x, p.y, p.confidence / 100) for p in item.keypoints] for item in objects]
        return cls(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array([item.confidence / 100 for item in objects], np.float32),
            np.array([labels.index(item.label) for item in objects], np.int32),
            np.array(points, np.float32).reshape(-1, keypoints, 3) if keypoints else None,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return the detections selected by a boolean mask [N] or an index array [M]."""
        keypoints = None if self.keypoints is None else self.keypoints[index]
        return Detections(self.boxes[index], self.scores[index], self.class_ids[index], keypoints)

    def of_classes(self, class_ids: NDArray[np.int32] | None) -> Detections:
        """Return the detections of some classes, or all if None."""
        return self if class_ids is None else self.keep(np.isin(self.class_ids, class_ids))

    @property
    def upright(self) -> NDArray[np.bool_]:
        """Return which boxes are valid: finite numbers and with an area."""
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            sides = self.boxes[:, 2:] - self.boxes[:, :2]
        upright: NDArray[np.bool_] = np.asarray((sides >= _LEAST_SIDE).all(axis=1))
        return upright & np.asarray(np.isfinite(self.boxes).all(axis=1))

    def in_frame(self) -> Detections:
        """Return the detections with their boxes cut at the edges of the frame.

        Detections without an area in the frame are removed. This is used for the results of all
        heads, and for detections moved from a part of a frame to the whole.
        """
        found = self.keep(self.upright)
        boxes = np.clip(found.boxes, 0, 1)
        cut = Detections(boxes, found.scores, found.class_ids, found.keypoints)
        kept = cut.upright
        return cut if kept.all() else cut.keep(kept)

    def objects(
        self, labels: Sequence[str], keypoint_names: Sequence[str] = ()
    ) -> tuple[DetectedObject, ...]:
        """Return the objects for messages: labels, percentages, rounded boxes and keypoints."""
        points = [[]] * len(self) if self.keypoints is None else self.keypoints.tolist()
        names = () if self.keypoints is None else keypoint_names
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
                keypoints=keypoints_of(keypoints, names),
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
        """Return the detections in coordinates of the frame instead of those of the input."""
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


def keypoints_of(points: Sequence[Sequence[float]], names: Sequence[str]) -> tuple[Keypoint, ...]:
    """Return the keypoints of one object (x, y and score each) as messages carry them."""
    return tuple(
        Keypoint(
            name=name,
            x=round(point[0], 4),
            y=round(point[1], 4),
            confidence=round(point[2] * 100, 1),
        )
        for name, point in zip(names, points, strict=True)
    )


def joined(parts: Sequence[Detections]) -> Detections:
    """Return several detections of one picture combined, in their order; all have keypoints."""
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
        limit: maximum number of detections to return.

    Returns:
        The remaining detections, best first.
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
