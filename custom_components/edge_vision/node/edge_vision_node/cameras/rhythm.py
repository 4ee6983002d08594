"""Learns how often a camera sends data, and so after what silence it is unavailable."""

from __future__ import annotations

# Number of pauses after which the rhythm is known.
_ENOUGH = 2
# A camera may be silent this many times its longest pause, or the usual silence if its rhythm is
# not known.
_PATIENCE = 3.0
_LONGEST_S = 120.0
# Share of the longest pause that is kept after a shorter one.
_KEPT = 0.99


class Rhythm:
    """The pauses of a camera's data.

    Some cameras send a picture every twelve seconds and are available in between. Most send several
    per second, so a shorter silence means that they are unavailable.
    """

    def __init__(self, stall_s: float) -> None:
        """Start without a rhythm; `stall_s` is the silence that is always allowed."""
        self._stall_s = stall_s
        self._known = 0
        self._longest_s = 0.0

    def step(self, pause_s: float) -> None:
        """Note a pause that ended with data."""
        self._known += 1
        self._longest_s = max(pause_s, _KEPT * self._longest_s)

    @property
    def limit_s(self) -> float:
        """Return the silence after which the camera is unavailable."""
        longest_s = self._stall_s if self._known < _ENOUGH else self._longest_s
        return max(self._stall_s, min(_PATIENCE * longest_s, _LONGEST_S))
