"""Workers: what native code does to its process stays there."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.errors import (
    AcceleratorError,
    EngineMissingError,
    ModelError,
    PictureError,
    WorkerError,
)
from edge_vision_node.models.store import ModelStore
from edge_vision_node.workers import pool
from edge_vision_node.workers.messages import Load, Loaded, Order, RunResult
from edge_vision_node.workers.pool import Lane, Place, Workers
from edge_vision_node.workers.worker import Worker
from PIL import Image

from .conftest import NodeProcess, StartNode

MODEL = ModelStore().get(None)
ONNX = Place(MODEL, "onnxruntime", "cpu")
NCNN = Place(MODEL, "ncnn", "cpu")


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers()
    yield workers
    await workers.close()
    assert workers.pids == []


def only_child(node: NodeProcess) -> int:
    pid = node.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def run(lane: Lane, place: Place, picture: bytes, user: str = "test") -> RunResult:
    return await lane.run(user, place, picture, 40.0, ())


def pid_of(lane: Lane) -> int:
    assert lane.worker.pid is not None
    return lane.worker.pid


async def test_parts_of_a_frame_give_boxes_in_the_frame(workers: Workers, street: bytes) -> None:
    lane = workers.lane(ONNX)
    await lane.load(ONNX)
    size = (MODEL.manifest.input.width, MODEL.manifest.input.height)
    image = Image.open(io.BytesIO(street)).convert("RGB")
    left = image.crop((0, 0, image.width // 2, image.height))
    pixels = b"".join(part.resize(size, Image.Resampling.BOX).tobytes() for part in (image, left))
    crops = pool.Crops(pixels, ((1.0, 1.0, 0.0, 0.0), (2.0, 1.0, 0.0, 0.0)))
    people = MODEL.class_ids(("person",))
    whole, half = (await lane.run_crops("test", ONNX, crops, 40.0, people)).crops
    assert len(whole.scores) >= 2 and len(half.scores) >= 1
    assert all(box[2] <= 0.5 for box in half.boxes)
    nearest = min(abs(np.array(whole.boxes) - np.array(half.boxes[0])).max(axis=1))
    assert nearest < 0.06
    with pytest.raises(PictureError, match="parts of a frame"):
        await lane.run_crops("test", ONNX, pool.Crops(pixels[:-1], crops.placements), 40.0, people)


async def test_a_model_runs_in_a_process_of_its_own(workers: Workers, street: bytes) -> None:
    lane = workers.lane(ONNX)
    result = await run(lane, ONNX, street)
    assert len(result.findings.objects) >= 2
    assert pid_of(lane) not in (os.getpid(), os.getppid())
    measured = await lane.measure(ONNX, street, 0.05)
    assert measured.runs >= 10
    assert 0 < measured.median_ms <= measured.p95_ms


async def test_a_crash_is_an_error_and_the_next_frame_is_served_again(
    workers: Workers, street: bytes
) -> None:
    lane = workers.lane(ONNX)
    await run(lane, ONNX, street)
    first = pid_of(lane)
    os.kill(first, signal.SIGSTOP)  # so that the frame is under way when it dies
    frame = asyncio.create_task(run(lane, ONNX, street))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGSEGV)
    os.kill(first, signal.SIGCONT)
    with pytest.raises(WorkerError, match="crashed \\(SIGSEGV\\)"):
        await frame
    assert len((await run(lane, ONNX, street)).findings.objects) >= 2
    assert pid_of(lane) != first


async def test_a_crash_takes_no_other_accelerator_along(workers: Workers, street: bytes) -> None:
    mine, other = workers.lane(ONNX), workers.lane(NCNN)
    await asyncio.gather(run(mine, ONNX, street), run(other, NCNN, street))
    untouched = pid_of(other)
    os.kill(pid_of(mine), signal.SIGKILL)
    assert len((await run(other, NCNN, street)).findings.objects) >= 2
    assert pid_of(other) == untouched


async def test_a_hang_is_a_failure_after_the_deadline_and_the_engine_starts_again(
    workers: Workers, street: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = workers.lane(ONNX)
    await run(lane, ONNX, street)
    os.kill(pid_of(lane), signal.SIGSTOP)
    monkeypatch.setattr(pool, "_RUN_DEADLINE_S", 0.3)
    with pytest.raises(WorkerError, match="did not answer within"):
        await run(lane, ONNX, street)
    monkeypatch.undo()
    assert len((await run(lane, ONNX, street)).findings.objects) >= 2


async def test_a_model_that_crashes_again_and_again_is_left_out_and_named(
    workers: Workers, street: bytes
) -> None:
    lane = workers.lane(ONNX)
    for _ in range(3):
        await lane.load(ONNX)
        os.kill(pid_of(lane), signal.SIGSTOP)
        frame = asyncio.create_task(run(lane, ONNX, street))
        await asyncio.sleep(0.1)
        os.kill(pid_of(lane), signal.SIGKILL)
        with pytest.raises(WorkerError):
            await frame
    with pytest.raises(ModelError, match="SSD MobileNetV2 COCO crashed its engine 3 times"):
        await run(lane, ONNX, street)


async def test_errors_of_the_engine_come_back_with_their_type(
    workers: Workers, street: bytes
) -> None:
    with pytest.raises(PictureError, match="not a JPEG"):
        await run(workers.lane(ONNX), ONNX, b"rubbish")
    nowhere = Place(MODEL, "onnxruntime", "cuda:0")
    with pytest.raises(AcceleratorError, match="cuda:0"):
        await run(workers.lane(nowhere), nowhere, street)
    with pytest.raises(EngineMissingError, match="this node knows"):
        await workers.choose(MODEL, "nonsense", None)


async def test_a_model_that_needs_more_memory_than_it_may_fails_alone(street: bytes) -> None:
    load = Load(key="x", folder=str(MODEL.folder), engine="onnxruntime")
    worker = Worker("small", memory_limit=120 * 2**20)
    try:
        with pytest.raises((WorkerError, ModelError)):
            await worker.ask(Order.LOAD, load, Loaded, deadline_s=30)
    finally:
        await worker.close()


async def test_a_worker_without_a_model_ends(workers: Workers, street: bytes) -> None:
    await run(workers.lane(ONNX), ONNX, street)
    await run(workers.lane(NCNN), NCNN, street)
    assert len(workers.pids) == 2
    await workers.unload_all_but([NCNN])
    assert workers.pids == [pid_of(workers.lane(NCNN))]


async def test_no_worker_outlives_a_node_that_is_killed(
    start_node: StartNode, street: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.ask("configure", pipelines=[{"pipeline_id": "door", "name": "Door"}])
        await hub.look("door", street)
        worker = only_child(node)
        os.kill(worker, signal.SIGSTOP)  # it must go even if it cannot notice by itself
        node.process.kill()
        await node.process.wait()
    with suppress(ProcessLookupError):
        for _ in range(200):
            os.kill(worker, 0)
            await asyncio.sleep(0.05)
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker outlived its node")


async def test_a_crashed_worker_is_a_failed_look_for_the_hub_and_the_next_one_succeeds(
    start_node: StartNode, street: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.ask("configure", pipelines=[{"pipeline_id": "door", "name": "Door"}])
        worker = only_child(node)
        os.kill(worker, signal.SIGSTOP)
        look = asyncio.create_task(hub.look("door", street))
        await asyncio.sleep(0.1)
        os.kill(worker, signal.SIGKILL)
        answer = await look
        assert answer["code"] == "engine_crashed"
        assert "SIGKILL" in answer["message"]
        assert len((await hub.look("door", street))["objects"]) >= 2
