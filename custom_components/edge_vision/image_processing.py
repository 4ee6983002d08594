"""The pipeline as an `image_processing` entity: what the newest look showed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, override

from homeassistant.components.image_processing import (
    ImageProcessingEntity,
    ImageProcessingEntityDescription,
)
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import PipelineEntity
from .hub import EdgeVisionConfigEntry
from .node.edge_vision_node.protocol import DetectedObject, write

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

# Home Assistant drops all attributes of a state that has more than 16 KiB of them.
_MAX_OBJECTS_BYTES = 12 * 1024

DETECTION = ImageProcessingEntityDescription(
    key="detection", translation_key="detection", name=None
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    hub = entry.runtime_data
    for subentry_id, pipeline in hub.pipelines.items():
        async_add_entities(
            [DetectionEntity(hub, pipeline, DETECTION)], config_subentry_id=subentry_id
        )


class DetectionEntity(PipelineEntity, ImageProcessingEntity):
    """The number of objects in the newest look; what they are is in the attributes."""

    _unrecorded_attributes = frozenset({"objects"})

    @property
    @override
    def camera_entity(self) -> str:
        """Return the camera that is looked at."""
        return self.pipeline.settings.camera

    @property
    @override
    def confidence(self) -> float:
        """Return the lowest confidence, in percent, that counts."""
        return self.pipeline.settings.confidence

    @property
    @override
    def state(self) -> int | None:
        """Return how many objects there are; None is "not looked", never "none there"."""
        return None if (look := self.pipeline.look) is None else len(look.objects)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return what the newest look showed, and with what it was looked."""
        pipeline = self.pipeline
        attributes: dict[str, Any] = {
            "last_detection": pipeline.last_detection_at,
            "pattern": pipeline.settings.pattern,
        }
        if (look := pipeline.look) is None:
            return attributes
        summary: dict[str, int] = {}
        for item in look.objects:
            summary[item.label] = summary.get(item.label, 0) + 1
        return attributes | {
            "objects": _described(look.objects),
            "summary": summary,
            "model": look.model,
            "engine": look.engine,
            "accelerator": look.accelerator,
            "inference_ms": look.inference_ms,
        }

    @override
    async def async_update(self) -> None:
        """Look once: this is what the action `image_processing.scan` comes down to.

        The action has no way to hand on an error, and the entity's state tells of it.
        """
        try:
            await self.pipeline.async_scan()
        except HomeAssistantError as err:
            _LOGGER.warning("%s was not scanned: %s", self.entity_id, err)


def _described(objects: Iterable[DetectedObject]) -> list[dict[str, Any]]:
    """Return as many objects, the most confident first, as a state can hold."""
    described: list[dict[str, Any]] = []
    size = 0
    for item in sorted(objects, key=lambda item: item.confidence, reverse=True):
        entry = {**write(item), "track_id": None, "zones": []}
        size += len(json.dumps(entry))
        if size > _MAX_OBJECTS_BYTES:
            break
        described.append(entry)
    return described
