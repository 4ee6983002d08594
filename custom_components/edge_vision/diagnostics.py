"""Diagnostics for support, without pictures, tokens or credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers.device_registry import DeviceEntry

from .const import CONF_VIDEO_ADDRESS, DOMAIN
from .node.edge_vision_node.protocol import is_secret, redact
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime

_SECRET_KEYS = {
    *("access_token", "api_key", "authorization", "password", "token", "username"),
    CONF_VIDEO_ADDRESS,
}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: EdgeVisionConfigEntry
) -> dict[str, Any]:
    """Return everything about a node and its pipelines."""
    diagnostics: dict[str, Any] = {
        "entry": {
            "state": entry.state.value,
            "reason": entry.reason,
            "data": entry.data,
            "subentries": {
                subentry.subentry_id: {"title": subentry.title, "data": subentry.data}
                for subentry in entry.subentries.values()
            },
        },
    }
    if entry.state is ConfigEntryState.LOADED:
        runtime = entry.runtime_data
        diagnostics["node"] = _node(runtime)
        diagnostics["pipelines"] = {
            pipeline_id: _pipeline(runtime, pipeline)
            for pipeline_id, pipeline in runtime.pipelines.items()
        }
    return _clean(diagnostics)


async def async_get_device_diagnostics(
    hass: HomeAssistant, entry: EdgeVisionConfigEntry, device: DeviceEntry
) -> dict[str, Any]:
    """Return everything about the pipeline or node of a device."""
    if entry.state is not ConfigEntryState.LOADED:
        return await async_get_config_entry_diagnostics(hass, entry)
    runtime = entry.runtime_data
    for domain, key in device.identifiers:
        if domain == DOMAIN and (pipeline := runtime.pipelines.get(key)) is not None:
            return _clean({"pipeline": _pipeline(runtime, pipeline)})
    return _clean({"node": _node(runtime)})


def _node(runtime: EntryRuntime) -> dict[str, Any]:
    node, link = runtime.node, runtime.node.link.report()
    return {
        "connected": node.connected,
        "state": link.state,
        "restarts": link.restarts,
        "last_exit": link.last_exit,
        "last_seq": runtime.last_seq,
        "greeting": asdict(node.greeting) if node.greeting else None,
        "info": asdict(node.info) if node.info else None,
        "status": asdict(node.status) if node.status else None,
        "log": list(link.log),
    }


def _pipeline(runtime: EntryRuntime, pipeline: PipelineRuntime) -> dict[str, Any]:
    status = runtime.node.status.pipelines if runtime.node.status else ()
    return {
        "settings": asdict(pipeline.settings),
        "enabled": pipeline.enabled,
        "activity": pipeline.activity,
        "problem": pipeline.problem_text,
        "stills_because": pipeline.stills_because,
        "look": asdict(pipeline.look) if pipeline.look else None,
        "latency_ms": pipeline.latency_ms,
        "looks_per_second": pipeline.looks_per_second,
        "dropped": pipeline.dropped,
        "last_detection_at": pipeline.last_detection_at,
        "picture_at": pipeline.picture_at,
        "node": next(
            (asdict(item) for item in status if item.pipeline_id == pipeline.pipeline_id), None
        ),
    }


def _clean(diagnostics: dict[str, Any]) -> dict[str, Any]:
    """Return data with secrets removed: by key, and in texts such as errors with an address."""
    cleaned: dict[str, Any] = async_redact_data(_redact_texts(diagnostics), _SECRET_KEYS)
    return cleaned


def _redact_texts(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: REDACTED if isinstance(item, str) and is_secret(str(key)) else _redact_texts(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_texts(item) for item in value]
    return value
