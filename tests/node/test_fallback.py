"""A pipeline whose engine or accelerator does not work is never moved silently."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.errors import (
    AcceleratorError,
    AcceleratorFailedError,
    InferenceError,
    QuarantinedError,
)
from edge_vision_node.node import Node
from edge_vision_node.protocol import Configure, Look, LookRequest, PipelineConfig, PipelineStatus
from edge_vision_node.workers import failures

from tests.engines import ENGINE, ENGINES, needs
from tests.small_models import FAILURES, GREEN, RED, add_failing, add_hanging, painted

from .conftest import until, until_executing

pytestmark = needs("ncnn", "onnxruntime")  # if one can replace the other

CANNOT_BE_IMPORTED = "raise ImportError('libgomp.so.1 is missing')"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node in this process; its workers are still separate processes."""
    node = Node(tmp_path / "data")
    yield node
    await node.close()


@pytest.fixture(autouse=True)
def _data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()


def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **modules: str) -> None:
    """Let workers import these instead of the packages of engines."""
    folder = tmp_path / "fake"
    folder.mkdir()
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


async def configured(node: Node, **wanted: Any) -> PipelineStatus:
    config = PipelineConfig(pipeline_id="porch", name="Porch", **wanted)
    await node.configure(Configure(pipelines=(config,)))
    await until_loaded(node)
    return await status_of(node)


async def until_loaded(node: Node) -> None:
    """Wait until the state of each pipeline is known."""
    await until(lambda: not node.loader.busy)


async def status_of(node: Node) -> PipelineStatus:
    (status,) = (await node.status()).pipelines
    return status


async def look(node: Node, picture: bytes) -> Look:
    request = LookRequest(pipeline_id="porch", captured_at="2026-11-01T12:00:00+00:00")
    return await node.pipelines.look(request, memoryview(picture))


async def test_an_accelerator_that_is_not_there_fails_the_pipeline(
    node: Node, street: bytes
) -> None:
    status = await configured(node, engine=ENGINE, accelerator="cuda:7")
    assert (status.state, status.error_code) == ("failed", "unknown_accelerator")
    assert "cuda:7" in (status.error or "")
    assert status.accelerator is None
    with pytest.raises(AcceleratorError, match="cuda:7"):
        await look(node, street)


async def test_where_it_is_allowed_it_runs_elsewhere_and_says_so(node: Node, street: bytes) -> None:
    status = await configured(node, engine=ENGINE, accelerator="cuda:7", allow_fallback=True)
    assert (status.state, status.error) == ("ready", None)
    assert (status.engine, status.accelerator) == (ENGINE, "cpu")
    assert (status.fallback_from or "").startswith(f"{ENGINE} on cuda:7 cannot be used: ")
    seen = await look(node, street)
    assert (seen.engine, seen.accelerator) == (ENGINE, "cpu")


async def test_what_works_is_no_fallback(node: Node) -> None:
    status = await configured(node, engine="ncnn", accelerator="cpu", allow_fallback=True)
    assert (status.engine, status.accelerator) == ("ncnn", "cpu")
    assert status.fallback_from is None


async def test_another_setting_does_not_try_again_but_another_accelerator_does(
    node: Node, street: bytes
) -> None:
    wanted: dict[str, Any] = {"engine": ENGINE, "allow_fallback": True}
    before = await configured(node, accelerator="cuda:7", **wanted)
    after = await configured(node, accelerator="cuda:7", confidence=33.0, **wanted)
    assert after.fallback_from == before.fallback_from
    assert (await configured(node, accelerator="cpu", **wanted)).fallback_from is None
    assert (await look(node, street)).accelerator == "cpu"


async def test_taking_the_permission_back_fails_the_pipeline(node: Node) -> None:
    wanted: dict[str, Any] = {"engine": ENGINE, "accelerator": "cuda:7"}
    assert (await configured(node, allow_fallback=True, **wanted)).state == "ready"
    status = await configured(node, **wanted)
    assert (status.state, status.fallback_from) == ("failed", None)


async def test_an_engine_that_cannot_be_used(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, tmp_path, ncnn=CANNOT_BE_IMPORTED)
    status = await configured(node, engine="ncnn")
    assert (status.state, status.error_code) == ("failed", "engine_missing")
    status = await configured(node, engine="ncnn", allow_fallback=True)
    assert (status.state, status.engine) == ("ready", "onnxruntime")
    assert "libgomp" in (status.fallback_from or "")


