"""Finds out where the live video of an entry's cameras is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback

from .node import EntryNode
from .pipeline import PipelineRuntime
from .privacy import PrivacyMasks, async_masks_changed
from .stream_addresses import StreamAddresses
from .video_source import Reconfigure

# How long all pipelines wait for addresses; one that comes later is used then.
_STREAMS_SOON_S = 2.0


class StreamFinder:
    """Asks each camera once for all pipelines of an entry."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        node: EntryNode,
        streams: StreamAddresses,
        *,
        reconfigure: Reconfigure,
        save: CALLBACK_TYPE,
    ) -> None:
        """Initialize. `reconfigure` is called with a late address, `save` with a new one."""
        self._hass = hass
        self._entry = entry
        self._node = node
        self._streams = streams
        self._reconfigure = reconfigure
        self._save = save
        self._asked: dict[str, asyncio.Task[str | None]] = {}
        self._asked_for_masks: set[str] = set()
        self._stopped = False

    @callback
    def async_stop(self) -> None:
        """Ignore addresses that still come."""
        self._stopped = True

    def cameras_of_masks(self, pipelines: Collection[PipelineRuntime]) -> set[str]:
        """Return the cameras whose addresses tell which masks hold for the pipelines."""
        cameras = {camera for pipeline in pipelines if (camera := pipeline.settings.camera)}
        return PrivacyMasks.async_get(self._hass).cameras_to_ask(cameras)

    def has_asked(self, cameras: set[str]) -> bool:
        """Return whether the last update has asked these cameras for the sake of masks."""
        return cameras <= self._asked_for_masks

    async def async_update(self, pipelines: Collection[PipelineRuntime]) -> None:
        """Set the address of the live video of each pipeline that wants it.

        Each camera has its own time to answer. One that does not do so soon keeps no other
        waiting: its answer is used when it comes.
        """
        wanting = [
            pipeline
            for pipeline in pipelines
            if pipeline.wants_stream and self._node.video_missing is None
        ]
        wanted = {camera for pipeline in wanting if (camera := pipeline.settings.asked_for_stream)}
        for_masks = self._asked_for_masks = self.cameras_of_masks(pipelines)
        asked = {camera: self._ask(camera) for camera in wanted | for_masks}
        if asked:
            await asyncio.wait(asked.values(), timeout=_STREAMS_SOON_S)
        # Nothing may be looked at before it is known which masks hold.
        unknown = [asked[camera] for camera in for_masks if self._streams.known(camera) is None]
        if unknown:
            await asyncio.wait(unknown)
        for pipeline in pipelines:
            address, task = pipeline.settings.video_address, None
            if address is None and pipeline in wanting:
                task = asked.get(pipeline.settings.camera or "")
            if task is not None and not task.done():
                task.add_done_callback(partial(self._async_use_late, pipeline))
                continue  # the current one stays until then
            if task is not None and not task.cancelled():
                address = task.result()
            pipeline.async_set_stream(address if pipeline in wanting else None)

    @callback
    def _ask(self, camera: str) -> asyncio.Task[str | None]:
        """Ask a camera for the address of its stream, or join a request under way."""
        task = self._asked.get(camera)
        if task is None or task.done():
            task = self._asked[camera] = self._entry.async_create_background_task(
                self._hass, self._async_get(camera), f"Edge Vision stream of {camera}"
            )
        return task

    async def _async_get(self, camera: str) -> str | None:
        before = self._streams.known(camera)
        address = await self._streams.get(camera)
        if self._streams.known(camera) != before:
            self._save()
            async_masks_changed(self._hass)
        return address

    @callback
    def _async_use_late(self, pipeline: PipelineRuntime, task: asyncio.Task[str | None]) -> None:
        """Have a pipeline use the address that its camera gave after the others' answers."""
        if task.cancelled() or self._stopped or task.result() == pipeline.stream:
            return
        self._entry.async_create_background_task(
            self._hass, self._reconfigure(pipeline), "Edge Vision stream that came late"
        )
