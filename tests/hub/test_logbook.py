"""Detections in the logbook."""

from __future__ import annotations

from typing import Any

import pytest
from homeassistant.components.logbook.const import (
    LOGBOOK_ENTRY_ENTITY_ID,
    LOGBOOK_ENTRY_MESSAGE,
    LOGBOOK_ENTRY_NAME,
)
from homeassistant.core import Event, HomeAssistant, callback

from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION
from custom_components.edge_vision.logbook import async_describe_events
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until


def describe(hass: HomeAssistant, data: dict[str, Any]) -> dict[str, Any]:
    """Return what the logbook shows of an event."""
    described: dict[str, Any] = {}

    def take(domain: str, event_type: str, describe_event: Any) -> None:
        assert (domain, event_type) == (DOMAIN, EVENT_DETECTION)
        described.update(describe_event(Event(EVENT_DETECTION, data)))

    async_describe_events(hass, take)
    return described


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"phase": "start", "label": "person", "confidence": 91.4}, "sees person (91 %)"),
        (
            {"phase": "start", "label": "dog", "count": 2, "confidence": 70.0},
            "sees 2 x dog (70 %)",
        ),
        (
            {"phase": "update", "label": "dog", "count": 3, "confidence": 70.0},
            "now sees 3 x dog (70 %)",
        ),
        ({"phase": "end", "label": "dog", "count": 0, "confidence": 70.0}, "no longer sees dog"),
        (
            {"phase": "instant", "kind": "scan", "label": "cat", "count": 2, "confidence": 55.5},
            "was asked to look, and sees cat (56 %)",
        ),
        (
            {"kind": "object", "phase": "end", "label": "dog", "count": 2},
            "no longer sees one dog of 3",
        ),
        (
            {"kind": "zone", "phase": "start", "label": "dog", "zone": "Porch", "confidence": 80.0},
            "sees dog enter Porch (80 %)",
        ),
        (
            {"kind": "zone", "phase": "end", "label": "dog", "zone": "Porch", "confidence": 80.0},
            "sees dog leave Porch",
        ),
        (
            {"kind": "loitering", "phase": "start", "label": "dog", "zone": "Porch"},
            "sees dog stay too long in Porch",
        ),
        (
            {"kind": "loitering", "phase": "end", "label": "dog", "zone": "Porch"},
            "sees dog stay no longer in Porch",
        ),
        (
            {"kind": "line", "phase": "instant", "label": "car", "line": "Gate", "direction": "in"},
            "sees car cross Gate (in)",
        ),
        (
            {"kind": "count", "phase": "instant", "label": "dog", "zone": "Porch", "count": 0},
            "counts 0 x dog in Porch",
        ),
        (
            {"kind": "classification", "phase": "instant", "label": "fog", "confidence": 61.0},
            "recognises fog (61 %)",
        ),
        ({"kind": "classification", "phase": "instant", "label": "none"}, "recognises nothing"),
        ({}, "sees something"),
    ],
)
async def test_a_detection_in_words(
    hass: HomeAssistant, data: dict[str, Any], message: str
) -> None:
    described = describe(hass, data)
    assert described[LOGBOOK_ENTRY_MESSAGE] == message
    assert described[LOGBOOK_ENTRY_NAME] == "Edge Vision"


async def test_a_real_detection_is_told_of_its_camera(home: Home, cameras: Cameras) -> None:
    events: list[Event] = []

    @callback
    def take(event: Event) -> None:
        events.append(event)

    home.hass.bus.async_listen(EVENT_DETECTION, take)
    cameras.porch.picture = STREET
    await home.add(pipeline())
    await until(lambda: events)
    described = describe(home.hass, dict(events[0].data))
    assert described[LOGBOOK_ENTRY_NAME] == "Front door"
    assert described[LOGBOOK_ENTRY_ENTITY_ID] == "image_processing.front_door"
    assert described[LOGBOOK_ENTRY_MESSAGE].startswith("sees ")
