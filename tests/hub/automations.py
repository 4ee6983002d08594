"""Real automations for the tests."""

from __future__ import annotations

from typing import Any

from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import async_mock_service

from custom_components.edge_vision.const import DOMAIN
from tests.hub.conftest import Home


def device_of(home: Home) -> str:
    (pipeline_id,) = home.entry.subentries
    device = dr.async_get(home.hass).async_get_device_by_identifier(
        (DOMAIN, pipeline_id), home.entry.entry_id
    )
    assert device is not None
    return device.id


async def automate(hass: HomeAssistant, *automations: dict[str, Any]) -> list[ServiceCall]:
    """Set automations up; return the list of calls that their actions will make."""
    calls = async_mock_service(hass, "test", "done")
    assert await async_setup_component(hass, "automation", {"automation": list(automations)})
    await hass.async_block_till_done()
    return calls
