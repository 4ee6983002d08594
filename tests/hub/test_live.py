"""Live video in Home Assistant: entities, events, pictures, and what happens to a camera."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from homeassistant.components.camera import async_get_image
from homeassistant.components.media_source import async_browse_media, async_resolve_media
from homeassistant.components.media_source.error import Unresolvable
from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.requirements import RequirementsNotFound
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from PIL import Image
from pytest_homeassistant_custom_component.common import async_capture_events
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision import hub as hub_module
from custom_components.edge_vision import live_fallback, media_source, requirements
from custom_components.edge_vision import stream as stream_module
from custom_components.edge_vision.const import (
    EVENT_DETECTION,
    SUBENTRY_PIPELINE,
    Issue,
    issue_id,
)
from custom_components.edge_vision.diagnostics import async_get_config_entry_diagnostics
from tests.hub.conftest import BLANK, STREET, Cameras, Home, pipeline, until
from tests.live_camera import MjpegCamera, mjpeg_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

PEOPLE = 3  # in `STREET`
ALL = [{"x": x, "y": y} for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
AREAS: dict[str, Any] = {
    "zones": [{"name": "Porch", "points": ALL, "labels": ["person"]}],
    "lines": [{"name": "Gate", "start": {"x": 0, "y": 0.05}, "end": {"x": 1, "y": 0.05}}],
}


@pytest.fixture
async def stream(cameras: Cameras) -> AsyncIterator[MjpegCamera]:
    """The porch camera's stream; it shows nothing of interest yet."""
    async with mjpeg_camera(BLANK) as camera:
        cameras.porch.stream_address = camera.address
        yield camera


def live(**changes: Any) -> Any:
    """Return a pipeline that takes the best source there is."""
    return pipeline(**{"source": "auto", "only_on_request": False, "fps": 10, **changes})


def kinds(fired: list[Event], kind: str) -> list[dict[str, Any]]:
    return [event.data for event in fired if event.data["kind"] == kind]


