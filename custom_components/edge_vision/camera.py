"""What a pipeline sees just now, with boxes: a picture is made only while somebody looks."""

from __future__ import annotations

import logging
from typing import override

from homeassistant.components.camera import Camera, CameraEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .api.client import NodeRequestError
from .entity import PipelineEntity, async_add_pipeline_entities
from .node.edge_vision_node.protocol import (
    Command,
    Detected,
    DetectRequest,
    LiveRequest,
    Picture,
    redact,
)
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime
from .runtime.stills import async_get_still

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

LIVE_VIEW = CameraEntityDescription(key="live_view", translation_key="live_view")
MOTION_VIEW = CameraEntityDescription(
    key="motion_view",
    translation_key="motion_view",
    entity_category=EntityCategory.DIAGNOSTIC,
    entity_registry_enabled_default=False,
)
_DEFAULT_WIDTH = 1280


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the views of each pipeline."""
    await async_add_pipeline_entities(entry, _make)


def _make(runtime: EntryRuntime, pipeline: PipelineRuntime) -> list[LiveView]:
    views = [LiveView(runtime, pipeline, LIVE_VIEW)]
    if pipeline.settings.may_be_live:
        views.append(MotionView(runtime, pipeline, MOTION_VIEW))
    return views


class LiveView(PipelineEntity, Camera):
    """A frame of live video, or a still, each with what that very picture shows."""

    def __init__(
        self, runtime: EntryRuntime, pipeline: PipelineRuntime, description: CameraEntityDescription
    ) -> None:
        """Follow a pipeline."""
        Camera.__init__(self)
        PipelineEntity.__init__(self, runtime, pipeline, description)

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
        try:
            return await self._picture(width or _DEFAULT_WIDTH)
        except (NodeRequestError, HomeAssistantError) as err:
            _LOGGER.debug("No picture for %s: %s", self.entity_id, redact(str(err)))
            return None

    async def _picture(self, width: int) -> bytes:
        return await (self._still() if self.pipeline.stream is None else self._live(width))

    async def _live(self, width: int, *, motion: bool = False) -> bytes:
        request = LiveRequest(pipeline_id=self.pipeline.pipeline_id, max_width=width, motion=motion)
        _, jpeg = await self.runtime.node.async_request_picture(Command.LIVE, request, Picture)
        return jpeg

    async def _still(self) -> bytes:
        settings = self.pipeline.settings
        if settings.camera is None:
            raise HomeAssistantError("there is no live video at the moment")
        still = await async_get_still(self.hass, settings.camera)
        engine, accelerator = self.runtime.node.place_for(
            settings.model, settings.engine, settings.accelerator
        )
        masks = await self.runtime.async_masks_of(settings.camera, settings.video_address)
        request = DetectRequest(
            model=settings.model,
            engine=engine,
            accelerator=accelerator,
            labels=settings.labels,
            confidence=settings.confidence,
            limits=dict(settings.limits),
            annotate=True,
            privacy_masks=masks.polygons,
            mask_aspects=masks.aspects,
        )
        _, jpeg = await self.runtime.node.async_request_picture(
            Command.DETECT, request, Detected, picture=still
        )
        return jpeg


class MotionView(LiveView):
    """What the motion gate sees: in red what has changed, in yellow what is worth a look."""

    @override
    async def _picture(self, width: int) -> bytes:
        return await self._live(width, motion=True)
