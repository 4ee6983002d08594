"""What a pipeline has to say, as an event entity."""

from __future__ import annotations

from typing import Any, override

from homeassistant.components.event import EventEntity, EventEntityDescription
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import PipelineEntity, async_add_pipeline_entities
from .hub import EdgeVisionConfigEntry
from .node.edge_vision_node.protocol import Phase

PARALLEL_UPDATES = 0

DETECTION = EventEntityDescription(
    key="detection", translation_key="detection", name=None, event_types=[*Phase]
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    await async_add_pipeline_entities(
        entry, lambda hub, pipeline: [DetectionEvent(hub, pipeline, DETECTION)]
    )


class DetectionEvent(PipelineEntity, EventEntity):
    """Everything that is fired as `edge_vision_detection` for this pipeline."""

    @property
    @override
    def available(self) -> bool:
        """Whether the node is there.

        Not whether the pipeline looks: the first event after a failure comes before the answer
        that ends the failure, and must not fall into an unavailable entity.
        """
        return self.hub.connected

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the events."""
        await super().async_added_to_hass()
        self.async_on_remove(self.pipeline.async_add_event_listener(self._async_take_event))

    @callback
    def _async_take_event(self, data: dict[str, Any]) -> None:
        if data["phase"] not in self.event_types:
            return  # a newer node may know phases that this version does not
        attributes = {
            key: value
            for key, value in data.items()
            if key not in ("entity_id", "device_id", "phase")
            and isinstance(value, str | int | float)
        }
        self._trigger_event(data["phase"], attributes)
        self.async_write_ha_state()
