"""The pictures of events, and the last one of each pipeline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..errors import NodeError, NoPictureError, StorageError
from ..frames.masks import NO_MASKS, Masks
from ..imaging.service import Imaging
from ..protocol import DetectedObject, EvidenceRequest, Findings, Picture
from ..storage.archive import Archive
from .background import Background
from .best_picture import Shot
from .pipeline import Pipeline

_LOGGER = logging.getLogger(__name__)

_JPEG = "image/jpeg"
_TRIM_EVERY_S = 600.0
# How long a request for a picture waits for one that is being taken.
_COMING_S = 10.0


@dataclass(frozen=True)
class EventStill:
    """A still that becomes an event's picture.

    Attributes:
        event_id: whose picture it is.
        data: the camera's picture as a file.
        findings: what it shows.
        captured_at: when it was taken.
        masks: what has to be hidden in it.
        subjects: the objects that the event is about; None for all.
    """

    event_id: str
    data: memoryview
    findings: Findings
    captured_at: datetime
    masks: Masks = NO_MASKS
    subjects: Sequence[DetectedObject] | None = None


class Pictures:
    """Draws, keeps and returns pictures. Used from the event loop."""

    def __init__(self, archive: Archive, imaging: Imaging, background: Background) -> None:
        """Initialize; pictures are drawn by `imaging` and kept in `archive`."""
        self._archive = archive
        self._imaging = imaging
        self._background = background
        self._trimmed_at: float | None = None
        # The pictures of events that are being taken: of which pipeline, and which events.
        self._coming: dict[asyncio.Task[None], tuple[str, tuple[str, ...]]] = {}

    # --- Keeping ---------------------------------------------------------------------------------

    def take(
        self, pipeline: Pipeline, event_ids: tuple[str, ...], work: Coroutine[Any, Any, None]
    ) -> None:
        """Run what takes the picture of some events; requests for it wait until that is done."""
        task = self._background.spawn(work, "The picture of an event cannot be kept")
        self._coming[task] = (pipeline.config.pipeline_id, event_ids)
        task.add_done_callback(self._coming.pop)

    def take_still(self, pipeline: Pipeline, still: EventStill) -> None:
        """Keep a still as the picture of an event, as it is and with what it shows."""
        self.take(pipeline, (still.event_id,), self._keep_still(pipeline, still))

    async def _keep_still(self, pipeline: Pipeline, still: EventStill) -> None:
        try:
            clean, annotated = await self._imaging.draw(
                pipeline.config.pipeline_id,
                still.data,
                still.findings,
                still.subjects,
                still.masks,
                clean=True,
            )
            await self._keep(pipeline, still.event_id, clean, annotated, still.captured_at)
        except (OSError, NodeError) as err:
            _LOGGER.error("A picture cannot be kept: %s", err)

    async def keep_shot(self, pipeline: Pipeline, shot: Shot) -> None:
        """Keep a frame of live video as the picture of an event."""
        findings = Findings(objects=shot.shown)
        user = pipeline.config.pipeline_id
        try:
            _, annotated = await self._imaging.draw(user, shot.jpeg, findings, (shot.subject,))
            await self._keep(pipeline, shot.event_id, shot.jpeg, annotated, shot.captured_at)
        except (OSError, NodeError) as err:
            _LOGGER.error("A picture cannot be kept: %s", err)

    async def _keep(
        self, pipeline: Pipeline, event_id: str, clean: bytes, annotated: bytes, at: datetime
    ) -> None:
        """Write an event's picture, which is the pipeline's last one, too."""
        archive = self._archive
        await archive.keep(archive.evidence.write, event_id, clean, annotated)
        await archive.keep(archive.pictures.write, pipeline.config.pipeline_id, annotated, at)
        pipeline.note_picture(at.astimezone(UTC))
        now = time.monotonic()
        if self._trimmed_at is None or now - self._trimmed_at > _TRIM_EVERY_S:
            self._trimmed_at = now
            await archive.on_disk(archive.evidence.trim, datetime.now(UTC))

    async def hide(self, pipeline: Pipeline) -> None:
        """Hide in a pipeline's last picture what its privacy masks hide now."""
        archive, pipeline_id = self._archive, pipeline.config.pipeline_id
        await self.settled(pipeline_id=pipeline_id)
        try:
            jpeg, at = await archive.on_disk(archive.pictures.read, pipeline_id)
            masks = pipeline.masks
            if (hidden := await self._imaging.hide(pipeline_id, jpeg, masks)) is not None:
                await archive.keep(archive.pictures.write, pipeline_id, hidden, at)
        except NoPictureError:
            return
        except (OSError, NodeError) as err:
            _LOGGER.warning("The last picture cannot be masked, so it is deleted: %s", err)
            with suppress(OSError):
                await archive.on_disk(archive.pictures.delete, pipeline_id)
            pipeline.picture_at = None

    # --- Returning -------------------------------------------------------------------------------

    async def settled(self, *, pipeline_id: str | None = None, event_id: str | None = None) -> None:
        """Wait for pictures that are being taken, of a pipeline or of an event; not for ever."""
        coming = {
            task
            for task, (its_pipeline, its_events) in self._coming.items()
            if its_pipeline == pipeline_id or event_id in its_events
        }
        if coming:
            await asyncio.wait(coming, timeout=_COMING_S)

    async def evidence(self, request: EvidenceRequest) -> tuple[Picture, bytes]:
        """Return an event's picture. Raises `NoPictureError`, `StorageError`."""
        if request.pipeline_id is not None:
            owner = await self._archive.pipeline_of(request.event_id)
            if owner not in (None, request.pipeline_id):
                raise NoPictureError("This is another camera's event")
        await self.settled(event_id=request.event_id)
        read = partial(self._archive.evidence.read, request.event_id, clean=request.clean)
        try:
            jpeg, at = await self._archive.on_disk(read)
        except OSError as err:
            raise StorageError(f"The picture cannot be read: {err.strerror}") from err
        return Picture(content_type=_JPEG, at=at.isoformat()), jpeg

    async def last(self, pipeline_id: str) -> tuple[Picture, bytes]:
        """Return a pipeline's last picture. Raises `NoPictureError`, `StorageError`."""
        await self.settled(pipeline_id=pipeline_id)
        archive = self._archive
        try:
            data, at = await archive.on_disk(archive.pictures.read, pipeline_id)
        except OSError as err:
            raise StorageError(f"The picture cannot be read: {err.strerror}") from err
        return Picture(content_type=_JPEG, at=at.isoformat()), data
