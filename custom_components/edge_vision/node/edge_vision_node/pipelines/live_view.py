"""What people see of a live pipeline: its newest frames, with what they show."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ..cameras.messages import CameraFrame, Pictured
from ..cameras.stream import Watcher
from ..errors import CameraError, FrameGoneError
from ..protocol import ClassScore, DetectedObject, Findings, SourceState

# A frame with boxes is shown for so long: if nothing moves, the whole frame is looked at every few
# seconds only.
_SHOWN_S = 3.0


@dataclass(frozen=True)
class LookedAt:
    """A frame that was looked at, and what it shows; its JPEG if that was what was looked at."""

    frame: CameraFrame
    objects: tuple[DetectedObject, ...]
    classes: tuple[ClassScore, ...] = ()
    jpeg: bytes | None = None


class LiveView:
    """Returns pictures of one camera's live video. All raise `CameraError` if there are none."""

    def __init__(self, watcher: Watcher) -> None:
        """Initialize without a frame that was looked at."""
        self._watcher = watcher
        self.looked: LookedAt | None = None

    async def newest(self, max_width: int) -> tuple[Pictured, bytes]:
        """Return the newest frame as JPEG."""
        self._expect_live()
        return await self._watcher.picture(max_width=max_width)

    async def with_findings(self, max_width: int) -> tuple[str, bytes, Findings]:
        """Return a frame as JPEG, when it was taken, and what that very frame shows.

        It is the one that was looked at last if that shows something, and the newest one otherwise,
        of which nothing is known.
        """
        self._expect_live()
        looked, newest = self.looked, self._watcher.camera.frame
        if looked is not None and newest is not None and (looked.objects or looked.classes):
            findings = Findings(objects=looked.objects, classes=looked.classes)
            age_s = newest.captured_monotonic - looked.frame.captured_monotonic
            if looked.jpeg is not None and age_s <= _SHOWN_S:
                return looked.frame.captured_at, looked.jpeg, findings
            if age_s <= _SHOWN_S:
                with suppress(FrameGoneError):
                    pictured, jpeg = await self._watcher.picture(looked.frame.number, max_width)
                    return pictured.captured_at, jpeg, findings
        pictured, jpeg = await self._watcher.picture(max_width=max_width)
        return pictured.captured_at, jpeg, Findings()

    async def motion(self, max_width: int) -> tuple[Pictured, bytes]:
        """Return as JPEG what the motion gate sees."""
        self._expect_live()
        return await self._watcher.motion_view(max_width)

    def _expect_live(self) -> None:
        state = self._watcher.camera.state
        if state.state != SourceState.LIVE:
            raise CameraError(state.reason or "The camera's video is not there yet")
