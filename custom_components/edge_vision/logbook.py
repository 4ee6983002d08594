"""The bus event `edge_vision_detection` in words, for the logbook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeassistant.components.logbook.const import (
    LOGBOOK_ENTRY_ENTITY_ID,
    LOGBOOK_ENTRY_ICON,
    LOGBOOK_ENTRY_MESSAGE,
    LOGBOOK_ENTRY_NAME,
)
from homeassistant.core import Event, HomeAssistant, callback

from .const import DOMAIN, EVENT_DETECTION
from .node.edge_vision_node.protocol import NO_ANSWER, Kind, Phase


@callback
def async_describe_events(
    hass: HomeAssistant,
    async_describe_event: Callable[[str, str, Callable[[Event], dict[str, Any]]], None],
) -> None:
    """Say who puts the event into words."""

    @callback
    def describe(event: Event) -> dict[str, Any]:
        data = event.data
        entity_id = data.get("entity_id")
        state = hass.states.get(entity_id) if entity_id else None
        described = {
            LOGBOOK_ENTRY_NAME: state.name if state else "Edge Vision",
            LOGBOOK_ENTRY_MESSAGE: _message(data),
            LOGBOOK_ENTRY_ICON: "mdi:eye-check-outline",
        }
        if entity_id:
            described[LOGBOOK_ENTRY_ENTITY_ID] = entity_id
        return described

    async_describe_event(DOMAIN, EVENT_DETECTION, describe)


def _message(data: Mapping[str, Any]) -> str:
    """Return what was seen. The logbook also shows what an earlier version fired: all may lack."""
    label, count = data.get("label", "something"), data.get("count")
    zone, began = data.get("zone"), data.get("phase") != Phase.END
    where = f" in {zone}" if zone else ""
    sure = f" ({confidence:.0f} %)" if (confidence := data.get("confidence")) else ""
    match data.get("kind"):
        case Kind.ZONE:
            return f"sees {label} enter {zone}{sure}" if began else f"sees {label} leave {zone}"
        case Kind.LOITERING:
            return f"sees {label} stay {'too long' if began else 'no longer'}{where}"
        case Kind.LINE:
            return f"sees {label} cross {data.get('line')} ({data.get('direction')})"
        case Kind.COUNT:
            return f"counts {count} x {label}{where}"
        case Kind.SCAN:  # which tells of each object by itself
            return f"was asked to look, and sees {label}{sure}"
        case Kind.CLASSIFICATION:
            return "recognises nothing" if label == NO_ANSWER else f"recognises {label}{sure}"
    if not began:
        # In live video, where each is told by itself, others may still be there.
        return f"no longer sees one {label} of {count + 1}" if count else f"no longer sees {label}"
    seen = f"{count} x {label}" if count and count > 1 else label
    return f"{'now sees' if data.get('phase') == Phase.UPDATE else 'sees'} {seen}{sure}"
