"""Workers: what native code does to its process stays there."""

from __future__ import annotations

import asyncio
import io
import json
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
from edge_vision_node.models.manifest import load_model
from edge_vision_node.models.store import ModelStore
from edge_vision_node.models.trust import Trust
from edge_vision_node.workers import lane as lane_module
from edge_vision_node.workers.lane import Lane, ModelSite, PreparedCrops
from edge_vision_node.workers.messages import Load, Loaded, Order, RunResult, Unload
from edge_vision_node.workers.pool import Workers
from edge_vision_node.workers.process import model_process
from PIL import Image

from tests.engines import ENGINE, ENGINES, HERE, needs
from tests.small_models import GREEN, RED, add_hanging, painted

from .conftest import NodeProcess, StartNode, until, until_executing

MODEL = ModelStore().get(None)
MINE = ModelSite(MODEL, ENGINE, "cpu")
OTHER = ModelSite(MODEL, "onnxruntime" if ENGINE == "ncnn" else "ncnn", "cpu")
two_engines = needs("ncnn", "onnxruntime")


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers()
    yield workers
    await workers.close()
    assert workers.pids == []


def only_worker(node: NodeProcess) -> int:
    """Return the one process that runs models; those that decode pictures are others."""
    pid = node.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (worker,) = [
        int(child)
        for child in children
        if b"edge_vision_node.workers.child" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return worker


@pytest.fixture
def engine() -> str:
    """The engine that models run on, where a test does not run on several."""
    return ENGINE


@pytest.fixture
def hanging(tmp_path: Path, engine: str) -> ModelSite:
    """A model that hangs over red pictures, as far as its engine is concerned."""
    return ModelSite(load_model(tmp_path / add_hanging(tmp_path, engine)), engine, "cpu")


def strikes(folder: Path) -> dict[str, int]:
    """Return model → how often it was struck, as the next start would read it."""
    try:
        items = json.loads((folder / "quarantine.json").read_text())
    except FileNotFoundError:
        return {}
    return {item["model"]: item["strikes"] for item in items.values()}


async def run(lane: Lane, place: ModelSite, picture: bytes, user: str = "test") -> RunResult:
    return await lane.run(user, place, picture, 40.0, ())


def pid_of(lane: Lane) -> int:
    assert lane.worker.pid is not None
    return lane.worker.pid


async def test_parts_of_a_frame_give_boxes_in_the_frame(workers: Workers, street: bytes) -> None:
    lane = workers.lane(MINE)
    await lane.load(MINE)
    size = (MODEL.manifest.input.width, MODEL.manifest.input.height)
    image = Image.open(io.BytesIO(street)).convert("RGB")
    left = image.crop((0, 0, image.width // 2, image.height))
    pixels = b"".join(part.resize(size, Image.Resampling.BOX).tobytes() for part in (image, left))
    crops = PreparedCrops(pixels, ((1.0, 1.0, 0.0, 0.0), (2.0, 1.0, 0.0, 0.0)))
    people = MODEL.class_ids(("person",))
    whole, half = (await lane.run_crops("test", MINE, crops, 40.0, people)).crops
    assert len(whole.scores) >= 2 and len(half.scores) >= 1
    assert all(box[2] <= 0.5 for box in half.boxes)
    nearest = min(abs(np.array(whole.boxes) - np.array(half.boxes[0])).max(axis=1))
    assert nearest < 0.06
    with pytest.raises(PictureError, match="parts of a frame"):
        await lane.run_crops(
            "test", MINE, PreparedCrops(pixels[:-1], crops.placements), 40.0, people
        )


async def test_a_model_runs_in_a_process_of_its_own(workers: Workers, street: bytes) -> None:
    lane = workers.lane(MINE)
    result = await run(lane, MINE, street)
    assert len(result.findings.objects) >= 2
    assert pid_of(lane) not in (os.getpid(), os.getppid())
    measured = await lane.measure(MINE, street, 0.05)
    assert measured.runs >= 10
    assert 0 < measured.median_ms <= measured.p95_ms


async def test_an_engine_that_ends_its_process_is_the_only_one_that_cannot_be_used(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "openvino" / "__init__.py"  # neither the first engine nor the last
    package.parent.mkdir()
    package.write_text("import os\nos.abort()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    engines = {info.id: info for info in await workers.engines()}
    assert [info.id for info in engines.values() if info.crashed] == ["openvino"]
    assert "SIGABRT" in (engines["openvino"].missing or "")
    assert all(engines[engine].version for engine in HERE if engine != "openvino")


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_crash_is_an_error_and_the_next_frame_is_served_again(
    workers: Workers, hanging: ModelSite
) -> None:
    lane = workers.lane(hanging)
    await lane.load(hanging)
    first = pid_of(lane)
    frame = asyncio.create_task(run(lane, hanging, painted(RED)))
    await until_executing(lane)
    os.kill(first, signal.SIGSEGV)
    with pytest.raises(WorkerError, match="crashed \\(SIGSEGV\\)"):
        await frame
    assert (await run(lane, hanging, painted(GREEN))).findings.classes[0].label == "green"
    assert pid_of(lane) != first


@two_engines
async def test_a_crash_takes_no_other_accelerator_along(workers: Workers, street: bytes) -> None:
    mine, other = workers.lane(MINE), workers.lane(OTHER)
    await asyncio.gather(run(mine, MINE, street), run(other, OTHER, street))
    untouched = pid_of(other)
    os.kill(pid_of(mine), signal.SIGKILL)
    assert len((await run(other, OTHER, street)).findings.objects) >= 2
    assert pid_of(other) == untouched


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_hang_is_a_failure_after_the_deadline_and_the_engine_starts_again(
    workers: Workers, hanging: ModelSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = workers.lane(hanging)
    await lane.load(hanging)
    monkeypatch.setattr(lane_module, "_RUN_DEADLINE_S", 0.5)
    with pytest.raises(WorkerError, match="did not answer within"):
        await run(lane, hanging, painted(RED))
    monkeypatch.undo()
    assert (await run(lane, hanging, painted(GREEN))).findings.classes[0].label == "green"


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_model_that_hangs_costs_another_one_on_its_accelerator_nothing(
    hanging: ModelSite, street: bytes, tmp_path: Path
) -> None:
    workers = Workers(trust=Trust(tmp_path))
    try:
        mine, other = workers.lane(hanging), workers.lane(MINE)
        await asyncio.gather(mine.load(hanging), other.load(MINE))
        untouched = pid_of(other)
        frames = [
            asyncio.create_task(run(mine, hanging, painted(RED), f"user {n}")) for n in range(2)
        ]
        await until_executing(mine)
        for _ in range(3):
            assert len((await run(other, MINE, street)).findings.objects) >= 2
        assert not any(frame.done() for frame in frames)
        os.kill(pid_of(mine), signal.SIGKILL)
        await until_executing(mine)  # the second frame has its turn now, in the next worker
        os.kill(pid_of(mine), signal.SIGKILL)
        for frame in frames:
            with pytest.raises(WorkerError):
                await frame
        assert pid_of(other) == untouched
        assert strikes(tmp_path) == {"hanging": 2}
    finally:
        await workers.close()


async def test_of_all_that_wait_for_one_worker_only_what_hung_is_blamed_and_the_rest_runs(
    hanging: ModelSite, street: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an Edge TPU, which only one process can have."""
    lane = Lane(ENGINE, "cpu", None, trust=Trust(tmp_path))
    try:
        for place in (hanging, MINE):
            await lane.load(place)
        first = pid_of(lane)
        monkeypatch.setattr(lane_module, "_RUN_DEADLINE_S", 1.5)
        for round_ in (1, 2):
            stuck = asyncio.create_task(run(lane, hanging, painted(RED), "one"))
            await until_executing(lane)
            waiting = asyncio.create_task(run(lane, MINE, street, "other"))
            with pytest.raises(WorkerError, match="did not answer within"):
                await stuck
            assert len((await waiting).findings.objects) >= 2
            assert strikes(tmp_path) == {"hanging": round_}
            await lane.load(hanging)
        assert pid_of(lane) != first
    finally:
        await lane.close()


async def test_a_deadline_counts_from_when_the_worker_begins(
    workers: Workers, street: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark takes longer than any picture, and whoever comes meanwhile waits for it."""
    lane = workers.lane(MINE)
    await lane.load(MINE)
    before = pid_of(lane)
    monkeypatch.setattr(lane_module, "_RUN_DEADLINE_S", 2.0)
    measuring = asyncio.create_task(lane.measure(MINE, street, 4.0))
    await until_executing(lane)
    assert len((await run(lane, MINE, street)).findings.objects) >= 2
    assert (await measuring).runs >= 2
    assert pid_of(lane) == before


async def test_a_short_deadline_leaves_time_to_begin(
    street: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that the machine has not given a turn yet is not to blame."""
    workers = Workers(trust=Trust(tmp_path))
    try:
        lane = workers.lane(MINE)
        await lane.load(MINE)
        monkeypatch.setattr(lane_module, "_RUN_DEADLINE_S", 0.01)
        first = pid_of(lane)
        os.kill(first, signal.SIGSTOP)
        frame = asyncio.create_task(run(lane, MINE, street))
        await until(lambda: lane.worker._asked)
        await asyncio.sleep(0.1)  # ten times its deadline
        assert not frame.done()
        (asked,) = lane.worker._asked.values()
        asked.deadline_s = 60.0
        os.kill(first, signal.SIGCONT)
        assert len((await frame).findings.objects) >= 2
        assert pid_of(lane) == first
        assert strikes(tmp_path) == {}
    finally:
        await workers.close()


async def test_a_worker_that_is_ended_before_it_begins_costs_no_frame_and_blames_nobody(
    street: bytes, tmp_path: Path
) -> None:
    workers = Workers(trust=Trust(tmp_path))
    try:
        lane = workers.lane(MINE)
        await lane.load(MINE)
        first = pid_of(lane)
        os.kill(first, signal.SIGSTOP)
        frame = asyncio.create_task(run(lane, MINE, street))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGKILL)
        assert len((await frame).findings.objects) >= 2
        assert pid_of(lane) != first
        assert strikes(tmp_path) == {}
    finally:
        await workers.close()


async def test_a_model_that_crashes_again_and_again_is_left_out_and_named(
    workers: Workers, hanging: ModelSite
) -> None:
    lane = workers.lane(hanging)
    for _ in range(3):
        frame = asyncio.create_task(run(lane, hanging, painted(RED)))
        await until(lambda: lane.loaded(hanging))  # else it executes the loading
        await until_executing(lane)
        os.kill(pid_of(lane), signal.SIGKILL)
        with pytest.raises(WorkerError):
            await frame
    with pytest.raises(ModelError, match="Hanging crashed its engine 3 times"):
        await run(lane, hanging, painted(RED))


async def test_while_a_model_is_loaded_others_on_its_accelerator_run(
    workers: Workers, hanging: ModelSite, street: bytes
) -> None:
    """A compiler of an accelerator may need half an hour."""
    await run(workers.lane(MINE), MINE, street)
    lane = workers.lane(hanging)
    await lane.worker.ask(Order.UNLOAD, Unload(key="none"), Unload, deadline_s=30)  # it is there
    await lane._trust.prove(hanging.model, hanging.engine, "", "cpu")
    os.kill(pid_of(lane), signal.SIGSTOP)
    loads = [asyncio.create_task(workers.load(hanging)) for _ in range(2)]
    for _ in range(3):
        assert len((await run(workers.lane(MINE), MINE, street)).findings.objects) >= 2
    await workers.unload_all_but([MINE])  # what is being loaded is none of this one's business
    assert not any(load.done() for load in loads)
    os.kill(pid_of(lane), signal.SIGCONT)
    assert len({id(await load) for load in loads}) == 1  # one load for both


async def test_a_model_that_is_loaded_runs_while_another_is_loaded_in_its_worker(
    hanging: ModelSite, street: bytes
) -> None:
    """As on an Edge TPU: nothing but the loading itself is in its way."""
    lane = Lane(ENGINE, "cpu", None)
    try:
        await lane.load(MINE)
        async with lane._loading:  # as during a first trial, which is another process's work
            load = asyncio.create_task(lane.load(hanging))
            assert len((await run(lane, MINE, street)).findings.objects) >= 2
            assert not load.done()
        await load
    finally:
        await lane.close()


@two_engines
async def test_models_that_are_not_wanted_are_unloaded_twice_at_once(
    workers: Workers, street: bytes
) -> None:
    for place in (MINE, OTHER):
        await run(workers.lane(place), place, street)
    await asyncio.gather(*(workers.unload_all_but([OTHER]) for _ in range(3)))
    assert workers.pids == [pid_of(workers.lane(OTHER))]


async def test_errors_of_the_engine_come_back_with_their_type(
    workers: Workers, street: bytes
) -> None:
    with pytest.raises(PictureError, match="not a JPEG"):
        await run(workers.lane(MINE), MINE, b"rubbish")
    nowhere = ModelSite(MODEL, ENGINE, "cuda:0")
    with pytest.raises(AcceleratorError, match="cuda:0"):
        await run(workers.lane(nowhere), nowhere, street)
    with pytest.raises(EngineMissingError, match="this node supports"):
        await workers.choose(MODEL, "nonsense", None)


async def test_a_model_that_needs_more_memory_than_it_may_fails_alone(street: bytes) -> None:
    load = Load(key="x", folder=str(MODEL.folder), engine=ENGINE)
    worker = model_process("small", memory_limit=120 * 2**20)
    try:
        with pytest.raises((WorkerError, ModelError)):
            await worker.ask(Order.LOAD, load, Loaded, deadline_s=30)
    finally:
        await worker.close()


@two_engines
async def test_a_worker_without_a_model_ends(workers: Workers, street: bytes) -> None:
    await run(workers.lane(MINE), MINE, street)
    await run(workers.lane(OTHER), OTHER, street)
    assert len(workers.pids) == 2
    await workers.unload_all_but([OTHER])
    assert workers.pids == [pid_of(workers.lane(OTHER))]


async def test_no_worker_outlives_a_node_that_is_killed(
    start_node: StartNode, street: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured({"pipeline_id": "door", "name": "Door"})
        await hub.look("door", street)
        worker = only_worker(node)
        os.kill(worker, signal.SIGSTOP)  # it must go even if it cannot notice by itself
        node.process.kill()
        await node.process.wait()
    with suppress(ProcessLookupError):
        for _ in range(200):
            os.kill(worker, 0)
            await asyncio.sleep(0.05)
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker outlived its node")


async def test_a_worker_that_ends_while_a_look_waits_costs_the_hub_nothing(
    start_node: StartNode, street: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured({"pipeline_id": "door", "name": "Door"})
        worker = only_worker(node)
        os.kill(worker, signal.SIGSTOP)
        look = asyncio.create_task(hub.look("door", street))
        await asyncio.sleep(0.1)
        os.kill(worker, signal.SIGKILL)
        assert len((await look)["objects"]) >= 2
        assert only_worker(node) != worker