async def test_where_nothing_else_works_the_reason_is_the_first(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engines = ("ncnn", "onnxruntime", "openvino")
    fake(monkeypatch, tmp_path, **dict.fromkeys(engines, CANNOT_BE_IMPORTED))
    status = await configured(node, engine="ncnn", allow_fallback=True)
    assert (status.state, status.error_code) == ("failed", "engine_missing")
    assert "ncnn" in (status.error or "")


async def crash_during_a_look(node: Node) -> None:
    """Analyze a picture and crash the worker during that."""
    under_way = asyncio.create_task(look(node, painted(RED)))
    (lane,) = node._workers._lanes.values()
    await until_executing(lane)
    (worker,) = workers()
    os.kill(worker, signal.SIGSEGV)
    with pytest.raises(InferenceError, match="SIGSEGV"):
        await under_way


def workers() -> list[int]:
    """Return the worker processes of the node in this process."""
    pid = os.getpid()
    children = {
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    }
    return [
        child
        for child in children
        if b"edge_vision_node.workers.child" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@asynccontextmanager
async def node_with(
    add: Callable[[Path, str], str], tmp_path: Path, engine: str
) -> AsyncIterator[Node]:
    """Start a node with an additional model that has a trap for an engine."""
    add(tmp_path / "data" / "models", engine)
    node = Node(tmp_path / "data")
    try:
        yield node
    finally:
        await node.close()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("allowed", [False, True])
async def test_an_engine_that_crashes_again_and_again(
    tmp_path: Path, allowed: bool, engine: str
) -> None:
    async with node_with(add_hanging, tmp_path, engine) as node:
        await configured(node, model="hanging", engine=engine, allow_fallback=allowed)
        for _ in range(3):
            # Ensure that the process to crash exists.
            await node.loader.ready(node.pipelines.get("porch"))
            await crash_during_a_look(node)
        if not allowed:
            with pytest.raises(QuarantinedError, match="3 times in a row"):
                await look(node, painted(RED))
            status = await status_of(node)
            assert (status.state, status.accelerator) == ("failed", None)
            return
        seen = await look(node, painted(RED))
        # This may be another accelerator of the same engine, if there is one.
        assert (seen.engine, seen.accelerator) != (engine, "cpu")
        assert seen.classes[0].label == "red"
        status = await status_of(node)
        assert status.state == "ready"
        assert (status.engine, status.accelerator) == (seen.engine, seen.accelerator)
        assert "3 times in a row" in (status.fallback_from or "")


async def fail_to_look(node: Node, engine: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(InferenceError, match=FAILURES[engine]):
            await look(node, painted(RED))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("allowed", [False, True])
async def test_an_accelerator_that_loads_a_model_and_fails_to_run_it(
    tmp_path: Path, allowed: bool, engine: str
) -> None:
    other = "onnxruntime" if engine == "ncnn" else "ncnn"
    async with node_with(add_failing, tmp_path, engine) as node:
        await configured(node, model="failing", engine=engine, allow_fallback=allowed)
        assert (await look(node, painted(GREEN))).classes[0].label == "green"
        (before,) = workers()
        await fail_to_look(node, engine, 2)
        assert (await look(node, painted(GREEN))).classes[0].label == "green"
        await fail_to_look(node, engine, 2)
        assert workers() == [before]  # never three in a row
        await fail_to_look(node, engine, 1)
        assert (await look(node, painted(GREEN))).classes[0].label == "green"
        (after,) = workers()
        assert after != before  # it was restarted, which could have helped
        await fail_to_look(node, engine, 5)
        if not allowed:
            with pytest.raises(AcceleratorFailedError, match="even after it was reloaded"):
                await look(node, painted(RED))
            status = await status_of(node)
            assert (status.state, status.error_code) == ("failed", "inference_failed")
            # It is not retried with each picture, and pipelines with other engines work.
            with pytest.raises(AcceleratorFailedError):
                await look(node, painted(GREEN))
            assert (await status_of(node)).state == "failed"
            assert (await configured(node, model="failing", engine=other)).state == "ready"
            return
        seen = None
        while seen is None:  # it may use another accelerator of the engine first, and fail there
            with suppress(InferenceError):
                seen = await look(node, painted(RED))
        assert (seen.engine, seen.classes[0].label) == (other, "red")
        status = await status_of(node)
        assert (status.state, status.engine) == ("ready", other)
        assert "even after it was reloaded" in (status.fallback_from or "")


async def test_what_was_given_up_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node_with(add_failing, tmp_path, ENGINE) as node:
        await configured(node, model="failing", engine=ENGINE)
        await fail_to_look(node, ENGINE, 5)
        with pytest.raises(AcceleratorFailedError):
            await look(node, painted(RED))
        with pytest.raises(AcceleratorFailedError):
            await look(node, painted(GREEN))
        monkeypatch.setattr(failures, "_TRY_AGAIN_AFTER_S", 0.0)
        assert (await look(node, painted(GREEN))).classes[0].label == "green"
        assert (await status_of(node)).state == "ready"
