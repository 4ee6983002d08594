"""Image entities: the annotated picture of the last event."""

from __future__ import annotations

import logging
from typing import override

from homeassistant.components.image import ImageEntity, ImageEntityDescription
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .api.client import NodeRequestError
from .entity import PipelineEntity, async_add_pipeline_entities
from .node.edge_vision_node.protocol import Command, Picture, PictureRequest, redact
from .runtime.event_data import moment_of
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

LAST_DETECTION = ImageEntityDescription(key="last_detection", translation_key="last_detection")


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    await async_add_pipeline_entities(
        entry, lambda runtime, pipeline: [LastDetection(runtime, pipeline)]
    )


class LastDetection(PipelineEntity, ImageEntity):
    """The last picture in which something began or changed, with boxes drawn in.

    The node keeps it; it crosses over only when somebody wants to see it.
    """

    def __init__(self, runtime: EntryRuntime, pipeline: PipelineRuntime) -> None:
        """Initialize the entity."""
        PipelineEntity.__init__(self, runtime, pipeline, LAST_DETECTION)
        ImageEntity.__init__(self, runtime.hass)
        self._take_time()

    @property
    @override
    def available(self) -> bool:
        """Return whether the node is connected; the picture does not depend on the camera."""
        return self.runtime.node.connected

    @callback
    @override
    def _async_pipeline_changed(self) -> None:
        self._take_time()
        super()._async_pipeline_changed()

    def _take_time(self) -> None:
        taken_at = self.pipeline.picture_at
        self._attr_image_last_updated = moment_of(taken_at) if taken_at else None

    @override
    async def async_image(self) -> bytes | None:
        """Return the picture from the node."""
        request = PictureRequest(pipeline_id=self.pipeline.pipeline_id)
        try:
            _, picture = await self.runtime.node.async_request_picture(
                Command.PICTURE, request, Picture
            )
        except NodeRequestError as err:
            _LOGGER.debug("No picture for %s: %s", self.entity_id, redact(str(err)))
            return None
        return picture
