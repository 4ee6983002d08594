"""Objects: each one is reported once when it appears, and once when it is gone.

In a sentence for users: "You get an event when an object appears, when it stops or moves on, and
when it is gone; the same object is not reported twice."
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ..protocol import Kind, ObjectLimits, Phase
from .scene import RuleEvent, SceneObject


class Limits:
    """Which objects are sure and large enough.

    In a sentence for users: "An object counts from the minimum confidence on, that of its kind if
    you gave one, and if it is neither smaller nor larger than you allow its kind to be."
    """

    def __init__(self, confidence: float, labels: Mapping[str, ObjectLimits]) -> None:
        """Take the lowest confidence, a percentage, and the limits of some labels."""
        self._confidence = confidence
        self._labels = labels

    @property
    def lowest(self) -> float:
        """Return the lowest confidence that counts for any label, a percentage."""
        own = [item.confidence for item in self._labels.values() if item.confidence is not None]
        return min([self._confidence, *own])

    def allow(self, label: str, confidence: float, area: float) -> bool:
        """Return whether an object counts; `area` is its share of the frame, 0-1."""
        limits = self._labels.get(label)
        if limits is None:
            return confidence >= self._confidence
        least = self._confidence if limits.confidence is None else limits.confidence
        return confidence >= least and limits.min_area <= area <= limits.max_area


class Qualification:
    """Which objects count: those that were once confident and large enough, until they are gone.

    In a sentence for users: "An object counts once it has reached the minimum confidence and the
    size that you asked for; it need not keep them."
    """

    def __init__(self, limits: Limits) -> None:
        """Start with nothing that counts."""
        self._limits = limits
        self._qualified: set[int] = set()

    def step(self, objects: Iterable[SceneObject]) -> list[SceneObject]:
        """Return the objects that count."""
        counted = [
            item
            for item in objects
            if item.track_id in self._qualified
            or self._limits.allow(item.label, item.confidence, item.box.area)
        ]
        self._qualified = {item.track_id for item in counted}
        return counted

    def restore(self, track_ids: Iterable[int]) -> None:
        """Restore which objects counted."""
        self._qualified = set(track_ids)


class Announcements:
    """The rule over the objects of each moment."""

    def __init__(self) -> None:
        """Start with nothing there."""
        self._known: dict[int, SceneObject] = {}

    @property
    def known(self) -> Mapping[int, SceneObject]:
        """Return the objects that were reported and are not gone, by track."""
        return self._known

    def restore(self, objects: Iterable[SceneObject]) -> None:
        """Restore the objects that were reported."""
        self._known = {item.track_id: item for item in objects}

    def step(self, objects: Sequence[SceneObject]) -> list[RuleEvent]:
        """Take in the objects of a moment; return what is new about them."""
        now = {item.track_id: item for item in objects}
        counts = count_labels(objects)
        events = []
        for track_id, item in now.items():
            before = self._known.get(track_id)
            if before is None:
                # A parked car that a shadow hid for a while has not just arrived.
                phase = Phase.UPDATE if item.returned else Phase.START
            elif before.stationary != item.stationary:
                phase = Phase.UPDATE
            else:
                continue
            events.append(
                RuleEvent(
                    kind=Kind.OBJECT,
                    phase=phase,
                    label=item.label,
                    count=counts[item.label],
                    item=item,
                )
            )
        events += [
            RuleEvent(
                kind=Kind.OBJECT,
                phase=Phase.END,
                label=item.label,
                count=counts.get(item.label, 0),
                item=item,
            )
            for track_id, item in self._known.items()
            if track_id not in now
        ]
        self._known = now
        return events


class _Labeled(Protocol):
    @property
    def label(self) -> str: ...


def count_labels(objects: Iterable[_Labeled]) -> dict[str, int]:
    """Return label → how many."""
    counts: dict[str, int] = {}
    for item in objects:
        counts[item.label] = counts.get(item.label, 0) + 1
    return counts
