"""What a pipeline sees just now: live video with what is followed drawn in."""

from __future__ import annotations

import logging
from typing import override

from homeassistant.components.camera import Camera, CameraEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import NodeError
from .entity import PipelineEntity
from .hub import EdgeVisionConfigEntry, EdgeVisionHub
from .node.edge_vision_node.protocol import Command, LiveRequest, Picture
from .pipeline import PipelineRuntime

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

LIVE_VIEW = CameraEntityDescription(key="live_view", translation_key="live_view")
_DEFAULT_WIDTH = 1280


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline that may watch live video."""
    hub = entry.runtime_data
    for subentry_id, pipeline in hub.pipelines.items():
        if pipeline.settings.may_be_live:
            async_add_entities([LiveView(hub, pipeline)], config_subentry_id=subentry_id)


class LiveView(PipelineEntity, Camera):
    """The newest frame with boxes. A picture crosses over only when somebody looks."""

    def __init__(self, hub: EdgeVisionHub, pipeline: PipelineRuntime) -> None:
        """Follow a pipeline."""
        Camera.__init__(self)
        PipelineEntity.__init__(self, hub, pipeline, LIVE_VIEW)

    @property
    @override
    def available(self) -> bool:
        """Whether there is live video."""
        return super().available and self.pipeline.stream is not None

    @property
    @override
    def is_on(self) -> bool:
        """Return whether it is watched."""
        return self.pipeline.enabled

    @override
    async def async_camera_image(
        self, width: int | None = None, height: int | None = None
    ) -> bytes | None:
        """Fetch the newest picture from the node."""
        request = LiveRequest(
            pipeline_id=self.pipeline.pipeline_id, max_width=width or _DEFAULT_WIDTH
        )
        try:
            _, jpeg = await self.hub.async_request_picture(Command.LIVE, request, Picture)
        except NodeError as err:
            _LOGGER.debug("No live picture for %s: %s", self.entity_id, err)
            return None
        return jpeg
