"""Stills in the place of live video that cannot be read, for cameras whose source is "auto"."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir

from ..api.client import NodeCommandError, NodeError
from ..const import Issue, PictureSource
from ..node.edge_vision_node.protocol import SourceState, SourceStatus, redact
from .issues import async_clear_issue, async_raise_issue
from .stills import async_get_still

if TYPE_CHECKING:
    from .pipeline import PipelineRuntime
    from .runtime import EdgeVisionHub

_LOGGER = logging.getLogger(__name__)

# A stream that breaks off is mostly there again by then.
PATIENCE_S: Final = 20.0
# Live video is tried again after a while, and then after ever longer ones.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0


class LiveFallback:
    """Whether a pipeline looks at stills because its live video cannot be read.

    `reason` says why it cannot, and is None while the pipeline looks at what the user wants.
    """

    def __init__(self, hub: EdgeVisionHub, pipeline: PipelineRuntime) -> None:
        """Begin with live video."""
        self._hub = hub
        self._pipeline = pipeline
        self.reason: str | None = None
        self._unavailable_at: float | None = None
        self._again_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._task: asyncio.Task[None] | None = None

    @callback
    def async_check(self, source: SourceStatus | None) -> None:
        """See whether it has to change, whenever the node says how it is doing."""
        if not self._hub.connected or (self._task is not None and not self._task.done()):
            return
        now = time.monotonic()
        if self.reason is not None:
            if now >= self._again_at:
                self._begin(self._try_live())
            return
        settings = self._pipeline.settings
        if (
            settings.source is not PictureSource.AUTO
            or settings.camera is None
            or self._pipeline.stream is None
            or source is None
            or source.state != SourceState.UNAVAILABLE
        ):
            self._unavailable_at = None
        elif self._unavailable_at is None:
            self._unavailable_at = now
        elif now - self._unavailable_at >= PATIENCE_S:
            reason = source.reason or "the camera sends no video"
            self._begin(self._try_still(settings.camera, redact(reason)))

    @callback
    def async_node_lost(self) -> None:
        """Forget for how long there was no video: nobody can tell while the node is away."""
        self._unavailable_at = None

    @callback
    def async_try_soon(self) -> None:
        """Try live video again: something about the camera has changed."""
        self._again_at, self._pause_s = 0.0, FIRST_PAUSE_S
        self.async_check(None)

    @callback
    def async_reset(self) -> None:
        """Go back to live video, whether it can be read or not."""
        if self._task is not None:
            self._task.cancel()
        self._go_back()

    @callback
    def _go_back(self) -> None:
        self.reason = self._unavailable_at = None
        self._pause_s = FIRST_PAUSE_S
        async_clear_issue(self._hub.hass, Issue.STILLS_INSTEAD, self._pipeline.pipeline_id)

    @callback
    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._hub.entry.async_create_background_task(
            self._hub.hass, work, f"Edge Vision source of {self._pipeline.settings.name}"
        )

    async def _try_still(self, camera: str, reason: str) -> None:
        """Look at stills from now on, if there are any."""
        try:
            await async_get_still(self._hub.hass, camera)
        except HomeAssistantError as err:
            _LOGGER.debug("%s gives no still either: %s", camera, redact(str(err)))
            return
        pipeline = self._pipeline
        if pipeline.stream is None or pipeline.available:
            return  # it is there again
        _LOGGER.info(
            "%s: the live video cannot be read (%s); stills are looked at until it can",
            pipeline.settings.name,
            reason,
        )
        self._again_at = time.monotonic() + self._pause_s
        self._take_reason(reason)
        await self._hub.async_reconfigure([pipeline])

    async def _try_live(self) -> None:
        """Go back to live video, if it can be read."""
        pipeline, hub = self._pipeline, self._hub
        settings = pipeline.settings
        address = settings.video_address
        if address is None and settings.camera is not None:
            hub.streams.doubt(settings.camera)
            address = await hub.streams.get(settings.camera)
        if address is not None:
            try:
                options = hub.streams.options(settings.camera, settings.video_address)
                await hub.async_peek(settings.video_at(address, options))
            except NodeCommandError as err:
                self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
                self._again_at = time.monotonic() + self._pause_s
                self._take_reason(redact(str(err)))
                return
            except NodeError as err:  # which says nothing about the video
                _LOGGER.debug("The live video of %s was not tried: %s", settings.name, err)
                self._again_at = time.monotonic() + FIRST_PAUSE_S
                return
        # Without an address there is nothing that could be read, and nothing wrong with that.
        _LOGGER.info("%s looks at live video again", settings.name)
        self._go_back()
        await hub.async_reconfigure([pipeline])

    @callback
    def _take_reason(self, reason: str) -> None:
        self.reason = reason
        settings = self._pipeline.settings
        async_raise_issue(
            self._hub.hass,
            Issue.STILLS_INSTEAD,
            self._pipeline.pipeline_id,
            {
                "name": settings.name,
                "reason": reason,
                "seconds": f"{settings.scan_interval_s:g}",
            },
            severity=ir.IssueSeverity.WARNING,
        )
