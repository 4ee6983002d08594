"""What Home Assistant knows about reading a camera, besides its address, is taken over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_vision_node.frames.decode import decode
from edge_vision_node.frames.orientation import turned
from homeassistant.components.camera import async_get_image
from homeassistant.components.camera.prefs import get_dynamic_camera_stream_settings
from homeassistant.components.stream import (
    CONF_RTSP_TRANSPORT,
    CONF_USE_WALLCLOCK_AS_TIMESTAMPS,
    RTSP_TRANSPORTS,
    Orientation,
)
from homeassistant.components.stream.core import TRANSFORM_IMAGE_FUNCTION
from homeassistant.const import CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from PIL import Image
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.edge_vision.const import EVENT_DETECTION
from custom_components.edge_vision.flows.preview import async_see
from custom_components.edge_vision.runtime.exif import with_orientation
from custom_components.edge_vision.runtime.stream_addresses import (
    StreamAddresses,
    StreamOptions,
    async_get_orientation,
    async_get_stream_options,
    fingerprint,
)
from tests.certificates import make_certificate, refused_by_readers
from tests.hub.conftest import STREET, Cameras, Home, live, pipeline, until
from tests.live_camera import MjpegCamera
from tests.pictures import jpeg
from tests.rtsp_camera import rtsp_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

# One of the three people is in the left part.
LEFT = [{"x": x, "y": y} for x, y in ((0, 0), (0.5, 0), (0.5, 1), (0, 1))]
QUARTER = jpeg(
    Image.open(io.BytesIO(STREET)).convert("RGB").transpose(Image.Transpose.ROTATE_90), quality=92
)


def turn(hass: HomeAssistant, orientation: Orientation) -> None:
    """Choose how a camera's stream is turned, as Home Assistant keeps it."""
    er.async_get(hass).async_update_entity_options(
        "camera.porch", "camera", {"orientation": orientation}
    )


def boxes(fired: list[Any]) -> list[dict[str, float]]:
    return [event.data["box"] for event in fired if event.data.get("box")]


@pytest.mark.parametrize("orientation", Orientation)
def test_each_orientation_of_home_assistant_turns_as_there(
    orientation: Orientation, hass: HomeAssistant, cameras: Cameras
) -> None:
    turn(hass, orientation)
    picture = np.arange(6).reshape(2, 3)
    expected = TRANSFORM_IMAGE_FUNCTION[orientation](picture)
    assert np.array_equal(turned(picture, async_get_orientation(hass, "camera.porch")), expected)


async def test_orientation_is_what_its_own_preference_says(
    hass: HomeAssistant, cameras: Cameras
) -> None:
    assert async_get_orientation(hass, "camera.porch") == 1
    assert async_get_orientation(hass, "camera.nobody") == 1
    turn(hass, Orientation.FLIP)
    settings = await get_dynamic_camera_stream_settings(hass, "camera.porch")
    assert async_get_orientation(hass, "camera.porch") == settings.orientation == 4
    turn(hass, 77)  # type: ignore[arg-type] - as a newer version may keep it
    assert async_get_orientation(hass, "camera.porch") == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, StreamOptions()),
        ({CONF_RTSP_TRANSPORT: "tcp"}, StreamOptions()),
        ({CONF_RTSP_TRANSPORT: "carrier pigeon"}, StreamOptions()),
        ({CONF_VERIFY_SSL: False}, StreamOptions()),
        ({CONF_VERIFY_SSL: True}, StreamOptions(verify_certificate=True)),
        ({CONF_USE_WALLCLOCK_AS_TIMESTAMPS: True}, StreamOptions(wallclock=True)),
        *(
            ({CONF_RTSP_TRANSPORT: item}, StreamOptions(transport=item))
            for item in RTSP_TRANSPORTS
            if item != "tcp"
        ),
    ],
)
def test_stream_options_are_taken_over(
    hass: HomeAssistant, cameras: Cameras, said: dict[str, Any], expected: StreamOptions
) -> None:
    cameras.porch.stream_options |= said
    options = async_get_stream_options(hass, "camera.porch")
    assert options == expected
    options.video("rtsp://camera/", "auto").check()
    # What the user has chosen here comes first.
    assert options.video("rtsp://camera/", "tcp").transport == "tcp"


async def test_a_camera_that_is_away_is_read_as_before_and_known_by_its_address(
    hass: HomeAssistant, cameras: Cameras
) -> None:
    cameras.porch.stream_options[CONF_VERIFY_SSL] = True
    streams = StreamAddresses(hass)
    known = streams.options("camera.porch")
    assert known.verify_certificate
    streams.fingerprints["camera.porch"] = fingerprint("rtsp://porch/")
    assert streams.options(None, "rtsp://porch/") == known
    assert streams.options(None, "rtsp://elsewhere/") == StreamOptions()
    await cameras.porch.async_remove()
    turn(hass, Orientation.MIRROR)
    assert streams.options("camera.porch").verify_certificate
    assert streams.options("camera.porch").orientation == 2
    streams.forget("camera.porch")
    assert not streams.options("camera.porch").verify_certificate


