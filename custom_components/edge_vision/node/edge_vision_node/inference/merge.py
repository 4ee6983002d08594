"""Merges the detections of several parts of a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..tracking.association import Floats, areas

_WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
# A box this close to the border of a part is cut by it: models end boxes short of the border.
_BORDER = 0.06
_SAME_OBJECT = 0.5
# Share of a cut box that must lie in another box to be a piece of the same object.
_PIECE = 0.7
# A part with less than this share of another's size is a closer look. If it shows all of the
# other's box, this overlap with its own boxes is enough: from afar, two people are one box.
_CLOSER, _SEEN_CLOSER = 0.6, 0.2
# Weights of a cut box, and of one that is very small in its part. From `_WELL_SEEN` of the part's
# size on, a box has full weight.
_TRUST_CUT, _TRUST_TINY, _WELL_SEEN = 0.5, 0.3, 0.15
# Weights choose between boxes. The score of a very small box is lowered no further than this.
_TOLD_TINY = 0.7
_MOST_DETECTIONS, _MOST_COMPARED = 100, 300


def merge(found: list[Detections], parts: NDArray[np.floating[Any]]) -> Detections:
    """Return the detections of several parts, each object once, best first.

    This is non-maximum suppression over all parts. A box has less weight if the border of its part
    cuts it, or if it is so small in its part that its position is uncertain. A whole object
    replaces pieces of it, and a closer look replaces what was seen from afar.

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
    # A small box is uncertain in its position only; a cut one also in its class.
    told = every.scores * np.maximum(trust, np.where(cut, _TRUST_CUT, 1.0) * _TOLD_TINY)
    scores = told[order[kept]].astype(np.float32)
    best = np.argsort(-scores, kind="stable")
    return Detections(merged.boxes[best], scores[best], merged.class_ids[best])


def _closer(parts: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Return which of [N] parts are closer looks at the whole of which of [N] boxes: [N, N]."""
    sizes = areas(parts)
    low = parts[:, None, :2] <= boxes[:, :2]
    high = parts[:, None, 2:] >= boxes[:, 2:]
    closer: NDArray[np.bool_] = sizes[:, None] < _CLOSER * sizes
    result: NDArray[np.bool_] = closer & np.all(low & high, axis=2)
    return result


def _suppress(
    ordered: Detections, boxes: Floats, cut: NDArray[np.bool_], closer: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the indices of detections, best first, that are no duplicate or piece of another."""
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
