"""From a camera's picture to states, events and the bus, with real inference."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import pytest
from homeassistant.components.media_source import async_browse_media
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.json import json_bytes
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import (
    async_capture_events,
    mock_restore_cache,
)

from custom_components.edge_vision.const import (
    CONF_SCAN_INTERVAL,
    DOMAIN,
    EVENT_DETECTION,
    MAX_CONFIDENCE,
    MIN_CONFIDENCE,
    Issue,
    issue_id,
)
from custom_components.edge_vision.image_processing import _described
from custom_components.edge_vision.node.edge_vision_node.protocol import (
    Box,
    Command,
    DetectedObject,
    EvidenceRequest,
    Picture,
    SlowedBy,
)
from custom_components.edge_vision.runtime import pipelines as pipelines_module
from custom_components.edge_vision.runtime import still_loop
from custom_components.edge_vision.runtime.event_data import milliseconds_since
from custom_components.edge_vision.runtime.event_words import EVENT_TYPES
from tests.hub.conftest import BLANK, STREET, Cameras, Home, entry_with, pipeline, until

OCCUPANCY = "binary_sensor.front_door_person"
COUNT = "sensor.front_door_person_count"
DETECTION = "image_processing.front_door"
EVENT = "event.front_door"
STATUS = "sensor.front_door_status"
SWITCH = "switch.front_door_detection"

# The keys of the bus event are a contract with automations, flows and receivers.
EVENT_KEYS = {
    "accelerator",
    "box",
    "box_area",
    "camera_entity_id",
    "captured_at",
    "centroid",
    "confidence",
    "count",
    "device_id",
    "direction",
    "engine",
    "entity_id",
    "event_id",
    "evidence_id",
    "inference_ms",
    "kind",
    "label",
    "latency_ms",
    "line",
    "message",
    "model",
    "model_version",
    "node_id",
    "occupancy_entity_id",
    "pattern",
    "phase",
    "pipeline_id",
    "replayed",
    "snapshot",
    "snapshot_pending",
    "source",
    "total",
    "track_id",
    "zone",
    "zones",
}


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failed look be tried again soon."""
    monkeypatch.setattr(still_loop, "CAMERA_RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(still_loop, "RETRY_FIRST_S", 0.2)
    monkeypatch.setattr(still_loop, "RETRY_LONGEST_S", 0.4)


@pytest.mark.real_node
async def test_scan_shows_what_is_there_and_fires_an_event_for_each_object(
    home: Home, cameras: Cameras
) -> None:
    entry = await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET

    await home.scan()

    seen = int(home.state(DETECTION))
    assert seen >= 2
    objects = home.attribute(DETECTION, "objects")
    assert len(objects) == seen
    assert {item["label"] for item in objects} == {"person"}
    assert all(40 <= item["confidence"] <= 100 for item in objects)
    assert home.attribute(DETECTION, "summary") == {"person": seen}
    assert home.attribute(DETECTION, "engine") == "onnxruntime"
    assert home.attribute(DETECTION, "accelerator") == "cpu"
    assert home.attribute(DETECTION, "pattern") == "full_edge"
    assert home.attribute(DETECTION, "inference_ms") > 0
    assert datetime.fromisoformat(home.attribute(DETECTION, "last_detection"))

    await until(lambda: len(fired) >= seen + 1)  # and the one that says that presence has begun
    scans = [event.data for event in fired if event.data["kind"] == "scan"]
    assert len(scans) == seen
    (subentry_id,) = entry.subentries
    device = dr.async_get(home.hass).async_get_device_by_identifier(
        (DOMAIN, subentry_id), entry.entry_id
    )
    for data in scans:
        assert data.keys() == EVENT_KEYS
        assert data["entity_id"] == DETECTION
        assert data["camera_entity_id"] == "camera.porch"
        assert data["occupancy_entity_id"] is None
        assert data["device_id"] == device.id
        assert data["pipeline_id"] == subentry_id
        assert data["node_id"] == home.runtime.node.greeting.node_id
        assert (data["phase"], data["label"], data["count"]) == ("instant", "person", seen)
        box, centroid = data["box"], data["centroid"]
        assert 0 <= box["x_min"] < centroid["x"] < box["x_max"] <= 1
        assert 0 <= box["y_min"] < centroid["y"] < box["y_max"] <= 1
        assert 0 < data["box_area"] < 1
        assert 0 < data["inference_ms"] < data["latency_ms"] < 20_000
    assert len({data["event_id"] for data in scans}) == seen
    # One picture shows all that the look has shown: with boxes, and clean.
    (snapshot,) = {data["snapshot"] for data in scans}
    request = EvidenceRequest(event_id=scans[0]["evidence_id"])
    _, drawn = await home.runtime.node.async_request_picture(Command.EVIDENCE, request, Picture)
    clean = replace(request, clean=True)
    _, plain = await home.runtime.node.async_request_picture(Command.EVIDENCE, clean, Picture)
    assert drawn.startswith(b"\xff\xd8")
    assert plain.startswith(b"\xff\xd8")
    assert drawn != plain
    assert await async_setup_component(home.hass, "media_source", {})
    listed = await async_browse_media(home.hass, f"media-source://edge_vision/{subentry_id}")
    assert snapshot in {item.media_content_id for item in listed.children}


def test_a_clock_that_was_set_back_makes_no_negative_latency() -> None:
    assert milliseconds_since("2999-01-01T00:00:00+00:00") == 0


async def test_what_changes_with_every_look_is_not_recorded(home: Home) -> None:
    await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    unrecorded = home.hass.states.get(DETECTION).state_info["unrecorded_attributes"]
    assert {"objects", "inference_ms"} <= unrecorded


async def test_presence_begins_changes_and_ends(home: Home, cameras: Cameras) -> None:
    entry = await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    assert home.state(OCCUPANCY) == "off"
    assert home.state(COUNT) == "0"
    fired = async_capture_events(home.hass, EVENT_DETECTION)

    cameras.porch.picture = STREET
    await home.scan()
    await until(lambda: any(event.data["phase"] == "start" for event in fired))
    assert home.state(OCCUPANCY) == "on"
    count = int(home.state(COUNT))
    assert count >= 2

    # Fewer pass when more is asked of them.
    best = max(item["confidence"] for item in home.attribute(DETECTION, "objects"))
    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "confidence": int(best)}
    )
    await until(lambda: home.pipeline.sent_settings.confidence == int(best))
    await home.scan()
    await until(lambda: any(event.data["phase"] == "update" for event in fired))
    assert 1 <= int(home.state(COUNT)) < count
    assert home.state(OCCUPANCY) == "on"

    cameras.porch.picture = BLANK
    await home.scan()
    await until(lambda: any(event.data["phase"] == "end" for event in fired))
    assert home.state(OCCUPANCY) == "off"
    assert home.state(COUNT) == "0"
    assert home.state(DETECTION) == "0"
    assert home.attribute(EVENT, "event_type") == "gone"
    assert home.attribute(EVENT, "label") == "person"
    objects = [event.data for event in fired if event.data["kind"] == "object"]
    assert [data["phase"] for data in objects] == ["start", "update", "end"]
    assert [data["count"] for data in objects] == [count, objects[1]["count"], 0]
    assert objects[-1]["box"] is None
    assert objects[-1]["box_area"] is None
    assert objects[-1]["centroid"] is None


