"""Pictures of events: only those of the camera that is asked for, and only by their ids."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

import pytest
from homeassistant.components.media_player.errors import BrowseError
from homeassistant.components.media_source import (
    Unresolvable,
    async_browse_media,
    async_resolve_media,
)
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockUser, async_capture_events
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision.const import EVENT_DETECTION
from custom_components.edge_vision.flows.picture import FlowPicture
from custom_components.edge_vision.node.edge_vision_node.protocol import Picture
from custom_components.edge_vision.runtime.event_data import moment_of
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until

SOURCE = "media-source://edge_vision"
URL = "/api/edge_vision/evidence"


@pytest.mark.real_node
async def test_only_the_own_pictures_of_a_camera_are_shown(
    home: Home, cameras: Cameras, hass_client: ClientSessionGenerator
) -> None:
    assert await async_setup_component(home.hass, "media_source", {})
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET
    await home.add(pipeline(), pipeline("Garden", "camera.garden"))
    await until(lambda: fired)
    event = fired[0].data
    # Its picture is named while it is taken, and who asks for it gets it.
    assert event["snapshot_pending"] is True
    assert event["snapshot"] == f"{SOURCE}/{event['pipeline_id']}/{event['event_id']}"
    media = await async_resolve_media(home.hass, event["snapshot"], None)
    client = await hass_client()
    assert (await client.get(media.url)).status == HTTPStatus.OK

    owner, own = event["pipeline_id"], event["event_id"]
    (other,) = set(home.entry.subentries) - {owner}
    (home.data_folder / "evidence" / "secret.jpg").write_bytes(b"secret")
    for pipeline_id, event_id in (
        (other, own),
        (owner, "0" * 26),
        (owner, own.lower()),
        (owner, f"{own}x"),
        (owner, "secret"),
        (owner, "../secret"),
        (owner, "../pictures/x"),
        (owner, "..%2f..%2fnode_id"),
        (owner, f"{own}/.."),
        (owner, "*"),
        (owner, "\x00"),
        ("..", own),
        ("", own),
    ):
        wanted = f"{pipeline_id}/{event_id}"
        with pytest.raises(Unresolvable):
            await async_resolve_media(home.hass, f"{SOURCE}/{wanted}", None)
        status = (await client.get(f"{URL}/{quote(wanted)}")).status
        # What looks like an attack is refused before we see it.
        assert status in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST), wanted
    for nowhere in (f"{owner}/older/-1", f"{owner}/older/x", f"{owner}/..", f"{owner}/{own}", ".."):
        with pytest.raises(BrowseError):
            await async_browse_media(home.hass, f"{SOURCE}/{nowhere}")
    beyond = await async_browse_media(home.hass, f"{SOURCE}/{owner}/older/{'9' * 40}")
    assert [item.title.partition(" ")[0] for item in beyond.children if item.can_play]


async def test_who_may_not_see_a_camera_sees_no_picture_of_it(
    home: Home,
    cameras: Cameras,
    hass_client: ClientSessionGenerator,
    hass_client_no_auth: ClientSessionGenerator,
    hass_read_only_user: MockUser,
    hass_read_only_access_token: str,
) -> None:
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = STREET
    await home.add(pipeline())
    await until(lambda: fired)
    url = f"{URL}/{fired[0].data['pipeline_id']}/{fired[0].data['event_id']}"
    flow_picture = FlowPicture(home.hass)
    shown = str(flow_picture.show(STREET))
    signed = shown[shown.index("(") + 1 : shown.index(")")]
    stranger, user = await hass_client_no_auth(), await hass_client(hass_read_only_access_token)
    for address in (url, f"{url}?clean", signed.partition("?")[0], f"{signed[:-4]}0000"):
        assert (await stranger.get(address)).status == HTTPStatus.UNAUTHORIZED
    picture = await stranger.get(signed)
    assert picture.status == HTTPStatus.OK
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    # A user who may read everything, then one who may read another entity only.
    assert (await user.get(url)).status == HTTPStatus.OK
    hass_read_only_user.mock_policy({"entities": {"entity_ids": {"light.kitchen": True}}})
    for address in (url, f"{url}?clean"):
        assert (await user.get(address)).status == HTTPStatus.UNAUTHORIZED


async def test_whatever_a_node_sends_a_picture_of_an_event_is_a_jpeg(
    home: Home,
    cameras: Cameras,
    hass_client: ClientSessionGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await home.add(pipeline())
    (pipeline_id,) = home.entry.subentries

    sent = b""

    async def answer(*_: object, **__: object) -> tuple[Picture, bytes]:
        return Picture(content_type="text/html", at="2026-11-30T12:00:00+00:00"), sent

    monkeypatch.setattr(home.runtime.node, "async_request_picture", answer)
    client = await hass_client()
    url = f"{URL}/{pipeline_id}/{'0' * 26}"
    for sent in (b"<script>alert(1)</script>", b"", b"\x89PNG", b"\xff\xd8"):  # noqa: B007 - used above
        assert (await client.get(url)).status == HTTPStatus.SERVICE_UNAVAILABLE
    sent = STREET
    response = await client.get(url)
    assert response.status == HTTPStatus.OK
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2026-11-30T12:00:00+02:00", "2026-11-30T10:00:00+00:00"),
        ("2026-13-45T99:00:00", None),
        ("2026-02-30T00:00:00+00:00", None),
        ("0001-01-01T00:00:00+00:00", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("yesterday", None),
    ],
)
def test_a_time_that_a_node_says_may_be_none(said: str, moment: str | None) -> None:
    found = moment_of(said)
    assert (found.isoformat() if found else None) == moment
