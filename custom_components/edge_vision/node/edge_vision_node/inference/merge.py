"""What several parts of a frame show, as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..tracking.association import Floats, areas

_WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
# A box this near to the border of a part is cut by it: models end boxes short of the border.
_BORDER = 0.06
_SAME_OBJECT = 0.5
# Of a cut box: how much of it must lie in another one to be a piece of the same object.
_PIECE = 0.7
# A part is a closer look than one of which it is less than this share. Where that shows all of a
# box, overlapping with what it found there so much is enough: from afar, two people are one box.
_CLOSER, _SEEN_CLOSER = 0.6, 0.2
# How far a cut box is trusted, and one that is very small in its part; from `_WELL_SEEN` of its
# part's size on a box is as good as it gets.
_TRUST_CUT, _TRUST_TINY, _WELL_SEEN = 0.5, 0.3, 0.15
# That is for choosing between boxes. Nothing that is very small loses more than this by it.
_TOLD_TINY = 0.7
_MOST_DETECTIONS, _MOST_COMPARED = 100, 300


def merge(found: list[Detections], parts: NDArray[np.floating[Any]]) -> Detections:
    """Return what several parts of a frame show as one, each object once, best first.

    Non-maximum suppression over all parts, in which a box counts less that the border of its part
    cuts off, or that is so small in its part that its place is a guess; a piece of an object gives
    way to the object, and what is seen from afar to what a closer look shows in its place.

    Args:
        found: for each part its detections, in coordinates of the frame.
        parts: [N, 4] the parts.
    """
    if len(found) == 1 and (parts == _WHOLE).all():
        return found[0]
    every = Detections(
        np.concatenate([item.boxes for item in found]),
        np.concatenate([item.scores for item in found]),
        np.concatenate([item.class_ids for item in found]),
    )
    part = np.repeat(parts.astype(np.float64), [len(item) for item in found], axis=0)
    boxes = every.boxes.astype(np.float64)
    size = part[:, 2:] - part[:, :2]
    near: NDArray[np.bool_] = np.abs(boxes - part) < _BORDER * np.tile(size, 2)
    inner = np.concatenate((part[:, :2] > 0, part[:, 2:] < 1), axis=1)
    cut = np.any(near & inner, axis=1)
    share = np.sqrt(areas(boxes) / areas(part))
    trust = np.clip(_TRUST_TINY + (1 - _TRUST_TINY) * share / _WELL_SEEN, 0, 1)
    trust[cut] *= _TRUST_CUT
    order = np.argsort(-every.scores * trust, kind="stable")[:_MOST_COMPARED]
    closer = _closer(part[order], boxes[order])
    kept = _suppress(every.keep(order), boxes[order], cut[order], closer)
    merged = every.keep(order[kept])
    # Whose place is a guess is there all the same; of what is cut, nobody knows what it is.
    told = every.scores * np.maximum(trust, np.where(cut, _TRUST_CUT, 1.0) * _TOLD_TINY)
    scores = told[order[kept]].astype(np.float32)
    best = np.argsort(-scores, kind="stable")
    return Detections(merged.boxes[best], scores[best], merged.class_ids[best])


def _closer(parts: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Return which of [N] parts are closer looks at all of the [N] boxes of other parts: [N, N]."""
    sizes = areas(parts)
    low = parts[:, None, :2] <= boxes[:, :2]
    high = parts[:, None, 2:] >= boxes[:, 2:]
    closer: NDArray[np.bool_] = sizes[:, None] < _CLOSER * sizes
    result: NDArray[np.bool_] = closer & np.all(low & high, axis=2)
    return result


def _suppress(
    ordered: Detections, boxes: Floats, cut: NDArray[np.bool_], closer: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return which of some detections, best first, are no other's double or piece."""
    sizes = areas(boxes)
    width, height = (
        np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        for low, high in zip(boxes.T[:2], boxes.T[2:], strict=True)
    )
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    least = np.where(closer, _SEEN_CLOSER, _SAME_OBJECT)
    double = shared > least * (sizes[:, None] + sizes - shared)
    piece = cut & (shared > _PIECE * sizes)
    goes = (ordered.class_ids[:, None] == ordered.class_ids) & (double | piece)
    alive = np.ones(len(ordered), dtype=np.bool_)
    kept: list[int] = []
    for i in range(len(ordered)):
        if alive[i]:
            kept.append(i)
            alive &= ~goes[i]
    return np.array(kept[:_MOST_DETECTIONS], dtype=np.intp)
