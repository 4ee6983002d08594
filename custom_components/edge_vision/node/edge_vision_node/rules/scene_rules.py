"""The rules over what is followed in live video, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..protocol import (
    Kind,
    LabelPresence,
    Line,
    LineTotal,
    ObjectLimits,
    Phase,
    Zone,
    read,
    write,
)
from .lines import LineRule
from .objects import Announcements, Limits, Qualification, count_labels
from .scene import LeftOut, RuleEvent, Scene, SceneObject, SceneState, Told, endings
from .zones import ZoneRule


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What rules look for at a camera.

    `labels` are those that `presence` shows from the first look. `confidence` (a percentage) and
    `limits`: see `Limits`. `cooldown_s`: see `Cooldown`.
    """

    labels: tuple[str, ...] = ()
    confidence: float = 50.0
    limits: Mapping[str, ObjectLimits] = field(default_factory=dict)
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    cooldown_s: float = 0.0


class Cooldown:
    """Suppresses repeated starts of the same kind, label and zone.

    In a sentence for users: "After an event, events of the same object, rule and zone are
    suppressed for as long as you set." If a start is suppressed, so is its end.
    """

    def __init__(self, cooldown_s: float) -> None:
        """Initialize; the time is in seconds, 0 turns this off."""
        self._cooldown_s = cooldown_s
        self._told_at: dict[tuple[Kind, str, str | None], float] = {}
        self._left_out: set[tuple[Kind, int, str | None]] = set()

    def told(self, at: float) -> tuple[Told, ...]:
        """Return what was reported lately, as it has to survive a restart."""
        return tuple(
            Told(kind=kind, label=label, zone=zone, ago_s=round(at - told_at, 3))
            for (kind, label, zone), told_at in self._told_at.items()
            if at - told_at < self._cooldown_s
        )

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Return what was suppressed and has not ended."""
        return tuple(
            LeftOut(kind=kind, track_id=track_id, zone=zone)
            for kind, track_id, zone in self._left_out
        )

    def restore(self, state: SceneState, at: float) -> None:
        """Restore what was reported, and what was suppressed."""
        self._told_at = {
            (Kind(item.kind), item.label, item.zone): at - item.ago_s for item in state.told
        }
        self._left_out = {(Kind(item.kind), item.track_id, item.zone) for item in state.left_out}

    def step(self, events: Iterable[RuleEvent], at: float) -> list[RuleEvent]:
        """Return the events that are not suppressed."""
        if not self._cooldown_s and not self._left_out:
            return list(events)
        return [event for event in events if self._is_told(event, at)]

    def _is_told(self, event: RuleEvent, at: float) -> bool:
        if event.item is None or event.phase == Phase.INSTANT:
            return True
        this = (event.kind, event.item.track_id, event.zone)
        if event.phase == Phase.START:
            key = (event.kind, event.label, event.zone)
            before = self._told_at.get(key)
            if before is not None and at - before < self._cooldown_s:
                self._left_out.add(this)
                return False
            self._told_at[key] = at
            return True
        told = this not in self._left_out
        if event.phase == Phase.END:
            self._left_out.discard(this)
        return told


class SceneRules:
    """The rules of one camera over the objects that are followed there."""

    def __init__(self, config: SceneConfig) -> None:
        """Start with an empty picture."""
        self._labels = config.labels
        self._limits = Limits(config.confidence, config.limits)
        self._qualification = Qualification(self._limits)
        self._announcements = Announcements()
        self._zones = [ZoneRule(zone) for zone in config.zones]
        self._lines = [LineRule(line) for line in config.lines]
        self._cooldown = Cooldown(config.cooldown_s)
        self._looked = False
        self._at = 0.0

    def state(self) -> dict[str, Any]:
        """Return what has to survive a restart, see `SceneState`."""
        at = self._at
        state = SceneState(
            # Keypoints are those of a frame, and not known any more after a restart.
            objects=tuple(replace(item, keypoints=()) for item in self.objects),
            zones={zone.zone.name: zone.stays for zone in self._zones},
            lines=tuple(
                LineTotal(line=name, label=label, direction=direction, total=total)
                for name, totals in self.line_totals.items()
                for (label, direction), total in totals.items()
            ),
            counts={zone.zone.name: dict(zone.counts) for zone in self._zones},
            sides={line.line.name: line.sides for line in self._lines},
            told=self._cooldown.told(at),
            left_out=self._cooldown.left_out,
        )
        return write(state)

    def restore(
        self, state: Mapping[str, Any], at: float, best: Mapping[int, float] | None = None
    ) -> list[RuleEvent]:
        """Take up what held before; return the ends of what is not looked for any more.

        Args:
            state: from `state`.
            at: now, in seconds.
            best: track → the highest confidence that it ever had, a percentage, if other limits
                hold now than then: what is below them ends. None: all still count.

        Raises:
            ProtocolError: the state makes no sense.
        """
        return self._restore(read(SceneState, dict(state)), at, best)

    def _restore(
        self, state: SceneState, at: float, best: Mapping[int, float] | None
    ) -> list[RuleEvent]:
        self._at = at
        self._qualification.restore(
            item.track_id
            for item in state.objects
            if best is None
            or self._limits.allow(item.label, best.get(item.track_id, 0.0), item.box.area)
        )
        self._announcements.restore(state.objects)
        known = {item.track_id: item for item in state.objects}
        for zone in self._zones:
            stays = state.zones.get(zone.zone.name, ())
            zone.restore(
                [(known[stay.track_id], stay) for stay in stays if stay.track_id in known],
                at,
                (state.counts or {}).get(zone.zone.name),
            )
        for line in self._lines:
            line.restore(
                {
                    (item.label, item.direction): item.total
                    for item in state.lines
                    if item.line == line.line.name
                },
                state.sides.get(line.line.name, ()),
            )
        removed = state.zones.keys() - {zone.zone.name for zone in self._zones}
        self._cooldown.restore(state, at)
        return self._cooldown.step(endings(state, sorted(removed), ()), at)

    def add_totals(self, lines: Iterable[LineTotal]) -> None:
        """Add crossings that were counted before."""
        for line in self._lines:
            for item in lines:
                if item.line == line.line.name:
                    line.add(item.label, item.direction, item.total)

    def end(self, state: SceneState, at: float) -> list[RuleEvent]:
        """Return the ends of everything that held and is not looked for any more."""
        self._cooldown.restore(state, at)
        events = self._cooldown.step(endings(state, state.zones, state.objects), at)
        self._cooldown.restore(SceneState(), at)
        return events

    def step(self, scene: Scene) -> list[RuleEvent]:
        """Take in the confirmed objects of a moment; return what is new."""
        self._looked, self._at = True, scene.at
        counted = self._qualification.step(scene.objects)
        ordered = sorted(counted, key=lambda item: item.confidence, reverse=True)
        events = self._announcements.step(ordered)
        for zone in self._zones:
            events += zone.step(ordered, scene.at)
        for line in self._lines:
            events += line.step(ordered)
        # What ends comes last, so that an object is not gone before it has left its zones.
        events.sort(key=lambda event: event.phase == Phase.END and event.kind == Kind.OBJECT)
        return self._cooldown.step(events, scene.at)

    def allow(self, item: SceneObject) -> bool:
        """Return whether an object is confident and large enough at this moment."""
        return self._limits.allow(item.label, item.confidence, item.box.area)

    @property
    def objects(self) -> list[SceneObject]:
        """Return the objects that count and are there."""
        return list(self._announcements.known.values())

    def zones_of(self, track_id: int) -> tuple[str, ...]:
        """Return the names of the zones that an object is in."""
        return tuple(
            zone.zone.name
            for zone in self._zones
            if any(item.track_id == track_id for item in zone.members)
        )

    @property
    def zone_members(self) -> dict[str, list[SceneObject]]:
        """Return the objects in each zone."""
        return {zone.zone.name: zone.members for zone in self._zones}

    @property
    def presence(self) -> dict[str, LabelPresence]:
        """Return what holds of each label in the whole picture; empty before the first look."""
        return self._presence(self.objects)

    @property
    def zone_presence(self) -> dict[str, dict[str, LabelPresence]]:
        """Return the same for each zone."""
        return {zone.zone.name: self._presence(zone.members) for zone in self._zones}

    def _presence(self, objects: Sequence[SceneObject]) -> dict[str, LabelPresence]:
        if not self._looked:
            return {}
        counts = count_labels(objects)
        best: dict[str, float] = {}
        for item in objects:
            best[item.label] = max(item.confidence, best.get(item.label, 0.0))
        return {
            label: LabelPresence(
                present=counts.get(label, 0) > 0,
                count=counts.get(label, 0),
                confidence=best.get(label),
            )
            for label in dict.fromkeys((*self._labels, *counts))
        }

    @property
    def line_totals(self) -> dict[str, dict[tuple[str, str], int]]:
        """Return line → (label, direction) → crossings."""
        return {line.line.name: dict(line.totals) for line in self._lines}
