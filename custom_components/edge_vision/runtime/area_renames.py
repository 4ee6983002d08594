"""Zones and lines with another name: their entities stay what they are, with all their history."""

from __future__ import annotations

from collections.abc import Mapping

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er

from ..const import CONF_ZONES

# (key of a zone or line in the subentry's data, the name it had) → the name it has now
type Renames = Mapping[tuple[str, str], str]


@callback
def async_rename_areas(
    hass: HomeAssistant, entry_id: str, subentry_id: str, renames: Renames
) -> None:
    """Have the entities of zones and lines go by the new names."""
    registry = er.async_get(hass)
    wanted: dict[str, str] = {}
    there: dict[tuple[str, str], str] = {}
    for entity in er.async_entries_for_config_entry(registry, entry_id):
        if entity.config_subentry_id != subentry_id:
            continue
        there[entity.domain, entity.unique_id] = entity.entity_id
        for (kind, old), new in renames.items():
            if (renamed := _renamed(entity.unique_id, kind, old, new)) is not None:
                wanted[entity.entity_id] = renamed
    # Use temporary ids first: two zones may have swapped their names.
    for entity_id in wanted:
        registry.async_update_entity(entity_id, new_unique_id=f"{subentry_id}_{entity_id}")
    for entity_id, unique_id in wanted.items():
        in_the_way = there.get((entity_id.partition(".")[0], unique_id))
        if in_the_way is not None and in_the_way not in wanted:
            registry.async_remove(in_the_way)  # that of a zone that this one has replaced
        registry.async_update_entity(entity_id, new_unique_id=unique_id)


def _renamed(unique_id: str, kind: str, old: str, new: str) -> str | None:
    """Return an entity's new id; None where it is not about that zone or line."""
    endings = (
        (f"@{old}",) if kind == CONF_ZONES else (f"_crossings_in_{old}", f"_crossings_out_{old}")
    )
    if not unique_id.endswith(endings):
        return None
    return unique_id.removesuffix(old) + new
