"""Decides which pictures of a stream can be trusted, by the decoder's reports of damage."""

from __future__ import annotations

from collections import deque

# A sound stream is given up when more than this share of its pictures is damaged, and trusted again
# at the smaller one.
_MOSTLY, _FEW = 0.5, 0.2
# A share needs at least this many pictures.
_ENOUGH = 8


class Soundness:
    """The recent damage of a stream.

    A decoder reports the picture whose data was damaged. The following ones are based on it and
    equally wrong until the next key frame. Cameras that refresh the picture gradually send no key
    frames: they are trusted again when nothing was damaged for half of the window.
    """

    def __init__(self, window_s: float) -> None:
        """Start with trust; `window_s` is how long mostly damaged pictures are tolerated."""
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
        """Stop trusting the stream until it is sound again."""
        self._doubtful = True

    def begin(self) -> None:
        """Start again with a new connection."""
        self._lately.clear()
        self._begun_at = self._damaged_at = None

    def step(self, at: float, *, damaged: bool, key: bool) -> bool:
        """Note a picture and its damage at a time in seconds; return whether to trust it."""
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
