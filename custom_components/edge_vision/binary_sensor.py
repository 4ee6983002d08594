"""Binary sensors: occupancy per label, and the connection of the node."""

from __future__ import annotations

from typing import override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import NodeEntity, PipelineEntity, async_add_pipeline_entities
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime

PARALLEL_UPDATES = 0

OCCUPANCY = BinarySensorEntityDescription(
    key="occupancy",
    translation_key="occupancy",
    device_class=BinarySensorDeviceClass.OCCUPANCY,
)
ZONE_OCCUPANCY = BinarySensorEntityDescription(
    key="occupancy",
    translation_key="zone_occupancy",
    device_class=BinarySensorDeviceClass.OCCUPANCY,
)
CONNECTIVITY = BinarySensorEntityDescription(
    key="connectivity",
    translation_key="connectivity",
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per chosen label, and one for the node."""
    runtime = entry.runtime_data
    async_add_entities([NodeConnectivity(runtime, CONNECTIVITY)])
    await async_add_pipeline_entities(entry, _make)


def _make(runtime: EntryRuntime, pipeline: PipelineRuntime) -> list[PipelineEntity]:
    return [
        *(LabelOccupancy(runtime, pipeline, OCCUPANCY, label) for label in pipeline.counted_labels),
        *(
            LabelOccupancy(runtime, pipeline, ZONE_OCCUPANCY, label, zone)
            for label, zone in pipeline.counted_in_zones
        ),
    ]


class LabelOccupancy(PipelineEntity, BinarySensorEntity):
    """Occupancy by objects of a label."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether an object is present; None before the first look."""
        return self.presence.present if self.presence else None


class NodeConnectivity(NodeEntity, BinarySensorEntity):
    """The connection of the node."""

    @property
    @override
    def available(self) -> bool:
        """Return True: the state shows the connection."""
        return True

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the node is connected."""
        return self.runtime.node.connected
