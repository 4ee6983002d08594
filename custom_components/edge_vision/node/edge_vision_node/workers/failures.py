"""Accelerators that load a model but fail to run it."""

from __future__ import annotations

import time
from enum import Enum, auto

from ..errors import AcceleratorFailedError, InferenceError

# In a row. One failure may be due to the picture; three are due to the device or its driver.
_RELOAD_AFTER = 3
_GIVE_UP_AFTER = 6
# The device may be plugged in again by then.
_TRY_AGAIN_AFTER_S = 300.0


class Verdict(Enum):
    """What to do after a failure."""

    BEAR = auto()
    RELOAD = auto()
    GIVE_UP = auto()


class Failures:
    """Counts the failed runs in a row of each place, by its key. Nothing is stored."""

    def __init__(self) -> None:
        """Start with no failures."""
        self._in_a_row: dict[str, int] = {}
        self._given_up: dict[str, tuple[float, InferenceError]] = {}

    def note(self, key: str, error: InferenceError) -> Verdict:
        """Count a failure."""
        count = self._in_a_row.get(key, 0) + 1
        self._in_a_row[key] = count
        if count == _RELOAD_AFTER:
            return Verdict.RELOAD
        if count < _GIVE_UP_AFTER:
            return Verdict.BEAR
        self._given_up[key] = (time.monotonic(), error)
        return Verdict.GIVE_UP

    def forget(self, key: str) -> None:
        """Reset the count after a run that succeeded."""
        self._in_a_row.pop(key, None)

    def require_hope(self, key: str) -> None:
        """Raise `AcceleratorFailedError` if a place was given up recently."""
        if (given_up := self._given_up.get(key)) is None:
            return
        at, error = given_up
        if time.monotonic() - at < _TRY_AGAIN_AFTER_S:
            raise AcceleratorFailedError(
                f"It fails repeatedly, even after it was reloaded: {error}"
            )
        del self._given_up[key]
        self.forget(key)
