"""Which pictures of a stream can be believed, by what the decoder says of each."""

from __future__ import annotations

from collections import deque

# Of a stream that was sound, more than so many pictures have to be damaged before it is given up.
# One that was given up is believed again when few are.
_MOSTLY, _FEW = 0.5, 0.2
# Fewer pictures say nothing about a share.
_ENOUGH = 8


class Soundness:
    """What was damaged lately.

    A decoder tells of the picture whose data was damaged. Those that follow are drawn upon it, and
    are as wrong as it is, until the next key frame. Some cameras refresh the picture bit by bit and
    send none: they are believed when nothing was damaged for half of the time.
    """

    def __init__(self, window_s: float) -> None:
        """Begin with trust; `window_s` is how long mostly damaged pictures are put up with."""
        self._window_s = window_s
        self._lately: deque[tuple[float, bool]] = deque()
        self._begun_at: float | None = None
        self._damaged_at: float | None = None
        self._doubtful = False

    @property
    def mostly_damaged(self) -> bool:
        """Return whether most pictures of the window were damaged."""
        if self._begun_at is None or len(self._lately) < _ENOUGH:
            return False
        long_enough = self._lately[-1][0] - self._begun_at >= self._window_s
        return long_enough and self._share > _MOSTLY

    @property
    def _share(self) -> float:
        return sum(damaged for _, damaged in self._lately) / len(self._lately)

    def give_up(self) -> None:
        """Trust no more, until there is proof."""
        self._doubtful = True

    def begin(self) -> None:
        """Begin anew, with another connection."""
        self._lately.clear()
        self._begun_at = self._damaged_at = None

    def step(self, at: float, *, damaged: bool, key: bool) -> bool:
        """Take in what the decoder says at a time in seconds; return whether to believe it."""
        if self._begun_at is None:
            self._begun_at = at
        self._lately.append((at, damaged))
        while len(self._lately) > _ENOUGH and at - self._lately[0][0] > self._window_s:
            self._lately.popleft()
        if damaged:
            self._damaged_at = at
        elif key or self._healed(at):
            self._damaged_at = None
        if self._doubtful and at - self._begun_at >= self._window_s / 4:
            self._doubtful = self._share > _FEW
        return self._damaged_at is None and not self._doubtful

    def _healed(self, at: float) -> bool:
        return self._damaged_at is not None and at - self._damaged_at >= self._window_s / 2
