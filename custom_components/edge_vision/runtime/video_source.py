"""Where a camera's pictures come from: live video, or stills where it cannot be read."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir

from ..api.client import NodeCommandError, NodeRequestError
from ..const import Issue, PictureSource, PipelineProblem
from ..node.edge_vision_node.protocol import SourceState, SourceStatus, redact
from .issues import async_clear_issue, async_raise_issue
from .node import EntryNode
from .pipeline import PipelineRuntime
from .stills import async_get_still
from .stream_addresses import StreamAddresses

_LOGGER = logging.getLogger(__name__)

# A stream that breaks off is mostly back by then.
PATIENCE_S: Final = 20.0
# Live video is tried again after a while, and then ever less often.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0

type Reconfigure = Callable[[PipelineRuntime], Coroutine[Any, Any, None]]


class VideoSource:
    """Chooses between live video and stills for one pipeline.

    With the source "auto", stills are looked at while live video cannot be read;
    `pipeline.stills_because` says why.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        node: EntryNode,
        streams: StreamAddresses,
        pipeline: PipelineRuntime,
        reconfigure: Reconfigure,
    ) -> None:
        """Initialize with live video. `reconfigure` sends a pipeline's settings to the node."""
        self._hass = hass
        self._entry = entry
        self._node = node
        self._streams = streams
        self._pipeline = pipeline
        self._reconfigure = reconfigure
        self._unavailable_at: float | None = None
        self._again_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._trying: asyncio.Task[None] | None = None
        self._seeking: asyncio.Task[None] | None = None

    # --- What the node says ----------------------------------------------------------------------

    @callback
    def async_set_status(self, source: SourceStatus | None) -> None:
        """Update from what the node says about the pipeline's live video."""
        pipeline = self._pipeline
        self._seek_stream()
        if pipeline.enabled:
            self._check(source)
        if source is None or pipeline.stream is None or not pipeline.enabled:
            return
        camera = pipeline.settings.asked_for_stream
        if camera is not None and source.state == SourceState.LIVE:
            self._streams.note_live(camera)
        if source.state == SourceState.UNAVAILABLE:
            reason = redact(source.reason or "the camera sends no video")
            problem, since = PipelineProblem.CAMERA_UNAVAILABLE, source.since
            shown = pipeline.problem, pipeline.problem_text, pipeline.problem_since
            if shown != (problem, reason, since):
                pipeline.async_fail(problem, reason, since=since)
            if camera is not None and self._streams.doubt(camera):
                self.async_reconfigure_soon()

    @callback
    def async_node_lost(self) -> None:
        """Forget for how long there was no video: that is not known without the node."""
        self._unavailable_at = None

    # --- What is asked of it ---------------------------------------------------------------------

    @callback
    def async_try_soon(self) -> None:
        """Try live video again: something about the camera has changed."""
        self._again_at, self._pause_s = 0.0, FIRST_PAUSE_S
        self._check(None)

    @callback
    def async_reset(self) -> None:
        """Go back to live video, whether it can be read or not."""
        if self._trying is not None:
            self._trying.cancel()
        self._go_back()

    @callback
    def async_reconfigure_soon(self) -> None:
        """Send the pipeline's settings to the node, in the background."""
        self._start(self._reconfigure(self._pipeline))

    # --- Asking for an address -------------------------------------------------------------------

    @callback
    def _seek_stream(self) -> None:
        """Ask a camera now and then for the live video that is wanted, and that it had not."""
        pipeline = self._pipeline
        camera = pipeline.settings.asked_for_stream
        if (
            pipeline.wants_stream
            and pipeline.stream is None
            and camera is not None
            and self._node.video_missing is None
            and (self._seeking is None or self._seeking.done())
            and self._streams.doubt(camera)
        ):
            self._seeking = self._start(self._find_stream(camera))

    async def _find_stream(self, camera: str) -> None:
        if await self._streams.get(camera) is not None:
            await self._reconfigure(self._pipeline)

    # --- Stills instead --------------------------------------------------------------------------

    @callback
    def _check(self, source: SourceStatus | None) -> None:
        """Change the source where that is due."""
        if not self._node.connected or (self._trying is not None and not self._trying.done()):
            return
        pipeline, now = self._pipeline, time.monotonic()
        if pipeline.stills_because is not None:
            if now >= self._again_at:
                self._trying = self._start(self._try_live())
            return
        settings = pipeline.settings
        if (
            settings.source is not PictureSource.AUTO
            or settings.camera is None
            or pipeline.stream is None
            or source is None
            or source.state != SourceState.UNAVAILABLE
        ):
            self._unavailable_at = None
        elif self._unavailable_at is None:
            self._unavailable_at = now
        elif now - self._unavailable_at >= PATIENCE_S:
            reason = source.reason or "the camera sends no video"
            self._trying = self._start(self._try_still(settings.camera, redact(reason)))

    @callback
    def _go_back(self) -> None:
        self._pipeline.stills_because = self._unavailable_at = None
        self._pause_s = FIRST_PAUSE_S
        async_clear_issue(self._hass, Issue.STILLS_INSTEAD, self._pipeline.pipeline_id)

    @callback
    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._entry.async_create_background_task(
            self._hass, work, f"Edge Vision source of {self._pipeline.settings.name}"
        )

    async def _try_still(self, camera: str, reason: str) -> None:
        """Look at stills from now on, if there are any."""
        try:
            await async_get_still(self._hass, camera)
        except HomeAssistantError as err:
            _LOGGER.debug("%s gives no still either: %s", camera, redact(str(err)))
            return
        pipeline = self._pipeline
        if pipeline.stream is None or pipeline.available:
            return  # the video is back
        _LOGGER.info(
            "%s: the live video cannot be read (%s); stills are looked at until it can",
            pipeline.settings.name,
            reason,
        )
        self._again_at = time.monotonic() + self._pause_s
        self._report(reason)
        await self._reconfigure(pipeline)

    async def _try_live(self) -> None:
        """Go back to live video, if it can be read."""
        pipeline, streams = self._pipeline, self._streams
        settings = pipeline.settings
        address = settings.video_address
        if address is None and settings.camera is not None:
            streams.doubt(settings.camera)
            address = await streams.get(settings.camera)
        if address is not None:
            try:
                options = streams.options(settings.camera, settings.video_address)
                await self._node.async_peek(settings.video_at(address, options))
            except NodeCommandError as err:
                self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
                self._again_at = time.monotonic() + self._pause_s
                self._report(redact(str(err)))
                return
            except NodeRequestError as err:  # which says nothing about the video
                _LOGGER.debug("The live video of %s was not tried: %s", settings.name, err)
                self._again_at = time.monotonic() + FIRST_PAUSE_S
                return
        # Without an address there is nothing that could be read, and nothing wrong with that.
        _LOGGER.info("%s looks at live video again", settings.name)
        self._go_back()
        await self._reconfigure(pipeline)

    @callback
    def _report(self, reason: str) -> None:
        """Show that stills are looked at, and why."""
        pipeline = self._pipeline
        pipeline.stills_because = reason
        async_raise_issue(
            self._hass,
            Issue.STILLS_INSTEAD,
            pipeline.pipeline_id,
            {
                "name": pipeline.settings.name,
                "reason": reason,
                "seconds": f"{pipeline.settings.scan_interval_s:g}",
            },
            severity=ir.IssueSeverity.WARNING,
        )
