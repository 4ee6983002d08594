"""Untrusted models are tested in isolation and disabled when they crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.errors import (
    AcceleratorError,
    InferenceError,
    ModelError,
    QuarantinedError,
    WorkerError,
)
from edge_vision_node.models.formats.reading import read_model_file
from edge_vision_node.models.manifest import Model, load_model
from edge_vision_node.models.store import BUNDLED, DEFAULT_MODEL, ModelStore
from edge_vision_node.models.trust import Trust
from edge_vision_node.processes.child_process import ChildProcess
from edge_vision_node.workers import proof
from edge_vision_node.workers.lane import Lane, ModelSite
from edge_vision_node.workers.messages import Load, RunResult
from edge_vision_node.workers.pool import Workers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines import ENGINE, ENGINES, needs
from tests.onnx_files import field, onnx_file, value_info
from tests.pictures import TEST_DATA, needs_test_data
from tests.small_models import GREEN, RED, add_hanging, painted

from .conftest import until, until_executing

# ncnn reads a second input that this layer does not have: a null pointer that crashes the process.
CRASHES = "7767517\n2 2\nInput in 0 1 in0 0=8 1=8 2=3\nROIPooling roi 1 1 in0 out0 0=7 1=7\n"


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(trust=Trust(tmp_path))
    yield workers
    await workers.close()


def write_model(folder: Path, engine: str, files: dict[str, tuple[str, bytes]]) -> Model:
    """Write a model with arbitrary files: role → (name, content)."""
    folder.mkdir(parents=True)
    manifest = json.loads((BUNDLED / DEFAULT_MODEL / "model.json").read_text())
    specs = {}
    for role, (name, data) in files.items():
        (folder / name).write_bytes(data)
        specs[role] = {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest.update(
        id="stranger",
        name="Stranger",
        engines={engine: {"files": specs, "inputs": ["in0"], "outputs": ["out0"]}},
    )
    shutil.copyfile(BUNDLED / DEFAULT_MODEL / "labels.txt", folder / "labels.txt")
    (folder / "model.json").write_text(json.dumps(manifest))
    return load_model(folder)


@pytest.fixture
def engine() -> str:
    """The engine for tests that do not run on several."""
    return ENGINE


@pytest.fixture
def crasher(tmp_path: Path) -> ModelSite:
    """A model that really crashes its engine."""
    files = {"param": ("m.param", CRASHES.encode()), "bin": ("m.bin", bytes(64))}
    return ModelSite(write_model(tmp_path / "crasher", "ncnn", files), "ncnn", "cpu")


@pytest.fixture
def honest(tmp_path: Path, engine: str) -> ModelSite:
    """The default model as an untrusted model."""
    folder = shutil.copytree(BUNDLED / DEFAULT_MODEL, tmp_path / "honest")
    return ModelSite(load_model(Path(folder)), engine, "cpu")


@pytest.fixture
def fragile(tmp_path: Path, engine: str) -> ModelSite:
    """A model that passes its test, and hangs with red pictures."""
    return ModelSite(load_model(tmp_path / add_hanging(tmp_path, engine)), engine, "cpu")


async def begin(lane: Lane, place: ModelSite) -> asyncio.Task[RunResult]:
    """Let the worker execute a frame that never finishes."""
    await lane.load(place)
    frame = asyncio.create_task(lane.run("test", place, painted(RED), 40.0, ()))
    await until_executing(lane)
    return frame


async def crash(lane: Lane, place: ModelSite) -> None:
    """Kill the worker while a frame is executed."""
    frame = await begin(lane, place)
    assert lane.worker.pid is not None
    os.kill(lane.worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError):
        await frame


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_model_from_elsewhere_is_tried_once_before_it_is_used(
    workers: Workers,
    honest: ModelSite,
    street: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lane = workers.lane(honest)
    result = await lane.run("test", honest, street, 40.0, ())
    assert len(result.findings.objects) >= 2
    (key,) = json.loads((tmp_path / "proven.json").read_text())
    assert key.startswith(honest.model.digest(honest.engine)) and key.endswith(" cpu")
    # The next start uses the result: with this limit, another test would fail.
    monkeypatch.setattr(proof, "_LEAST_MEMORY", 1)
    monkeypatch.setattr(proof, "_MOST_MEMORY", 1)
    later = Workers(trust=Trust(tmp_path))
    try:
        await later.choose(honest.model, honest.engine, "cpu")
        assert await later.lane(honest).load(honest)
    finally:
        await later.close()


async def test_what_a_model_did_on_one_accelerator_says_nothing_about_another(
    workers: Workers, honest: ModelSite, engine: str, tmp_path: Path
) -> None:
    await workers.load(honest)
    model, version = honest.model, workers.lane(honest).loaded(honest)
    assert version is not None
    trust = Trust(tmp_path)
    assert trust.is_proven(model, engine, version.engine_version, "cpu")
    assert not trust.is_proven(model, engine, version.engine_version, "cuda:0")
    # A crash of an untested model is detected in a temporary process.
    elsewhere = ModelSite(model, engine, "cuda:0")
    with pytest.raises(AcceleratorError, match="cuda:0"):
        await workers.load(elsewhere)
    assert workers.lane(elsewhere).worker.generation == 0


async def test_what_earlier_versions_noted_counts_for_the_processor(
    honest: ModelSite, engine: str, tmp_path: Path
) -> None:
    key = f"{honest.model.digest(engine)} {engine} 1.2.3"
    (tmp_path / "proven.json").write_text(json.dumps({key: "2026-10-01T12:00:00+00:00"}))
    trust = Trust(tmp_path)
    assert trust.is_proven(honest.model, engine, "1.2.3", "cpu")
    assert not trust.is_proven(honest.model, engine, "1.2.3", "cuda:0")
    assert not trust.is_proven(honest.model, engine, "1.2.4", "cpu")


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_first_trial_that_takes_too_long_is_one_strike(
    workers: Workers, fragile: ModelSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine may have been busy, so the test is repeated up to three times."""
    (tmp_path / "red.png").write_bytes(painted(RED))
    monkeypatch.setattr(proof, "SELF_TEST_PICTURE", tmp_path / "red.png")
    monkeypatch.setattr(proof, "_RUN_DEADLINE_S", 0.5)
    for strikes in (1, 2):
        with pytest.raises(WorkerError, match="did not answer within"):
            await workers.load(fragile)
        (entry,) = json.loads((tmp_path / "quarantine.json").read_text()).values()
        assert (entry["strikes"], entry["proven"]) == (strikes, False)
    with pytest.raises(QuarantinedError, match="when it was first tested"):
        await workers.load(fragile)


