"""The live pipelines of a node, their cameras and their pictures."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from ..cameras.messages import CameraFrame, Motion
from ..cameras.stream import Cameras
from ..errors import CameraError, NodeError, NoPictureError, StorageError
from ..imaging.service import Imaging
from ..protocol import (
    EvidenceRequest,
    Findings,
    LiveRequest,
    Look,
    LookRequest,
    OutlineRequest,
    Picture,
    PipelineState,
    PipelineStatus,
    SourceState,
    Video,
)
from .best_picture import Keeper, Save, Shot
from .live import Host, LivePipeline, source_of
from .pipeline import Pipeline

_LOGGER = logging.getLogger(__name__)

_JPEG = "image/jpeg"
# Whose pictures those are that a flow draws on.
_FLOWS = "flows"
_TRIM_EVERY_S = 600.0
_MOST_WIDTH = 3840
# Some cameras send a key frame only every ten seconds.
_PEEK_S = 20.0
_PEEK_AWAY_S = 5.0
_PEEK_AGAIN_S = 3.0
# How long who asks for a picture waits for one that is being taken.
_COMING_S = 10.0


class LiveHost(Host, Protocol):
    """What they need of their node besides what each of them does."""

    imaging: Imaging

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that nobody need wait for; it is finished before the node ends."""