async def test_live_video_makes_entities_events_and_pictures(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    hass_client: ClientSessionGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await async_setup_component(hass, "media_source", {})
    fired = async_capture_events(hass, EVENT_DETECTION)
    entry = await home.add(live(**AREAS))
    await home.until_state("binary_sensor.front_door_person", "off")
    await home.until_state("binary_sensor.front_door_person_in_porch", "off")
    await home.until_state("sensor.front_door_gate_in", "0")
    assert home.state("sensor.front_door_status") in ("looking", "slowed")
    assert fired == []
    stream.picture = STREET
    await home.until_state("binary_sensor.front_door_person", "on")
    await home.until_state("binary_sensor.front_door_person_in_porch", "on")
    await until(lambda: kinds(fired, "zone"))
    assert {data["zone"] for data in kinds(fired, "zone")} == {"Porch"}
    assert {data["zone"] for data in kinds(fired, "object")} == {None}
    there = int(home.state("sensor.front_door_person_count"))
    assert there >= 2
    assert home.state("image_processing.front_door") == str(there)
    objects = home.attribute("image_processing.front_door", "objects")
    assert {item["zones"] for item in map(_hashable, objects)} == {("Porch",)}
    starts = kinds(fired, "object")
    assert len({data["track_id"] for data in starts}) == len(starts)
    first = starts[0]
    assert first["latency_ms"] > 0
    assert (
        first["snapshot"]
        == f"media-source://edge_vision/{first['pipeline_id']}/{first['event_id']}"
    )

    # The picture: as an image entity, in the media browser, over HTTP to whoever may see it.
    await until(lambda: home.state("image.front_door_last_detection") != "unknown")
    root = await async_browse_media(hass, "media-source://edge_vision")
    (folder,) = root.children
    assert folder.title == "Front door"
    listed = await async_browse_media(hass, folder.media_content_id)
    assert first["snapshot"] in {item.media_content_id for item in listed.children}
    # All of them, page by page, but for those whose picture is gone.
    shown = len(listed.children)
    assert shown >= 2
    gone = listed.children[-1].media_content_id
    if gone == first["snapshot"]:
        gone = listed.children[-2].media_content_id
    for kept in (home.data_folder / "evidence").glob(f"{gone.rpartition('/')[2]}*"):
        kept.unlink()
    monkeypatch.setattr(media_source, "_PAGE", 2)
    listed = await async_browse_media(hass, folder.media_content_id)
    assert len(listed.children) == shown - 1
    assert gone not in {item.media_content_id for item in listed.children}
    media = await async_resolve_media(hass, first["snapshot"], None)
    client = await hass_client()
    answer = await client.get(media.url)
    assert (answer.status, answer.content_type) == (HTTPStatus.OK, "image/jpeg")
    assert (await answer.read()).startswith(b"\xff\xd8")
    missing = await client.get(media.url.replace(first["event_id"], "0" * 26))
    assert missing.status == HTTPStatus.NOT_FOUND
    with pytest.raises(Unresolvable):
        await async_resolve_media(hass, "media-source://edge_vision/nobody/x", None)

    # What it sees just now, asked for only by who looks.
    view = await async_get_image(hass, "camera.front_door_live_view")
    assert view.content.startswith(b"\xff\xd8")
    await home.scan("image_processing.front_door")
    await until(lambda: len(kinds(fired, "scan")) >= 2)
    asked = cameras.porch.asked
    assert asked == 0

    # Switched off it costs nothing; switched on it knows who was there.
    before = len(kinds(fired, "object"))
    await home.call("switch", "turn_off", "switch.front_door_detection")
    await until(lambda: stream.readers == 0)
    assert home.state("binary_sensor.front_door_person") == "unknown"
    await home.call("switch", "turn_on", "switch.front_door_detection")
    await home.until_state("binary_sensor.front_door_person", "on")
    assert len(kinds(fired, "object")) == before

    secret = stream.credentials.partition(":")[2]
    diagnostics = await async_get_config_entry_diagnostics(hass, entry)
    assert secret not in repr(diagnostics)
    assert all(secret not in repr(state.attributes) for state in hass.states.async_all())


def _hashable(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "zones": tuple(item["zones"])}


async def test_a_stream_that_ends_is_shown_as_that_and_comes_back(
    home: Home, stream: MjpegCamera, caplog: pytest.LogCaptureFixture
) -> None:
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    stream.refuses = True
    stream.hang_up()
    await home.until_state("sensor.front_door_status", "camera_unavailable")
    assert home.state("binary_sensor.front_door_person") == "unavailable"
    assert home.state("camera.front_door_live_view") == "unavailable"
    reason = home.attribute("sensor.front_door_status", "reason")
    assert reason
    assert stream.credentials.partition(":")[2] not in reason
    (status,) = home.hub.status.pipelines
    assert home.attribute("sensor.front_door_status", "since") == status.source.since
    with pytest.raises(HomeAssistantError):
        await home.runtime.async_scan()
    stream.refuses = False
    await home.until_state("binary_sensor.front_door_person", "off")
    # The node may be killed, too.
    home.kill_node()
    await home.until_state("binary_sensor.front_door_person", "unavailable")
    await home.until_state("binary_sensor.front_door_person", "off")
    assert stream.credentials.partition(":")[2] not in caplog.text


async def test_dropped_frames_are_those_that_the_node_has_dropped(
    home: Home, stream: MjpegCamera
) -> None:
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    (status,) = home.hub.status.pipelines
    counted = home.runtime.dropped
    for dropped, more in ((status.dropped + 5, 5), (status.dropped + 7, 7), (2, 9)):
        home.runtime.async_take_status(replace(status, dropped=dropped))
        assert home.runtime.dropped == counted + more


async def test_automatic_is_stills_without_a_stream_and_live_once_there_is_one(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(live(scan_interval=1))
    await home.until_state("binary_sensor.front_door_person", "on")
    assert home.runtime.stream is None
    # Without a stream the live view is a still, looked at once for whoever wants to see it.
    view = await async_get_image(hass, "camera.front_door_live_view")
    assert view.content.startswith(b"\xff\xd8")
    assert view.content != STREET
    async with mjpeg_camera(BLANK) as stream:
        cameras.porch.stream_address = stream.address
        cameras.porch.set_available(False)
        await home.until_state("sensor.front_door_status", "camera_unavailable")
        cameras.porch.set_available(True)
        await until(lambda: stream.readers == 1)
        await home.until_state("binary_sensor.front_door_person", "off")
        asked = cameras.porch.asked
        await asyncio.sleep(1.5)
        assert cameras.porch.asked == asked


async def test_a_stream_that_could_not_be_had_at_first_is_asked_for_again(
    home: Home, cameras: Cameras, stream: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "RESOLVE_AGAIN_AFTER_S", 0.5)
    configured: list[object] = []
    configure = hub_module.EdgeVisionHub._async_configure

    async def note(self: hub_module.EdgeVisionHub, client: Any) -> None:
        configured.append(client)
        await configure(self, client)

    monkeypatch.setattr(hub_module.EdgeVisionHub, "_async_configure", note)
    address, cameras.porch.stream_address = cameras.porch.stream_address, None
    cameras.porch.picture = STREET
    await home.add(live(scan_interval=1))
    await home.until_state("binary_sensor.front_door_person", "on")
    assert home.attribute("sensor.front_door_status", "source") == "stills"
    await asyncio.sleep(0.6)
    await home.hub._async_poll_status(dt_util.utcnow())
    await asyncio.sleep(0.1)
    assert len(configured) == 1  # what is not found disturbs nobody
    cameras.porch.stream_address = address
    await asyncio.sleep(0.6)
    await home.hub._async_poll_status(dt_util.utcnow())
    await home.until_state("binary_sensor.front_door_person", "off")
    assert home.attribute("sensor.front_door_status", "source") == "live"
    assert stream.readers == 1
    await home.call("switch", "turn_off", "switch.front_door_detection")
    assert home.attribute("sensor.front_door_status", "source") is None


async def test_automatic_looks_at_stills_while_live_video_cannot_be_read(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "STATUS_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(live_fallback, "PATIENCE_S", 0.0)
    monkeypatch.setattr(live_fallback, "FIRST_PAUSE_S", 0.0)
    stream.refuses = True
    cameras.porch.picture = None
    await home.add(live(scan_interval=1))
    (subentry_id,) = home.entry.subentries
    problem = issue_id(Issue.STILLS_INSTEAD, subentry_id)
    await home.until_state("sensor.front_door_status", "camera_unavailable")

    def told() -> ir.IssueEntry | None:
        return ir.async_get(hass).async_get_issue("edge_vision", problem)

    # Neither live video nor a still: the camera is away.
    asked = cameras.porch.asked
    await until(lambda: told() is None and cameras.porch.asked > asked)
    assert home.state("sensor.front_door_status") == "camera_unavailable"
    cameras.porch.picture = STREET
    await until(lambda: told() is not None)
    issue = told()
    assert issue is not None
    assert issue.translation_placeholders is not None
    assert "picture" not in issue.translation_placeholders["reason"]
    await home.until_state("binary_sensor.front_door_person", "on")
    assert home.runtime.stream is None
    diagnostics = await async_get_config_entry_diagnostics(hass, home.entry)
    assert diagnostics["pipelines"][subentry_id]["stills_because"]
    # There is a picture to draw zones on.
    flow = Flow(hass, home)
    await flow.begin("areas")
    assert _address(flow.result).startswith("/")
    # Live video is tried again and again, and shows that nobody is there.
    stream.refuses = False
    await until(lambda: told() is None)
    await home.until_state("binary_sensor.front_door_person", "off")
    assert home.runtime.stream == stream.address


async def test_what_is_there_all_along_is_told_once_whatever_is_looked_at(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "STATUS_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(live_fallback, "PATIENCE_S", 0.0)
    monkeypatch.setattr(live_fallback, "FIRST_PAUSE_S", 0.0)
    fired = async_capture_events(hass, EVENT_DETECTION)
    stream.picture = cameras.porch.picture = STREET
    zones = [{"name": "Porch", "points": ALL, "labels": ["person"]}]
    await home.add(live(scan_interval=1, zones=zones))
    await home.until_state("binary_sensor.front_door_person_in_porch", "on")
    await until(lambda: len(kinds(fired, "zone")) >= PEOPLE)
    fired.clear()

    def of_note() -> list[dict[str, Any]]:
        told = [*kinds(fired, "object"), *kinds(fired, "zone")]
        return [item for item in told if item["phase"] != "update"]

    async def break_video() -> None:
        stream.refuses = True
        stream.hang_up()
        await until(lambda: home.runtime.stream is None)
        await home.until_state("binary_sensor.front_door_person", "on")

    async def mend_video() -> None:
        stream.refuses = False
        await until(lambda: home.runtime.stream is not None)
        await until(lambda: home.runtime.look is not None and home.runtime.look.zones)

    await break_video()
    asked = cameras.porch.asked
    await until(lambda: cameras.porch.asked > asked + 2)
    await mend_video()
    await asyncio.sleep(1)
    assert of_note() == []
    assert home.state("binary_sensor.front_door_person_in_porch") == "on"
    # Who leaves meanwhile has left the zone, too, and ends as who had come.
    await break_video()
    cameras.porch.picture = stream.picture = BLANK
    await until(lambda: len(of_note()) >= 2 * PEOPLE)
    await home.until_state("binary_sensor.front_door_person", "off")
    await mend_video()
    await asyncio.sleep(1)
    ends = Counter((item["kind"], item["phase"], item["track_id"]) for item in of_note())
    assert set(ends.values()) == {1}
    assert {(kind, phase) for kind, phase, _ in ends} == {("object", "end"), ("zone", "end")}
    assert len(ends) == 2 * PEOPLE
    assert None not in {track_id for *_, track_id in ends}


async def test_a_camera_whose_address_changes_each_time_is_read_once(
    hass: HomeAssistant, home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mjpeg_camera(BLANK) as camera:
        asked = 0

        async def address() -> str:
            nonlocal asked
            asked += 1
            return f"{camera.address}?token={asked}"

        monkeypatch.setattr(cameras.porch, "stream_source", address)
        second = live(camera="camera.porch")
        second["title"] = "Second"
        entry = await home.add(live(), second)
        for name in ("front_door", "second"):
            await home.until_state(f"binary_sensor.{name}_person", "off")
        assert (asked, camera.readers, camera.requests) == (1, 1, 1)
        # A change to one entry is nothing to the other one's video.
        subentry = next(iter(entry.subentries.values()))
        hass.config_entries.async_update_subentry(
            entry, subentry, data={**subentry.data, "confidence": 60.0}
        )
        await until(lambda: home.runtime.settings.confidence == 60)
        await asyncio.sleep(1.0)
        assert (asked, camera.readers, camera.requests) == (1, 1, 1)
        # The address may have expired: both get the same new one.
        monkeypatch.setattr(stream_module, "RESOLVE_AGAIN_AFTER_S", 0.5)
        camera.refuses = True
        camera.hang_up()
        await home.until_state("sensor.front_door_status", "camera_unavailable")
        await home.hub._async_poll_status(dt_util.utcnow())
        await until(lambda: asked > 1)
        camera.refuses = False
        for name in ("front_door", "second"):
            await home.until_state(f"binary_sensor.{name}_person", "off")
        assert camera.readers == 1


async def test_an_address_that_is_gone_for_a_moment_is_no_reason_to_look_at_stills(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fired = async_capture_events(hass, EVENT_DETECTION)
    monkeypatch.setattr(stream_module, "RESOLVE_AGAIN_AFTER_S", 0.0)
    cameras.porch.picture = stream.picture = STREET
    await home.add(live(scan_interval=1, **AREAS))
    await home.until_state("binary_sensor.front_door_person_in_porch", "on")

    address, cameras.porch.stream_address = cameras.porch.stream_address, None
    stream.refuses = True
    stream.hang_up()
    await home.until_state("sensor.front_door_status", "camera_unavailable")
    for _ in range(3):
        await home.hub._async_poll_status(dt_util.utcnow())
        await asyncio.sleep(0.3)
    assert home.state("sensor.front_door_status") == "camera_unavailable"
    assert cameras.porch.asked == 0
    followed = open_objects(fired)
    assert followed
    assert None not in followed

    # Gone for longer: stills it is, and they show that somebody is still there.
    monkeypatch.setattr(stream_module, "HOLD_S", 0.0)
    await home.hub._async_poll_status(dt_util.utcnow())
    await home.until_state("binary_sensor.front_door_person", "on")
    assert open_objects(fired) == followed
    # Nobody watches the line: a total that fell to 0 would begin anew in every statistic.
    assert home.state("sensor.front_door_gate_in") == "unknown"
    assert home.state("binary_sensor.front_door_person_in_porch") == "unknown"

    # And back: they are whoever they were.
    cameras.porch.stream_address, stream.refuses = address, False
    cameras.porch.set_available(False)
    cameras.porch.set_available(True)
    await until(lambda: stream.readers == 1)
    await home.until_state("binary_sensor.front_door_person_in_porch", "on")
    await asyncio.sleep(1)
    assert open_objects(fired) == followed
    assert Counter(data["phase"] for data in kinds(fired, "zone")) == {"start": len(followed)}


def open_objects(fired: list[Event]) -> set[int | None]:
    """Return the tracks that have begun and not ended; None is what stills have shown."""
    found: set[int | None] = set()
    for data in kinds(fired, "object"):
        if data["phase"] == "start":
            assert data["track_id"] not in found
            found.add(data["track_id"])
        elif data["phase"] == "end":
            found.remove(data["track_id"])
    return found


async def test_live_video_that_was_chosen_and_is_not_to_be_had_is_a_problem(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    await home.add(live(source="live", scan_interval=1, **AREAS))
    await home.until_state("sensor.front_door_status", "no_stream")
    for name in ("person", "person_in_porch"):
        assert home.state(f"binary_sensor.front_door_{name}") == "unavailable"
    with pytest.raises(HomeAssistantError):
        await home.runtime.async_scan()
    assert cameras.porch.asked == 0
    async with mjpeg_camera(BLANK) as camera:
        cameras.porch.stream_address = camera.address
        cameras.porch.set_available(False)
        cameras.porch.set_available(True)
        await home.until_state("binary_sensor.front_door_person_in_porch", "off")


async def test_without_the_package_that_reads_video_there_are_stills_and_a_repair_issue(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements, "async_process_requirements", _no_av)
    cameras.porch.picture = STREET
    second = live(source="live")
    second["title"] = "Second"
    entry = await home.add(live(scan_interval=1), second)
    await home.until_state("binary_sensor.front_door_person", "on")
    await home.until_state("sensor.second_status", "no_stream")
    assert stream.requests == 0
    issues, issue = ir.async_get(hass), issue_id(Issue.VIDEO_NOT_INSTALLED, entry.entry_id)
    found = issues.async_get_issue("edge_vision", issue)
    assert found is not None
    assert "av==" in (found.translation_placeholders or {})["error"]
    monkeypatch.undo()
    await hass.config_entries.async_reload(entry.entry_id)
    assert issues.async_get_issue("edge_vision", issue) is None
    await until(lambda: stream.readers == 1)


async def _no_av(hass: HomeAssistant, name: str, wanted: list[str], **more: Any) -> None:
    if any(item.startswith("av") for item in wanted):
        raise RequirementsNotFound(name, wanted)


async def test_zones_lines_and_masks_are_drawn_in_the_flow(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    hass_client: ClientSessionGenerator,
) -> None:
    cameras.porch.picture = STREET
    await home.add(live())
    flows = hass.config_entries.subentries
    (subentry_id,) = home.entry.subentries

    async def step(flow: Any, **answer: Any) -> Any:
        return await flows.async_configure(flow["flow_id"], answer)

    flow = await flows.async_init(
        (home.entry.entry_id, SUBENTRY_PIPELINE),
        context={"source": "reconfigure", "subentry_id": subentry_id},
    )
    assert (flow["type"], flow["step_id"]) == (FlowResultType.MENU, "reconfigure")
    flow = await step(flow, next_step_id="areas")
    assert flow["menu_options"] == ["zone", "line", "privacy_mask", "motion_mask", "save"]
    client = await hass_client()
    plain = await (await client.get(_address(flow))).read()
    flow = await step(flow, next_step_id="zone")
    wrong = {
        "0.1,0.2": "too_few_points",
        "0.1,0.2 0.3": "not_points",
        "0.1,0.2 0.3,1.3 0.1,0.1": "outside",
        "0.1,0.1 0.5,0.5 0.9,0.9": "no_area",
        "0.1,0.1 0.1,0.1 0.1,0.1": "no_area",
    }
    for points, error in wrong.items():
        flow = await step(flow, name="Porch", points=points, labels=[], counting=False)
        assert flow["errors"] == {"points": error}
    plain_zone = {"points": "0,0 1,0 1,1", "labels": [], "counting": False}
    flow = await step(flow, name="P" * 51, **plain_zone)
    assert flow["errors"] == {"name": "long_name"}
    # The camera counts from 40 % on, so that less would change nothing.
    flow = await step(flow, name="Porch", confidence=39, **plain_zone)
    assert flow["errors"] == {"confidence": "below_the_camera"}
    flow = await step(
        flow, name="Porch", points="0.1, 0.2; 0.9 ,0.2; 0.9,1 0.1,1", labels=[], counting=True
    )
    # Another zone of that name would take its place in all that goes by names.
    flow = await step(flow, next_step_id="zone")
    flow = await step(flow, name="porch ", **plain_zone)
    assert flow["errors"] == {"name": "name_taken"}
    flow = await step(flow, name="Path", **plain_zone)
    flow = await step(flow, next_step_id="remove")
    flow = await step(flow, item=["zones/1"])
    flow = await step(flow, next_step_id="line")
    flow = await step(flow, name="Gate", points="0.1,0.5")
    assert flow["errors"] == {"points": "not_a_line"}
    flow = await step(flow, name="@", points="0.1,0.5 0.1,0.5")
    assert flow["errors"] == {"points": "not_a_line"}
    flow = await step(flow, name="@", points="0.1,0.5 0.2,0.5")
    assert flow["errors"] == {"name": "no_name"}
    flow = await step(flow, name="Gate", points="0.1,0.5 0.1,0.5")
    assert flow["errors"] == {"points": "not_a_line"}
    flow = await step(flow, name="Gate", points="0.1,0.5 0.9,0.5")
    flow = await step(flow, next_step_id="privacy_mask")
    flow = await step(flow, points="0,0 0.2,0 0.2,0.2")
    flow = await step(flow, next_step_id="motion_mask")
    flow = await step(flow, points="0.8,0 1,0 1,0.2")
    drawn = await (await client.get(_address(flow))).read()
    assert drawn.startswith(b"\xff\xd8")
    assert drawn != plain
    # What is there can be changed, and stands in its form as it is.
    flow = await step(flow, next_step_id="change")
    flow = await step(flow, item="zones/0")
    assert flow["step_id"] == "zone"
    suggested = {
        str(key): key.description["suggested_value"]
        for key in flow["data_schema"].schema
        if key.description
    }
    assert suggested["points"] == "0.1,0.2 0.9,0.2 0.9,1 0.1,1"
    assert suggested["counting"] is True
    flow = await step(
        flow, name="Porch", points="0.1,0.2 0.9,0.2 0.9,1", labels=[], counting=True, loitering_s=9
    )
    assert flow["step_id"] == "areas"
    flow = await step(flow, next_step_id="remove")
    flow = await step(flow, item=["motion_masks/0"])
    address = _address(flow)
    flow = await step(flow, next_step_id="save")
    assert flow["reason"] == "reconfigure_successful"
    assert (await client.get(address)).status == HTTPStatus.NOT_FOUND
    await hass.async_block_till_done()
    data = home.entry.subentries[subentry_id].data
    (zone,) = data["zones"]
    assert zone["counting"]
    assert (len(zone["points"]), zone["loitering_s"]) == (3, 9)
    assert data["lines"][0]["start"] == {"x": 0.1, "y": 0.5}
    assert len(data["privacy_masks"]) == 1
    assert data["motion_masks"] == []
    await home.until_state("binary_sensor.front_door_person_in_porch", "off")
    await home.until_state("sensor.front_door_gate_out", "0")
    # Settings that are changed later leave the areas as they are.
    assert home.runtime.settings.areas.zones[0].name == "Porch"


async def test_what_one_entry_masks_no_entry_of_that_camera_sees_or_shows(
    hass: HomeAssistant, home: Home, cameras: Cameras, hass_client: ClientSessionGenerator
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(), pipeline("Masked", privacy_masks=[ALL]))
    seen = await async_get_image(hass, "camera.front_door_live_view")
    assert _is_black(seen.content)
    await home.scan()
    assert home.state("binary_sensor.front_door_person") == "off"
    plain, masked = home.entry.subentries
    client = await hass_client()
    flow = Flow(hass, home)
    await flow.begin("objects", plain)
    assert "Person" not in flow.result["description_placeholders"]["picture"]
    assert _is_black(await (await client.get(_address(flow.result))).read())
    await flow.begin("areas", plain)
    drawn = Image.open(io.BytesIO(await (await client.get(_address(flow.result))).read()))
    assert np.asarray(drawn.convert("L")).mean() < 40  # a grid on black
    # Without the mask there is something to see: at once, and in both.
    subentry = home.entry.subentries[masked]
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "privacy_masks": []}
    )
    await hass.async_block_till_done()
    await home.scan()
    assert home.state("binary_sensor.front_door_person") == "on"
    seen = await async_get_image(hass, "camera.front_door_live_view")
    assert not _is_black(seen.content)


def named(name: str, **changes: Any) -> Any:
    """Return one as `live`, with a name."""
    return {**live(**changes), "title": name}


async def test_a_mask_holds_however_the_camera_is_known(
    home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    cameras.garden.stream_address = "rtsp://127.0.0.1:1/garden"
    by_address = {"camera": None, "video_address": stream.address, "source": "live"}
    await home.add(
        pipeline(privacy_masks=[ALL]),
        named("By address", **by_address),
        pipeline("Stills", privacy_masks=[]),
        named("Garden", camera="camera.garden"),
    )
    told: dict[str, Any] = {}
    await until(lambda: home.hub.streams.known("camera.garden"))
    for item in home.hub.pipelines.values():
        settings = item.settings
        told[settings.name] = home.hub.masks_of(settings.camera, settings.video_address)
    assert {name: len(masks) for name, masks in told.items()} == {
        "Front door": 1,
        "By address": 1,
        "Stills": 1,
        "Garden": 0,
    }


@pytest.mark.parametrize("is_live", [True, False])
async def test_a_mask_holds_while_its_camera_is_away_and_after(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera, is_live: bool
) -> None:
    stream.picture = STREET
    by_address = {"camera": None, "video_address": stream.address, "source": "live"}
    masked = live if is_live else pipeline
    await home.add(masked(privacy_masks=[ALL]), named("By address", **by_address))

    async def is_masked() -> bool:
        await home.until_state("binary_sensor.by_address_person", "off")
        return _is_black((await async_get_image(hass, "camera.by_address_live_view")).content)

    assert await is_masked()
    await cameras.porch.async_remove(force_remove=True)
    await asyncio.sleep(0.5)
    assert await is_masked()
    await hass.config_entries.async_reload(home.entry.entry_id)
    assert await is_masked()


async def test_a_mask_holds_as_soon_as_its_camera_is_there(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    stream.picture = STREET
    cameras.porch.stream_address = None
    cameras.porch.set_available(False)
    by_address = {"camera": None, "video_address": stream.address, "source": "live"}
    await home.add(pipeline(privacy_masks=[ALL]), named("By address", **by_address))
    await home.until_state("binary_sensor.by_address_person", "on")
    cameras.porch.stream_address = stream.address
    cameras.porch.set_available(True)
    await home.until_state("binary_sensor.by_address_person", "off")


def _is_black(jpeg: bytes) -> bool:
    darkest, brightest = Image.open(io.BytesIO(jpeg)).convert("L").getextrema()
    return darkest <= brightest < 16


async def test_entities_stay_with_a_zone_or_line_that_gets_another_name(
    hass: HomeAssistant, home: Home, stream: MjpegCamera
) -> None:
    zones = [*AREAS["zones"], {"name": "Gate", "points": ALL}]
    await home.add(live(**{**AREAS, "zones": zones}))
    registry = er.async_get(hass)
    before = home.entity_ids()

    def names(*entity_ids: str) -> list[str]:
        return [hass.states.get(item).name for item in entity_ids]

    flow = Flow(hass, home)
    await flow.begin("areas")

    async def rename(item: str, name: str) -> None:
        await flow.pick("change")
        await flow.send(item=item)
        points = "0,0 1,0 1,1" if item.startswith("zones") else "0,0.05 1,0.05"
        more = {"labels": [], "counting": False} if item.startswith("zones") else {}
        await flow.send(name=name, points=points, **more)

    # Two zones swap their names by way of a third, and a line that is called as one of them moves.
    await rename("zones/0", "Aside")
    await rename("zones/1", "Porch")
    await rename("zones/0", "Gate")
    await rename("lines/0", "Door")
    await flow.pick("save")
    await hass.async_block_till_done()
    await home.until_state("binary_sensor.front_door_person_in_porch", "off")
    assert home.entity_ids() == before
    assert names(
        "binary_sensor.front_door_person_in_porch",
        "binary_sensor.front_door_person_in_gate",
        "sensor.front_door_gate_in",
    ) == ["Front door Person in Gate", "Front door Person in Porch", "Front door Door in"]

    # What there are only for live video goes with it, disabled or not.
    assert registry.async_get("camera.front_door_motion_view")
    (subentry,) = home.entry.subentries.values()
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "source": "stills"}
    )
    await hass.async_block_till_done()
    gone = before - home.entity_ids()
    assert "camera.front_door_motion_view" in gone
    assert len(gone) == 1 + 4 + 2
    await home.until_state("binary_sensor.front_door_person", "off")


async def test_single_objects_have_limits_of_their_own(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    hass_client: ClientSessionGenerator,
) -> None:
    cameras.porch.picture = stream.picture = STREET
    await home.add(live(labels=["person", "car"]))
    await home.until_state("binary_sensor.front_door_person", "on")
    flow = Flow(hass, home)
    await flow.begin("objects")
    shown = flow.result["description_placeholders"]
    assert "- Person: " in shown["picture"]
    assert shown["limits"] == "none"
    client = await hass_client()
    first = _address(flow.result)
    assert (await (await client.get(first)).read()).startswith(b"\xff\xd8")
    await flow.pick("limit")
    await flow.send(label="person", min_size=20, max_size=10)
    assert flow.result["errors"] == {"max_size": "sizes_crossed"}
    await flow.send(label="person", confidence=70, min_size=50, max_size=100)
    shown = flow.result["description_placeholders"]
    assert shown["limits"] == "- Person: from 70 %, size from 50 %"
    assert (await client.get(first)).status == HTTPStatus.NOT_FOUND
    await flow.pick("limit")
    await flow.send(label="car", confidence=80)
    await flow.pick("limit")
    await flow.send(label="car")  # nothing is asked of it any more
    await flow.pick("save")
    await hass.async_block_till_done()
    (subentry,) = home.entry.subentries.values()
    assert subentry.data["limits"] == {"person": {"confidence": 70.0, "min_area": 0.5}}
    # The people of this street are smaller than half the picture.
    await home.until_state("binary_sensor.front_door_person", "off")
    # Stills are held to the same limits.
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "source": "stills", "scan_interval": 1}
    )
    await hass.async_block_till_done()
    await home.until_state("binary_sensor.front_door_person", "off")
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "limits": {}}
    )
    await home.until_state("binary_sensor.front_door_person", "on")


async def test_motion_is_shown_and_its_numbers_can_be_set(
    hass: HomeAssistant, home: Home, stream: MjpegCamera, hass_client: ClientSessionGenerator
) -> None:
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    flow = Flow(hass, home)
    await flow.begin("motion")
    client = await hass_client()
    view = await (await client.get(_address(flow.result))).read()
    assert view.startswith(b"\xff\xd8")
    await flow.pick("motion_settings")
    assert flow.result["description_placeholders"]["least_difference"] == "12"
    await flow.send(sensitivity="high", numbers={"least_difference": 30, "least_area": 2})
    await flow.pick("motion_settings")
    shown = flow.result["description_placeholders"]
    assert (shown["least_difference"], shown["noise_factor"], shown["least_area"]) == (
        "30",
        "3.5",
        "2 %",
    )
    await flow.send(sensitivity="high", numbers={"least_difference": 30, "least_area": 2})
    await flow.pick("save")
    await hass.async_block_till_done()
    (subentry,) = home.entry.subentries.values()
    assert subentry.data["motion"] == {"least_difference": 30.0, "least_area": 0.02}
    assert home.runtime.settings.video.motion is not None
    assert home.runtime.settings.video.motion.noise_factor == 3.5
    # The same as an entity, for those who want to watch it.
    registry = er.async_get(hass)
    entity_id = "camera.front_door_motion_view"
    entry = registry.async_get(entity_id)
    assert entry is not None
    assert entry.disabled
    registry.async_update_entity(entity_id, disabled_by=None)
    await hass.config_entries.async_reload(home.entry.entry_id)
    await home.until_state("binary_sensor.front_door_person", "off")
    seen = await async_get_image(hass, entity_id)
    assert seen.content.startswith(b"\xff\xd8")


class Flow:
    """Changing the one camera, as a browser does."""

    def __init__(self, hass: HomeAssistant, home: Home) -> None:
        self._hass, self._home = hass, home
        self.result: Any = None

    async def begin(self, option: str, subentry_id: str | None = None) -> None:
        if subentry_id is None:
            (subentry_id,) = self._home.entry.subentries
        self.result = await self._home.entry.start_subentry_reconfigure_flow(
            self._hass, subentry_id
        )
        await self.pick(option)

    async def pick(self, option: str) -> None:
        await self.send(next_step_id=option)

    async def send(self, **answer: Any) -> None:
        self.result = await self._hass.config_entries.subentries.async_configure(
            self.result["flow_id"], answer
        )


def _address(flow: Any) -> str:
    picture: str = flow["description_placeholders"]["picture"]
    return picture.splitlines()[0].removeprefix("![](").removesuffix(")")


async def test_a_camera_that_is_removed_takes_its_pictures_along(
    hass: HomeAssistant, home: Home, stream: MjpegCamera
) -> None:
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    stream.picture = STREET
    pictures = home.data_folder / "evidence"
    await until(lambda: list(pictures.glob("*.jpg")))
    (subentry_id,) = home.entry.subentries
    hass.config_entries.async_remove_subentry(home.entry, subentry_id)
    await hass.async_block_till_done()
    assert list(pictures.glob("*.jpg")) == []
    assert list((home.data_folder / "pictures").iterdir()) == []


async def test_a_camera_that_is_removed_while_the_node_is_away_takes_its_pictures_along_later(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(), pipeline("Shed", "camera.garden"))
    pictures = home.data_folder / "pictures"
    await until(lambda: list(pictures.glob("*.jpg")))
    home.kill_node()
    await home.until_state("binary_sensor.front_door_person", "unavailable")
    hass.config_entries.async_remove_subentry(home.entry, next(iter(home.entry.subentries)))
    await until(lambda: list(pictures.glob("*.jpg")) == [])
    await home.until_state("binary_sensor.shed_person", "off")


async def test_a_camera_that_is_removed_while_nothing_is_set_up_takes_its_pictures_along_later(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(), pipeline("Shed", "camera.garden"))
    pictures = home.data_folder / "pictures"
    await until(lambda: list(pictures.glob("*.jpg")))
    assert await hass.config_entries.async_unload(home.entry.entry_id)
    hass.config_entries.async_remove_subentry(home.entry, next(iter(home.entry.subentries)))
    assert await hass.config_entries.async_setup(home.entry.entry_id)
    await until(lambda: list(pictures.glob("*.jpg")) == [])


async def test_a_camera_that_is_disabled_is_watched_no_more(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    stream.picture = STREET
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "on")
    await cameras.porch.async_remove(force_remove=True)
    await home.until_state("binary_sensor.front_door_person", "unavailable")
    await until(lambda: stream.readers == 0)
    assert home.state("sensor.front_door_status") == "camera_unavailable"


async def test_switching_on_tells_of_nobody_twice(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    fired = async_capture_events(hass, EVENT_DETECTION)
    stream.picture = cameras.porch.picture = STREET
    await home.add(live())
    await until(lambda: len(kinds(fired, "object")) >= PEOPLE)
    for _ in range(2):
        await home.call("switch", "turn_off", "switch.front_door_detection")
        await until(lambda: stream.readers == 0)
        await home.call("switch", "turn_on", "switch.front_door_detection")
        await home.until_state("binary_sensor.front_door_person", "on")
    await asyncio.sleep(1)
    told = [item["track_id"] for item in kinds(fired, "object") if item["phase"] == "start"]
    assert len(told) == len(set(told)) == PEOPLE
    assert None not in told


async def test_a_flow_goes_on_when_the_entry_is_loaded_anew(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(live())
    flow = Flow(hass, home)
    await flow.begin("areas")
    await hass.config_entries.async_reload(home.entry.entry_id)
    await flow.pick("zone")
    await flow.send(name="Porch", points="0,0 1,0 1,1", labels=[], counting=False)
    assert _address(flow.result).startswith("/")


async def test_what_two_browsers_draw_is_kept(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(live(zones=[{"name": "Old", "points": ALL}]))
    (subentry_id,) = home.entry.subentries
    one, other = Flow(hass, home), Flow(hass, home)
    corners = "0,0 1,0 1,1"
    for flow in (one, other):
        await flow.begin("areas", subentry_id)
    await one.pick("zone")
    await one.send(name="Alpha", points=corners, labels=[], counting=False)
    await one.pick("privacy_mask")
    await one.send(points=corners)
    await one.pick("save")
    await other.pick("remove")
    await other.send(item=["zones/0"])
    await other.pick("zone")
    await other.send(name="Beta", points=corners, labels=[], counting=False)
    await other.pick("privacy_mask")
    await other.send(points="0,0 0.5,0 0.5,1")
    await other.pick("save")
    data = home.entry.subentries[subentry_id].data
    assert [zone["name"] for zone in data["zones"]] == ["Alpha", "Beta"]
    assert len(data["privacy_masks"]) == 2


async def test_another_camera_is_another_story(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    """Who is at the new camera is told, with a picture of there; who was at the old one ends."""
    fired = async_capture_events(hass, EVENT_DETECTION)
    stream.picture = STREET
    async with mjpeg_camera(STREET) as other:
        cameras.garden.stream_address = other.address
        await home.add(live())
        await until(lambda: len(kinds(fired, "object")) >= PEOPLE)
        await home.until_state("binary_sensor.front_door_person", "on")
        began = {data["track_id"]: data["event_id"] for data in kinds(fired, "object")}
        fired.clear()
        (subentry,) = home.entry.subentries.values()
        data = {**subentry.data, "camera": "camera.garden"}
        hass.config_entries.async_update_subentry(home.entry, subentry, data=data)
        await until(
            lambda: [item["phase"] for item in kinds(fired, "object")].count("start") >= PEOPLE
        )
        await home.until_state("binary_sensor.front_door_person", "on")
        told = kinds(fired, "object")
        ended = {item["track_id"] for item in told if item["phase"] == "end"}
        started = [item for item in told if item["phase"] == "start"]
        assert ended == began.keys()
        assert not {item["track_id"] for item in started} & ended
        assert {item["camera_entity_id"] for item in started} == {"camera.garden"}
        assert not {item["snapshot"] for item in started} & set(began.values())
        # The same camera under another name goes on.
        fired.clear()
        seen: list[str] = []
        person = "binary_sensor.front_door_person"
        async_track_state_change_event(hass, person, _noting(seen))
        er.async_get(hass).async_update_entity("camera.garden", new_entity_id="camera.orchard")
        await hass.async_block_till_done()
        await asyncio.sleep(1)
        assert seen == []
        assert [item for item in kinds(fired, "object") if item["phase"] != "update"] == []


def _noting(seen: list[str]) -> Callable[[Event[EventStateChangedData]], None]:
    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        seen.append(event.data["new_state"].state if event.data["new_state"] else "gone")

    return note


async def test_stills_of_another_camera_are_another_story(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    fired = async_capture_events(hass, EVENT_DETECTION)
    cameras.porch.picture = cameras.garden.picture = STREET
    await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "on")
    await until(lambda: kinds(fired, "object"))
    fired.clear()
    (subentry,) = home.entry.subentries.values()
    data = {**subentry.data, "camera": "camera.garden"}
    hass.config_entries.async_update_subentry(home.entry, subentry, data=data)
    await until(lambda: len(kinds(fired, "object")) >= 2)
    assert [item["phase"] for item in kinds(fired, "object")] == ["end", "start"]


async def test_what_is_changed_while_the_node_is_set_up_is_told_to_it(
    hass: HomeAssistant, home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras.garden.picture = STREET
    await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "off")
    hub, manager = home.hub, hass.config_entries
    configure = hub._async_configure

    async def configure_and_change(client: Any) -> None:
        await configure(client)
        monkeypatch.setattr(hub, "_async_configure", configure)
        added = pipeline("Shed", "camera.garden")
        data = MappingProxyType(added["data"])
        manager.async_add_subentry(home.entry, ConfigSubentry(**{**added, "data": data}))
        await hass.async_block_till_done()

    monkeypatch.setattr(hub, "_async_configure", configure_and_change)
    assert hub.supervisor.pid is not None
    os.kill(hub.supervisor.pid, signal.SIGKILL)
    await home.until_state("binary_sensor.shed_person", "on")


async def test_what_was_switched_off_is_not_watched_while_home_assistant_starts(
    hass: HomeAssistant, home: Home, stream: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    await home.call("switch", "turn_off", "switch.front_door_detection")
    await until(lambda: not stream.readers)
    forward, asked = hass.config_entries.async_forward_entry_setups, stream.requests

    async def slowly(*args: Any) -> None:
        await asyncio.sleep(1.5)
        await forward(*args)

    monkeypatch.setattr(hass.config_entries, "async_forward_entry_setups", slowly)
    await hass.config_entries.async_reload(home.entry.entry_id)
    assert home.state("switch.front_door_detection") == "off"
    assert stream.requests == asked
