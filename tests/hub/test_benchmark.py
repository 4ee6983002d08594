"""The button that measures, and where its figures are shown."""

from __future__ import annotations

import asyncio

import pytest
from homeassistant.exceptions import ServiceValidationError

from custom_components.edge_vision import hub
from custom_components.edge_vision.client import NodeError
from custom_components.edge_vision.diagnostics import async_get_config_entry_diagnostics
from custom_components.edge_vision.node.edge_vision_node.protocol import BenchmarkRequest
from tests.hub.conftest import Home, pipeline
from tests.hub.test_subentry_flow import MODEL, Flow

BUTTON = "button.this_device_benchmark"


async def test_the_button_measures_and_the_figures_are_shown(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "BenchmarkRequest", lambda: BenchmarkRequest(seconds=0.05))
    entry = await home.add(pipeline())
    pressed = asyncio.create_task(home.call("button", "press", BUTTON))
    await asyncio.sleep(0.1)
    with pytest.raises(ServiceValidationError) as refused:
        await home.call("button", "press", BUTTON)
    assert refused.value.translation_key == "benchmark_running"
    await pressed

    assert home.hub.info is not None
    (measured,) = home.hub.info.benchmarks
    rows = {(row.engine, row.accelerator): row for row in measured.rows}
    figure = rows["onnxruntime", "cpu"]
    places = (await Flow.begin(home)).options("advanced", "place")
    assert places["onnxruntime/cpu"].startswith(f"ONNX Runtime, CPU: {figure.median_ms:.0f} ms, ")
    assert places["onnxruntime/cpu"].endswith(" pictures a second")

    told = await async_get_config_entry_diagnostics(home.hass, entry)
    (kept,) = told["node"]["info"]["benchmarks"]
    assert kept["model"] == MODEL
    assert measured.recommendation is not None
    assert kept["recommendation"]["reason"] == measured.recommendation.reason

    home.kill_node()
    await home.until_state(BUTTON, "unavailable")
    with pytest.raises(NodeError):
        await home.hub.async_benchmark()
