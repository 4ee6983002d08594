"""The bus event `edge_vision_detection` in words, for the logbook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeassistant.components.logbook.const import (
    LOGBOOK_ENTRY_ENTITY_ID,
    LOGBOOK_ENTRY_ICON,
    LOGBOOK_ENTRY_MESSAGE,
    LOGBOOK_ENTRY_NAME,
)
from homeassistant.core import Event, HomeAssistant, callback

from .const import DOMAIN, EVENT_DETECTION


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


def _message(data: Any) -> str:
    """Return what was seen. The logbook also shows events from before an update: all may lack."""
    label = data.get("label", "something")
    if data.get("phase") == "end":
        return f"no longer sees {label}"
    count = data.get("count") or 1
    seen = label if count == 1 else f"{count} x {label}"
    if (confidence := data.get("confidence")) is not None:
        seen += f" ({confidence:.0f} %)"
    if data.get("phase") == "update":
        return f"now sees {seen}"
    if data.get("kind") == "scan":
        return f"was asked to look, and sees {label} ({confidence:.0f} %)" if confidence else seen
    return f"sees {seen}"
