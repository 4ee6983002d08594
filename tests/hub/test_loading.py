"""A model that takes its time: no failure, no guess, and nobody else waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir

from custom_components.edge_vision.api.client import NodeTimeout
from custom_components.edge_vision.const import DOMAIN
from custom_components.edge_vision.node.edge_vision_node.protocol import Command, NodeStatus
from tests.hub import flows
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until
from tests.hub.fake_node import FakeNode

pytestmark = pytest.mark.usefixtures("run_folders")

OCCUPANCY = "binary_sensor.front_door_person"
STATUS = "sensor.front_door_status"


@pytest.fixture
def gate(
    fake_node: FakeNode | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], None]:
    """Have ONNX Runtime load no model until this is called."""
    if fake_node is None:
        return flows.slow_engine(monkeypatch, tmp_path).unlink
    fake_node.slow_engines = {"onnxruntime"}
    return fake_node.finish_loading


def issues(home: Home) -> list[str]:
    return [key for domain, key in ir.async_get(home.hass).issues if domain == DOMAIN]


@pytest.mark.real_node
async def test_a_model_that_loads_for_long_is_shown_as_loading_and_then_looks(
    home: Home, cameras: Cameras, gate: Callable[[], None]
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(only_on_request=False, scan_interval=1))
    assert home.state(STATUS) == "model_loading"
    assert home.state(OCCUPANCY) == "unavailable"
    assert home.state("switch.front_door_detection") == "on"
    node = home.local_node.pid
    seen = home.states_of(OCCUPANCY)
    for _ in range(2):  # whatever is asked, the node goes on
        await home.runtime.pipelines.async_reconfigure([])
    assert issues(home) == []
    assert cameras.porch.asked == 0  # there is nothing that could look at a picture
    gate()
    await home.until_state(OCCUPANCY, "on")
    assert home.state(STATUS) == "looking"
    assert "off" not in seen
    assert issues(home) == []
    assert (home.local_node.pid, home.local_node.restarts) == (node, 0)


async def test_a_camera_on_another_engine_does_not_wait_for_it(
    home: Home, cameras: Cameras, gate: Callable[[], None]
) -> None:
    cameras.porch.picture = cameras.garden.picture = STREET
    await home.add(
        pipeline(),
        pipeline("Garden", camera="camera.garden", engine="ncnn", accelerator="cpu"),
    )
    await home.until_state("binary_sensor.garden_person", "on")
    assert home.state(STATUS) == "model_loading"
    gate()
    await home.until_state(OCCUPANCY, "on")


async def test_a_node_that_is_killed_while_it_loads_shows_nothing_that_nobody_saw(
    home: Home, cameras: Cameras, gate: Callable[[], None]
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline())
    seen, states = home.states_of(OCCUPANCY), home.states_of(STATUS)
    home.kill_node()
    await home.until_state(STATUS, "node_unavailable")
    await home.until_state(STATUS, "model_loading")
    gate()
    await home.until_state(OCCUPANCY, "on")
    assert "off" not in seen
    assert "model_failed" not in states
    assert issues(home) == []


@pytest.mark.real_node
async def test_a_model_that_turns_out_not_to_load_is_a_failure_and_is_tried_again(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flows.fake_engine(monkeypatch, tmp_path, flows.CANNOT_LOAD)
    await home.add(pipeline())
    states = home.states_of(STATUS)
    await home.until_state(STATUS, "model_failed")
    assert len(issues(home)) == 1
    await until(lambda: cameras.porch.asked)  # a picture is fetched for the next try
    assert set(states) <= {"model_failed"}  # a try is not news


async def test_somebody_who_asks_for_a_look_meanwhile_is_told_why_there_is_none(
    home: Home, cameras: Cameras, gate: Callable[[], None]
) -> None:
    await home.add(pipeline())
    with pytest.raises(HomeAssistantError) as caught:
        await home.runtime.pipelines.async_scan(home.pipeline)
    assert "model is being loaded" in (caught.value.translation_placeholders or {})["reason"]
    assert home.state(STATUS) == "model_loading"
    assert issues(home) == []


async def test_a_timeout_names_the_command_in_plain_words(home: Home) -> None:
    await home.add()
    with pytest.raises(NodeTimeout, match=r"^no answer to status within 0 s$"):
        await home.runtime.node.async_request(Command.STATUS, None, NodeStatus, timeout_s=0)