class LivePipelines:
    """All of them. Used from the event loop."""

    def __init__(self, host: LiveHost) -> None:
        """Begin with none."""
        self._host = host
        self._cameras = Cameras()
        self._live: dict[str, LivePipeline] = {}
        self._trimmed_at: float | None = None
        # The pictures of events that are being taken: of which pipeline, and which events.
        self._coming: dict[asyncio.Task[None], tuple[str, tuple[str, ...]]] = {}

    @property
    def pids(self) -> list[int]:
        """Return the ids of the cameras' processes."""
        return self._cameras.pids

    @property
    def looks(self) -> list[Look]:
        """Return what holds of each that has looked."""
        return [
            live.last_look
            for live in self._live.values()
            if live.last_look is not None
            and live.trouble is None
            and live.source.state == SourceState.LIVE
        ]

    async def apply(self, pipeline: Pipeline, *, changed: bool) -> None:
        """Have a pipeline watch live video, or not, as its configuration says."""
        pipeline_id = pipeline.config.pipeline_id
        before = self._live.get(pipeline_id)
        if before is not None and not changed:
            return
        if before is not None:
            del self._live[pipeline_id]
            await before.stop()
        try:
            self._begin(pipeline)
        finally:
            if before is not None:
                # Only now, so that a camera that both want goes on.
                await before.release()

    def _begin(self, pipeline: Pipeline) -> None:
        pipeline_id, video = pipeline.config.pipeline_id, pipeline.config.video
        if video is not None:
            self._live[pipeline_id] = LivePipeline(
                pipeline,
                video,
                self._cameras,
                self._host,
                Keeper(self._saver(pipeline), partial(self.take, pipeline)),
            )

    async def drop(self, pipeline_id: str) -> None:
        """End a pipeline that is not wanted any more, and forget what it followed."""
        if (live := self._live.pop(pipeline_id, None)) is not None:
            await live.stop()
            await live.release()
        await self._host.records.unfollow(pipeline_id)

    def status(self, status: PipelineStatus) -> PipelineStatus:
        """Return a pipeline's status with what live video adds to it."""
        live = self._live.get(status.pipeline_id)
        if live is None:
            return status
        status = replace(
            status,
            source=live.source,
            slowed=live.slowed_by is not None,
            slowed_by=live.slowed_by,
            presence=live.presence,
        )
        if live.trouble is not None and status.state == PipelineState.READY:
            status = replace(
                status,
                state=PipelineState.FAILED,
                error_code=live.trouble.code,
                error=str(live.trouble),
            )
        return status

    def watches(self, pipeline_id: str) -> bool:
        """Return whether a pipeline watches live video."""
        return pipeline_id in self._live

    def get(self, pipeline_id: str) -> LivePipeline:
        """Return a live pipeline. Raises `CameraError` where it watches no live video."""
        try:
            return self._live[pipeline_id]
        except KeyError:
            raise CameraError("This pipeline watches no live video") from None

    async def still(self, pipeline_id: str) -> tuple[LookRequest, bytes]:
        """Return the newest frame for a look of its own. Raises `CameraError`."""
        pictured, jpeg = await self.get(pipeline_id).picture(_MOST_WIDTH)
        request = LookRequest(pipeline_id=pipeline_id, captured_at=pictured.captured_at, scan=True)
        return request, jpeg

    async def picture(self, request: LiveRequest) -> tuple[Picture, bytes]:
        """Return what is to be seen just now. Raises `CameraError`."""
        live = self.get(request.pipeline_id)
        width = min(max(request.max_width, 64), _MOST_WIDTH)
        if request.motion:
            pictured, jpeg = await live.motion_view(width)
            captured_at = pictured.captured_at
        else:
            captured_at, jpeg, findings = await live.view(width)
            if findings.objects or findings.classes:
                user = request.pipeline_id
                _, jpeg = await self._host.imaging.draw(user, jpeg, findings)
        return Picture(content_type=_JPEG, at=_utc(captured_at)), jpeg

    async def peek(self, video: Video) -> tuple[Picture, bytes]:
        """Return one frame of live video, nothing masked. Raises `CameraError` where none comes."""
        video.check()
        settled, again = asyncio.Event(), asyncio.Event()
        # By the one transport, then by the other.
        tries = 2 if video.url.lower().startswith("rtsp") and video.transport == "auto" else 1
        reasons: list[str] = []

        def on_frame(frame: CameraFrame, _motion: Motion) -> None:
            # Of a camera that is watched already, a frame may come before it knows of us.
            if watcher.is_in(frame):
                (again if settled.is_set() else settled).set()

        def on_failure(reason: str) -> None:
            reasons.append(reason)
            if len(reasons) >= tries:
                settled.set()

        watcher = self._cameras.watch(
            "that is tried",
            # As it is read already, where it is: who watches must not notice.
            self._cameras.reading(source_of(video)),
            fps=video.fps,
            on_frame=on_frame,
            on_failure=on_failure,
        )
        # Where others try in vain already, it is known why.
        away = watcher.camera.state.state == SourceState.UNAVAILABLE
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PEEK_AWAY_S if away else _PEEK_S):
                    await settled.wait()
            state = watcher.camera.state
            if watcher.camera.frame is None or state.state != SourceState.LIVE:
                reason = state.reason or f"no picture has come within {_PEEK_S:g} s"
                raise CameraError(next(iter(reasons), reason))
            pictured, jpeg = await watcher.picture(max_width=_MOST_WIDTH)
            # Over HTTP it may be a single picture, which is known when a second one comes.
            if video.url.lower().startswith("http"):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PEEK_AGAIN_S):
                        await again.wait()
            single = watcher.camera.state.single_pictures
        finally:
            await watcher.close()
        at = _utc(pictured.captured_at)
        return Picture(content_type=_JPEG, at=at, single_pictures=single), jpeg

    async def evidence(self, request: EvidenceRequest) -> tuple[Picture, bytes]:
        """Return an event's picture. Raises `NoPictureError`, `StorageError`."""
        if request.pipeline_id is not None:
            owner = await self._host.records.pipeline_of(request.event_id)
            if owner not in (None, request.pipeline_id):
                raise NoPictureError("This is another camera's event")
        await self.settled(event_id=request.event_id)

        def read() -> tuple[bytes, datetime]:
            return self._host.records.evidence.read(request.event_id, clean=request.clean)

        try:
            jpeg, at = await self._host.records.on_disk(read)
        except OSError as err:
            raise StorageError(f"The picture cannot be read: {err.strerror}") from err
        return Picture(content_type=_JPEG, at=at.isoformat()), jpeg

    async def outline(self, request: OutlineRequest, data: memoryview) -> tuple[Picture, bytes]:
        """Return a picture with zones, lines and masks drawn in. Raises `PictureError`."""
        jpeg = await self._host.imaging.outline(_FLOWS, data, request)
        return Picture(content_type=_JPEG, at=datetime.now(UTC).isoformat()), jpeg

    def _saver(self, pipeline: Pipeline) -> Save:
        async def save(shot: Shot) -> None:
            findings, user = Findings(objects=shot.shown), pipeline.config.pipeline_id
            try:
                _, annotated = await self._host.imaging.draw(
                    user, shot.jpeg, findings, (shot.subject,)
                )
                await self.keep(pipeline, shot.event_id, shot.jpeg, annotated, shot.captured_at)
            except (OSError, NodeError) as err:
                _LOGGER.error("A picture cannot be kept: %s", err)

        return save

    # --- The pictures of events ------------------------------------------------------------------

    def take(
        self, pipeline: Pipeline, event_ids: tuple[str, ...], work: Coroutine[Any, Any, None]
    ) -> None:
        """Have the picture of some events taken; who asks for it meanwhile waits for it."""
        task = self._host.spawn(work)
        self._coming[task] = (pipeline.config.pipeline_id, event_ids)
        task.add_done_callback(self._coming.pop)

    async def settled(self, *, pipeline_id: str | None = None, event_id: str | None = None) -> None:
        """Wait for pictures that are being taken, of a pipeline or of an event; not for ever."""
        coming = {
            task
            for task, (its_pipeline, its_events) in self._coming.items()
            if its_pipeline == pipeline_id or event_id in its_events
        }
        if coming:
            await asyncio.wait(coming, timeout=_COMING_S)

    async def keep(
        self, pipeline: Pipeline, event_id: str, clean: bytes, annotated: bytes, at: datetime
    ) -> None:
        """Keep an event's picture, which is the pipeline's last one, too. Raises `StorageError`."""
        records, pipeline_id = self._host.records, pipeline.config.pipeline_id
        await records.keep(records.evidence.write, event_id, clean, annotated)
        await records.keep(records.pictures.write, pipeline_id, annotated, at)
        pipeline.picture_at = at.astimezone(UTC)
        if (live := self._live.get(pipeline_id)) is not None:
            live.show_picture()
        now = time.monotonic()
        if self._trimmed_at is None or now - self._trimmed_at > _TRIM_EVERY_S:
            self._trimmed_at = now
            await records.on_disk(records.evidence.trim, datetime.now(UTC))

    async def close(self) -> None:
        """End all."""
        lives = list(self._live.values())
        self._live.clear()
        for live in lives:
            await live.stop()
        await asyncio.gather(*(live.release() for live in lives))
        await self._cameras.close()


def _utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()
