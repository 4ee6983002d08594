"""Limits of messages are checked by the sender, so that receivers can always read them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.errors import ModelError, NodeError, WorkerError
from edge_vision_node.findings import Segmentation, findings
from edge_vision_node.library.inspection.inspector import Wish
from edge_vision_node.models.heads import build_head
from edge_vision_node.models.heads.embedding import MOST_DIMENSIONS
from edge_vision_node.models.manifest import MAX_LABELS, load_model
from edge_vision_node.models.store import MAX_LABEL_CHARS, SELF_TEST_PICTURE, ModelStore
from edge_vision_node.models.trust import Trust
from edge_vision_node.processes.child_process import ChildProcess
from edge_vision_node.protocol import (
    MAX_HEADER_BYTES,
    Findings,
    Inspection,
    ModelProposal,
    ProtocolError,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    write,
)
from edge_vision_node.workers import proof
from edge_vision_node.workers.lane import ModelSite
from edge_vision_node.workers.messages import (
    CropDetections,
    CropsResult,
    Describe,
    Described,
    Loaded,
    Order,
    RunResult,
)
from edge_vision_node.workers.pool import Workers

from tests.engines import ENGINE, needs
from tests.onnx_files import onnx_file
from tests.small_models import add_classification, relabel

from .conftest import Bench

Say = Callable[[str], ChildProcess]

# A child process that sends its own messages to the node.
_CHILD = """
from edge_vision_node.processes.child import begin
from edge_vision_node.processes.messages import BEGAN, Began
from edge_vision_node.workers.messages import Described
from edge_vision_node.protocol import EngineInfo, encode_binary, write
import os
link = begin()
def raw(data):
    link._connection.sendall(data)
def frame(data):
    raw(len(data).to_bytes(4) + data)
for header, _ in link.orders():
    link.push(BEGAN, Began(order=header["id"]))
    answer = Described(engine=EngineInfo(id="x", name="y"))
    {what}
