"""The button that measures, and where its figures are shown."""

from __future__ import annotations

import asyncio

import pytest
from homeassistant.exceptions import ServiceValidationError

from custom_components.edge_vision.api.client import NodeRequestError
from custom_components.edge_vision.diagnostics import async_get_config_entry_diagnostics
from custom_components.edge_vision.node.edge_vision_node.protocol import Benchmark, BenchmarkRow
from custom_components.edge_vision.runtime import node as node_module
from custom_components.edge_vision.runtime.benchmark_text import figure_of
from tests.hub.conftest import Home, pipeline
from tests.hub.test_subentry_flow import MODEL, Flow
from tests.small_models import add_classification, add_pose

BUTTON = "button.this_device_benchmark"


@pytest.mark.real_node
async def test_the_button_measures_and_the_figures_are_shown(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "BENCHMARK_SECONDS", 0.05)
    entry = await home.add(pipeline())
    pressed = asyncio.create_task(home.call("button", "press", BUTTON))
    await asyncio.sleep(0.1)
    with pytest.raises(ServiceValidationError) as refused:
        await home.call("button", "press", BUTTON)
    assert refused.value.translation_key == "benchmark_running"
    await pressed

    assert home.runtime.node.info is not None
    (measured,) = home.runtime.node.info.benchmarks
    rows = {(row.engine, row.accelerator): row for row in measured.rows}
    figure = rows["onnxruntime", "cpu"]
    places = (await Flow.begin(home)).options("advanced", "place")
    assert places["onnxruntime/cpu"].startswith(f"ONNX Runtime, CPU: {figure.median_ms:.0f} ms, ")
    assert places["onnxruntime/cpu"].endswith(" pictures per second")

    told = await async_get_config_entry_diagnostics(home.hass, entry)
    (kept,) = told["node"]["info"]["benchmarks"]
    assert kept["model"] == MODEL
    assert measured.recommendation is not None
    assert kept["recommendation"]["reason"] == measured.recommendation.reason

    home.kill_node()
    await home.until_state(BUTTON, "unavailable")
    with pytest.raises(NodeRequestError):
        await home.runtime.async_benchmark()


@pytest.mark.real_node
async def test_the_models_of_cameras_are_measured_too(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "BENCHMARK_SECONDS", 0.05)
    monkeypatch.setattr(node_module, "MEASURE_SECONDS", 0.05)
    models = home.data_folder / "models"
    await home.add(
        pipeline(model=add_classification(models), labels=[]),
        pipeline("camera.porch", model="gone"),
    )
    add_pose(models)  # no camera uses it
    await home.runtime.async_benchmark()
    assert home.runtime.node.info is not None
    assert {item.model for item in home.runtime.node.info.benchmarks} == {MODEL, "colours"}
    described = (await Flow.begin(home)).options("model")
    assert " pictures per second)" in described["colours"]
    # A model that cannot be measured is left out, and the others have their figures.
    (models / "colours" / "model.onnx").write_bytes(b"damaged")
    await home.runtime.async_benchmark()
    assert {item.model for item in home.runtime.node.info.benchmarks} == {MODEL, "colours"}


def test_a_model_for_another_engine_has_a_figure_as_well() -> None:
    row = BenchmarkRow(
        engine="litert",
        engine_name="LiteRT",
        accelerator="cpu",
        accelerator_name="CPU",
        median_ms=12.0,
        frames_per_second=50.0,
    )
    measured = [Benchmark(model="pose", model_name="Pose", at="", rows=(row,))]
    assert figure_of(measured, "pose", "onnxruntime") is None
    assert figure_of(measured, "pose", None) == "12 ms, 50 pictures per second"
