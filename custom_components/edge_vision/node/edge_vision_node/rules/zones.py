"""Zones: an object enters and leaves, stays too long, and there are more or fewer of them.

In sentences for users:

- *zone*: "An object is in a zone when the middle of its lower edge has been in there for half a
  second, and in two looks; it has left when that has been clearly outside for as long. What was
  hidden in there and is visible again has not entered once more."
- *loitering*: "You get an event when an object stays in a zone longer than you allow."
- *count*: "You get the number of objects of a kind in a zone when that number has held for two
  seconds."
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..protocol import Kind, Phase, Point, Zone
from .objects import count_labels
from .scene import RuleEvent, SceneObject, Stay, inside

# Inertia: a box trembles at a zone's edge; a person does not.
_LOOKS_TO_CHANGE, _SECONDS_TO_CHANGE = 2, 0.5
# Of a box's width and height: an object that is outside by less has not left.
_MARGIN_X, _MARGIN_Y = 0.25, 0.1
# Of how many that were in the zone and are gone it is remembered, in case they were only hidden.
_MOST_GONE = 50
_SECONDS_TO_COUNT = 2.0


@dataclass
class _Stay:
    """An object's relation to a zone; times in seconds."""

    item: SceneObject
    within: bool = False
    entered_at: float = 0.0
    loiters: bool = False
    changing_since: float | None = None
    looks: int = 0


