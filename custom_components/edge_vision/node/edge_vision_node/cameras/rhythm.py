"""How often a camera sends something, and so after how long a silence it counts as away."""

from __future__ import annotations

# Pauses after which the rhythm is known.
_ENOUGH = 2
# How many times its longest pause a camera may be silent; and one of which nothing is known yet,
# how many times the usual silence.
_PATIENCE = 3.0
_LONGEST_S = 120.0
# Which part of the longest pause is remembered after a shorter one.
_KEPT = 0.99


class Rhythm:
    """The pauses between what a camera sends.

    Some send a picture every twelve seconds, and are not away in between. Most send several a
    second, and of those a shorter silence tells.
    """

    def __init__(self, stall_s: float) -> None:
        """Begin without knowing; `stall_s` is the silence that a camera may always have."""
        self._stall_s = stall_s
        self._known = 0
        self._longest_s = 0.0

    def step(self, pause_s: float) -> None:
        """Note a pause that ended with data."""
        self._known += 1
        self._longest_s = max(pause_s, _KEPT * self._longest_s)

    @property
    def limit_s(self) -> float:
        """Return the silence after which the camera counts as away."""
        longest_s = self._stall_s if self._known < _ENOUGH else self._longest_s
        return max(self._stall_s, min(_PATIENCE * longest_s, _LONGEST_S))
