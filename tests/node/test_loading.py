"""A model that takes its time to load: the node answers meanwhile, and all else goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edge_vision_node.errors import ModelLoadingError
from edge_vision_node.models.store import ModelStore
from edge_vision_node.node import Node
from edge_vision_node.pipelines import loading
from edge_vision_node.protocol import Configure, LookRequest, NodeStatus, PipelineConfig
from edge_vision_node.workers.lane import ModelSite
from edge_vision_node.workers.messages import Order, Unload

from tests.engines import ENGINE, needs

from .conftest import until

OTHER = "onnxruntime" if ENGINE == "ncnn" else "ncnn"
SLOW = ModelSite(ModelStore().get(None), ENGINE, "cpu")
PORCH = PipelineConfig(pipeline_id="porch", name="Porch", engine=ENGINE, accelerator="cpu")
GARDEN = PipelineConfig(pipeline_id="garden", name="Garden", engine=OTHER, accelerator="cpu")
two_engines = needs("ncnn", "onnxruntime")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node in this process; its workers are processes all the same."""
    node = Node(tmp_path)
    yield node
    await node.close()


@contextmanager
def stopped(node: Node, pid: int) -> Iterator[None]:
    """Have the worker of the slow place not get on with its work."""
    with node._workers.hold(SLOW):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


async def started(node: Node) -> int:
    """Start the worker of the slow place."""
    worker = node._workers.lane(SLOW).worker
    await worker.ask(Order.UNLOAD, Unload(key="none"), Unload, deadline_s=60)
    assert worker.pid is not None
    return worker.pid


def states(status: NodeStatus) -> dict[str, str]:
    return {item.pipeline_id: item.state for item in status.pipelines}


async def loaded(node: Node) -> None:
    """Wait until nothing is being loaded, however long that takes."""
    await until(lambda: not node.loader.busy)


async def look(node: Node, pipeline_id: str, picture: bytes) -> str:
    request = LookRequest(pipeline_id=pipeline_id, captured_at="2026-11-01T12:00:00+00:00")
    return (await node.pipelines.look(request, memoryview(picture))).engine


@two_engines
async def test_configure_answers_at_once_and_the_status_tells_when_a_model_is_loaded(
    node: Node, street: bytes
) -> None:
    told: list[NodeStatus] = []
    node.listen_status(told.append)
    with stopped(node, await started(node)):
        status = await node.configure(Configure(pipelines=(PORCH, GARDEN)))
        assert states(status) == {"porch": "loading", "garden": "loading"}
        # The other one does not wait for it.
        await until(lambda: told and states(told[-1])["garden"] == "ready")
        assert await look(node, "garden", street) == OTHER
        assert states(told[-1])["porch"] == "loading"
        # Another setting begins nothing anew, and is answered as fast.
        again = await node.configure(Configure(pipelines=(PORCH, GARDEN)))
        assert states(again) == {"porch": "loading", "garden": "ready"}
    await until(lambda: states(told[-1])["porch"] == "ready")
    assert await look(node, "porch", street) == ENGINE


async def test_a_look_at_a_model_that_is_being_loaded_is_neither_a_failure_nor_an_empty_picture(
    node: Node, street: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_PATIENCE_S", 0.1)
    with stopped(node, await started(node)):
        await node.configure(Configure(pipelines=(PORCH,)))
        with pytest.raises(ModelLoadingError):
            await look(node, "porch", street)
        (status,) = (await node.status()).pipelines
        assert (status.state, status.error, status.failures) == ("loading", None, 0)
    await loaded(node)
    assert await look(node, "porch", street) == ENGINE


async def test_a_model_that_takes_long_to_come_back_after_a_crash_is_loading_again(
    node: Node, street: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.configure(Configure(pipelines=(PORCH,)))
    await loaded(node)
    assert await look(node, "porch", street) == ENGINE
    (pid,) = node._workers.pids
    os.kill(pid, signal.SIGKILL)
    # Its process is gone before it is known that nothing more comes from it.
    await node._workers.lane(SLOW).worker.ended()
    monkeypatch.setattr(loading, "_PATIENCE_S", 0.1)
    with stopped(node, await started(node)):
        with pytest.raises(ModelLoadingError):
            await look(node, "porch", street)
        assert states(await node.status()) == {"porch": "loading"}
    await loaded(node)
    assert states(await node.status()) == {"porch": "ready"}


@two_engines
async def test_whoever_is_moved_while_its_model_is_loaded_does_not_wait_for_that(
    node: Node, street: bytes
) -> None:
    pid = await started(node)
    os.kill(pid, signal.SIGSTOP)  # for good: nobody is going to need it
    await node.configure(Configure(pipelines=(PORCH,)))
    assert node.loader.busy
    moved = PipelineConfig(pipeline_id="porch", name="Porch", engine=OTHER, accelerator="cpu")
    await node.configure(Configure(pipelines=(moved,)))
    await loaded(node)
    assert await look(node, "porch", street) == OTHER
    await until(lambda: pid not in node._workers.pids)
