"""An address for live video that gives one picture each time it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.hub.conftest import STREET, Cameras, Home, until
from tests.hub.frontend import Browser
from tests.live_camera import MjpegCamera

pytestmark = pytest.mark.usefixtures("socket_enabled")


def saved(home: Home) -> dict[str, Any]:
    (subentry,) = home.entry.subentries.values()
    return dict(subentry.data)


@pytest.mark.real_node
async def test_stills_of_the_camera_are_offered_and_taken(
    home: Home, cameras: Cameras, stream: MjpegCamera, hass_client: ClientSessionGenerator
) -> None:
    cameras.porch.picture = STREET
    await home.add()
    browser = await Browser.add_camera(home, hass_client)
    video = {"video_address": stream.still_address}
    await browser.submit(camera="camera.porch", video=video)
    assert browser.where == "single_pictures", browser.step
    assert browser.step["menu_options"] == ["use_stills", "save", "settings"]
    await browser.pick("settings")
    assert browser.form["video"]["video_address"] == stream.still_address
    await browser.submit()
    await browser.pick("use_stills")
    assert browser.step["type"] == "create_entry", browser.step
    data = saved(home)
    assert data["source"] == "stills"
    assert "video_address" not in data
    await home.until_state("image_processing.porch", "3")


@pytest.mark.real_node
async def test_an_address_alone_is_polled_if_the_user_wants_that_and_not_asked_about_again(
    home: Home, stream: MjpegCamera, hass_client: ClientSessionGenerator
) -> None:
    stream.picture = STREET
    await home.add()
    browser = await Browser.add_camera(home, hass_client)
    video = {"video_address": stream.still_address}
    await browser.submit(name="Porch", video=video)
    assert browser.where == "single_pictures", browser.step
    # There is no camera that stills could come from.
    assert browser.step["menu_options"] == ["save", "settings"]
    assert "secret" not in str(browser.step)
    await browser.pick("save")
    assert browser.step["type"] == "create_entry", browser.step
    assert saved(home)["video_address"] == stream.still_address
    await home.until_state("binary_sensor.porch_person", "on")
    asked = stream.requests
    await until(lambda: stream.requests > asked + 3)
    browser = await Browser.change_camera(home, hass_client, "change_settings")
    await browser.submit()
    assert browser.where == "reconfigure_successful", browser.step


@pytest.mark.parametrize("by", ["camera", "address"])
async def test_video_is_saved_without_a_question(
    by: str, home: Home, stream: MjpegCamera, hass_client: ClientSessionGenerator
) -> None:
    stream.picture = STREET
    await home.add()
    browser = await Browser.add_camera(home, hass_client)
    if by == "camera":
        await browser.submit(camera="camera.porch")
    else:
        await browser.submit(name="Porch", video={"video_address": stream.address})
    assert browser.step["type"] == "create_entry", browser.step


@pytest.mark.real_node
async def test_a_camera_whose_own_stream_is_single_pictures_is_offered_as_stills(
    home: Home, cameras: Cameras, stream: MjpegCamera, hass_client: ClientSessionGenerator
) -> None:
    cameras.porch.stream_address = stream.still_address
    await home.add()
    browser = await Browser.add_camera(home, hass_client)
    await browser.submit(camera="camera.porch")
    assert browser.where == "single_pictures", browser.step
    await browser.pick("use_stills")
    assert saved(home)["source"] == "stills"
