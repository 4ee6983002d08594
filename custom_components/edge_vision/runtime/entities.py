"""The entities that a platform has for each pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import EntityPlatform

from .pipeline import PipelineRuntime

# Returns all entities that a pipeline should have, with the entity ids that they suggest.
type MakeEntities = Callable[[PipelineRuntime], Iterable[Entity]]


class PipelineEntities:
    """The entities of one platform, kept as the pipelines' settings want them."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        platform: EntityPlatform,
        make: MakeEntities,
    ) -> None:
        """Initialize. `make` builds all entities of a pipeline; existing ones are kept."""
        self._hass = hass
        self._entry = entry
        self._platform = platform
        self._make = make
        self._made: dict[str, dict[str, Entity]] = {}

    async def async_update(self, pipeline: PipelineRuntime) -> None:
        """Add what is missing, and remove what is no longer wanted, from the registry too."""
        registry = er.async_get(self._hass)
        wanted = {str(entity.unique_id): entity for entity in self._make(pipeline)}
        made = self._made.get(pipeline.pipeline_id, {})
        kept = {
            unique_id: entity
            for unique_id, entity in made.items()
            if type(wanted.get(unique_id)) is type(entity) and self._is_added(registry, entity)
        }
        for unique_id in made.keys() - kept.keys():
            if self._platform.entities.get((entity := made[unique_id]).entity_id) is entity:
                await entity.async_remove()
        for item in er.async_entries_for_config_entry(registry, self._entry.entry_id):
            ours = item.config_subentry_id == pipeline.pipeline_id
            if ours and item.domain == self._platform.domain and item.unique_id not in wanted:
                registry.async_remove(item.entity_id)
        self._made[pipeline.pipeline_id] = wanted | kept
        await self._platform.async_add_entities(
            [entity for unique_id, entity in wanted.items() if unique_id not in kept],
            config_subentry_id=pipeline.pipeline_id,
        )

    def forget(self, pipeline_id: str) -> None:
        """Drop a pipeline whose subentry, and with it its entities, was removed."""
        self._made.pop(pipeline_id, None)

    def _is_added(self, registry: er.EntityRegistry, entity: Entity) -> bool:
        """Return whether an entity was added and still has its id: zones can be renamed."""
        if self._platform.entities.get(entity.entity_id) is not entity:
            return False
        item = registry.async_get(entity.entity_id)
        return item is not None and item.unique_id == entity.unique_id
