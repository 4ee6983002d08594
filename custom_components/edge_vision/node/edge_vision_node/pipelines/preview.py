"""What people see of a camera: the live view, a first look at a video, and areas drawn on a still.

Nothing of it is kept.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from ..cameras.messages import CameraFrame, Motion
from ..cameras.stream import Cameras
from ..errors import CameraError
from ..imaging.service import Imaging
from ..protocol import LiveRequest, OutlineRequest, Picture, SourceState, Video
from .live import source_of
from .registry import MOST_WIDTH, Registry

_JPEG = "image/jpeg"
# In whose name the pictures of a config flow are drawn.
_FLOWS = "flows"
_TRIED = "being tried"
# Some cameras send a key frame only every ten seconds.
_PEEK_S = 20.0
_PEEK_AWAY_S = 5.0
_PEEK_AGAIN_S = 3.0


class Previews:
    """Returns pictures that were not kept. Used from the event loop."""

    def __init__(self, registry: Registry, cameras: Cameras, imaging: Imaging) -> None:
        """Initialize."""
        self._registry = registry
        self._cameras = cameras
        self._imaging = imaging

    async def live_view(self, request: LiveRequest) -> tuple[Picture, bytes]:
        """Return what a live pipeline shows now. Raises `CameraError`."""
        live = self._registry.live(request.pipeline_id)
        width = min(max(request.max_width, 64), MOST_WIDTH)
        if request.motion:
            pictured, jpeg = await live.view.motion(width)
            captured_at = pictured.captured_at
        else:
            captured_at, jpeg, findings = await live.view.with_findings(width)
            if findings.objects or findings.classes:
                _, jpeg = await self._imaging.draw(request.pipeline_id, jpeg, findings)
        return Picture(content_type=_JPEG, at=_utc(captured_at)), jpeg

    async def outline(self, request: OutlineRequest, data: memoryview) -> tuple[Picture, bytes]:
        """Return a picture with zones, lines and masks drawn in. Raises `PictureError`."""
        aspect, jpeg = await self._imaging.outline(_FLOWS, data, request)
        at = datetime.now(UTC).isoformat()
        return Picture(content_type=_JPEG, at=at, aspect=aspect), jpeg

    async def peek(self, video: Video) -> tuple[Picture, bytes]:
        """Return one frame of a video, nothing masked. Raises `CameraError` if none comes."""
        video.check()
        settled, again = asyncio.Event(), asyncio.Event()
        # By one transport, then by the other.
        tries = 2 if video.url.lower().startswith("rtsp") and video.transport == "auto" else 1
        reasons: list[str] = []

        def on_frame(frame: CameraFrame, _motion: Motion) -> None:
            # From a camera that is read already, a frame may come before it knows of us.
            if watcher.is_in(frame):
                (again if settled.is_set() else settled).set()

        def on_failure(reason: str) -> None:
            reasons.append(reason)
            if len(reasons) >= tries:
                settled.set()

        watcher = self._cameras.watch(
            _TRIED,
            # As the camera is read already, if it is: pipelines that watch it are not disturbed.
            self._cameras.reading(source_of(video)),
            fps=video.fps,
            on_frame=on_frame,
            on_failure=on_failure,
        )
        # If others try in vain already, the reason is known.
        away = watcher.camera.state.state == SourceState.UNAVAILABLE
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PEEK_AWAY_S if away else _PEEK_S):
                    await settled.wait()
            state = watcher.camera.state
            if watcher.camera.frame is None or state.state != SourceState.LIVE:
                reason = state.reason or f"no picture has come within {_PEEK_S:g} s"
                raise CameraError(next(iter(reasons), reason))
            pictured, jpeg = await watcher.picture(max_width=MOST_WIDTH)
            # Over HTTP it may be a single picture, which shows when a second one comes.
            if video.url.lower().startswith("http"):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PEEK_AGAIN_S):
                        await again.wait()
            single = watcher.camera.state.single_pictures
        finally:
            await watcher.close()
        at = _utc(pictured.captured_at)
        return Picture(content_type=_JPEG, at=at, single_pictures=single), jpeg


def _utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()
