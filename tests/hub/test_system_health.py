"""The system health page."""

from __future__ import annotations

from typing import Any

from homeassistant.components.system_health import DOMAIN as SYSTEM_HEALTH
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.requirements import RequirementsNotFound
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import get_system_health_info

from custom_components.edge_vision.const import DOMAIN
from custom_components.edge_vision.local_node import requirements
from tests.hub.conftest import Cameras, Home, pipeline, until
from tests.hub.texts import find


async def told(hass: HomeAssistant) -> dict[str, Any]:
    assert await async_setup_component(hass, SYSTEM_HEALTH, {})
    assert await async_setup_component(hass, DOMAIN, {})
    info: dict[str, Any] = await get_system_health_info(hass, DOMAIN)
    for key in info:
        assert find(f"system_health.info.{key}"), key
    return info


async def test_a_node_that_runs(home: Home, cameras: Cameras) -> None:
    cameras.garden.picture = None
    await home.add(pipeline(), pipeline("Garden", "camera.garden"))
    pipelines = list(home.runtime.pipelines.values())
    await until(lambda: pipelines[0].look is not None and pipelines[1].problem is not None)
    info = await told(home.hass)
    assert info["node"] == "connected"
    assert info["engine"].startswith("ONNX Runtime 1.")
    assert info["restarts"] == 0
    assert (info["pipelines"], info["pipelines_looking"]) == (2, 1)
    assert info["hardware"]
    assert info["node_version"]


async def test_a_node_that_is_away(home: Home) -> None:
    await home.add()
    home.kill_node()
    await until(lambda: not home.runtime.node.connected)
    info = await told(home.hass)
    assert info["node"]["type"] == "failed"
    assert info["node"]["error"]
    await until(lambda: home.runtime.node.connected)


async def test_a_node_that_could_not_be_set_up(home: Home, monkeypatch: Any) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise RequirementsNotFound(DOMAIN, ["onnxruntime"])

    monkeypatch.setattr(requirements, "async_process_requirements", refuse)
    await home.add(expect=ConfigEntryState.SETUP_RETRY)
    info = await told(home.hass)
    assert info["engine"] == "ONNX Runtime"
    assert info["node"]["type"] == "failed"
    assert "cannot be installed" in info["node"]["error"]


async def test_before_it_is_set_up(hass: HomeAssistant) -> None:
    assert await told(hass) == {"node": "not set up"}
