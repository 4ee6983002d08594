"""Parsing, validation and formatting of zones, lines and masks.

These are pure functions, so that a form and a drawing page can share them. A shape is the data in
a subentry: a mask is a list of points, a zone or line also has a name. Points are shares of the
width and height of the picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, Final

from .const import CONF_LINES, CONF_MOTION_MASKS, CONF_PRIVACY_MASKS, CONF_ZONES

type Corner = tuple[float, float]
type Points = list[dict[str, float]]

# Keys of shapes in the data of a subentry.
KINDS: Final = (CONF_ZONES, CONF_LINES, CONF_PRIVACY_MASKS, CONF_MOTION_MASKS)

FIELD_NAME: Final = "name"
FIELD_POINTS: Final = "points"
FIELD_LABELS: Final = "labels"
FIELD_CONFIDENCE: Final = "confidence"
FIELD_LOITERING: Final = "loitering_s"
FIELD_COUNTING: Final = "counting"

_LEAST_CORNERS: Final = 3
_MOST_CORNERS: Final = 40
# Shares of the picture: smaller areas or shorter lines are mistakes that would never contain an
# object.
_LEAST_AREA: Final = 0.0001
_LEAST_LENGTH: Final = 0.005
_LONGEST_NAME: Final = 50
# Corners have a few decimals; rounding errors are far smaller than this.
_NOTHING = 1e-9


class BadShape(Exception):
    """The input in `field` is not a valid shape; the text is an error key of the form."""

    def __init__(self, key: str, field: str = FIELD_POINTS) -> None:
        """Initialize the error."""
        super().__init__(key)
        self.field = field


def zone_from(form: Mapping[str, Any], lowest_confidence: float) -> dict[str, Any]:
    """Return a zone. Raises `BadShape`.

    `lowest_confidence`: minimum confidence of the camera for the labels of the zone, in percent.
    The minimum of a zone can only be higher.
    """
    confidence = form.get(FIELD_CONFIDENCE)
    if confidence is not None and confidence < lowest_confidence:
        raise BadShape("below_the_camera", FIELD_CONFIDENCE)
    return {
        "name": _checked_name(form),
        "points": mask_from(form),
        "labels": form[FIELD_LABELS],
        "confidence": confidence,
        "loitering_s": form.get(FIELD_LOITERING),
        "counting": form[FIELD_COUNTING],
    }


def line_from(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line. Raises `BadShape`."""
    points = parse_points(form[FIELD_POINTS])
    if len(points) != 2:
        raise BadShape("not_a_line")
    start, end = points
    if math.hypot(end["x"] - start["x"], end["y"] - start["y"]) < _LEAST_LENGTH:
        raise BadShape("not_a_line")
    return {"name": _checked_name(form), "start": start, "end": end}


def mask_from(form: Mapping[str, Any]) -> Points:
    """Return the corners of an area. Raises `BadShape`."""
    points = parse_points(form[FIELD_POINTS])
    points = [point for number, point in enumerate(points) if point != points[number - 1]]
    if not _LEAST_CORNERS <= len(points) <= _MOST_CORNERS:
        raise BadShape("too_few_points")
    corners = [(point["x"], point["y"]) for point in points]
    if on_one_line(corners):
        raise BadShape("no_area")
    if crosses_itself(corners):
        raise BadShape("crossing")
    if area(corners) < _LEAST_AREA:
        raise BadShape("no_area")
    return points


def parse_points(text: str) -> Points:
    """Return the points in a text like `0.1,0.2 0.5,0.2 0.5,0.9`. Raises `BadShape`."""
    points = []
    for pair in re.sub(r"\s*,\s*", ",", text.replace(";", " ")).split():
        try:
            x, y = (float(value) for value in pair.split(","))
        except ValueError:
            raise BadShape("not_points") from None
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise BadShape("outside")
        points.append({"x": x, "y": y})
    return points


def name_of(shape: Any) -> str | None:
    """Return the name of a shape; masks have none."""
    return shape["name"] if isinstance(shape, Mapping) else None


def points_of(shape: Any) -> Points:
    """Return the points of a shape."""
    if not isinstance(shape, Mapping):
        return list(shape)
    return list(shape.get("points") or [shape["start"], shape["end"]])


def as_text(points: Iterable[Mapping[str, float]]) -> str:
    """Return points as text for `parse_points`."""
    return " ".join(f"{point['x']:g},{point['y']:g}" for point in points)


def _checked_name(form: Mapping[str, Any]) -> str:
    name = str(form[FIELD_NAME]).strip()
    if not name or "@" in name:
        raise BadShape("no_name", FIELD_NAME)
    if len(name) > _LONGEST_NAME:
        raise BadShape("long_name", FIELD_NAME)
    return name


# --- Geometry ------------------------------------------------------------------------------------


def area(corners: Sequence[Corner]) -> float:
    """Return the share of the picture inside, with the shoelace formula."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _edges(corners))) / 2


def on_one_line(corners: Sequence[Corner]) -> bool:
    """Return whether all corners are on one line."""
    first = corners[0]
    far = max(corners, key=lambda corner: abs(corner[0] - first[0]) + abs(corner[1] - first[1]))
    return all(_side(first, far, corner) == 0 for corner in corners)


def crosses_itself(corners: Sequence[Corner]) -> bool:
    """Return whether edges cross, touch or overlap anywhere except at common corners.

    Consecutive corners must be different.
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
    """Return the side of the line through a and b that a point is on, 0 if on the line."""
    turn = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
    return 0 if abs(turn) < _NOTHING else 1 if turn > 0 else -1


def _turns_back(a: Corner, b: Corner, c: Corner) -> bool:
    """Return whether the edge b-c goes back along the edge a-b."""
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
    """Return whether a point on the line through a and b is between them."""
    return all(
        min(a[axis], b[axis]) - _NOTHING <= point[axis] <= max(a[axis], b[axis]) + _NOTHING
        for axis in (0, 1)
    )
