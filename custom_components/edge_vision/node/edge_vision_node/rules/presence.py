"""Presence: an object of a label is there, there are more or fewer of them, it is gone.

In a sentence for users: "It counts as there at the first look that shows it, and as gone when
several looks in a row did not."
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..protocol import Kind, LabelPresence, Phase, read, write
from .scene import RuleEvent, Scene, SceneObject


@dataclass(frozen=True, kw_only=True)
class Present:
    """How many of a label are there, and how sure the last sight of one was (a percentage)."""

    count: int
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class PresenceState:
    """What is present, as it has to survive a restart."""

    labels: dict[str, Present] = field(default_factory=dict)


class PresenceRule:
    """The presence rule over looks at stills, on which objects have no identity.

    The count of a label is the highest of its last `looks_to_clear` looks, so one look in which
    an object was missed changes nothing.
    """

    def __init__(self, labels: Iterable[str], looks_to_clear: int) -> None:
        """Start with nothing known; `labels` are those that `presence` shows from the start."""
        self._window = max(1, looks_to_clear)
        self._seen: dict[str, deque[int]] = {label: self._new() for label in labels}
        self._counts: dict[str, int] = {}
        self._confidences: dict[str, float] = {}

    def _new(self, *counts: int) -> deque[int]:
        return deque(counts, maxlen=self._window)

    def state(self) -> dict[str, Any]:
        """Return what is present."""
        return write(
            PresenceState(
                labels={
                    label: Present(count=count, confidence=self._confidences.get(label))
                    for label, count in self._counts.items()
                    if count
                }
            )
        )

    def restore(self, state: Mapping[str, Any], at: float = 0.0) -> list[RuleEvent]:  # noqa: ARG002
        """Take up what was present before. Raises `ProtocolError`."""
        for label, item in read(PresenceState, dict(state)).labels.items():
            self._seen[label] = self._new(item.count)
            self._counts[label] = item.count
            if item.confidence is not None:
                self._confidences[label] = item.confidence
        return []

    def step(self, scene: Scene) -> list[RuleEvent]:
        """Take in one look's objects, best first; return what has changed."""
        by_label: dict[str, list[SceneObject]] = {}
        for item in scene.objects:
            by_label.setdefault(item.label, []).append(item)
        events = []
        for label in [*self._seen, *(new for new in by_label if new not in self._seen)]:
            found = by_label.get(label, [])
            window = self._seen.setdefault(label, self._new())
            window.append(len(found))
            count, before = max(window), self._counts.get(label, 0)
            self._counts[label] = count
            if found:
                self._confidences[label] = found[0].confidence
            if count != before:
                phase = Phase.START if not before else Phase.UPDATE if count else Phase.END
                events.append(self._event(phase, label, found[0] if found else None))
        return events

    def _event(self, phase: Phase, label: str, best: SceneObject | None) -> RuleEvent:
        return RuleEvent(
            kind=Kind.OBJECT,
            phase=phase,
            label=label,
            count=self._counts[label],
            confidence=self._confidences.get(label, 0.0),
            item=best,
        )

    @property
    def presence(self) -> dict[str, LabelPresence]:
        """Return what holds after the looks so far; empty before the first one."""
        return {
            label: LabelPresence(
                present=count > 0,
                count=count,
                confidence=self._confidences.get(label) if count else None,
            )
            for label, count in self._counts.items()
        }
