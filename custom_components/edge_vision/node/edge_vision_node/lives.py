"""The live pipelines of a node, their cameras and their pictures."""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from PIL import Image, ImageDraw

from .annotate import annotate, to_jpeg
from .cameras.camera import Cameras
from .cameras.messages import CameraFrame, Motion
from .cameras.pixels import burn
from .errors import CameraError, NodeError, NoPictureError, StorageError
from .evidence import Keeper, Save
from .frames.decode import decode
from .live import Host, LivePipeline, source_of
from .pipeline import Pipeline
from .protocol import (
    DetectedObject,
    EvidenceRequest,
    LiveRequest,
    Look,
    LookRequest,
    OutlineRequest,
    Picture,
    PipelineState,
    PipelineStatus,
    Point,
    ProtocolError,
    SourceState,
    Video,
)

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_JPEG = "image/jpeg"
_TRIM_EVERY_S = 600.0
_MOST_WIDTH = 3840
# Some cameras send a key frame only every ten seconds.
_PEEK_S = 20.0
_PEEK_AWAY_S = 5.0
_GRID = (255, 255, 255, 96)
_ZONE, _LINE, _MOTION_MASK = (64, 160, 255), (255, 176, 32), (128, 128, 128)


class LiveHost(Host, Protocol):
    """What they need of their node besides what each of them does."""

    async def draw(self, function: Callable[..., _T], *args: object) -> _T:
        """Call a function in the thread for pictures."""

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
        self._saving: set[asyncio.Task[None]] = set()

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
                Keeper(self._saver(pipeline), self.take),
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
        status = replace(status, source=live.source, slowed=live.slowed, presence=live.presence)
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
        pictured, jpeg, _ = await self.get(pipeline_id).picture(_MOST_WIDTH)
        request = LookRequest(pipeline_id=pipeline_id, captured_at=pictured.captured_at, scan=True)
        return request, jpeg

    async def picture(self, request: LiveRequest) -> tuple[Picture, bytes]:
        """Return what is to be seen just now. Raises `CameraError`."""
        live = self.get(request.pipeline_id)
        width = min(max(request.max_width, 64), _MOST_WIDTH)
        if request.motion:
            pictured, jpeg = await live.motion_view(width)
        else:
            pictured, clean, objects = await live.picture(width)
            jpeg = await self._host.draw(_annotated, clean, objects)
        return Picture(content_type=_JPEG, at=_utc(pictured.captured_at)), jpeg

    async def peek(self, video: Video) -> tuple[Picture, bytes]:
        """Return one frame of live video, nothing masked. Raises `CameraError` where none comes."""
        settled = asyncio.Event()
        # By the one transport, then by the other.
        tries = 2 if video.url.lower().startswith("rtsp") and video.transport == "auto" else 1
        reasons: list[str] = []

        def on_frame(frame: CameraFrame, _motion: Motion) -> None:
            # Of a camera that is watched already, a frame may come before it knows of us.
            if watcher.is_in(frame):
                settled.set()

        def on_failure(reason: str) -> None:
            reasons.append(reason)
            if len(reasons) >= tries:
                settled.set()

        watcher = self._cameras.watch(
            "that is tried",
            # As it is read already, where it is: who watches must not notice.
            self._cameras.reading(video.url) or source_of(video),
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
        finally:
            await watcher.close()
        return Picture(content_type=_JPEG, at=_utc(pictured.captured_at)), jpeg

    async def evidence(self, request: EvidenceRequest) -> tuple[Picture, bytes]:
        """Return an event's picture. Raises `NoPictureError`, `StorageError`."""
        if request.pipeline_id is not None:
            owner = await self._host.records.pipeline_of(request.event_id)
            if owner not in (None, request.pipeline_id):
                raise NoPictureError("This is another camera's event")
        if self._saving:  # it may be on its way
            await asyncio.wait(self._saving)

        def read() -> tuple[bytes, datetime]:
            return self._host.records.evidence.read(request.event_id, clean=request.clean)

        try:
            jpeg, at = await self._host.records.on_disk(read)
        except OSError as err:
            raise StorageError(f"The picture cannot be read: {err.strerror}") from err
        return Picture(content_type=_JPEG, at=at.isoformat()), jpeg

    async def outline(self, request: OutlineRequest, data: memoryview) -> tuple[Picture, bytes]:
        """Return a picture with zones, lines and masks drawn in. Raises `PictureError`."""
        jpeg = await self._host.draw(_outlined, data, request)
        return Picture(content_type=_JPEG, at=datetime.now(UTC).isoformat()), jpeg

    def _saver(self, pipeline: Pipeline) -> Save:
        async def save(
            event_id: str, jpeg: bytes, objects: Sequence[DetectedObject], at: datetime
        ) -> None:
            try:
                await self._save(pipeline, event_id, jpeg, objects, at)
            except (OSError, NodeError) as err:
                _LOGGER.error("A picture cannot be kept: %s", err)

        return save

    def take(self, work: Coroutine[Any, Any, None]) -> None:
        """Have a picture taken; who asks for one meanwhile waits for it."""
        task = self._host.spawn(work)
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(
        self,
        pipeline: Pipeline,
        event_id: str,
        jpeg: bytes,
        objects: Sequence[DetectedObject],
        at: datetime,
    ) -> None:
        annotated = await self._host.draw(_annotated, jpeg, objects)
        records, pipeline_id = self._host.records, pipeline.config.pipeline_id
        await records.keep(records.evidence.write, event_id, jpeg, annotated)
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


def _annotated(jpeg: bytes, objects: Sequence[DetectedObject]) -> bytes:
    # Our own file, whole and of a size that a camera's process has decoded already.
    with Image.open(io.BytesIO(jpeg)) as image:
        return to_jpeg(annotate(image.convert("RGB"), objects))


def _outlined(data: memoryview, request: OutlineRequest) -> bytes:
    image = decode(data).image
    draw = ImageDraw.Draw(image, "RGBA")
    width = max(2, round(max(image.size) / 320))

    def pixels(points: Iterable[Point]) -> list[tuple[float, float]]:
        return [(point.x * (image.width - 1), point.y * (image.height - 1)) for point in points]

    burn(image, request.privacy_masks)
    _grid(draw, image.size)
    for mask in request.motion_masks:
        _polygon(draw, pixels(mask), _MOTION_MASK, width)
    for zone in request.zones:
        corners = pixels(zone.points)
        _polygon(draw, corners, _ZONE, width)
        draw.text(corners[0], zone.name, fill="white", stroke_width=2, stroke_fill="black")
    for line in request.lines:
        start, end = pixels((line.start, line.end))
        draw.line((start, end), fill=_LINE, width=2 * width)
        # The arrow points to where "in" is: to the right as seen from start to end.
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        across = (start[1] - end[1], end[0] - start[0])
        tip = (middle[0] + across[0] / 5, middle[1] + across[1] / 5)
        draw.line((middle, tip), fill=_LINE, width=width)
        draw.circle(tip, 2 * width, fill=_LINE)
        draw.text(tip, f"{line.name}: in", fill="white", stroke_width=2, stroke_fill="black")
    return to_jpeg(image)


def _grid(draw: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    """Draw a line every tenth, every second one with its number."""
    width, font_size = max(1, max(size) // 640), max(12, max(size) // 36)
    for tenth in range(1, 10):
        x, y = tenth * size[0] // 10, tenth * size[1] // 10
        draw.line((x, 0, x, size[1]), fill=_GRID, width=width)
        draw.line((0, y, size[0], y), fill=_GRID, width=width)
        if tenth % 2 == 0:
            for place in ((x + 3, 2), (3, y + 2)):
                draw.text(
                    place,
                    f"0.{tenth}",
                    fill="white",
                    font_size=font_size,
                    stroke_width=2,
                    stroke_fill="black",
                )


def _polygon(
    draw: ImageDraw.ImageDraw,
    corners: list[tuple[float, float]],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    if len(corners) < 3:
        raise ProtocolError("A polygon has three corners or more")
    draw.polygon(corners, fill=(*colour, 56), outline=(*colour, 255), width=width)


def _utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()
