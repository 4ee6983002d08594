"""Presence: an object of a label is there, there are more or fewer of them, it is gone.

In a sentence for users: "It counts as there at the first look that shows it, and as gone when
several looks in a row did not."
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..protocol import DetectedObject, LabelPresence, Phase


@dataclass(frozen=True)
class Change:
    """A label's presence has changed; `best` is the most confident object of the newest look."""

    phase: Phase
    label: str
    count: int
    best: DetectedObject | None


class Presence:
    """The presence rule over looks.

    The count of a label is the highest of its last `looks_to_clear` looks, so one look in which
    an object was missed changes nothing. Looks that failed are not looks: don't pass them in.
    """

    def __init__(self, labels: Iterable[str], looks_to_clear: int) -> None:
        """Start with nothing known; `labels` are those that `state` shows from the first look."""
        self._window = max(1, looks_to_clear)
        self._seen: dict[str, deque[int]] = {label: self._new() for label in labels}
        self._counts: dict[str, int] = {}
        self._confidences: dict[str, float] = {}

    def _new(self, *counts: int) -> deque[int]:
        return deque(counts, maxlen=self._window)

    def restore(self, counts: Mapping[str, int]) -> None:
        """Take up what was true before a restart: these labels were present, in this number."""
        for label, count in counts.items():
            self._seen[label] = self._new(count)
            self._counts[label] = count

    def step(self, objects: Sequence[DetectedObject]) -> list[Change]:
        """Take in one look's objects, best first; return what has changed."""
        by_label: dict[str, list[DetectedObject]] = {}
        for item in objects:
            by_label.setdefault(item.label, []).append(item)
        changes = []
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
                changes.append(Change(phase, label, count, found[0] if found else None))
        return changes

    def last_confidence(self, label: str) -> float:
        """Return the confidence (0-100) with which a label was last seen; 0 if not since start."""
        return self._confidences.get(label, 0.0)

    @property
    def state(self) -> dict[str, LabelPresence]:
        """Return what holds after the looks so far; empty before the first one."""
        return {
            label: LabelPresence(
                present=count > 0,
                count=count,
                confidence=self._confidences.get(label) if count else None,
            )
            for label, count in self._counts.items()
        }
