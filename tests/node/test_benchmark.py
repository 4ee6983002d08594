"""Benchmarks: all options are measured, one is recommended, and the figures are stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edge_vision_node.benchmark import recommend, with_figures
from edge_vision_node.cli.main import main
from edge_vision_node.protocol import BenchmarkRow
from edge_vision_node.workers.messages import Measured

from tests.engines import needs

from .conftest import NodeProcess, StartNode


def row(engine: str, accelerator: str, still_ms: float | None) -> BenchmarkRow:
    bare = BenchmarkRow(
        engine=engine,
        engine_name=engine.upper(),
        accelerator=accelerator,
        accelerator_name=accelerator.upper(),
        error=None if still_ms else "it does not work",
    )
    if still_ms is None:
        return bare
    measured = Measured(runs=10, median_ms=still_ms, p95_ms=still_ms, still_ms=still_ms)
    return with_figures(bare, measured)


def test_every_camera_gets_its_part_of_what_is_safe() -> None:
    loads = row("a", "cpu", 10.0).cameras
    assert [(load.cameras, load.frames_per_second) for load in loads] == [
        (1, 70.0),
        (2, 35.0),
        (4, 17.5),
        (8, 8.8),
    ]


@pytest.mark.parametrize(
    ("rows", "best", "why"),
    [
        ([row("a", "cpu", 10), row("b", "cpu", 20)], ("a", "cpu"), "fastest here: 100 pictures"),
        ([row("a", "cpu", 10), row("b", "npu", 12)], ("b", "npu"), "leaves the processor free"),
        ([row("a", "cpu", 10), row("b", "npu", 30)], ("a", "cpu"), "fastest"),
        ([row("a", "cpu", None), row("b", "npu", 30)], ("b", "npu"), "the only one"),
    ],
)
def test_what_is_best_is_recommended(
    rows: list[BenchmarkRow], best: tuple[str, str], why: str
) -> None:
    found = recommend(rows)
    assert found is not None
    assert (found.engine, found.accelerator) == best
    assert why in found.reason


def test_where_nothing_works_nothing_is_recommended() -> None:
    assert recommend([row("a", "cpu", None)]) is None


@needs("onnxruntime")
async def test_a_node_measures_tells_how_far_it_is_and_remembers(
    node: NodeProcess, start_node: StartNode
) -> None:
    async with node.connect() as hub:
        first = await hub.send({"type": "benchmark", "seconds": 0.05})
        refused = await hub.ask("benchmark")
        assert refused["code"] == "busy"
        told = []
        while True:
            message, _ = await hub.receive()
            if message.get("type") == "progress":
                told.append(message["progress"])
            elif message.get("id") == first:
                break
        rows = {(item["engine"], item["accelerator"]): item for item in message["result"]["rows"]}
        assert [item["done"] for item in told] == list(range(len(rows)))
        for place in (("onnxruntime", "cpu"), ("ncnn", "cpu")):
            assert 0 < rows[place]["median_ms"] <= rows[place]["p95_ms"]
            assert rows[place]["still_ms"] > 0
        assert message["result"]["recommendation"]["reason"]
        unknown = await hub.ask("benchmark", model="unicorn")
        assert unknown["code"] == "unknown_model"
    node.process.terminate()
    await node.process.wait()
    again = await start_node()
    async with again.connect() as hub:
        assert (await hub.ask("info"))["benchmarks"] == [message["result"]]


async def test_a_damaged_file_of_figures_is_none(tmp_path: Path, start_node: StartNode) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "benchmarks.json").write_text('[{"model": 1')
    node = await start_node()
    async with node.connect() as hub:
        assert (await hub.ask("info"))["benchmarks"] == []


@needs("onnxruntime")
def test_the_command_line_measures_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--all", "--seconds", "0.05", "--data", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "ONNX Runtime, CPU" in out and "ncnn, CPU" in out and "Best: " in out
    assert "1 of " in err
    assert json.loads((tmp_path / "benchmarks.json").read_text())
    assert main(["bench", "--all", "--engine", "ncnn"]) == 2