def _number(home: Home) -> str:
    registry = er.async_get(home.hass)
    (subentry_id,) = home.entry.subentries
    entity_id = registry.async_get_entity_id("number", DOMAIN, f"{subentry_id}_confidence")
    assert entity_id is not None
    return entity_id


async def test_the_event_entity_speaks_of_every_event(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    assert home.state(EVENT) == "unknown"
    assert home.attribute(EVENT, "event_types") == list(EVENT_TYPES)
    spoken = home.states_of(EVENT)
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET
    await home.scan()
    await until(lambda: len(fired) >= 3)
    assert len(spoken) == len(fired)
    assert len(set(spoken)) == len(fired)
    state = home.hass.states.get(EVENT)
    assert {"kind", "label", "confidence", "count", "captured_at", "model"} <= set(state.attributes)
    assert "box" not in state.attributes


@pytest.mark.real_node
async def test_nothing_is_known_before_the_first_look(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines_module, "FIRST_LOOKS_PATIENCE_S", 0.0)
    cameras.porch.delay_s = 0.3
    await home.add(pipeline())
    await home.until_state(STATUS, "on_request")
    for entity_id in (OCCUPANCY, COUNT, DETECTION):
        assert home.state(entity_id) == "unavailable"
    assert home.attribute(DETECTION, "objects") is None
    await home.until_state(OCCUPANCY, "off")
    assert home.state(COUNT) == "0"


async def test_a_restart_of_home_assistant_shows_no_zero_that_nobody_saw(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    await until(lambda: home.runtime.last_seq)  # the event that it began has been taken in
    seen = {entity_id: home.states_of(entity_id) for entity_id in (OCCUPANCY, COUNT)}
    fired = async_capture_events(home.hass, EVENT_DETECTION)

    await home.hass.config_entries.async_reload(entry.entry_id)
    await home.until_state(OCCUPANCY, "on")

    assert "off" not in seen[OCCUPANCY]
    assert "0" not in seen[COUNT]
    # Presence has not ended and begun again: the node remembers.
    assert [event.data["phase"] for event in fired if event.data["kind"] == "object"] == []


async def test_a_pipeline_that_looks_by_itself_keeps_its_time(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline(only_on_request=False, scan_interval=0.1))
    await until(lambda: cameras.porch.asked >= 6)
    assert home.state(STATUS) == "looking"
    assert 0 < home.pipeline.looks_per_second < 10 * 1.4  # a busy machine is slower
    cameras.porch.picture = STREET
    await home.until_state(OCCUPANCY, "on")
    cameras.porch.picture = BLANK
    asked = cameras.porch.asked
    await home.until_state(OCCUPANCY, "off")
    # One look without a person may have missed them; two in a row have not.
    assert cameras.porch.asked - asked >= 2


async def test_a_look_that_takes_too_long_costs_ticks_and_nothing_else(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.delay_s = 0.25
    await home.add(pipeline(only_on_request=False, scan_interval=0.1))
    await until(lambda: home.pipeline.look is not None)
    await until(lambda: home.pipeline.dropped >= 2)
    assert home.pipeline.problem is None
    assert cameras.porch.asked <= 3


async def test_in_stills_count_and_occupancy_agree(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(only_on_request=False, scan_interval=0.1))
    await home.until_state(OCCUPANCY, "on")
    there = home.state(DETECTION)
    assert int(there) >= 2
    cameras.porch.picture = BLANK
    await until(lambda: home.pipeline.look and not home.pipeline.look.objects)
    # One look missed them, and so they still are there: for all three.
    if home.state(OCCUPANCY) == "on":
        assert home.state(DETECTION) == home.state(COUNT) == there
        assert home.attribute(DETECTION, "summary") == {"person": int(there)}
    await home.until_state(OCCUPANCY, "off")
    assert home.state(DETECTION) == home.state(COUNT) == "0"


async def test_another_interval_drops_no_pictures_of_before(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline(only_on_request=False, scan_interval=0.1))
    runtime = home.pipeline
    (subentry,) = home.entry.subentries.values()
    await until(lambda: runtime.look and cameras.porch.asked >= 4)
    for interval in (3600, 0.1, 0.2):
        before, asked = runtime.dropped, cameras.porch.asked
        cameras.porch.delay_s = 0.2
        runtime.async_wake()
        await until(lambda asked=asked: cameras.porch.asked > asked)  # it is being looked at
        data = {**subentry.data, CONF_SCAN_INTERVAL: interval}
        home.hass.config_entries.async_update_subentry(home.entry, subentry, data=data)
        await until(lambda wanted=interval: runtime.settings.scan_interval_s == wanted)
        cameras.porch.delay_s = 0.0
        await until(lambda asked=asked: cameras.porch.asked > asked + 1)  # and looked at again
        assert before <= runtime.dropped <= before + 2


async def test_looking_at_fewer_frames_has_a_reason(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline())
    for slowed_by, hint in (
        (SlowedBy.MODEL, "smaller model"),
        (SlowedBy.DECODING, "hardware decoding"),
    ):
        home.pipeline.slowed_by = slowed_by
        home.pipeline.async_notify()
        assert home.state(STATUS) == "slowed"
        assert home.attribute(STATUS, "slowed_by") == slowed_by
        assert hint in home.attribute(STATUS, "reason")
    home.pipeline.slowed_by = None
    home.pipeline.async_notify()
    assert home.attribute(STATUS, "slowed_by") is None
    assert home.attribute(STATUS, "reason") is None


async def test_only_on_request_looks_once_and_then_when_asked(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline(scan_interval=0.1))
    await home.until_state(DETECTION, "0")
    assert home.state(STATUS) == "on_request"
    asked = cameras.porch.asked
    await asyncio.sleep(0.25)
    assert cameras.porch.asked == asked
    await home.scan()
    assert cameras.porch.asked == asked + 1


async def test_two_pipelines_share_a_camera(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    await home.add(
        pipeline(), pipeline("Vehicles", labels=["car", "truck"]), pipeline("Any", labels=[])
    )
    await home.until_state(OCCUPANCY, "on")
    await home.until_state("binary_sensor.vehicles_car", "off")
    assert home.state("image_processing.vehicles") == "0"
    await until(lambda: home.state("image_processing.any") not in ("unknown", "0"))
    assert not [e for e in home.entity_ids() if e.startswith("binary_sensor.any")]


async def test_switched_off_nothing_is_looked_at_and_nothing_is_known(
    home: Home, cameras: Cameras, warnings: Callable[[], list[str]]
) -> None:
    await home.add(pipeline(only_on_request=False, scan_interval=0.1))
    await home.until_state(DETECTION, "0")
    await home.call("switch", "turn_off", SWITCH)
    assert home.state(STATUS) == "off"
    for entity_id in (OCCUPANCY, COUNT, DETECTION):
        assert home.state(entity_id) == "unknown"
    asked = cameras.porch.asked
    await asyncio.sleep(0.25)
    assert cameras.porch.asked == asked

    await home.scan()
    assert cameras.porch.asked == asked
    assert len([line for line in warnings() if "was not scanned" in line]) == 1
    assert home.state(DETECTION) == "unknown"

    await home.call("switch", "turn_on", SWITCH)
    await home.until_state(DETECTION, "0")
    assert home.state(STATUS) == "looking"


async def test_switched_off_while_the_camera_is_asked_its_picture_is_not_looked_at(
    home: Home, cameras: Cameras
) -> None:
    await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET
    cameras.porch.delay_s = 0.2
    scanning = home.hass.async_create_task(home.scan())
    await asyncio.sleep(0.1)
    await home.call("switch", "turn_off", SWITCH)
    await scanning
    await asyncio.sleep(0.1)
    assert fired == []
    assert home.state(DETECTION) == "unknown"


async def test_a_change_of_one_pipeline_wakes_no_other(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline(), pipeline("Garden", "camera.garden"))
    await home.until_state("image_processing.garden", "0")
    asked = cameras.porch.asked, cameras.garden.asked
    (_, garden) = home.entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        home.entry, garden, data={**garden.data, "confidence": 66}
    )
    await until(lambda: cameras.garden.asked > asked[1])
    assert cameras.porch.asked == asked[0]


async def test_a_mistake_of_ours_is_logged_and_does_not_end_the_looking(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(still_loop, "RETRY_FIRST_S", 0.2)
    await home.add(pipeline(only_on_request=False, scan_interval=0.1))
    await home.until_state(DETECTION, "0")

    def mistake(*_: object, **__: object) -> None:
        raise KeyError("mistake")

    with monkeypatch.context() as broken:
        broken.setattr(home.pipeline, "async_succeed", mistake)
        await home.until_state(DETECTION, "unavailable")
    await home.until_state(DETECTION, "0")
    assert "KeyError: 'mistake'" in caplog.text


async def test_the_switch_stays_off_over_a_restart(
    home: Home, hass: HomeAssistant, cameras: Cameras
) -> None:
    # As an earlier version left it: only Home Assistant knows of it.
    entry = entry_with(pipeline())
    (subentry_id,) = entry.subentries
    entry.add_to_hass(hass)
    home.entries.append(entry)
    er.async_get(hass).async_get_or_create(
        "switch",
        DOMAIN,
        f"{subentry_id}_detection",
        config_entry=entry,
        config_subentry_id=subentry_id,
        suggested_object_id="front_door_detection",
    )
    mock_restore_cache(hass, [State(SWITCH, "off")])
    assert await hass.config_entries.async_setup(entry.entry_id)
    await asyncio.sleep(0.2)
    assert home.state(SWITCH) == "off"
    assert home.state(DETECTION) == "unknown"
    assert cameras.porch.asked == 0


async def test_a_kill_brings_back_no_older_wish(
    home: Home, hass: HomeAssistant, cameras: Cameras
) -> None:
    entry = await home.add(pipeline())
    await home.call("switch", "turn_off", SWITCH)
    await home.call("switch", "turn_on", SWITCH)
    assert await hass.config_entries.async_unload(entry.entry_id)
    # Home Assistant's own memory is up to a quarter of an hour old then.
    mock_restore_cache(hass, [State(SWITCH, "off")])
    assert await hass.config_entries.async_setup(entry.entry_id)
    assert home.state(SWITCH) == "on"


async def test_the_confidence_is_the_same_in_number_and_form(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    hub, number = home.runtime, _number(home)
    assert float(home.state(number)) == 40

    assert home.attribute(number, "min") == MIN_CONFIDENCE
    assert home.attribute(number, "max") == MAX_CONFIDENCE

    await home.call("number", "set_value", number, value=95)

    (subentry,) = entry.subentries.values()
    assert subentry.data["confidence"] == 95
    await home.until_state(number, "95.0")
    await until(lambda: home.pipeline.sent_settings.confidence == 95)
    assert home.runtime is hub


async def test_the_picture_of_the_last_detection_can_be_seen(
    home: Home, cameras: Cameras, hass_client: Callable
) -> None:
    await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    image = "image.front_door_last_detection"
    assert home.state(image) == "unknown"
    client = await hass_client()
    answer = await client.get(f"/api/image_proxy/{image}")
    assert answer.status == 500  # there is none yet

    cameras.porch.picture = STREET
    await home.scan()
    assert datetime.fromisoformat(home.state(image))
    answer = await client.get(f"/api/image_proxy/{image}")
    assert answer.status == 200
    assert answer.content_type == "image/jpeg"
    picture = await answer.read()
    assert picture.startswith(b"\xff\xd8\xff")
    assert picture != STREET  # boxes are drawn in

    before = home.state(image)
    cameras.porch.picture = BLANK
    await home.scan()
    assert home.state(image) == before


@pytest.mark.usefixtures("quick_retries")
class TestCameraTrouble:
    """A camera that cannot be looked through is no empty street."""

    async def test_a_camera_that_fails(
        self, home: Home, cameras: Cameras, caplog: pytest.LogCaptureFixture
    ) -> None:
        cameras.porch.picture = STREET
        await home.add(pipeline(only_on_request=False, scan_interval=0.1))
        await home.until_state(OCCUPANCY, "on")
        caplog.clear()

        cameras.porch.picture = OSError("no route to the camera")
        await home.until_state(STATUS, "camera_unavailable")
        since = home.attribute(STATUS, "since")
        for entity_id in (OCCUPANCY, COUNT, DETECTION):
            assert home.state(entity_id) == "unavailable"
        assert home.state(SWITCH) == "on"
        asked = cameras.porch.asked
        await until(lambda: cameras.porch.asked > asked + 3)
        # Why, and since when: the first of all the looks that failed.
        assert "no route to the camera" in home.attribute(STATUS, "reason")
        assert home.attribute(STATUS, "since") == since

        cameras.porch.picture = STREET
        await home.until_state(OCCUPANCY, "on")
        messages = [record.getMessage() for record in caplog.records]
        assert len([m for m in messages if "Front door cannot look" in m]) == 1
        assert home.attribute(STATUS, "reason") is None
        assert home.attribute(STATUS, "since") is None
        assert len([m for m in messages if "Front door looks again" in m]) == 1

    async def test_what_a_camera_blurts_out_is_not_repeated(
        self, home: Home, cameras: Cameras, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "custom_components.edge_vision")
        cameras.porch.picture = OSError("cannot open rtsp://admin:hunter2@10.0.0.9/live")
        await home.add(pipeline())
        await home.until_state(STATUS, "camera_unavailable")
        assert "cannot open rtsp://****@10.0.0.9/****" in home.pipeline.problem_text
        assert "10.0.0.9" in caplog.text
        assert "hunter2" not in caplog.text

    async def test_a_camera_that_gives_nothing(self, home: Home, cameras: Cameras) -> None:
        cameras.porch.picture = None
        await home.add(pipeline())
        await home.until_state(STATUS, "camera_unavailable")
        assert home.state(DETECTION) == "unavailable"

    async def test_a_camera_that_fails_once_is_asked_again(
        self, home: Home, cameras: Cameras
    ) -> None:
        await home.add(pipeline())
        await home.until_state(DETECTION, "0")
        seen = home.states_of(DETECTION)
        cameras.porch.picture = STREET
        cameras.porch.failures = 1
        await home.scan()
        assert "unavailable" not in seen
        assert int(home.state(DETECTION)) >= 2

    async def test_a_camera_that_returns_rubbish(self, home: Home, cameras: Cameras) -> None:
        cameras.porch.picture = b"\xff\xd8\xff" + b"rubbish" * 1000
        await home.add(pipeline())
        await home.until_state(STATUS, "picture_unreadable")
        assert home.state(OCCUPANCY) == "unavailable"
        cameras.porch.picture = STREET
        await home.until_state(OCCUPANCY, "on")

    async def test_a_picture_that_is_too_large(
        self, home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "custom_components.edge_vision.runtime.stills.MAX_PICTURE_BYTES", len(STREET) - 1
        )
        cameras.porch.picture = STREET
        await home.add(pipeline())
        await home.until_state(STATUS, "picture_unreadable")

    async def test_a_camera_that_goes_and_comes_back(self, home: Home, cameras: Cameras) -> None:
        cameras.porch.picture = STREET
        await home.add(pipeline())
        await home.until_state(OCCUPANCY, "on")
        cameras.porch.set_available(False)
        await home.hass.async_block_till_done()
        assert home.state(STATUS) == "camera_unavailable"
        assert home.state(OCCUPANCY) == "unavailable"
        assert home.state("image.front_door_last_detection") != "unavailable"
        cameras.porch.set_available(True)
        await home.until_state(OCCUPANCY, "on")

    async def test_a_camera_that_is_not_there_is_a_repair_issue_until_it_is(
        self, home: Home, cameras: Cameras
    ) -> None:
        entry = await home.add(pipeline(camera="camera.attic"))
        await home.until_state(STATUS, "camera_unavailable")
        (subentry_id,) = entry.subentries
        issue = issue_id(Issue.CAMERA_MISSING, subentry_id)
        issues = ir.async_get(home.hass)
        assert issues.async_get_issue(DOMAIN, issue).translation_placeholders == {
            "name": "Front door",
            "camera": "camera.attic",
            "name_in_title": "Front door",
        }
        (subentry,) = entry.subentries.values()
        home.hass.config_entries.async_update_subentry(
            entry, subentry, data={**subentry.data, "camera": "camera.porch"}
        )
        await home.until_state(DETECTION, "0")
        assert issues.async_get_issue(DOMAIN, issue) is None

    async def test_a_scan_that_fails_is_one_line_and_the_pipeline_recovers(
        self, home: Home, cameras: Cameras, warnings: Callable[[], list[str]]
    ) -> None:
        await home.add(pipeline())
        await home.until_state(DETECTION, "0")
        cameras.porch.picture = OSError("gone")
        await home.scan()
        assert home.state(DETECTION) == "unavailable"
        assert [line for line in warnings() if "was not scanned" in line] == warnings()
        cameras.porch.picture = STREET
        # Nobody asks, yet it comes back: else nobody could ask, for it is unavailable.
        await home.until_state(OCCUPANCY, "on")

    async def test_a_renamed_camera_is_followed(self, home: Home, cameras: Cameras) -> None:
        entry = await home.add(pipeline())
        await home.until_state(DETECTION, "0")
        er.async_get(home.hass).async_update_entity("camera.porch", new_entity_id="camera.veranda")
        await home.hass.async_block_till_done()
        (subentry,) = entry.subentries.values()
        assert subentry.data["camera"] == "camera.veranda"
        cameras.porch.picture = STREET
        await home.scan()
        await home.until_state(OCCUPANCY, "on")

    async def test_unload_while_a_camera_is_slow_is_quick(
        self, home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipelines_module, "FIRST_LOOKS_PATIENCE_S", 0.1)
        cameras.porch.delay_s = 60.0
        entry = await home.add(pipeline())
        await until(lambda: cameras.porch.asked == 1)
        async with asyncio.timeout(30):
            assert await home.hass.config_entries.async_unload(entry.entry_id)


async def test_a_model_that_cannot_be_used_is_a_repair_issue(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still_loop, "RETRY_FIRST_S", 0.2)
    entry = await home.add(pipeline(model="no_such_model"))
    await home.until_state(STATUS, "model_failed")
    assert home.state(DETECTION) == "unavailable"
    assert home.state("image.front_door_last_detection") != "unavailable"  # the node is well
    (subentry,) = entry.subentries.values()
    issue = issue_id(Issue.MODEL_FAILED, subentry.subentry_id)
    placeholders = ir.async_get(home.hass).async_get_issue(DOMAIN, issue).translation_placeholders
    assert placeholders["name"] == "Front door"
    assert r"no\_such\_model" in placeholders["error"]  # as Markdown

    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "model": "auto"}
    )
    await home.until_state(DETECTION, "0")
    assert ir.async_get(home.hass).async_get_issue(DOMAIN, issue) is None


@pytest.mark.real_node
async def test_a_disk_that_takes_nothing_does_not_stop_the_looking(
    home: Home, cameras: Cameras
) -> None:
    folder = home.occupy("results.db")  # a folder where the node wants a file
    entry = await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    issues, issue = ir.async_get(home.hass), issue_id(Issue.STORAGE_FAILED, entry.entry_id)
    raised = issues.async_get_issue(DOMAIN, issue)
    assert "results.db" in raised.translation_placeholders["error"]

    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET
    await home.scan()
    assert home.state(OCCUPANCY) == "on"
    await until(lambda: len(fired) >= 3)  # without numbers, but they come

    (folder / "results.db").rmdir()
    cameras.porch.picture = BLANK
    await home.scan()
    await until(lambda: issues.async_get_issue(DOMAIN, issue) is None)


@pytest.mark.real_node
async def test_a_log_of_a_newer_version_is_left_alone_and_the_user_is_told_what_to_do(
    home: Home, cameras: Cameras
) -> None:
    log = home.occupy() / "results.db"
    with closing(sqlite3.connect(log)) as db, db:
        db.execute("CREATE TABLE tomorrow (anything)")
        db.execute("INSERT INTO tomorrow VALUES ('kept')")
        db.execute("PRAGMA user_version=99")
    entry = await home.add(pipeline())
    issues, issue = ir.async_get(home.hass), issue_id(Issue.LOG_NEWER, entry.entry_id)
    await until(lambda: issues.async_get_issue(DOMAIN, issue))
    told = issues.async_get_issue(DOMAIN, issue).translation_placeholders["error"]
    assert "results.db" in told
    assert "newer version" in told
    assert issues.async_get_issue(DOMAIN, issue_id(Issue.STORAGE_FAILED, entry.entry_id)) is None

    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET
    await home.scan()
    await until(lambda: len(fired) >= 3)  # without numbers, but they come
    kept = log.rename(log.with_name("results.db.newer"))
    cameras.porch.picture = BLANK
    await home.scan()
    await until(lambda: issues.async_get_issue(DOMAIN, issue) is None)
    with closing(sqlite3.connect(kept)) as db:
        assert db.execute("SELECT * FROM tomorrow").fetchall() == [("kept",)]
    with closing(sqlite3.connect(log)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() >= (1,)


def test_a_crowd_fits_into_a_state() -> None:

    box = Box(x_min=0.1234, y_min=0.1234, x_max=0.2345, y_max=0.2345)
    crowd = [
        DetectedObject(label="person", confidence=round(i / 10, 1), box=box) for i in range(900)
    ]
    described = _described(crowd)
    assert 50 < len(described) < 900
    assert described[0]["confidence"] == 89.9
    assert len(json_bytes(described)) < 12 * 1024
