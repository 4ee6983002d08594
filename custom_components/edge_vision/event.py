"""Event entities: the events of a pipeline."""

from __future__ import annotations

from typing import Any, override

from homeassistant.components.event import (
    EventEntity,
    EventEntityDescription,
    EventExtraStoredData,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import PipelineEntity, async_add_pipeline_entities
from .runtime.event_words import EVENT_TYPES, event_type
from .runtime.runtime import EdgeVisionConfigEntry

PARALLEL_UPDATES = 0

DETECTION = EventEntityDescription(
    key="detection", translation_key="detection", event_types=[*EVENT_TYPES]
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    await async_add_pipeline_entities(
        entry, lambda runtime, pipeline: [DetectionEvent(runtime, pipeline, DETECTION)]
    )


class DetectionEvent(PipelineEntity, EventEntity):
    """All bus events `edge_vision_detection` of a pipeline."""

    _object_name: str | None = ""

    @property
    @override
    def available(self) -> bool:
        """Return True: the last event stays valid while the node is disconnected.

        And an entity that comes back says in Activity, and to triggers, that it happened again.
        """
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Subscribe to the events of the pipeline."""
        await super().async_added_to_hass()
        self.async_on_remove(self.pipeline.async_add_event_listener(self._async_take_event))

    @override
    async def async_get_last_event_data(self) -> EventExtraStoredData | None:
        """Restore the last event. What earlier versions stored had its phase as its type."""
        data = await super().async_get_last_event_data()
        if data is None or data.last_event_type in EVENT_TYPES:
            return data
        attributes = data.last_event_attributes or {}
        kind, phase = str(attributes.get("kind")), str(data.last_event_type)
        if (known := event_type(kind, phase)) is None:
            return None
        return EventExtraStoredData(known, {**attributes, "phase": phase})

    @callback
    def _async_take_event(self, data: dict[str, Any]) -> None:
        if (happened := event_type(data["kind"], data["phase"])) is None:
            return  # a newer node may send kinds that this version does not support
        attributes = {
            key: value
            for key, value in data.items()
            if key not in ("entity_id", "device_id") and isinstance(value, str | int | float)
        }
        self._trigger_event(happened, attributes)
        self.async_write_ha_state()
