"""Lines: an object crosses, in one direction or the other, and is counted once.

In a sentence for users: "An object is counted when the middle of its lower edge passes the line and
gets clearly to the other side; turning back and forth on the line counts for nothing."
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ..protocol import Kind, Line, Phase, Point
from .scene import RuleEvent, SceneObject, Side

# How far beyond the line is "clearly on the other side": of the frame, and of the width and the
# height of the box, which trembles by so much.
_MARGIN, _MARGIN_X, _MARGIN_Y = 0.012, 0.3, 0.12


class LineRule:
    """The rule over one line."""

    def __init__(self, line: Line) -> None:
        """Start with no crossing."""
        self.line = line
        self._length = math.dist((line.start.x, line.start.y), (line.end.x, line.end.y))
        # Track → the last place where it was clearly on one side, and which (-1 left, 1 right).
        self._sides: dict[int, tuple[Point, int]] = {}
        self._totals: dict[tuple[str, str], int] = {}

    @property
    def totals(self) -> Mapping[tuple[str, str], int]:
        """Return (label, direction) → crossings."""
        return self._totals

    @property
    def sides(self) -> tuple[Side, ...]:
        """Return on which side each object is, as it has to survive a restart."""
        return tuple(
            Side(track_id=track_id, place=place, side=side)
            for track_id, (place, side) in self._sides.items()
        )

    def restore(self, totals: Mapping[tuple[str, str], int], sides: Iterable[Side] = ()) -> None:
        """Restore totals, and on which side each object was."""
        self._totals = dict(totals)
        # Relative to the line as it is now: it may have been moved past an object.
        offsets = [(item, self._offset(item.place)) for item in sides]
        self._sides = {
            item.track_id: (item.place, 1 if offset > 0 else -1)
            for item, offset in offsets
            if abs(offset) >= _MARGIN
        }

    def add(self, label: str, direction: str, total: int) -> int:
        """Count crossings; return how many there are now."""
        key = (label, direction)
        self._totals[key] = self._totals.get(key, 0) + total
        return self._totals[key]

    def step(self, objects: Sequence[SceneObject]) -> list[RuleEvent]:
        """Take in the objects of a moment; return the crossings."""
        labels = self.line.labels
        here = {item.track_id: item for item in objects if not labels or item.label in labels}
        events = []
        for track_id, item in here.items():
            if not item.seen:
                continue
            foot = item.foot
            offset = self._offset(foot)
            if abs(offset) < self._margin(item):
                continue
            side = 1 if offset > 0 else -1
            before, before_side = self._sides.get(track_id, (foot, side))
            self._sides[track_id] = (foot, side)
            if side != before_side and self._between(before, foot):
                events.append(self._crossing(item, "in" if side > 0 else "out"))
        self._sides = {track: side for track, side in self._sides.items() if track in here}
        return events

    def _crossing(self, item: SceneObject, direction: str) -> RuleEvent:
        return RuleEvent(
            kind=Kind.LINE,
            phase=Phase.INSTANT,
            label=item.label,
            count=1,
            item=item,
            line=self.line.name,
            direction=direction,
            total=self.add(item.label, direction, 1),
        )

    def _margin(self, item: SceneObject) -> float:
        """Return how far from the line an object is on one side for sure, as `_offset` is."""
        start, end, box = self.line.start, self.line.end, item.box
        x = _MARGIN_X * (box.x_max - box.x_min) * abs(end.y - start.y)
        y = _MARGIN_Y * (box.y_max - box.y_min) * abs(end.x - start.x)
        return max(_MARGIN, (x + y) / self._length)

    def _offset(self, point: Point) -> float:
        """Return the distance from the endless line, positive on its right (y points down)."""
        start, end = self.line.start, self.line.end
        return (
            (end.x - start.x) * (point.y - start.y) - (end.y - start.y) * (point.x - start.x)
        ) / self._length

    def _between(self, one: Point, other: Point) -> bool:
        """Return whether the way from one point to another passes between the line's ends."""
        start, end = self.line.start, self.line.end
        share = abs(self._offset(one)) / (abs(self._offset(one)) + abs(self._offset(other)))
        x, y = one.x + share * (other.x - one.x), one.y + share * (other.y - one.y)
        along = (x - start.x) * (end.x - start.x) + (y - start.y) * (end.y - start.y)
        return 0 <= along <= self._length**2
