"""Whether corners make an area: pure geometry, in shares of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

type Corner = tuple[float, float]

# Corners are typed with a few decimals; what arithmetic adds to them is far below this.
_NOTHING = 1e-9


def area(corners: Sequence[Corner]) -> float:
    """Return how much of the picture is inside, by the shoelace formula."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _edges(corners))) / 2


def on_one_line(corners: Sequence[Corner]) -> bool:
    """Return whether all corners lie on one line."""
    first = corners[0]
    far = max(corners, key=lambda corner: abs(corner[0] - first[0]) + abs(corner[1] - first[1]))
    return all(_side(first, far, corner) == 0 for corner in corners)


def crosses_itself(corners: Sequence[Corner]) -> bool:
    """Return whether edges cross, touch or lie on each other anywhere but at common corners.

    No two corners that follow each other may be the same.
    """
    edges = _edges(corners)
    for (i, one), (j, other) in combinations(enumerate(edges), 2):
        if j == i + 1 or (i == 0 and j == len(edges) - 1):
            before, after = (one, other) if j == i + 1 else (other, one)
            if _turns_back(before[0], before[1], after[1]):
                return True
        elif _meet(*one, *other):
            return True
    return False


def _edges(corners: Sequence[Corner]) -> list[tuple[Corner, Corner]]:
    return list(pairwise([*corners, corners[0]]))


def _side(a: Corner, b: Corner, point: Corner) -> int:
    """Return on which side of the line through a and b a point is; 0 on it."""
    turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
    return 0 if abs(turn) < _NOTHING else 1 if turn > 0 else -1


def _turns_back(a: Corner, b: Corner, c: Corner) -> bool:
    """Return whether the way from a over b to c goes back where it came from."""
    ahead = (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1])
    return _side(a, b, c) == 0 and ahead < 0


def _meet(a: Corner, b: Corner, c: Corner, d: Corner) -> bool:
    """Return whether the edges a-b and c-d have a point in common."""
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    ends = ((c, a, b), (d, a, b), (a, c, d), (b, c, d))
    return any(side == 0 and _within(*end) for side, end in zip(sides, ends, strict=True))


def _within(point: Corner, a: Corner, b: Corner) -> bool:
    """Return whether a point of the line through a and b is between them."""
    return all(
        min(a[axis], b[axis]) - _NOTHING <= point[axis] <= max(a[axis], b[axis]) + _NOTHING
        for axis in (0, 1)
    )
