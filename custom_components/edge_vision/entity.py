"""What the entities of all platforms have in common."""

from __future__ import annotations

from typing import override

from homeassistant.core import callback
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import Entity, EntityDescription

from .const import DOMAIN, MANUFACTURER
from .hub import EdgeVisionHub
from .node.edge_vision_node.protocol import LabelPresence
from .pipeline import PipelineRuntime


class NodeEntity(Entity):
    """Something that a node has."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, hub: EdgeVisionHub, description: EntityDescription) -> None:
        """Belong to the node's device."""
        self.hub = hub
        self.entity_description = description
        self._attr_unique_id = f"{hub.entry.unique_id}_{description.key}"
        self._attr_device_info = DeviceInfo(identifiers={(DOMAIN, str(hub.entry.unique_id))})

    @property
    @override
    def available(self) -> bool:
        """Whether the node can be asked."""
        return self.hub.connected

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the node."""
        await super().async_added_to_hass()
        self.async_on_remove(self.hub.async_add_listener(self.async_write_ha_state))


class PipelineEntity(Entity):
    """Something that a pipeline has."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(
        self,
        hub: EdgeVisionHub,
        pipeline: PipelineRuntime,
        description: EntityDescription,
        label: str | None = None,
        zone: str | None = None,
    ) -> None:
        """Belong to the pipeline's device, and speak of one label, in one zone, where given."""
        self.hub = hub
        self.pipeline = pipeline
        self.label = label
        self.zone = zone
        self.entity_description = description
        self._attr_unique_id = f"{pipeline.pipeline_id}_{description.key}"
        if label is not None:
            self._attr_unique_id += f"_{label}"
            self._attr_translation_placeholders = {"label": label.capitalize()}
            if zone is not None:
                self._attr_unique_id += f"@{zone}"
                self._attr_translation_placeholders["zone"] = zone
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, pipeline.pipeline_id)},
            entry_type=DeviceEntryType.SERVICE,
            manufacturer=MANUFACTURER,
            name=pipeline.settings.name,
        )
        pipeline.entities.append(self)
        if hub.node_device_id is not None:
            self._attr_device_info["via_device_id"] = hub.node_device_id

    @property
    @override
    def available(self) -> bool:
        """Whether what the entity shows is true."""
        return self.pipeline.available

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the pipeline."""
        await super().async_added_to_hass()
        self.async_on_remove(self.pipeline.async_add_listener(self._async_pipeline_changed))

    @property
    def presence(self) -> LabelPresence | None:
        """Return what is known of the entity's label; None before anybody has looked."""
        if (look := self.pipeline.look) is None:
            return None
        if self.zone is None:
            return look.presence.get(self.label or "")
        if (presence := look.zones.get(self.zone)) is None:
            return None
        # Looked at, and not a single one seen there yet.
        return presence.get(self.label or "", LabelPresence(present=False, count=0))

    @callback
    def _async_pipeline_changed(self) -> None:
        self.async_write_ha_state()
