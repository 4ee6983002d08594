"""Answers about the whole picture: held until another one is certain.

In a sentence for users: "The first answer counts at once; another one replaces it when several
looks in a row agree on it."
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..protocol import NO_ANSWER, Kind, Phase, read, write
from .scene import Answer, RuleEvent, Scene

NOTHING = Answer(NO_ANSWER, 0.0)


@dataclass(frozen=True, kw_only=True)
class AnswerState:
    """What holds, as it has to survive a restart."""

    label: str
    confidence: float = 0.0


class AnswerRule:
    """The rule over looks. A scene without an answer changes nothing."""

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

    def state(self) -> dict[str, Any]:
        """Return what holds; empty if nothing is known."""
        held = self._answer
        return write(AnswerState(label=held.label, confidence=held.confidence)) if held else {}

    def restore(self, state: Mapping[str, Any], at: float = 0.0) -> list[RuleEvent]:  # noqa: ARG002
        """Take up what held before. Raises `ProtocolError`."""
        if state:
            held = read(AnswerState, dict(state))
            self._answer = Answer(held.label, held.confidence)
        return []

    def step(self, scene: Scene) -> list[RuleEvent]:
        """Take in one look's answer; return what holds now if that is news.

        The first answer of all is news unless it is `NO_ANSWER`: nothing has happened then.
        """
        if scene.answer is None or not self._is_news(scene.answer):
            return []
        news = scene.answer
        return [
            RuleEvent(
                kind=Kind.CLASSIFICATION,
                phase=Phase.INSTANT,
                label=news.label,
                count=int(news.label != NO_ANSWER),
                confidence=news.confidence,
                item=news.item,
            )
        ]

    def _is_news(self, seen: Answer) -> bool:
        held = self._answer
        if held is None:
            self._answer = seen
            return seen.label != NO_ANSWER
        if seen.label == held.label:
            self._candidate, self._agreed = None, 0
            self._answer = seen
            return False
        if seen.label != self._candidate:
            self._candidate, self._agreed = seen.label, 0
        self._agreed += 1
        if self._agreed < self._needed:
            return False
        self._candidate, self._agreed = None, 0
        self._answer = seen
        return True
