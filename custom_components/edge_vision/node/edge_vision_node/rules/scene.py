"""What rules over live video work with: the objects of a moment, and what they have to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol import Box, Kind, Phase, Point


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """An object that is being followed.

    Attributes:
        track_id: the same as long as it is followed.
        label: of the model.
        confidence: a percentage, of its newest detections.
        box: where it is now; normalised.
        stationary: whether it has not moved for a while.
        returned: whether it was gone, and something like it is there again in the very place.
    """

    track_id: int
    label: str
    confidence: float
    box: Box
    stationary: bool = False
    returned: bool = False

    @property
    def foot(self) -> Point:
        """Return the bottom centre: where a person or a car stands on the ground."""
        return Point(x=(self.box.x_min + self.box.x_max) / 2, y=self.box.y_max)


@dataclass(frozen=True, kw_only=True)
class RuleEvent:
    """Something that a rule has to say.

    `count`: objects of the label now, in the zone where the event is about one. `direction`: "in"
    or "out" over a line; `total`: crossings of that line by that label in that direction so far.
    """

    kind: Kind
    phase: Phase
    label: str
    count: int
    item: SceneObject | None = None
    zone: str | None = None
    line: str | None = None
    direction: str | None = None
    total: int | None = None


def inside(polygon: Sequence[Point], point: Point) -> bool:
    """Return whether a point is in a polygon (even-odd rule; W. R. Franklin's PNPOLY)."""
    within = False
    last = polygon[-1]
    for corner in polygon:
        if (corner.y > point.y) != (last.y > point.y) and point.x < (
            (last.x - corner.x) * (point.y - corner.y) / (last.y - corner.y) + corner.x
        ):
            within = not within
        last = corner
    return within
