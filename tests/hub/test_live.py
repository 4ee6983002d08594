"""Live video in Home Assistant: entities, events, pictures, and what happens to a camera."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import pytest
from homeassistant.components.camera import async_get_image
from homeassistant.components.media_source import async_browse_media, async_resolve_media
from homeassistant.components.media_source.error import Unresolvable
from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.requirements import RequirementsNotFound
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import async_capture_events
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision import media_source
from custom_components.edge_vision.const import (
    DOMAIN,
    EVENT_DETECTION,
    Issue,
    issue_id,
)
from custom_components.edge_vision.diagnostics import async_get_config_entry_diagnostics
from custom_components.edge_vision.local_node import requirements, supervisor
from custom_components.edge_vision.node.edge_vision_node.protocol import SourceState
from custom_components.edge_vision.runtime import node as node_module
from custom_components.edge_vision.runtime import stream_addresses, video_source
from custom_components.edge_vision.runtime.pipelines import Pipelines
from tests.hub.conftest import ALL, AREAS, BLANK, STREET, Cameras, Home, live, pipeline, until
from tests.hub.flows import ChangeFlow, picture_address
from tests.live_camera import MjpegCamera, mjpeg_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

PEOPLE = 3  # in `STREET`


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to stills and back as soon as there is reason to."""
    monkeypatch.setattr(node_module, "STATUS_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(video_source, "PATIENCE_S", 0.0)
    monkeypatch.setattr(video_source, "FIRST_PAUSE_S", 0.0)


def kinds(fired: list[Event], kind: str) -> list[dict[str, Any]]:
    return [event.data for event in fired if event.data["kind"] == kind]


@pytest.mark.real_node
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
    sensor = "binary_sensor.front_door_person"
    assert {data["occupancy_entity_id"] for data in kinds(fired, "object")} == {sensor}
    assert {data["occupancy_entity_id"] for data in kinds(fired, "zone")} == {f"{sensor}_in_porch"}
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
    # Each is drawn and written after the other.
    evidence = home.data_folder / "evidence"
    await until(lambda: len({kept.name[:26] for kept in evidence.glob("*.jpg")}) >= 2)
    root = await async_browse_media(hass, "media-source://edge_vision")
    (folder,) = root.children
    assert folder.title == "Front door"
    shown: list[str] = []
    while len(shown) < 2:  # a picture is there a moment after its event
        listed = await async_browse_media(hass, folder.media_content_id)
        shown = [item.media_content_id for item in listed.children if item.can_play]
    assert first["snapshot"] in shown
    # All of them, page by page, but for those whose picture is gone.
    gone = next(item for item in reversed(shown) if item != first["snapshot"])
    for kept in (home.data_folder / "evidence").glob(f"{gone.rpartition('/')[2]}*"):
        kept.unlink()
    monkeypatch.setattr(media_source, "_PAGE", 1)
    found: list[str] = []
    place = folder.media_content_id
    while place is not None:
        page = await async_browse_media(hass, place)
        found += [item.media_content_id for item in page.children if item.can_play]
        older = [item.media_content_id for item in page.children if item.can_expand]
        place = older[0] if older else None
    assert gone not in found
    # Others may have been taken meanwhile.
    assert [item for item in found if item in shown] == [item for item in shown if item != gone]
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
    (status,) = home.runtime.node.status.pipelines
    assert home.attribute("sensor.front_door_status", "since") == status.source.since
    with pytest.raises(HomeAssistantError):
        await home.runtime.pipelines.async_scan(home.pipeline)
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
    (status,) = home.runtime.node.status.pipelines
    counted = home.pipeline.dropped
    for dropped, more in ((status.dropped + 5, 5), (status.dropped + 7, 7), (2, 9)):
        home.pipeline.async_set_status(replace(status, dropped=dropped))
        assert home.pipeline.dropped == counted + more


async def test_automatic_is_stills_without_a_stream_and_live_once_there_is_one(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(live(scan_interval=0.1))
    await home.until_state("binary_sensor.front_door_person", "on")
    assert home.pipeline.stream is None
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
        await home.frames()
        assert cameras.porch.asked == asked


async def test_a_stream_that_could_not_be_had_at_first_is_asked_for_again(
    home: Home, cameras: Cameras, stream: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_addresses, "RESOLVE_AGAIN_AFTER_S", 0.1)
    configured: list[object] = []
    configure = Pipelines.async_configure

    async def note(self: Pipelines, client: Any) -> None:
        configured.append(client)
        await configure(self, client)

    monkeypatch.setattr(Pipelines, "async_configure", note)
    address, cameras.porch.stream_address = cameras.porch.stream_address, None
    cameras.porch.picture = STREET
    await home.add(live(scan_interval=0.1))
    await home.until_state("binary_sensor.front_door_person", "on")
    assert home.attribute("sensor.front_door_status", "source") == "stills"
    await asyncio.sleep(0.15)
    await home.runtime.node._async_poll_status(dt_util.utcnow())
    await asyncio.sleep(0.1)
    assert len(configured) == 1  # what is not found disturbs nobody
    cameras.porch.stream_address = address
    await asyncio.sleep(0.15)
    await home.runtime.node._async_poll_status(dt_util.utcnow())
    await home.until_state("binary_sensor.front_door_person", "off")
    assert home.attribute("sensor.front_door_status", "source") == "live"
    assert stream.readers == 1
    await home.call("switch", "turn_off", "switch.front_door_detection")
    assert home.attribute("sensor.front_door_status", "source") is None


@pytest.mark.usefixtures("impatient")
async def test_automatic_looks_at_stills_while_live_video_cannot_be_read(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    stream.refuses = True
    cameras.porch.picture = None
    await home.add(live(scan_interval=0.1))
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
    assert home.pipeline.stream is None
    diagnostics = await async_get_config_entry_diagnostics(hass, home.entry)
    assert diagnostics["pipelines"][subentry_id]["stills_because"]
    # There is a picture to draw zones on.
    flow = ChangeFlow(hass, home)
    await flow.begin("areas")
    assert picture_address(flow.result).startswith("/")
    # Live video is tried again and again, and shows that nobody is there.
    stream.refuses = False
    await until(lambda: told() is None)
    await home.until_state("binary_sensor.front_door_person", "off")
    assert home.pipeline.stream == stream.address


@pytest.mark.real_node
@pytest.mark.usefixtures("impatient")
async def test_what_is_there_all_along_is_told_once_whatever_is_looked_at(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    fired = async_capture_events(hass, EVENT_DETECTION)
    stream.picture = cameras.porch.picture = STREET
    zones = [{"name": "Porch", "points": ALL, "labels": ["person"]}]
    await home.add(live(scan_interval=0.1, zones=zones))
    await home.until_state("binary_sensor.front_door_person_in_porch", "on")
    await until(lambda: len(kinds(fired, "zone")) >= PEOPLE)
    fired.clear()

    def of_note() -> list[dict[str, Any]]:
        told = [*kinds(fired, "object"), *kinds(fired, "zone")]
        return [item for item in told if item["phase"] != "update"]

    async def break_video() -> None:
        stream.refuses = True
        stream.hang_up()
        await until(lambda: home.pipeline.stream is None)
        await home.until_state("binary_sensor.front_door_person", "on")

    async def mend_video() -> None:
        stream.refuses = False
        await until(lambda: home.pipeline.stream is not None)
        await until(lambda: home.pipeline.look is not None and home.pipeline.look.zones)

    await break_video()
    asked = cameras.porch.asked
    await until(lambda: cameras.porch.asked > asked + 2)
    await mend_video()
    await home.frames()
    assert of_note() == []
    assert home.state("binary_sensor.front_door_person_in_porch") == "on"
    # Who leaves meanwhile has left the zone, too, and ends as who had come.
    await break_video()
    cameras.porch.picture = stream.picture = BLANK
    await until(lambda: len(of_note()) >= 2 * PEOPLE)
    await home.until_state("binary_sensor.front_door_person", "off")
    await mend_video()
    await home.frames()
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
        await until(lambda: home.pipeline.settings.confidence == 60)
        await home.frames()
        assert (asked, camera.readers, camera.requests) == (1, 1, 1)
        # The address may have expired: both get the same new one.
        monkeypatch.setattr(stream_addresses, "RESOLVE_AGAIN_AFTER_S", 0.1)
        camera.refuses = True
        camera.hang_up()
        await home.until_state("sensor.front_door_status", "camera_unavailable")
        await home.runtime.node._async_poll_status(dt_util.utcnow())
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
    monkeypatch.setattr(stream_addresses, "RESOLVE_AGAIN_AFTER_S", 0.0)
    cameras.porch.picture = stream.picture = STREET
    await home.add(live(scan_interval=0.1, **AREAS))
    await home.until_state("binary_sensor.front_door_person_in_porch", "on")

    address, cameras.porch.stream_address = cameras.porch.stream_address, None
    stream.refuses = True
    stream.hang_up()
    await home.until_state("sensor.front_door_status", "camera_unavailable")
    for _ in range(3):
        await home.runtime.node._async_poll_status(dt_util.utcnow())
        await asyncio.sleep(0.05)
    assert home.state("sensor.front_door_status") == "camera_unavailable"
    assert cameras.porch.asked == 0
    followed = open_objects(fired)
    assert followed
    assert None not in followed

    # Gone for longer: stills it is, and they show that somebody is still there.
    monkeypatch.setattr(stream_addresses, "HOLD_S", 0.0)
    await home.runtime.node._async_poll_status(dt_util.utcnow())
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
    await home.frames()
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
    await home.add(live(source="live", scan_interval=0.1, **AREAS))
    await home.until_state("sensor.front_door_status", "no_stream")
    for name in ("person", "person_in_porch"):
        assert home.state(f"binary_sensor.front_door_{name}") == "unavailable"
    with pytest.raises(HomeAssistantError):
        await home.runtime.pipelines.async_scan(home.pipeline)
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
    entry = await home.add(live(scan_interval=0.1), second)
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


@pytest.mark.real_node
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


@pytest.mark.real_node
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


@pytest.mark.real_node
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
    await home.frames()
    told = [item["track_id"] for item in kinds(fired, "object") if item["phase"] == "start"]
    assert len(told) == len(set(told)) == PEOPLE
    assert None not in told


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
        await home.frames()
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
    pipelines, manager = home.runtime.pipelines, hass.config_entries
    configure = pipelines.async_configure

    async def configure_and_change(client: Any) -> None:
        await configure(client)
        monkeypatch.setattr(pipelines, "async_configure", configure)
        added = pipeline("Shed", "camera.garden")
        data = MappingProxyType(added["data"])
        manager.async_add_subentry(home.entry, ConfigSubentry(**{**added, "data": data}))
        await hass.async_block_till_done()

    monkeypatch.setattr(pipelines, "async_configure", configure_and_change)
    home.kill_node()
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
        await asyncio.sleep(0.2)
        await forward(*args)

    monkeypatch.setattr(hass.config_entries, "async_forward_entry_setups", slowly)
    await hass.config_entries.async_reload(home.entry.entry_id)
    assert home.state("switch.front_door_detection") == "off"
    assert stream.requests == asked


async def test_a_node_that_is_away_says_nothing_about_the_video(
    home: Home, stream: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 600.0)
    monkeypatch.setattr(video_source, "PATIENCE_S", 0.0)
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    issues = ir.async_get(home.hass)
    source = home.runtime.pipelines._cameras[home.pipeline.pipeline_id].source
    status = home.runtime.node.status.pipelines[0].source
    gone = replace(status, state=SourceState.UNAVAILABLE, reason="the camera sent nothing")
    home.kill_node()
    await until(lambda: not home.runtime.node.connected)
    # What it said last holds no more, and live video that is due again cannot be tried.
    for _ in range(3):
        source.async_set_status(gone)
    await source._try_live()
    assert home.pipeline.stills_because is None
    home.pipeline.stills_because = "the camera sent nothing"
    await source._try_live()
    assert home.pipeline.stills_because == "the camera sent nothing"
    assert not [issue for issue in issues.issues.values() if issue.domain == DOMAIN]
