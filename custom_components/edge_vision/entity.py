"""What the entities of all platforms have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import override

from homeassistant.core import callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import EntityPlatform, async_get_current_platform
from homeassistant.util import slugify

from .const import DOMAIN
from .node.edge_vision_node.protocol import LabelPresence
from .runtime.camera_device import pipeline_device
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EdgeVisionHub


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
    """Something that a pipeline has.

    `_object_name` is what its entity id says after the pipeline's name; its key, where it says
    nothing else.
    """

    _attr_has_entity_name = True
    _attr_should_poll = False
    _object_name: str | None = None

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
        self._attr_device_info = pipeline_device(hub, pipeline)

    def suggest_entity_id(self, domain: str) -> None:
        """Ask for an id by the pipeline's name alone, whatever device and area are called.

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


type MakeEntities = Callable[[EdgeVisionHub, PipelineRuntime], Iterable[PipelineEntity]]


async def async_add_pipeline_entities(entry: EdgeVisionConfigEntry, make: MakeEntities) -> None:
    """Add what the platform that is being set up has for each pipeline, now and later."""
    hub = entry.runtime_data
    entities = PipelineEntities(hub, async_get_current_platform(), make)
    hub.pipeline_entities.append(entities)
    for pipeline in hub.pipelines.values():
        await entities.async_update(pipeline)


class PipelineEntities:
    """The entities that a platform has for each pipeline, kept as its settings want them."""

    def __init__(self, hub: EdgeVisionHub, platform: EntityPlatform, make: MakeEntities) -> None:
        """Make none yet. `make` makes all of a pipeline; those that are there stay."""
        self._hub = hub
        self._platform = platform
        self._make = make
        self._made: dict[str, dict[str, PipelineEntity]] = {}

    async def async_update(self, pipeline: PipelineRuntime) -> None:
        """Add what is missing, and remove what is no longer wanted, from the registry too."""
        registry = er.async_get(self._hub.hass)
        wanted = {str(entity.unique_id): entity for entity in self._make(self._hub, pipeline)}
        for entity in wanted.values():
            entity.suggest_entity_id(self._platform.domain)
        made = self._made.get(pipeline.pipeline_id, {})
        kept = {
            unique_id: entity
            for unique_id, entity in made.items()
            if type(wanted.get(unique_id)) is type(entity) and self._is_there(registry, entity)
        }
        for unique_id in made.keys() - kept.keys():
            if self._platform.entities.get((entity := made[unique_id]).entity_id) is entity:
                await entity.async_remove()
        for item in er.async_entries_for_config_entry(registry, self._hub.entry.entry_id):
            ours = item.config_subentry_id == pipeline.pipeline_id
            if ours and item.domain == self._platform.domain and item.unique_id not in wanted:
                registry.async_remove(item.entity_id)
        self._made[pipeline.pipeline_id] = wanted | kept
        await self._platform.async_add_entities(
            [entity for unique_id, entity in wanted.items() if unique_id not in kept],
            config_subentry_id=pipeline.pipeline_id,
        )

    def forget(self, pipeline_id: str) -> None:
        """Leave out a pipeline whose subentry, and with it its entities, has been removed."""
        self._made.pop(pipeline_id, None)

    def _is_there(self, registry: er.EntityRegistry, entity: PipelineEntity) -> bool:
        """Return whether an entity was added, and still goes by its id: zones can be renamed."""
        if self._platform.entities.get(entity.entity_id) is not entity:
            return False
        item = registry.async_get(entity.entity_id)
        return item is not None and item.unique_id == entity.unique_id
