"""How fast a live pipeline looks, and whether it keeps up."""

from __future__ import annotations

from collections import deque

# Of the newest frames: more than this share left out means that something cannot keep up.
_RECENT, _MOST_LEFT_OUT = 50, 0.2
_RATE_OVER = 20


class Rate:
    """How many frames were looked at lately, and how many left out."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self.times: deque[float] = deque(maxlen=_RATE_OVER)
        self.outcomes: deque[bool] = deque(maxlen=_RECENT)

    def looked(self, at: float) -> None:
        """Note a frame that was looked at; `at` is its time in seconds."""
        self.times.append(at)
        self.outcomes.append(True)

    def left_out(self) -> None:
        """Note a frame that was left out."""
        self.outcomes.append(False)

    @property
    def frames_per_second(self) -> float | None:
        """Return the rate of the newest frames; None before the second one."""
        if len(self.times) < 2 or self.times[-1] <= self.times[0]:
            return None
        return round((len(self.times) - 1) / (self.times[-1] - self.times[0]), 1)

    @property
    def new(self) -> bool:
        """Return whether it is of so few frames that it still changes."""
        return len(self.times) < _RATE_OVER

    def is_slowed(self, *, before: bool) -> bool:
        """Return whether too many are left out; once they are, until clearly fewer are."""
        outcomes = self.outcomes
        left_out = len(outcomes) - sum(outcomes)
        most = _MOST_LEFT_OUT * _RECENT
        return len(outcomes) == _RECENT and left_out > (most / 2 if before else most)
