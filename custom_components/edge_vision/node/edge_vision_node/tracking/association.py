"""Which of these boxes is which of those."""

from __future__ import annotations

import math

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


def contained(boxes: Floats, others: Floats) -> Floats:
    """Return the intersection of every pair over the smaller of the two: [N, M]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    size = np.maximum(high - low, 0)
    smaller = np.minimum(areas(boxes)[:, None], areas(others)[None])
    result: Floats = size[..., 0] * size[..., 1] / np.maximum(smaller, 1e-12)
    return result


def assign(similarity: Floats, least: float) -> _Pairs:
    """Pair rows with columns, each at most once, so that what exceeds `least` adds up to most.

    The optimum (Kuhn, "The Hungarian method for the assignment problem", 1955). Few objects have
    more than one candidate, and only those who share candidates are weighed against each other.

    Args:
        similarity: [N, M], larger is better.
        least: pairs below it are none.

    Returns:
        row indices and column indices of the pairs, [K] each.
    """
    candidates = similarity >= least
    alone = candidates & (candidates.sum(axis=1) == 1)[:, None] & (candidates.sum(axis=0) == 1)
    found = np.argwhere(alone)
    shared = candidates & ~alone
    if shared.any():
        # In plain numbers: the groups are so small that numpy takes longer to begin with each.
        gains = (similarity - least).tolist()
        pairs = [pair for group in _groups(shared) for pair in _best(gains, *group)]
        found = np.concatenate((found, np.array(pairs, dtype=np.intp).reshape(-1, 2)))
    return found[:, 0], found[:, 1]


def _groups(candidates: NDArray[np.bool_]) -> list[tuple[list[int], list[int]]]:
    """Return rows and columns that candidates connect, group by group."""
    columns_of: dict[int, list[int]] = {}
    rows_of: dict[int, list[int]] = {}
    for row, column in np.argwhere(candidates).tolist():
        columns_of.setdefault(row, []).append(column)
        rows_of.setdefault(column, []).append(row)
    groups = []
    while columns_of:
        edge, rows, columns = [next(iter(columns_of))], [], set()
        while edge:
            row = edge.pop()
            if (own := columns_of.pop(row, None)) is None:
                continue
            rows.append(row)
            columns.update(own)
            edge += [other for column in own for other in rows_of.pop(column, ())]
        groups.append((rows, sorted(columns)))
    return groups


def _best(every: list[list[float]], rows: list[int], columns: list[int]) -> list[tuple[int, int]]:
    """Return the best pairs of a group; `every` holds what each pair gains, of all groups."""
    gains = [[every[row][column] for column in columns] for row in rows]
    if len(rows) == 1 or len(columns) == 1:
        _, row, column = max(
            (gain, row, column)
            for row, of_row in zip(rows, gains, strict=True)
            for column, gain in zip(columns, of_row, strict=True)
        )
        return [(row, column)]
    # A row may stay alone for nothing: each has a column of its own for that.
    alone = [0.0] * len(rows)
    costs = [[-max(gain, 0.0) for gain in of_row] + alone for of_row in gains]
    return [
        (rows[row], columns[column])
        for row, column in enumerate(_hungarian(costs))
        if column < len(columns) and gains[row][column] >= 0
    ]


def _hungarian(costs: list[list[float]]) -> list[int]:
    """Return for each of N rows its column of M >= N, so that the costs add up to least.

    Rows are added one by one, each along the shortest path that makes room for it.
    """
    width = len(costs[0])
    row_price, column_price = [0.0] * (len(costs) + 1), [0.0] * (width + 1)
    # Rows and columns count from 1; whoever is in column 0 looks for another one.
    row_of = [0] * (width + 1)
    for new in range(1, len(costs) + 1):
        row_of[0], at = new, 0
        distance, before = [math.inf] * (width + 1), [0] * (width + 1)
        free = [False, *[True] * width]
        while row_of[at]:
            row, nearest = row_of[at], math.inf
            for column in range(1, width + 1):
                if free[column]:
                    way = costs[row - 1][column - 1] - row_price[row] - column_price[column]
                    if way < distance[column]:
                        distance[column], before[column] = way, at
                    if distance[column] < nearest:
                        nearest, at_next = distance[column], column
            for column in range(width + 1):
                if free[column]:
                    distance[column] -= nearest
                else:
                    row_price[row_of[column]] += nearest
                    column_price[column] -= nearest
            at = at_next
            free[at] = False
        while at:
            row_of[at], at = row_of[before[at]], before[at]
    columns = {row: column - 1 for column, row in enumerate(row_of) if column}
    return [columns[row] for row in range(1, len(costs) + 1)]