@pytest.mark.real_node
async def test_frames_are_turned_before_they_are_masked_and_looked_at(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    turn(hass, Orientation.ROTATE_RIGHT)
    stream.show(QUARTER)
    cameras.porch.picture = QUARTER
    fired = async_capture_events(hass, EVENT_DETECTION)
    await home.add(live(privacy_masks=[LEFT]))
    await home.until_state("binary_sensor.front_door_person", "on")
    await until(lambda: home.state("sensor.front_door_person_count") == "2")
    assert min(box["x_min"] for box in boxes(fired)) > 0.5
    picture = decode((await async_get_image(hass, "camera.front_door_live_view")).content).image
    upright = Image.open(io.BytesIO(STREET)).size
    assert (picture.width > picture.height) == (upright[0] > upright[1])
    grey = np.asarray(picture.convert("L"))
    assert grey[:, : picture.width // 2 - 8].max() < 16
    assert grey[:, picture.width // 2 + 8 :].mean() > 50
    # Turned otherwise while it is watched, nobody stands upright any more.
    turn(hass, Orientation.NO_TRANSFORM)
    await home.until_state("binary_sensor.front_door_person", "off")


@pytest.mark.real_node
async def test_stills_are_turned_as_the_stream_is(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    turn(hass, Orientation.ROTATE_RIGHT)
    cameras.porch.picture = QUARTER
    fired = async_capture_events(hass, EVENT_DETECTION)
    await home.add(pipeline(privacy_masks=[LEFT]))
    await home.scan()
    assert home.state("image_processing.front_door") == "2"
    assert min(box["x_min"] for box in boxes(fired)) > 0.5
    # What flows draw on lies the same way.
    shown = decode(await async_see(home.runtime, {"camera": "camera.porch"}))
    assert (shown.width, shown.height) == Image.open(io.BytesIO(STREET)).size


async def test_a_still_that_home_assistant_has_made_of_the_stream_is_turned_once(
    hass: HomeAssistant, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn(hass, Orientation.ROTATE_180)
    monkeypatch.setattr(type(cameras.porch), "use_stream_for_stills", True)

    async def made(*_: Any, **__: Any) -> bytes:
        return STREET

    monkeypatch.setattr("homeassistant.components.camera.async_get_stream_image", made)
    from custom_components.edge_vision.runtime.stills import async_get_still

    assert await async_get_still(hass, "camera.porch") == STREET


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ],
)
def test_a_picture_says_how_it_is_to_be_turned(kind: str, options: dict[str, Any]) -> None:
    image = Image.open(io.BytesIO(QUARTER)).convert("RGB")
    out = io.BytesIO()
    image.save(out, kind, quality=90, **options)
    told = with_orientation(out.getvalue(), 6)
    expected = image.transpose(Image.Transpose.ROTATE_270)
    frame = decode(told)
    assert (frame.width, frame.height) == expected.size
    assert np.abs(np.asarray(frame.image).astype(int) - np.asarray(expected)).mean() < 6
    # One that has been told is left alone.
    assert with_orientation(told, 3) == told


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("own", [1, 6])
def test_a_picture_that_says_it_itself_is_right_already(kind: str, own: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = own
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 99, 9)).save(out, kind, exif=exif.tobytes())
    frame = decode(with_orientation(out.getvalue(), 8))
    assert frame.width == 30
    told = with_orientation(out.getvalue(), 8)
    assert (told == out.getvalue()) == (own == 6)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1\0\x10Exif\0\0II*\0\xff\xff\xff\xff",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0",
        b"<html>",
        b"\x89PNG\r\n\x1a\n",
        STREET[:700],
    ],
)
def test_what_is_no_picture_is_left_to_others(content: bytes) -> None:
    assert with_orientation(content, 6).startswith(content[:2])


@pytest.mark.real_node
async def test_rtsps_is_read_as_home_assistant_reads_it_and_a_certificate_has_its_reason(
    hass: HomeAssistant, home: Home, cameras: Cameras, tmp_path: Path
) -> None:
    async with rtsp_camera(STREET, make_certificate(tmp_path).server) as camera:
        cameras.porch.stream_address = camera.address
        await home.add(live(source="live"))
        await home.until_state("binary_sensor.front_door_person", "on")
        cameras.porch.stream_options[CONF_VERIFY_SSL] = True
        with refused_by_readers():
            await home.runtime.pipelines.async_reconfigure([])
            await home.until_state("sensor.front_door_status", "camera_unavailable")
            reason = home.attribute("sensor.front_door_status", "reason")
            assert "certificate is not trusted" in reason
            await home.hass.config_entries.async_unload(home.entry.entry_id)