async def test_a_trial_that_the_system_ends_is_one_strike(
    workers: Workers, fragile: ModelSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The OOM killer picks a test first, even if another process uses the memory."""
    (tmp_path / "red.png").write_bytes(painted(RED))
    monkeypatch.setattr(proof, "SELF_TEST_PICTURE", tmp_path / "red.png")
    made: list[ChildProcess] = []
    make = proof.disposable
    monkeypatch.setattr(proof, "disposable", lambda *args: made.append(make(*args)) or made[-1])
    for strikes in (1, 2, 3):
        trial = asyncio.create_task(workers.load(fragile))
        await until(lambda count=strikes: len(made) == count)
        worker = made[-1]
        # The first command is to load, the second to run.
        await until(lambda worker=worker: any(n > 1 and a.begun for n, a in worker._asked.items()))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(
            QuarantinedError if strikes == 3 else WorkerError, match="memory ran out"
        ):
            await trial
        (entry,) = json.loads((tmp_path / "quarantine.json").read_text()).values()
        assert (entry["strikes"], entry["proven"]) == (strikes, False)


async def test_a_strike_is_on_disk_before_anybody_is_told_of_the_crash_and_the_loop_is_free(
    honest: ModelSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = Trust(tmp_path)
    synced, released = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow_disk(descriptor: int) -> None:
        synced.set()
        assert released.wait(20)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow_disk)
    strike = asyncio.create_task(trust.strike(honest.model, honest.engine, "cpu", "it crashed"))
    await until(synced.is_set)  # would never return if the event loop waited for the disk
    another = asyncio.create_task(trust.strike(honest.model, honest.engine, "cpu", "again"))
    await asyncio.sleep(0.05)
    assert not strike.done() and not (tmp_path / "quarantine.json").exists()
    released.set()
    await asyncio.gather(strike, another)
    (entry,) = json.loads((tmp_path / "quarantine.json").read_text()).values()
    assert (entry["strikes"], entry["reason"]) == (2, "again")


async def test_what_the_first_trial_compiles_is_kept(
    honest: ModelSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    loads: list[Load] = []
    ask = ChildProcess.ask

    async def noted(self: ChildProcess, order: str, message: Any, *args: Any, **more: Any) -> Any:
        if isinstance(message, Load):
            loads.append(message)
        return await ask(self, order, message, *args, **more)

    monkeypatch.setattr(ChildProcess, "ask", noted)
    workers = Workers(cache=cache, trust=Trust(tmp_path))
    try:
        await workers.load(honest)
    finally:
        await workers.close()
    assert [load.cache for load in loads] == [str(cache), str(cache)]


async def test_a_model_that_came_with_the_package_needs_no_trial(
    workers: Workers, tmp_path: Path, engine: str
) -> None:
    place = ModelSite(ModelStore().get(None), engine, "cpu")
    await workers.lane(place).load(place)
    assert not (tmp_path / "proven.json").exists()


@needs("ncnn")
async def test_a_model_that_crashes_its_trial_is_left_out_at_once_and_for_good(
    workers: Workers, crasher: ModelSite, tmp_path: Path
) -> None:
    lane = workers.lane(crasher)
    with pytest.raises(QuarantinedError) as caught:
        await lane.load(crasher)
    assert str(caught.value) == (
        "Stranger crashed its engine when it was first tested on ncnn cpu (the engine crashed"
        " (SIGSEGV)) and was disabled; choose another model or engine, or allow it again"
    )
    assert lane.worker.pid is None  # the shared worker was never started for it
    (entry,) = json.loads((tmp_path / "quarantine.json").read_text()).values()
    assert (entry["model"], entry["proven"]) == ("stranger", False)
    # The next start knows this.
    later = Workers(trust=Trust(tmp_path))
    with pytest.raises(QuarantinedError):
        await later.lane(crasher).load(crasher)
    await later.close()


@needs("ncnn")
async def test_other_models_run_on_beside_one_that_crashes(
    workers: Workers, crasher: ModelSite, street: bytes
) -> None:
    good = ModelSite(ModelStore().get(None), "ncnn", "cpu")
    lane = workers.lane(good)
    await lane.run("good", good, street, 40.0, ())
    pid = lane.worker.pid
    with pytest.raises(QuarantinedError):
        await lane.run("bad", crasher, street, 40.0, ())
    assert len((await lane.run("good", good, street, 40.0, ())).findings.objects) >= 2
    assert lane.worker.pid == pid


@pytest.mark.parametrize("engine", ENGINES)
async def test_three_crashes_in_a_row_are_remembered_over_a_restart(
    fragile: ModelSite, engine: str, tmp_path: Path
) -> None:
    for _ in range(3):  # each in a separate node
        workers = Workers(trust=Trust(tmp_path))
        await crash(workers.lane(fragile), fragile)
        await workers.close()
    workers = Workers(trust=Trust(tmp_path))
    with pytest.raises(QuarantinedError, match=f"crashed its engine 3 times in a row on {engine}"):
        await workers.lane(fragile).load(fragile)
    (entry,) = workers.trust.quarantined
    assert entry.name == "Hanging"
    assert entry.reason.startswith("the engine was ended by the system (SIGKILL)")
    # After it was allowed, it runs.
    assert await workers.trust.clear("hanging")
    assert workers.trust.quarantined == ()
    await workers.lane(fragile).load(fragile)
    await workers.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_run_that_succeeds_forgives_the_crashes_before_it(
    workers: Workers, fragile: ModelSite, tmp_path: Path
) -> None:
    lane = workers.lane(fragile)
    for _ in range(2):
        await crash(lane, fragile)
    assert json.loads((tmp_path / "quarantine.json").read_text()) != {}
    await lane.run("test", fragile, painted(GREEN), 40.0, ())
    assert json.loads((tmp_path / "quarantine.json").read_text()) == {}


async def test_ending_a_worker_on_purpose_counts_against_nobody(
    workers: Workers, fragile: ModelSite, tmp_path: Path
) -> None:
    lane = workers.lane(fragile)
    frame = await begin(lane, fragile)
    await lane.worker.close()
    with pytest.raises(WorkerError):
        await frame
    assert not (tmp_path / "quarantine.json").exists()


@needs("ncnn")
async def test_a_model_that_changed_proves_itself_anew(
    workers: Workers, crasher: ModelSite, tmp_path: Path
) -> None:
    """A fixed file is another model: failures of the previous one do not count."""
    with pytest.raises(QuarantinedError):
        await workers.lane(crasher).load(crasher)
    folder = crasher.model.folder
    data = b"7767517\n1 1\nInput in 0 1 in0 0=8 1=8 2=3\n"
    (folder / "m.param").write_bytes(data)
    manifest = json.loads((folder / "model.json").read_text())
    spec = manifest["engines"]["ncnn"]["files"]["param"]
    spec.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    (folder / "model.json").write_text(json.dumps(manifest))
    mended = ModelSite(load_model(folder), "ncnn", "cpu")
    with pytest.raises(InferenceError, match="out0"):  # no crash, but an error with the reason
        await workers.lane(mended).load(mended)
    assert len(workers.trust.quarantined) == 1


async def test_a_model_of_another_kind_than_its_manifest_says_is_refused_and_not_quarantined(
    workers: Workers, honest: ModelSite
) -> None:
    manifest = json.loads((honest.model.folder / "model.json").read_text())
    manifest["head"] = {"type": "yolox", "classes": 80}
    (honest.model.folder / "model.json").write_text(json.dumps(manifest))
    wrong = ModelSite(load_model(honest.model.folder), honest.engine, "cpu")
    with pytest.raises(InferenceError, match="do not fit its manifest"):
        await workers.lane(wrong).load(wrong)
    assert workers.trust.quarantined == ()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": {"model": 3}}'])
def test_damaged_files_count_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "quarantine.json").write_text(content)
    (tmp_path / "proven.json").write_text(content)
    assert Trust(tmp_path).quarantined == ()


async def test_a_folder_that_cannot_be_written_costs_the_memory_not_the_node(
    tmp_path: Path, honest: ModelSite, caplog: pytest.LogCaptureFixture
) -> None:
    trust = Trust(tmp_path / "gone")
    await trust.strike(honest.model, honest.engine, "cpu", "it crashed", proven=False, enough=True)
    assert len(trust.quarantined) == 1
    assert "cannot be written" in caplog.text


# --- Files that reach for more than is theirs -----------------------------------------------------


def external(location: str, *, hidden: str = "graph") -> bytes:
    """Create an ONNX model with its only tensor in another file."""
    entry = field(1, b"location") + field(2, location.encode())
    tensor = field(1, 4) + field(2, 1) + field(8, b"w") + field(13, entry) + field(14, 1)
    graph = field(5, tensor)
    if hidden == "attribute":  # the value of a Constant node
        graph = field(1, field(4, b"Constant") + field(5, field(5, tensor)))
    elif hidden == "subgraph":  # the branch of an If node
        graph = field(1, field(4, b"If") + field(5, field(6, field(5, tensor))))
    elif hidden == "sparse":
        graph = field(15, field(1, tensor))
    return field(1, 8) + field(7, graph)


def put(tmp_path: Path, data: bytes) -> Model:
    return write_model(tmp_path / "stranger", "onnxruntime", {"model": ("model.onnx", data)})


@pytest.mark.parametrize("hidden", ["graph", "attribute", "subgraph", "sparse"])
@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../secret", "a/../../secret", "sub/weights", "..", ".", "", "..\\x", "C:\\x"],
)
async def test_weights_outside_the_folder_are_refused_before_an_engine_sees_the_file(
    workers: Workers, tmp_path: Path, location: str, hidden: str
) -> None:
    place = ModelSite(put(tmp_path, external(location, hidden=hidden)), "onnxruntime", "cpu")
    with pytest.raises(ModelError, match="which is outside its folder"):
        await workers.lane(place).load(place)
    assert workers.trust.quarantined == ()


async def test_weights_behind_a_link_or_unknown_to_the_manifest_are_refused(
    workers: Workers, tmp_path: Path
) -> None:
    place = ModelSite(put(tmp_path, external("weights.bin")), "onnxruntime", "cpu")
    folder = place.model.folder
    with pytest.raises(ModelError, match=r"weights\.bin of the model are missing; add this file"):
        await workers.lane(place).load(place)
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="missing"):
        await workers.lane(place).load(place)
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").write_bytes(bytes(16))
    with pytest.raises(ModelError, match="not in its manifest"):
        await workers.lane(place).load(place)


def absurd(sides: tuple[int, ...]) -> bytes:
    tensor = b"".join(field(1, side) for side in sides) + field(2, 1) + field(8, b"w")
    return field(1, 8) + field(7, field(5, tensor))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (absurd((2**20, 2**20)), "absurd shape"),
        (absurd((2**64 - 5,)), "absurd shape"),
        (absurd((1,) * 9), "absurd shape"),
        (b"", "empty"),
        (b"\x08\x08\x12\x04abc", "damaged or cut short"),
        (b"\x08\x08\x12\x01a\x0b", "damaged or cut short"),
        (b"\x08\x08\x12\x01a" + b"\xff" * 12, "damaged or cut short"),
        (b"\x08\x08\x12\x01a", "contains no graph"),
        (field(1, 8) + field(7, b"\x0a\x00" * 2_000_001), "too many parts"),
    ],
)
async def test_absurd_and_damaged_files_are_refused_before_an_engine_sees_them(
    workers: Workers, tmp_path: Path, data: bytes, reason: str
) -> None:
    place = ModelSite(put(tmp_path, data), "onnxruntime", "cpu")
    with pytest.raises(ModelError, match=reason):
        await workers.lane(place).load(place)


async def test_graphs_within_graphs_within_graphs_are_refused(
    workers: Workers, tmp_path: Path
) -> None:
    graph: Any = b""
    for _ in range(40):
        graph = field(1, field(4, b"If") + field(5, field(6, graph)))
    place = ModelSite(put(tmp_path, field(1, 8) + field(7, graph)), "onnxruntime", "cpu")
    with pytest.raises(ModelError, match="nests its graphs too deeply"):
        await workers.lane(place).load(place)


def greedy() -> bytes:
    """Create a small valid ONNX model that fills 13 GB with zeros."""

    sides = b"".join((1500).to_bytes(8, "little") for _ in range(3))
    tensor = field(1, 3) + field(2, 7) + field(8, b"sides") + field(9, sides)
    node = field(1, b"sides") + field(2, b"out0") + field(4, b"ConstantOfShape")
    graph = field(1, node) + field(2, b"greedy") + field(5, tensor)
    graph += field(11, value_info(("in0", (1, 300, 300, 3), "float32")))
    graph += field(12, value_info(("out0", (1, 1, 1), "float32")))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


@needs("onnxruntime")
async def test_a_model_that_wants_more_memory_than_there_may_be_is_refused(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_MOST_MEMORY", proof._LEAST_MEMORY)
    place = ModelSite(put(tmp_path, greedy()), "onnxruntime", "cpu")
    with pytest.raises((ModelError, InferenceError), match=r"cannot load|failed|crashed"):
        await workers.lane(place).load(place)
    assert workers.lane(place).worker.pid is None


# --- What the user reads for LiteRT's files -------------------------------------------------------


@needs_test_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "model_invoking_error.tflite",
            (
                "Stranger uses the operation 'fake-op-double', which LiteRT does not have: the"
                " model needs the program or the delegate that it was created for"
            ),
        ),
        (
            "movenet_single_pose_lightning_ptq_edgetpu.tflite",
            (
                "Stranger is compiled for an Edge TPU and runs on nothing else: connect one and"
                " choose it as the accelerator, or use the file of the model for the CPU"
            ),
        ),
        (
            "mobilenet_v2_1.0_224_quant.tflite",
            "Stranger has no input in0; the file has input",
        ),
    ],
)
async def test_a_tflite_file_that_cannot_run_says_why_and_is_not_quarantined(
    workers: Workers, tmp_path: Path, name: str, reason: str
) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed here")
    data = (TEST_DATA / "models" / name).read_bytes()
    model = write_model(tmp_path / "stranger", "litert", {"model": (name, data)})
    place = ModelSite(model, "litert", "cpu")
    with pytest.raises(ModelError) as caught:
        await workers.lane(place).load(place)
    assert str(caught.value) == reason
    assert workers.trust.quarantined == ()


# --- Files that somebody made to be read wrongly --------------------------------------------------

_SEEDS = {
    "m.onnx": onnx_file([("x", (1, 3, 4, 4), "float32")], [("y", (1, 5), "float32")], {"a": "b"}),
    "m.param": CRASHES.encode(),
    "m.xml": (
        b"<?xml version='1.0'?><net><layers><layer name='x' type='Parameter'><output><port"
        b" precision='FP32'><dim>1</dim><dim>3</dim></port></output></layer></layers></net>"
    ),
    "m.tflite": bytes.fromhex(
        "1c00000054464c33140020001c0018001400100010000c00080004001400000014000000140000001c000000"
        "140000001400000000000000000000000000000003000000"
    ),
}


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(sorted(_SEEDS)),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    length=st.integers(1, 500),
)
def test_whatever_bytes_a_file_has_reading_it_ends_in_a_model_or_a_sentence(
    tmp_path: Path, name: str, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(_SEEDS[name][:length])
    for at, value in changes:
        data[at % len(data)] = value
    (tmp_path / "m.bin").touch()
    (tmp_path / name).write_bytes(data)
    with suppress(ModelError):
        read_model_file(tmp_path / name)