class ZoneRule:
    """The rule over one zone."""

    def __init__(self, zone: Zone) -> None:
        """Start with an empty zone."""
        self.zone = zone
        self._at = 0.0
        self._stays: dict[int, _Stay] = {}
        self._gone: dict[int, _Stay] = {}
        self._counts: dict[str, int] = {}
        self._candidates: dict[str, tuple[int, float]] = {}

    @property
    def members(self) -> list[SceneObject]:
        """Return the objects in the zone."""
        return [stay.item for stay in self._stays.values() if stay.within]

    @property
    def loiterers(self) -> list[SceneObject]:
        """Return those that have been in there for too long."""
        return [stay.item for stay in self._stays.values() if stay.loiters]

    @property
    def stays(self) -> tuple[Stay, ...]:
        """Return the objects in the zone, as they have to survive a restart."""
        return tuple(
            Stay(
                track_id=track_id,
                stayed_s=round(self._at - stay.entered_at, 3),
                loiters=stay.loiters,
            )
            for track_id, stay in self._stays.items()
            if stay.within
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """Return label → count, as reported last."""
        return self._counts

    def restore(
        self,
        stays: Iterable[tuple[SceneObject, Stay]],
        at: float,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Restore which objects were in the zone, and the reported counts."""
        self._at = at
        self._stays = {
            item.track_id: _Stay(
                item, within=True, entered_at=at - stay.stayed_s, loiters=stay.loiters
            )
            for item, stay in stays
        }
        self._counts = count_labels(self.members) if counts is None else dict(counts)

    def step(self, objects: Sequence[SceneObject], at: float) -> list[RuleEvent]:
        """Take in the objects of a moment (`at`, in seconds); return what is new in the zone."""
        zone, self._at = self.zone, at
        here = {
            item.track_id: item for item in objects if not zone.labels or item.label in zone.labels
        }
        entered, left, began, ended = [], [], [], []
        back = [
            self._take_up(item, at)
            for track_id, item in here.items()
            if item.returned and track_id not in self._stays and inside(zone.points, item.foot)
        ]
        for track_id, item in here.items():
            stay = self._stays.setdefault(track_id, _Stay(item))
            stay.item = item
            if not item.seen or not self._changes(stay, at):
                continue
            stay.within = not stay.within
            if stay.within:
                entered.append(item)
                stay.entered_at = at
            else:
                left.append(item)
                if stay.loiters:
                    ended.append(item)
                stay.loiters = False
        for track_id in self._stays.keys() - here.keys():
            stay = self._stays.pop(track_id)
            if stay.within:
                left.append(stay.item)
                self._gone[track_id] = stay
            if stay.loiters:
                ended.append(stay.item)
        while len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        if zone.loitering_s is not None:
            for stay in self._stays.values():
                too_long = stay.within and at - stay.entered_at >= zone.loitering_s
                there = stay.item.seen or stay.item.stationary
                if too_long and there and not stay.loiters:
                    stay.loiters = True
                    began.append(stay.item)
        again = [stay.item for stay in back if stay.loiters]
        return [
            *self._events(Kind.ZONE, Phase.UPDATE, [stay.item for stay in back], self.members),
            *self._events(Kind.LOITERING, Phase.UPDATE, again, self.loiterers),
            *self._events(Kind.ZONE, Phase.START, entered, self.members),
            *self._events(Kind.LOITERING, Phase.START, began, self.loiterers),
            *self._events(Kind.LOITERING, Phase.END, ended, self.loiterers),
            *self._events(Kind.ZONE, Phase.END, left, self.members),
            *(self._count(at) if zone.counting else ()),
        ]

    def _take_up(self, item: SceneObject, at: float) -> _Stay:
        """Put an object back in the zone in which it was hidden."""
        before = self._gone.pop(item.track_id, None) or _Stay(item, entered_at=at)
        stay = _Stay(item, True, before.entered_at, before.loiters)
        self._stays[item.track_id] = stay
        return stay

    def _changes(self, stay: _Stay, at: float) -> bool:
        """Return whether an object now is where it was not, and has been for long enough."""
        least = self.zone.confidence
        sure = stay.within or least is None or stay.item.confidence >= least
        within = inside(self.zone.points, stay.item.foot) or (stay.within and self._near(stay.item))
        if (sure and within) == stay.within:
            stay.changing_since = None
            return False
        if stay.changing_since is None:
            stay.changing_since, stay.looks = at, 0
        stay.looks += 1
        if stay.looks < _LOOKS_TO_CHANGE or at - stay.changing_since < _SECONDS_TO_CHANGE:
            return False
        stay.changing_since = None
        return True

    def _near(self, item: SceneObject) -> bool:
        """Return whether an object is so little outside that its box may only have trembled."""
        foot, box = item.foot, item.box
        x, y = _MARGIN_X * (box.x_max - box.x_min), _MARGIN_Y * (box.y_max - box.y_min)
        return any(
            inside(self.zone.points, Point(x=foot.x + dx, y=foot.y + dy))
            for dx, dy in ((-x, 0), (x, 0), (0, -y), (0, y))
        )

    def _events(
        self, kind: Kind, phase: Phase, items: Iterable[SceneObject], among: Iterable[SceneObject]
    ) -> list[RuleEvent]:
        counts = count_labels(among)
        return [
            RuleEvent(
                kind=kind,
                phase=phase,
                label=item.label,
                count=counts.get(item.label, 0),
                item=item,
                zone=self.zone.name,
            )
            for item in items
        ]

    def _count(self, at: float) -> list[RuleEvent]:
        counts = count_labels(self.members)
        events = []
        for label in self._counts.keys() | counts.keys():
            count = counts.get(label, 0)
            if count == self._counts.get(label, 0):
                self._candidates.pop(label, None)
                continue
            candidate, since = self._candidates.get(label, (None, at))
            if candidate != count:
                self._candidates[label] = (count, at)
            elif at - since >= _SECONDS_TO_COUNT:
                del self._candidates[label]
                self._counts[label] = count
                best = max(
                    (item for item in self.members if item.label == label),
                    key=lambda item: item.confidence,
                    default=None,
                )
                events.append(
                    RuleEvent(
                        kind=Kind.COUNT,
                        phase=Phase.INSTANT,
                        label=label,
                        count=count,
                        item=best,
                        zone=self.zone.name,
                    )
                )
        return events
