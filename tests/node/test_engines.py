"""Engines: the results are the same with every engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.engines import describe_engines
from edge_vision_node.inference.runner import Runner
from edge_vision_node.models.store import ModelStore
from PIL import Image

from tests.engines import ENGINES, HERE, needs
from tests.pictures import SELF_TEST_PICTURE, TEST_DATA, jpeg, needs_test_data

from .conftest import node_environment

two_engines = needs("ncnn", "onnxruntime")


@pytest.fixture(scope="module")
def runners() -> dict[str, Runner]:
    here = [name for name in ("onnxruntime", "ncnn") if name in HERE]
    return {name: Runner(ModelStore().get(None), name) for name in here}


def run(runner: Runner, data: bytes, confidence: float = 40.0) -> Detections:
    result, _ = runner.run(runner.prepare(data), confidence)
    assert isinstance(result, Detections)
    return result


def check_agreement(runners: dict[str, Runner], data: bytes) -> int:
    """Both engines find the same objects: same labels, boxes within 1 %, scores within 2 points."""
    first, second = (run(runner, data) for runner in runners.values())
    # objects near the threshold may be on different sides of it
    sure = [first.keep(first.scores > 0.42), second.keep(second.scores > 0.42)]
    for mine, other in ((sure[0], second), (sure[1], first)):
        for box, score, class_id in zip(mine.boxes, mine.scores, mine.class_ids, strict=True):
            same = other.keep(other.class_ids == class_id)
            distance = np.abs(same.boxes - box).max(axis=1)
            assert distance.min(initial=1.0) < 0.01
            assert abs(same.scores[distance.argmin()] - score) < 0.02
    return len(sure[0])


@two_engines
def test_both_engines_agree_on_the_picture_that_ships(runners: dict[str, Runner]) -> None:
    assert check_agreement(runners, SELF_TEST_PICTURE.read_bytes()) >= 2


@two_engines
@needs_test_data
@pytest.mark.parametrize(
    ("name", "label", "count"),
    [
        ("pets.jpg", "dog", 2),
        ("cat_720p.jpg", "cat", 1),
        ("grace_hopper.png", "person", 1),
        ("squat.png", "person", 1),
        ("face.jpg", "person", 3),
        ("traffic_0001.png", "car", 2),
    ],
)
def test_both_engines_find_what_is_there(
    runners: dict[str, Runner], name: str, label: str, count: int
) -> None:
    data = (TEST_DATA / "images" / name).read_bytes()
    check_agreement(runners, data)
    for runner in runners.values():
        found = run(runner, data)
        labels = [runner.labels[i] for i in found.class_ids]
        assert labels.count(label) >= count


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_scene_is_empty(runners: dict[str, Runner], engine: str) -> None:
    data = jpeg(Image.new("RGB", (640, 480), (96, 128, 96)))
    assert len(run(runners[engine], data)) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_the_outputs_have_the_shapes_that_the_head_expects(
    runners: dict[str, Runner], engine: str
) -> None:
    runner = runners[engine]
    boxes, logits = runner.infer(np.zeros(runner.preprocess.shape, np.float32))
    assert (boxes.shape, logits.shape) == ((1, 1917, 4), (1, 1917, 91))
    assert (boxes.dtype, logits.dtype) == (np.float32, np.float32)


@two_engines
def test_engines_describe_themselves() -> None:
    described = {engine.id: engine for engine in describe_engines()}
    assert described["onnxruntime"].version
    assert described["ncnn"].version
    assert "cpu" in [a.id for a in described["ncnn"].accelerators]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_leaves_no_trace_of_telemetry(tmp_path: Path, engine: str) -> None:
    """ONNX Runtime would record a session here before it sends it to its publisher."""
    subprocess.run(
        [sys.executable, "-m", "edge_vision_node", "detect", SELF_TEST_PICTURE, "--engine", engine],
        env={**node_environment(), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        check=True,
    )
    assert list(tmp_path.iterdir()) == []
