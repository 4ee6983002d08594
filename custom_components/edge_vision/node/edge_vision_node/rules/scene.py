"""What rules work with: the scene of a moment, and what they say about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..protocol import Box, Keypoint, Kind, LineTotal, Phase, Point


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """An object in a scene.

    Attributes:
        track_id: the same as long as it is followed; 0 on stills, where nothing is followed.
        label: of the model.
        confidence: a percentage, of its newest detections.
        box: where it is now; normalized.
        stationary: whether it has not moved for a while.
        returned: whether it was gone, and something like it is there again in the very place.
        seen: whether the frame shows it. If not, `box` is where it should be: nothing crosses a
            line, enters or leaves a zone, because of a guess.
        keypoints: of a body or a face, as the frame shows them; none if it does not.
    """

    track_id: int = 0
    label: str
    confidence: float
    box: Box
    stationary: bool = False
    returned: bool = False
    seen: bool = True
    keypoints: tuple[Keypoint, ...] = ()

    @property
    def foot(self) -> Point:
        """Return the bottom centre: where a person or a car stands on the ground."""
        return Point(x=(self.box.x_min + self.box.x_max) / 2, y=self.box.y_max)


@dataclass(frozen=True)
class Answer:
    """What is said of the whole picture; `confidence` is a percentage, 0 for `NO_ANSWER`.

    `item` is the object that shows it; None of an answer that is about no object.
    """

    label: str
    confidence: float
    item: SceneObject | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one look shows. A look that failed shows no scene: nothing is passed to rules then.

    Attributes:
        at: when, in seconds; only differences matter.
        objects: of a model that finds objects; on live video those that are followed.
        answer: of a model that says something of the whole picture, else None.
        embedding: of a model that makes one, else empty.
    """

    at: float = 0.0
    objects: Sequence[SceneObject] = ()
    answer: Answer | None = None
    embedding: Sequence[float] = ()


class Rule(Protocol):
    """Turns scenes over time into events. Pure: it knows no clock and no file."""

    def step(self, scene: Scene) -> list[RuleEvent]:
        """Take in a scene; return what is new."""

    def state(self) -> dict[str, Any]:
        """Return as plain data what has to survive a restart."""

    def restore(self, state: Mapping[str, Any], at: float) -> list[RuleEvent]:
        """Take up a state; return the ends of what is not looked for any more.

        Raises `ProtocolError` if it is none.
        """


@dataclass(frozen=True, kw_only=True)
class RuleEvent:
    """Something that a rule says.

    `count`: objects of the label now, in the zone if the event is about one. `confidence`: a
    percentage; None for that of `item`. `direction`: "in" or "out" over a line; `total`: crossings
    of that line by that label in that direction so far.
    """

    kind: Kind
    phase: Phase
    label: str
    count: int
    confidence: float | None = None
    item: SceneObject | None = None
    zone: str | None = None
    line: str | None = None
    direction: str | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Stay:
    """An object in a zone: for how long already, and whether that was reported as loitering."""

    track_id: int
    stayed_s: float
    loiters: bool = False


@dataclass(frozen=True, kw_only=True)
class Side:
    """Where an object was last clearly on one side of a line: -1 on its left, 1 on its right."""

    track_id: int
    place: Point
    side: int


@dataclass(frozen=True, kw_only=True)
class Told:
    """When something began last; its repeats are suppressed for a while."""

    kind: str
    label: str
    zone: str | None
    ago_s: float


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A start that was suppressed, so that its end is suppressed, too."""

    kind: str
    track_id: int
    zone: str | None


@dataclass(frozen=True, kw_only=True)
class SceneState:
    """What holds at a moment, as it has to survive a restart.

    Attributes:
        objects: that were reported and are not gone.
        zones: name → which objects are in it.
        counts: name of a zone → label → count, as reported last.
        lines: crossings so far.
        sides: name of a line → which object is on which side.
        told, left_out: what the cooldown remembers.
    """

    objects: tuple[SceneObject, ...] = ()
    zones: dict[str, tuple[Stay, ...]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] | None = None
    lines: tuple[LineTotal, ...] = ()
    sides: dict[str, tuple[Side, ...]] = field(default_factory=dict)
    told: tuple[Told, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def endings(
    state: SceneState, zones: Iterable[str], objects: Iterable[SceneObject]
) -> list[RuleEvent]:
    """Return the ends of what is not looked for any more: of stays in zones, and of objects."""
    known = {item.track_id: item for item in state.objects}
    events = []
    for zone in zones:
        for stay in state.zones[zone]:
            if (item := known.get(stay.track_id)) is None:
                continue
            if stay.loiters:
                events.append(_end(Kind.LOITERING, item, zone))
            events.append(_end(Kind.ZONE, item, zone))
    return [*events, *(_end(Kind.OBJECT, item, None) for item in objects)]


def _end(kind: Kind, item: SceneObject, zone: str | None) -> RuleEvent:
    return RuleEvent(kind=kind, phase=Phase.END, label=item.label, count=0, item=item, zone=zone)


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
