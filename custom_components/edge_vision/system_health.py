"""System health information for Edge Vision."""

from __future__ import annotations

from typing import Any

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback

from .const import CONF_ENGINE, DOMAIN
from .local_node.requirements import ENGINE_NAMES
from .runtime.runtime import EdgeVisionConfigEntry


@callback
def async_register(hass: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Register the system health callback."""
    register.async_register_info(_async_info, "/config/integrations/integration/edge_vision")


async def _async_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return the system health information."""
    entries: list[EdgeVisionConfigEntry] = hass.config_entries.async_entries(
        DOMAIN, include_ignore=False
    )
    if not entries:
        return {"node": "not set up"}
    entry = entries[0]
    engine = entry.data[CONF_ENGINE]
    info: dict[str, Any] = {"engine": ENGINE_NAMES.get(engine, engine)}
    if entry.state is not ConfigEntryState.LOADED:
        return info | {"node": {"type": "failed", "error": entry.reason or entry.state.value}}
    runtime = entry.runtime_data
    node, link = runtime.node, runtime.node.link.report()
    if node.connected:
        info["node"] = "connected"
    else:
        error = link.last_exit or "not connected"
        info["node"] = {"type": "failed", "error": error}
    if node.info is not None:
        info["node_version"] = node.info.version
        info["hardware"] = node.info.hardware.board or node.info.hardware.cpu
        versions = {item.id: item.version for item in node.info.engines}
        info["engine"] = f"{info['engine']} {versions.get(engine) or ''}".strip()
    pipelines = runtime.pipelines.values()
    return info | {
        "restarts": link.restarts,
        "pipelines": len(pipelines),
        "pipelines_looking": sum(item.enabled and item.available for item in pipelines),
    }