"""


@pytest.fixture
async def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Say]:
    """Start a worker whose child runs a function for every command."""
    workers: list[ChildProcess] = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start(what: str) -> ChildProcess:
        name = f"child_{len(workers)}"
        (tmp_path / f"{name}.py").write_text(_CHILD.format(what=what))
        workers.append(ChildProcess("demo", name, culprit="the engine"))
        return workers[-1]

    yield start
    for worker in workers:
        await worker.close()


async def ask(worker: ChildProcess) -> Described:
    return await worker.ask(Order.DESCRIBE, Describe(engine="x"), Described, deadline_s=60)


# --- What is made, is read ------------------------------------------------------------------------


def _bodies(count: int) -> RunResult:
    rng = np.random.default_rng(0)
    found = Detections(
        rng.random((count, 4), np.float32),
        rng.random(count, np.float32),
        np.zeros(count, np.int32),
        rng.random((count, 17, 3), np.float32),
    )
    names = tuple(f"point_number_{i}" for i in range(17))
    objects = found.objects(("person",), names)
    return RunResult(
        width=1, height=1, decode_ms=1, inference_ms=1, findings=Findings(objects=objects)
    )


def _vector(length: int) -> RunResult:
    vector = tuple(np.random.default_rng(0).normal(size=length).astype(np.float32).tolist())
    return RunResult(
        width=1, height=1, decode_ms=1, inference_ms=1, findings=Findings(embedding=vector)
    )


def _crops(parts: int) -> CropsResult:
    rng = np.random.default_rng(0)
    part = CropDetections(
        boxes=tuple(map(tuple, rng.random((100, 4)).tolist())),
        scores=tuple(rng.random(100).tolist()),
        class_ids=(0,) * 100,
    )
    return CropsResult(inference_ms=1, crops=(part,) * parts)


def _crop_of_bodies(count: int) -> CropsResult:
    rng = np.random.default_rng(0)
    found = Detections(
        rng.random((count, 4), np.float32),
        rng.random(count, np.float32),
        np.zeros(count, np.int32),
        rng.random((count, 17, 3), np.float32),
    )
    part = CropDetections.of(found)
    for name in ("boxes", "scores", "class_ids", "keypoints"):
        assert np.array_equal(getattr(part.detections, name), getattr(found, name))
    return CropsResult(inference_ms=1, crops=(part,))


def _proposal(labels: int) -> Inspection:
    names = tuple(f"Genus species{i:05d} (common näme)" for i in range(labels))
    proposal = ModelProposal(
        task="classification",
        family="classification",
        confidence=90.0,
        reasons=(),
        labels=names,
        manifest={},
    )
    return Inspection(
        file="plants.tflite",
        format="TensorFlow Lite",
        size_bytes=1,
        inputs=(),
        outputs=(),
        metadata={},
        proposal=proposal,
    )


@pytest.mark.parametrize(
    "message",
    [
        _bodies(100),
        _vector(3072),
        _vector(MOST_DIMENSIONS),
        _crops(64),
        _crop_of_bodies(100),
        _proposal(MAX_LABELS),
    ],
    ids=["bodies", "embedding", "largest embedding", "crops", "crop of bodies", "labels"],
)
def test_the_largest_answers_can_be_read(message: object) -> None:
    frame = encode_binary({"id": 1, "type": "result", "result": write(message)}, b"JPEG")
    header, picture = decode_binary(frame)
    assert header["result"] == json.loads(json.dumps(write(message)))
    assert bytes(picture) == b"JPEG"


def test_what_the_other_side_would_refuse_is_not_made() -> None:
    long = {"a": "x" * MAX_HEADER_BYTES}
    with pytest.raises(ProtocolError, match="the maximum is"):
        encode_text(long)
    with pytest.raises(ProtocolError, match="the maximum is"):
        encode_binary(long, b"")
    with pytest.raises(ProtocolError, match="the maximum is"):
        decode_text(json.dumps(long))
    for odd in (float("nan"), float("-inf"), object(), {1: {2, 3}}):
        with pytest.raises(ProtocolError, match="cannot be said in JSON"):
            encode_text({"a": odd})


# --- Between a node and its processes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("answer.engine.__dict__['name'] = 'y' * 2**24; link.answer(header, answer)", "16.0 MiB"),
        ("answer.engine.__dict__['name'] = float('nan'); link.answer(header, answer)", "JSON"),
    ],
)
async def test_an_answer_that_cannot_be_sent_is_an_error_and_the_process_lives(
    say: Say, what: str, reason: str
) -> None:
    worker = say(what)
    for _ in range(2):
        with pytest.raises(NodeError, match=reason) as caught:
            await ask(worker)
        assert not isinstance(caught.value, WorkerError)
    assert worker.generation == 1


async def test_news_that_cannot_be_sent_are_left_out(say: Say) -> None:
    what = "link.push('news', EngineInfo(id='x', name='y' * 2**24)); link.answer(header, answer)"
    worker = say(what)
    assert (await ask(worker)).engine.name == "y"


@pytest.mark.parametrize(
    "what",
    [
        "raw(bytes([255] * 4))",
        "frame(b'')",
        "frame(bytes([255] * 8))",
        "frame(encode_binary({}, b''))",
        "frame(encode_binary({'id': 'x', 'type': 'result'}, b''))",
        "frame(encode_binary({'id': [1], 'type': 'result'}, b''))",
        "frame(encode_binary({'id': header['id'], 'type': 'other'}, b''))",
        "frame(encode_binary({'type': 'began', 'message': {'order': 'x'}}, b''))",
    ],
)
async def test_what_is_no_message_ends_the_process_and_strikes_nobody(say: Say, what: str) -> None:
    worker = say(what + "; import time; time.sleep(600)")
    if "encode_binary({}" in what:  # a message without a listener
        worker = say(what + "; link.answer(header, answer)")
        assert (await ask(worker)).engine.name == "y"
        return
    with pytest.raises(WorkerError, match="an invalid message") as caught:
        await ask(worker)
    assert not caught.value.begun


@pytest.mark.parametrize("result", ["None", "{'engine': 3}", "{'engine': {'id': 1}}"])
async def test_an_answer_that_makes_no_sense_is_an_error(say: Say, result: str) -> None:
    content = f"{{'id': header['id'], 'type': 'result', 'result': {result}}}"
    worker = say(f"frame(encode_binary({content}, b''))")
    with pytest.raises(NodeError, match="invalid answer"):
        await ask(worker)
    assert worker.generation == 1


async def test_an_order_that_is_too_large_is_not_sent(say: Say) -> None:
    worker = say("link.answer(header, answer)")
    with pytest.raises(NodeError, match="cannot execute"):
        await worker.ask("describe", Describe(engine="x" * 2**24), Described, deadline_s=60)
    assert (await ask(worker)).engine.name == "y"


async def test_a_trial_that_could_not_begin_says_nothing_about_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tmp_path / add_classification(tmp_path))
    place = ModelSite(model, ENGINE, "cpu")
    workers = Workers(trust=Trust(tmp_path))

    async def cannot(*_: object) -> Loaded:
        raise WorkerError("first run: it cannot be started: Too many open files")

    monkeypatch.setattr("edge_vision_node.workers.lane.prove", cannot)
    try:
        for _ in range(4):
            with pytest.raises(WorkerError, match="Too many open files"):
                await workers.lane(place).load(place)
        assert workers.trust.quarantined == ()
        monkeypatch.setattr("edge_vision_node.workers.lane.prove", proof.prove)
        await workers.lane(place).load(place)
    finally:
        await workers.close()


# --- What makes them large ------------------------------------------------------------------------


def test_an_embedding_has_so_many_numbers_at_most() -> None:
    build_head({"type": "embedding", "dimensions": MOST_DIMENSIONS}, (8, 8))
    for dimensions in (0, MOST_DIMENSIONS + 1):
        with pytest.raises(ModelError, match="1 to 16384 numbers"):
            build_head({"type": "embedding", "dimensions": dimensions}, (8, 8))


def test_a_segmentation_names_its_largest_areas() -> None:
    cells = np.arange(400, dtype=np.int32).reshape(20, 20)
    cells[:2] = 399
    found = findings(Segmentation(cells), [str(i) for i in range(400)], (), 0.5)
    assert len(found.classes) == 100 and found.classes[0].label == "399"


def test_labels_of_all_models_together_fit_into_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(4):
        add_classification(tmp_path / str(i))
        folder = (tmp_path / str(i) / "colours").rename(tmp_path / f"colours_{i}")
        (tmp_path / str(i)).rmdir()
        relabel(folder, ["é" * 20 + str(j) for j in range(20_000)], model_id=folder.name)
    store = ModelStore([tmp_path])
    kept = [model for model in store.models.values() if model.id.startswith("colours")]
    assert 1 <= len(kept) < 4
    assert sum(len(json.dumps(model.labels)) for model in kept) <= MAX_LABEL_CHARS
    assert all("MiB of labels" in reason for reason in store.damaged.values())
    encode_text({"models": [write(model.info()) for model in store.models.values()]})
    assert [item.levelno for item in caplog.records] == [logging.WARNING] * (4 - len(kept))


@needs("onnxruntime")
async def test_a_classifier_of_two_thousand_labels_can_be_added(bench: Bench) -> None:
    path, labels = bench.folder / "plants.onnx", bench.folder / "plants.txt"
    picture = [("image", (1, 3, 8, 8), "float32")]
    path.write_bytes(onnx_file(picture, [("scores", (1, 2102), "float32")], fill=0.25))
    labels.write_text("".join(f"Genus species{i:05d} (common näme)\n" for i in range(2102)))
    wish = Wish(path=path, labels=labels, picture=SELF_TEST_PICTURE.read_bytes(), save_as="plants")
    inspection, jpeg = await bench.inspector.inspect(wish)
    assert inspection.problem is None and inspection.saved is not None
    header, _ = decode_binary(encode_binary({"result": write(inspection)}, jpeg or b""))
    assert len(header["result"]["saved"]["labels"]) == 2102
