"""Classification: the answer for the whole frame, held until another one is certain.

In a sentence for users: "The first answer counts at once; another one replaces it when several
looks in a row agree on it."
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol import NO_ANSWER


@dataclass(frozen=True)
class Answer:
    """What one look, or the rule, says; `confidence` is a percentage, 0 for `NO_ANSWER`."""

    label: str
    confidence: float


NOTHING = Answer(NO_ANSWER, 0.0)


class HeldAnswer:
    """The rule over looks.

    Looks that failed are not looks: don't pass them in.
    """

    def __init__(self, looks_to_change: int) -> None:
        """Start with nothing known; so many looks in a row must agree before it changes."""
        self._needed = max(1, looks_to_change)
        self._candidate: str | None = None
        self._agreed = 0
        self._answer: Answer | None = None

    @property
    def answer(self) -> Answer | None:
        """Return what holds after the looks so far; None before the first one."""
        return self._answer

    def restore(self, label: str, confidence: float) -> None:
        """Take up what held before a restart."""
        self._answer = Answer(label, confidence)

    def step(self, seen: Answer) -> Answer | None:
        """Take in one look's best answer; return what holds now where that is news.

        The first answer of all is news unless it is `NO_ANSWER`: nothing has happened then.
        """
        held = self._answer
        if held is None:
            self._answer = seen
            return seen if seen.label != NO_ANSWER else None
        if seen.label == held.label:
            self._candidate, self._agreed = None, 0
            self._answer = seen
            return None
        if seen.label != self._candidate:
            self._candidate, self._agreed = seen.label, 0
        self._agreed += 1
        if self._agreed < self._needed:
            return None
        self._candidate, self._agreed = None, 0
        self._answer = seen
        return seen
