"""Which of these boxes is which of those."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def overlaps(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of every pair of [N, 4] and [M, 4] corners: [N, M]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    size = np.maximum(high - low, 0)
    shared = size[..., 0] * size[..., 1]
    union = areas(one)[:, None] + areas(other)[None] - shared
    result: Floats = shared / np.maximum(union, 1e-12)
    return result


def covered(boxes: Floats, by: Floats) -> Floats:
    """Return the largest share of each of [N, 4] that lies in one of [M, 4]: [N]."""
    if not len(by):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], by[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], by[None, :, 2:])
    size = np.maximum(high - low, 0)
    result: Floats = (size[..., 0] * size[..., 1]).max(axis=1) / np.maximum(areas(boxes), 1e-12)
    return result


def areas(boxes: Floats) -> Floats:
    """Return the areas of [N, 4] corners: [N]."""
    result: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return result


def assign(similarity: Floats, least: float) -> _Pairs:
    """Pair rows with columns, the most similar first, each at most once.

    Greedy: with the few objects of a camera's picture it differs from the optimum only where
    similarities are nearly equal, and takes microseconds.

    Args:
        similarity: [N, M], larger is better.
        least: pairs below it are none.

    Returns:
        row indices and column indices of the pairs, [K] each.
    """
    rows: list[int] = []
    columns: list[int] = []
    candidates = np.argwhere(similarity >= least)
    order = np.argsort(-similarity[candidates[:, 0], candidates[:, 1]], kind="stable")
    free_rows = [True] * similarity.shape[0]
    free_columns = [True] * similarity.shape[1]
    for row, column in candidates[order].tolist():
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            rows.append(row)
            columns.append(column)
    return np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp)
