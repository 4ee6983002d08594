"""What the entities of all platforms have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import override

from homeassistant.core import callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import async_get_current_platform
from homeassistant.util import slugify

from .const import DOMAIN
from .node.edge_vision_node.protocol import LabelPresence
from .runtime.camera_device import pipeline_device
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime


class NodeEntity(Entity):
    """An entity of a node."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, runtime: EntryRuntime, description: EntityDescription) -> None:
        """Initialize an entity of the node's device."""
        self.runtime = runtime
        self.entity_description = description
        self._attr_unique_id = f"{runtime.entry.unique_id}_{description.key}"
        self._attr_device_info = DeviceInfo(identifiers={(DOMAIN, str(runtime.entry.unique_id))})

    @property
    @override
    def available(self) -> bool:
        """Return whether the node is connected."""
        return self.runtime.node.connected

    @override
    async def async_added_to_hass(self) -> None:
        """Subscribe to the node's changes."""
        await super().async_added_to_hass()
        self.async_on_remove(self.runtime.node.async_add_listener(self.async_write_ha_state))


class PipelineEntity(Entity):
    """An entity of a pipeline.

    `_object_name` is what its entity id says after the pipeline's name; its key, where it says
    nothing else.
    """

    _attr_has_entity_name = True
    _attr_should_poll = False
    _object_name: str | None = None

    def __init__(
        self,
        runtime: EntryRuntime,
        pipeline: PipelineRuntime,
        description: EntityDescription,
        label: str | None = None,
        zone: str | None = None,
    ) -> None:
        """Initialize an entity of the pipeline's device, about a label in a zone where given."""
        self.runtime = runtime
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
        self._attr_device_info = pipeline_device(
            runtime.hass, pipeline.pipeline_id, pipeline.settings, runtime.node.device_id
        )

    def suggest_entity_id(self, domain: str) -> None:
        """Suggest an id by the pipeline's name alone, whatever device and area are called.

        Home Assistant keeps the id that an entity has already.
        """
        name = self._object_name
        if name is None:
            # A label's presence goes by the label alone.
            what = self.entity_description.key.replace("occupancy", "")
            where = f"in {self.zone}" if self.zone else ""
            name = f"{self.label or ''} {what} {where}"
        self.entity_id = f"{domain}.{slugify(f'{self.pipeline.settings.name} {name}')}"

    @property
    @override
    def available(self) -> bool:
        """Return whether what the entity shows is true."""
        return self.pipeline.available

    @override
    async def async_added_to_hass(self) -> None:
        """Subscribe to the pipeline's changes."""
        await super().async_added_to_hass()
        self.async_on_remove(self.pipeline.async_add_listener(self._async_pipeline_changed))

    @property
    def presence(self) -> LabelPresence | None:
        """Return what is known of the entity's label; None before the first look."""
        if (look := self.pipeline.look) is None:
            return None
        if self.zone is None:
            return look.presence.get(self.label or "")
        if (presence := look.zones.get(self.zone)) is None:
            return None
        # Looked at, and none was seen there yet.
        return presence.get(self.label or "", LabelPresence(present=False, count=0))

    @callback
    def _async_pipeline_changed(self) -> None:
        self.async_write_ha_state()


type MakeEntities = Callable[[EntryRuntime, PipelineRuntime], Iterable[PipelineEntity]]


async def async_add_pipeline_entities(entry: EdgeVisionConfigEntry, make: MakeEntities) -> None:
    """Add what the platform that is being set up has for each pipeline, now and later."""
    runtime, platform = entry.runtime_data, async_get_current_platform()

    def suggested(pipeline: PipelineRuntime) -> Iterable[PipelineEntity]:
        for entity in make(runtime, pipeline):
            entity.suggest_entity_id(platform.domain)
            yield entity

    await runtime.pipelines.async_add_platform(platform, suggested)
