"""What purpose-specific triggers and conditions have in common: which cameras are meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.target import TargetSelection, async_extract_referenced_entity_ids

from ..const import DOMAIN


def same(wanted: str | None, given: str | None) -> bool:
    """Return whether a name is the one that is asked for, in whatever case; None asks for none."""
    return wanted is None or (given is not None and wanted.casefold() == given.casefold())


def among(wanted: Iterable[str] | None, given: str) -> bool:
    """Return whether a name is one of those asked for; none at all ask for any."""
    return not wanted or any(same(item, given) for item in wanted)


@callback
def async_pipelines_in(hass: HomeAssistant, target: Mapping[str, Any]) -> set[str]:
    """Return the ids of the pipelines that entities, devices, areas, floors or labels lead to.

    Any entity of a camera's device stands for the camera.
    """
    selected = async_extract_referenced_entity_ids(hass, TargetSelection(dict(target)))
    registry = er.async_get(hass)
    devices = set(selected.referenced_devices)
    for entity_id in selected.referenced | selected.indirectly_referenced:
        entry = registry.async_get(entity_id)
        if entry is not None and entry.platform == DOMAIN and entry.device_id is not None:
            devices.add(entry.device_id)
    found = set()
    for device_id in devices:
        if (device := dr.async_get(hass).async_get(device_id)) is not None:
            found |= {value for domain, value in device.identifiers if domain == DOMAIN}
    return found
