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
    if data.get("kind") == Kind.CLASSIFICATION and label == NO_ANSWER:
        return "recognises nothing"
    if data.get("phase") == Phase.END:
        return f"no longer sees {label}"
    is_scan = data.get("kind") == Kind.SCAN  # which tells of each object by itself
    seen = f"{count} x {label}" if count and count > 1 and not is_scan else label
    if isinstance(confidence := data.get("confidence"), int | float):
        seen += f" ({confidence:.0f} %)"
    if is_scan:
        return f"was asked to look, and sees {seen}"
    return f"now sees {seen}" if data.get("phase") == Phase.UPDATE else f"sees {seen}"
