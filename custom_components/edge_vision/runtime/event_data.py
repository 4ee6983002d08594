"""The bus event `edge_vision_detection`: what automations, flows and receivers build on."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, datetime
from typing import Any

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util

from ..const import DOMAIN
from ..node.edge_vision_node.protocol import ClassScore, DetectedObject, Kind, NodeEvent, write
from .event_words import event_message
from .settings import PipelineSettings


def moment_of(text: str) -> datetime | None:
    """Parse a time that a node has sent, as UTC; return None where it is not valid."""
    try:
        moment = dt_util.parse_datetime(text)
        moment = dt_util.as_utc(moment) if moment is not None else None
    except ValueError, OverflowError:
        return None
    # The first and the last year leave the calendar in some time zones.
    return moment if moment is not None and MINYEAR < moment.year < MAXYEAR else None


def milliseconds_since(captured_at: str) -> float | None:
    """Return how long ago a time was, in milliseconds; None where it is no time."""
    if (moment := moment_of(captured_at)) is None:
        return None
    # A clock that is set back meanwhile makes no events from the future.
    return max(0.0, round((dt_util.utcnow() - moment).total_seconds() * 1000, 1))


def snapshot_uri(pipeline_id: str, event_id: str) -> str:
    """Return where the media source has an event's picture."""
    return f"media-source://{DOMAIN}/{pipeline_id}/{event_id}"


def object_data(item: DetectedObject) -> dict[str, Any]:
    """Return an object as attributes and answers have it, with what its task knows of it."""
    return {key: value for key, value in write(item).items() if value not in (None, ())}


def class_data(item: ClassScore) -> dict[str, Any]:
    """Return a class of the whole frame likewise."""
    return {key: value for key, value in write(item).items() if value is not None}


@callback
def _occupancy_entity_id(hass: HomeAssistant, event: NodeEvent) -> str | None:
    """Return the occupancy sensor of an event's object, in the event's zone where it has one."""
    unique_id = f"{event.pipeline_id}_occupancy_{event.label}"
    if event.kind in (Kind.ZONE, Kind.LOITERING):
        unique_id += f"@{event.zone}"
    elif event.kind != Kind.OBJECT:
        return None
    return er.async_get(hass).async_get_entity_id(Platform.BINARY_SENSOR, DOMAIN, unique_id)


@callback
def event_data(
    hass: HomeAssistant,
    entry_id: str,
    node_id: str,
    settings: PipelineSettings,
    event: NodeEvent,
    *,
    replayed: bool,
) -> dict[str, Any]:
    """Return the data of the bus event. Its keys are a contract: add, never rename.

    `replayed`: it is delivered late, because Home Assistant was away or starting.
    """
    pipeline_id = event.pipeline_id
    device = dr.async_get(hass).async_get_device_by_identifier((DOMAIN, pipeline_id), entry_id)
    box = event.box
    return {
        "event_id": event.event_id,
        "entity_id": er.async_get(hass).async_get_entity_id(
            Platform.IMAGE_PROCESSING, DOMAIN, f"{pipeline_id}_detection"
        ),
        "camera_entity_id": settings.camera,
        "occupancy_entity_id": _occupancy_entity_id(hass, event),
        "device_id": device.id if device else None,
        "node_id": node_id,
        "pipeline_id": pipeline_id,
        "kind": event.kind,
        "phase": event.phase,
        "label": event.label,
        "confidence": event.confidence,
        "count": event.count,
        "track_id": event.track_id,
        "zones": list(event.zones),
        "zone": event.zone,
        "box": write(box) if box else None,
        "box_area": round(box.area, 4) if box else None,
        "centroid": {
            "x": round((box.x_min + box.x_max) / 2, 4),
            "y": round((box.y_min + box.y_max) / 2, 4),
        }
        if box
        else None,
        "model": event.model,
        "model_version": event.model_version,
        "engine": event.engine,
        "accelerator": event.accelerator,
        "pattern": event.pattern,
        "source": event.source,
        "captured_at": event.captured_at,
        "inference_ms": event.inference_ms,
        "latency_ms": milliseconds_since(event.captured_at),
        "snapshot": snapshot_uri(pipeline_id, event.evidence) if event.evidence else None,
        # An event's own picture is still being taken; that of an earlier event is stored.
        "snapshot_pending": event.evidence == event.event_id and not replayed,
        "evidence_id": event.evidence,
        "line": event.line,
        "direction": event.direction,
        "total": event.total,
        "replayed": replayed,
        "message": event_message(hass, event),
    }
