"""Diagnostics: everything that helps, nothing that is secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.json import ExtendedJSONEncoder
from homeassistant.requirements import RequirementsNotFound

from custom_components.edge_vision.const import DOMAIN, PipelineProblem
from custom_components.edge_vision.diagnostics import (
    async_get_config_entry_diagnostics,
    async_get_device_diagnostics,
)
from custom_components.edge_vision.local_node import requirements
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until


def written(diagnostics: Any) -> str:
    """Return what ends up in the file."""
    return json.dumps(diagnostics, cls=ExtendedJSONEncoder)


def device(home: Home, key: str) -> dr.DeviceEntry:
    registry = dr.async_get(home.hass)
    found = registry.async_get_device_by_identifier((DOMAIN, key), home.entry.entry_id)
    assert found is not None
    return found


async def test_a_node_tells_everything_that_helps(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await until(lambda: home.pipeline.look is not None)
    told = await async_get_config_entry_diagnostics(home.hass, entry)
    assert told["entry"]["state"] == "loaded"
    (subentry_id,) = entry.subentries
    assert told["entry"]["subentries"][subentry_id]["title"] == "Front door"
    node = told["node"]
    assert node["connected"] is True
    assert node["info"]["hardware"]["cpu"]
    assert {engine["id"] for engine in node["info"]["engines"]} >= {"onnxruntime", "ncnn"}
    assert node["log"]
    runtime = told["pipelines"][subentry_id]
    assert runtime["activity"] == "on_request"
    assert runtime["settings"]["labels"] == ["person"]
    assert runtime["look"]["objects"]
    assert runtime["node"]["state"] == "ready"
    assert written(told)


@pytest.mark.real_node
async def test_no_secret_and_no_picture_gets_out(home: Home, cameras: Cameras) -> None:
    secret = "hunter2"
    cameras.porch.picture = HomeAssistantError(f"rtsp://admin:{secret}@10.0.0.7/h264 timed out")
    entry = await home.add(pipeline())
    # As an entry for a node elsewhere will have it.
    home.hass.config_entries.async_update_entry(entry, data={**entry.data, "token": secret})
    await home.hass.async_block_till_done()
    await until(lambda: home.pipeline.problem is PipelineProblem.CAMERA_UNAVAILABLE)
    home.local_node.log.add(f"DEBUG x: rtsp://admin:{secret}@10.0.0.7 token={secret}")
    told = await async_get_config_entry_diagnostics(home.hass, entry)
    assert told["entry"]["data"]["token"] == "**REDACTED**"
    (runtime,) = told["pipelines"].values()
    assert "timed out" in runtime["problem"]
    text = written(told)
    assert secret not in text
    assert "JFIF" not in text
    assert len(text) < 200_000


async def test_a_device_tells_of_its_own(home: Home) -> None:
    entry = await home.add(pipeline("Front door"), pipeline("Garden", "camera.garden"))
    first, _ = entry.subentries
    told = await async_get_device_diagnostics(home.hass, entry, device(home, first))
    assert told.keys() == {"pipeline"}
    assert told["pipeline"]["settings"]["name"] == "Front door"
    told = await async_get_device_diagnostics(home.hass, entry, device(home, "01NODE"))
    assert told.keys() == {"node"}


async def test_an_entry_that_does_not_run_says_why(home: Home, monkeypatch: Any) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise RequirementsNotFound(DOMAIN, ["onnxruntime"])

    monkeypatch.setattr(requirements, "async_process_requirements", refuse)
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)
    told = await async_get_config_entry_diagnostics(home.hass, entry)
    assert told.keys() == {"entry"}
    assert told["entry"]["state"] == "setup_retry"
    assert "cannot be installed" in told["entry"]["reason"]
    node = dr.async_get(home.hass).async_get_or_create(
        config_entry_id=entry.entry_id, identifiers={(DOMAIN, "01NODE")}
    )
    assert await async_get_device_diagnostics(home.hass, entry, node) == told
