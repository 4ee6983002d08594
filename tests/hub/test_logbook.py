"""What Activity shows of a camera: the recorder and the logbook of Home Assistant answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from homeassistant.components.recorder import get_instance
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION
from custom_components.edge_vision.runtime.event_words import event_type
from tests.hub.conftest import BLANK, STREET, Cameras, Home, pipeline, until
from tests.hub.texts import ENGLISH


@pytest.fixture(autouse=True)
def _custom_integrations(recorder_mock: Any, enable_custom_integrations: None) -> None:
    """Let Home Assistant load ours, with a recorder: that has to be there first."""


class Activity:
    """Asks as the frontend does."""

    def __init__(self, hass: HomeAssistant, connect: Any, since: datetime) -> None:
        self._hass, self._connect, self._since = hass, connect, since

    async def rows(self, **target: Any) -> list[dict[str, Any]]:
        await get_instance(self._hass).async_block_till_done()
        socket = await self._connect(self._hass)
        await socket.send_json_auto_id(
            {"type": "logbook/get_events", "start_time": self._since.isoformat(), **target}
        )
        answer = await socket.receive_json()
        assert answer["success"], answer
        rows: list[dict[str, Any]] = answer["result"]
        return rows


@pytest.fixture
async def activity(hass: HomeAssistant, hass_ws_client: Any) -> Activity:
    for component in ("http", "automation", "script", "logbook"):
        assert await async_setup_component(hass, component, {})
    return Activity(hass, hass_ws_client, dt_util.utcnow())


async def test_an_event_is_one_row_in_words(
    home: Home, cameras: Cameras, activity: Activity
) -> None:
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    await home.add(pipeline())
    for picture in (STREET, BLANK, STREET):
        cameras.porch.picture = picture
        await home.scan()
    await until(lambda: len([event for event in fired if event.data["kind"] == "object"]) >= 3)
    # A node that comes back is no event.
    home.kill_node()
    await home.until_state("image_processing.front_door", "unavailable")
    await until(lambda: home.state("image_processing.front_door") != "unavailable")
    await home.hass.async_block_till_done()
    (subentry_id,) = home.entry.subentries
    device = dr.async_get(home.hass).async_get_device_by_identifier(
        (DOMAIN, subentry_id), home.entry.entry_id
    )
    assert device is not None
    words = ENGLISH["entity"]["event"]["detection"]["state_attributes"]["event_type"]["state"]
    for target in ({}, {"device_ids": [device.id], "entity_ids": sorted(home.entity_ids())}):
        rows = await activity.rows(**target)
        about_events = [
            row
            for row in rows
            if row.get("domain") == DOMAIN or row.get("entity_id") == "event.front_door"
        ]
        assert len(about_events) == len(fired)
        for row, event in zip(about_events, fired, strict=True):
            shown = row["attributes"]["event_type"]
            assert shown == event_type(event.data["kind"], event.data["phase"])
            assert words[shown]
            assert event.data["message"]
