"""Live video by its address: another stream of a camera, a file, or no camera of the hub at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.edge_vision.const import EVENT_DETECTION
from custom_components.edge_vision.diagnostics import async_get_config_entry_diagnostics
from tests.hub.conftest import BLANK, STREET, Cameras, Home, pipeline, until
from tests.hub.test_subentry_flow import Flow, answers
from tests.live_camera import MjpegCamera, mjpeg_camera

pytestmark = pytest.mark.usefixtures("run_folders", "socket_enabled")

CLIP = Path(__file__).parents[2] / "scripts" / "demo_data" / "footpath.mp4"


@pytest.fixture
async def stream() -> AsyncIterator[MjpegCamera]:
    """A stream of which Home Assistant knows nothing."""
    async with mjpeg_camera(STREET) as camera:
        yield camera


def form(address: str | None, camera: str | None = None, **changes: Any) -> dict[str, Any]:
    filled = answers(only_on_request=False, **changes)
    if camera is None:
        del filled["camera"]
    if address is not None:
        filled["video"]["video_address"] = address
    return filled


async def test_video_needs_no_camera_of_home_assistant(
    hass: HomeAssistant, home: Home, stream: MjpegCamera
) -> None:
    assert await async_setup_component(hass, "homeassistant", {})
    fired = async_capture_events(hass, EVENT_DETECTION)
    await home.add()
    flow = await Flow.begin(home)
    made = await flow.send({**form(stream.address), "name": "Yard"})
    assert made["title"] == "Yard"
    assert "camera" not in made["data"]
    await home.until_state("binary_sensor.yard_person", "on")
    assert home.state("sensor.yard_status") == "looking"
    await until(lambda: any(event.data["kind"] == "object" for event in fired))
    assert {event.data["camera_entity_id"] for event in fired} == {None}
    assert home.attribute("image_processing.yard", "objects")
    # Where a picture of the camera is shown, it is a frame of that video.
    change = await Flow.change(home, "areas")
    assert change.result["description_placeholders"]["picture"].startswith("![")
    # A stream that goes away is a state, as anywhere else.
    stream.refuses = True
    stream.hang_up()
    await home.until_state("sensor.yard_status", "camera_unavailable")
    stream.refuses = False
    await home.until_state("binary_sensor.yard_person", "on")
    told = json.dumps(await async_get_config_entry_diagnostics(hass, home.entry), default=str)
    assert "secret-in-address" not in told


async def test_a_camera_can_be_watched_by_another_stream(
    home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    async with mjpeg_camera(BLANK) as own:
        cameras.porch.stream_address = own.address
        await home.add()
        flow = await Flow.begin(home)
        await flow.send(form(stream.address, "camera.porch"))
        await home.until_state("binary_sensor.porch_person", "on")
        assert own.requests == 0
        (subentry,) = home.entry.subentries.values()
        data = {key: value for key, value in subentry.data.items() if key != "video_address"}
        home.hass.config_entries.async_update_subentry(home.entry, subentry, data=data)
        await home.until_state("binary_sensor.porch_person", "off")
        assert own.requests > 0


@pytest.mark.real_node
async def test_a_file_is_played_again_and_again(
    hass: HomeAssistant, home: Home, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(CLIP.read_bytes())
    await home.add()
    flow = await Flow.begin(home)
    await flow.send(form(str(clip)))
    assert flow.result["errors"] == {"video": "path_not_allowed"}
    hass.config.allowlist_external_dirs.add(str(tmp_path))
    await flow.send({**form(str(clip)), "name": "Clip"})
    await home.until_state("binary_sensor.clip_person", "on")


@pytest.mark.parametrize(
    ("address", "changes", "error"),
    [
        (None, {}, "no_camera"),
        ("rtsp://127.0.0.1/a", {"source": "stills"}, "stills_need_a_camera"),
        ("ftp://127.0.0.1/a", {}, "bad_address"),
        ("/dev/mem", {}, "bad_address"),
        ("/dev/video0/../mem", {}, "bad_address"),
        ("rtsp://cam:554/a\r\nX: y", {}, "bad_address"),
        ("rtsp://[bad", {}, "bad_address"),
        ("rtsp://cam:port/a", {}, "bad_address"),
        ("rtsp://", {}, "bad_address"),
        ("clip.mp4", {}, "bad_address"),
        ("/etc/passwd", {}, "path_not_allowed"),
    ],
)
async def test_what_cannot_work_is_refused(
    home: Home, address: str | None, changes: dict[str, Any], error: str
) -> None:
    await home.add()
    flow = await Flow.begin(home)
    await flow.send(form(address, **changes))
    section = {"no_camera": "base", "stills_need_a_camera": "schedule"}.get(error, "video")
    assert flow.result["errors"] == {section: error}
    unfolded = {
        str(key): not kind.options["collapsed"]
        for key, kind in flow.result["data_schema"].schema.items()
        if hasattr(kind, "options")
    }
    # Where it can be mended is unfolded; an address that was given is to be seen anyway.
    assert unfolded == {"detection": True, "schedule": True, "video": True, "advanced": False}


@pytest.mark.real_node
async def test_why_a_video_cannot_be_read_is_said_before_it_is_kept(
    home: Home, stream: MjpegCamera, cameras: Cameras
) -> None:
    await home.add()
    stream.refuses = True
    cameras.porch.stream_address = stream.address
    for filled in (form(stream.address), form(None, "camera.porch")):
        flow = await Flow.begin(home)
        await flow.send(filled)
        assert flow.result["step_id"] == "no_picture"
        assert "rejected the username" in flow.result["description_placeholders"]["reason"]
        assert "secret-in-address" not in str(flow.result["description_placeholders"])
    flow = await Flow.begin(home)
    await flow.send(form("/dev/video7"))
    assert flow.result["step_id"] == "no_picture"
    # It may only be away just now.
    made = await flow.pick("save")
    assert made["title"] == "video7"
    await home.until_state("sensor.video7_status", "camera_unavailable")


async def test_the_views_of_edge_vision_are_not_offered_as_cameras(
    home: Home, cameras: Cameras
) -> None:
    await home.add(pipeline())
    view = er.async_get(home.hass).async_get("camera.front_door_live_view")
    assert view is not None
    flow = await Flow.begin(home)
    fields = flow.result["data_schema"].schema
    selector = next(kind for key, kind in fields.items() if key == "camera")
    assert view.entity_id in selector.config["exclude_entities"]
    assert "camera.porch" not in selector.config["exclude_entities"]


async def test_the_name_of_a_video_tells_nothing_of_its_address(home: Home) -> None:
    await home.add()
    flow = await Flow.begin(home)
    await flow.send(form("RTSPS://user:pw@127.0.0.1:9/AbCdEfSecretToken?usr=a&loginpas=secret"))
    assert "SecretToken" not in str(flow.result["description_placeholders"])
    made = await flow.pick("save")
    assert made["title"] == "127.0.0.1"
    assert made["data"]["video_address"].startswith("rtsps://user:pw@")
    told = await async_get_config_entry_diagnostics(home.hass, home.entry)
    assert "SecretToken" not in json.dumps(told, default=str)
