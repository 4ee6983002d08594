"""A pipeline with everything that drives it."""

from __future__ import annotations

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from .camera_watch import CameraWatch
from .node import EntryNode
from .pipeline import PipelineRuntime
from .settings import PipelineSettings
from .still_loop import StillLoop
from .stream_addresses import StreamAddresses
from .video_source import Reconfigure, VideoSource


class DrivenPipeline:
    """A pipeline, the loop that looks at stills, its source of pictures and its camera."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        node: EntryNode,
        streams: StreamAddresses,
        pipeline_id: str,
        settings: PipelineSettings,
        reconfigure: Reconfigure,
    ) -> None:
        """Initialize; `async_start` starts looking."""
        self.pipeline = PipelineRuntime(hass, entry.entry_id, pipeline_id, settings, node)
        self.stills = StillLoop(hass, entry, node, self.pipeline)
        self.source = VideoSource(hass, entry, node, streams, self.pipeline, reconfigure)
        self._watch = CameraWatch(hass, entry, node, streams, self.pipeline, self.source)

    @callback
    def async_start(self, position: int, count: int) -> None:
        """Start looking. `position` of `count` pipelines: they start one after another."""
        self._watch.async_start()
        self.stills.async_start(position, count)

    async def async_stop(self) -> None:
        """Stop looking."""
        self._watch.async_stop()
        self.source.async_reset()
        await self.stills.async_stop()
