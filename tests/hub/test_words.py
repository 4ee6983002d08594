"""Events in words: their types, and the sentence that says what it was."""

from __future__ import annotations

from typing import Any

import pytest
from homeassistant.components.event import ATTR_EVENT_TYPES
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers.translation import async_load_integrations
from pytest_homeassistant_custom_component.common import mock_restore_cache_with_extra_data

from custom_components.edge_vision.const import DOMAIN
from custom_components.edge_vision.node.edge_vision_node.protocol import Kind, NodeEvent, Phase
from custom_components.edge_vision.runtime.event_words import EVENT_TYPES, event_message, event_type
from tests.hub.conftest import Cameras, Home, pipeline


def happened(kind: str, phase: str, **changes: Any) -> NodeEvent:
    return NodeEvent(
        **{
            "event_id": "01EVENT",
            "pipeline_id": "01PIPELINE",
            "kind": kind,
            "phase": phase,
            "label": "person",
            "confidence": 91.4,
            "count": 1,
            "box": None,
            "model": "m",
            "model_version": "1",
            "engine": "ncnn",
            "accelerator": "cpu",
            "pattern": "full_edge",
            "captured_at": "2026-11-23T20:15:04+00:00",
            "inference_ms": 1.0,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("event", "wanted", "message"),
    [
        (happened("object", "start"), "appeared", "Person appeared"),
        (happened("object", "start", count=2), "appeared", "2 x Person appeared"),
        (happened("object", "start", count=2, track_id=7), "appeared", "Person appeared"),
        (happened("object", "update", count=3), "changed", "3 x Person there now"),
        (
            happened("object", "end", count=0, label="traffic light"),
            "gone",
            "Traffic light is gone",
        ),
        (happened("zone", "start", zone="Porch"), "entered_zone", "Person entered the zone Porch"),
        (happened("zone", "update", zone="Porch"), "changed", "Person is in the zone Porch again"),
        (happened("zone", "end", zone="Porch"), "left_zone", "Person left the zone Porch"),
        (
            happened("loitering", "start", zone="Porch"),
            "loitering",
            "Person has been in the zone Porch for too long",
        ),
        (
            happened("loitering", "end", zone="Porch"),
            "stopped_loitering",
            "Person is no longer loitering in the zone Porch",
        ),
        (
            happened("line", "instant", line="Gate", direction="in", label="car"),
            "crossed_line",
            "Car crossed the line Gate inwards",
        ),
        (
            happened("line", "instant", line="Gate", direction="out", label="car"),
            "crossed_line",
            "Car crossed the line Gate outwards",
        ),
        (
            happened("count", "instant", zone="Parking", label="car", count=0),
            "count_changed",
            "0 x Car in the zone Parking",
        ),
        (
            happened("classification", "instant", label="fog bank"),
            "classified",
            "The picture shows Fog bank",
        ),
        (
            happened("classification", "instant", label="none", count=0),
            "classified",
            "The picture shows nothing certain",
        ),
        (happened("scan", "instant", label="cat"), "seen_on_request", "Cat seen on request"),
        # A zone may be called like this; it is text, and no placeholder.
        (happened("zone", "start", zone="{x}"), "entered_zone", "Person entered the zone {x}"),
    ],
)
async def test_an_event_in_words(
    hass: HomeAssistant, event: NodeEvent, wanted: str, message: str
) -> None:
    await async_load_integrations(hass, {DOMAIN})
    assert event_type(event.kind, event.phase) == wanted
    assert event_message(hass, event) == message


def test_every_rule_has_types_and_every_type_a_rule() -> None:
    found = {event_type(kind, phase) for kind in Kind for phase in Phase} - {None}
    assert found == set(EVENT_TYPES)
    assert event_type("newer", "start") is None


async def test_a_kind_of_a_newer_node_is_still_told(hass: HomeAssistant) -> None:
    await async_load_integrations(hass, {DOMAIN})
    assert event_message(hass, happened("newer", "start")) == "Person"


@pytest.mark.parametrize(
    ("kind", "before", "now"),
    [
        ("object", "start", "appeared"),
        ("loitering", "start", "loitering"),
        ("line", "instant", "crossed_line"),
        ("newer", "start", None),
        ("object", "appeared", "appeared"),
    ],
)
async def test_what_an_earlier_version_stored_gets_its_new_type(
    home: Home, cameras: Cameras, kind: str, before: str, now: str | None
) -> None:
    stored = {"last_event_type": before, "last_event_attributes": {"kind": kind, "label": "dog"}}
    at = "2026-11-23T20:15:04.123+00:00"
    mock_restore_cache_with_extra_data(home.hass, [(State("event.front_door", at), stored)])
    await home.add(pipeline())
    state = home.hass.states.get("event.front_door")
    assert state is not None
    assert state.attributes[ATTR_EVENT_TYPES] == list(EVENT_TYPES)
    assert state.attributes["event_type"] == now
    assert state.state == (at if now else "unknown")
