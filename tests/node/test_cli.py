"""The command line as used by people and scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node import __version__
from edge_vision_node.storage.event_log import ResultLog
from PIL import Image

from tests.engines import ENGINES, needs
from tests.onnx_files import onnx_file
from tests.pictures import SELF_TEST_PICTURE, TEST_DATA, needs_test_data

from .conftest import node_environment
from .test_results import event


def run(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "edge_vision_node", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=node_environment(),
        check=False,
        timeout=120,
    )
    assert result.returncode == status, result.stderr
    return result


def run_json(*arguments: str | Path) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def blank_file(tmp_path: Path) -> Path:
    path = tmp_path / "blank.png"
    Image.new("RGB", (320, 240), (96, 128, 96)).save(path)
    return path


def test_hardware() -> None:
    document = run_json("hardware")
    assert document["hardware"]["cores"] >= 1
    assert {engine["id"] for engine in document["engines"]} >= {"onnxruntime", "litert", "ncnn"}
    assert "ONNX Runtime" in run("hardware").stdout


def test_models() -> None:
    (model, *_) = run_json("models")
    assert model["license"] == "Apache-2.0"
    assert len(model["labels"]) == 80
    assert "(default)" in run("models").stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_detect(engine: str, blank_file: Path) -> None:
    lines = run("detect", SELF_TEST_PICTURE, blank_file, "--engine", engine, "--json").stdout
    first, second = (json.loads(line) for line in lines.splitlines())
    with Image.open(SELF_TEST_PICTURE) as image:
        assert (first["width"], first["height"]) == image.size
    assert (first["engine"], first["accelerator"]) == (engine, "cpu")
    assert sum(item["label"] == "person" for item in first["objects"]) >= 2
    for item in first["objects"]:
        assert 40 <= item["confidence"] <= 100
        assert 0 <= item["box"]["x_min"] < item["box"]["x_max"] <= 1
    assert second["objects"] == []


def test_detect_for_people(blank_file: Path) -> None:
    first, second = run("detect", SELF_TEST_PICTURE, blank_file).stdout.splitlines()
    assert "person" in first
    assert ": nothing" in second


@needs("onnxruntime")
@pytest.mark.parametrize(
    ("task", "head", "shape", "labels", "says", "key", "length"),
    [
        (
            "embedding",
            {"dimensions": 8},
            (1, 8),
            0,
            "a vector of 8 numbers: 0.354,",
            "embedding",
            8,
        ),
        (
            "segmentation",
            {"classes": 2, "form": "classes"},
            (1, 2, 4, 4),
            2,
            "label 0 100% of the picture",
            "classes",
            1,
        ),
        (
            "segmentation",
            {"classes": 1, "form": "mask"},
            (1, 1, 4, 4),
            1,
            "no part of the picture is of any class",
            "classes",
            0,
        ),
        ("classification", {"classes": 4}, (1, 4), 4, "nothing certain", "classes", 0),
    ],
)
def test_detect_says_what_there_is_of_a_task_that_has_no_objects(
    tmp_path: Path,
    blank_file: Path,
    task: str,
    head: dict[str, Any],
    shape: tuple[int, ...],
    labels: int,
    says: str,
    key: str,
    length: int,
) -> None:
    (tmp_path / "m.onnx").write_bytes(
        onnx_file([("images", (1, 3, 32, 32), "float32")], [("answer", shape, "float32")], fill=0.2)
    )
    heads = [f"--set=head.{name}={json.dumps(value)}" for name, value in head.items()]
    run(
        *("inspect", tmp_path / "m.onnx", "--data", tmp_path, "--save", "mine"),
        *(f"--set=task={task}", f"--set=head.type={task}", *heads),
        f"--set=labels={json.dumps([f'label {i}' for i in range(labels)])}",
    )
    options = (blank_file, "--model", "mine", "--data", tmp_path)
    assert f"blank.png: {says}" in run("detect", *options).stdout
    document = run_json("detect", *options)
    assert (document["task"], len(document[key])) == (task, length)
    assert "objects" not in document


def test_detect_only_some_labels_and_only_what_is_sure() -> None:
    assert run_json("detect", SELF_TEST_PICTURE, "--labels", "cat,dog")["objects"] == []
    assert run_json("detect", SELF_TEST_PICTURE, "--confidence", "99.9")["objects"] == []


def test_detect_draws_pictures_and_leaves_the_originals_alone(tmp_path: Path) -> None:
    original = tmp_path / "street.jpg"
    original.write_bytes(SELF_TEST_PICTURE.read_bytes())
    run("detect", original, "--annotate", tmp_path / "out")
    with Image.open(tmp_path / "out" / "street.jpg") as drawn, Image.open(original) as image:
        assert drawn.size == image.size
        assert drawn.tobytes() != image.tobytes()
    refused = run("detect", original, "--annotate", original, status=2)
    assert "needs a folder" in refused.stderr
    refused = run("detect", original, "--annotate", tmp_path, status=2)
    assert "would overwrite" in refused.stderr
    assert original.read_bytes() == SELF_TEST_PICTURE.read_bytes()


def test_pictures_of_one_name_are_drawn_beside_each_other(tmp_path: Path) -> None:
    pictures = [tmp_path / "one" / "a.jpg", tmp_path / "two" / "A.JPG", tmp_path / "two" / "a.png"]
    for number, path in enumerate(pictures):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64 + number, 48), (90, 90, 90)).save(path)
    run("detect", *pictures, "--annotate", tmp_path / "out")
    sizes = {path.name: Image.open(path).width for path in (tmp_path / "out").iterdir()}
    assert sizes == {"a.jpg": 64, "A-2.jpg": 65, "a-3.jpg": 66}
    # It does not overwrite another one of the pictures either.
    refused = run("detect", pictures[2], pictures[0], "--annotate", tmp_path / "one", status=2)
    assert "would overwrite" in refused.stderr


def test_a_picture_that_cannot_be_read_is_told_and_the_others_are_looked_at(
    tmp_path: Path, blank_file: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    missing = tmp_path / "missing.jpg"
    result = run("detect", broken, missing, blank_file, "--json", status=1)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert "not a JPEG" in lines[0]["error"]
    assert "No such file" in lines[1]["error"]
    assert lines[2]["objects"] == []
    assert result.stderr.count("edge-vision-node: error:") == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["detect", "x.jpg", "--model", "nonsense"], 1, "No model 'nonsense'"),
        (["detect", "x.jpg", "--engine", "nonsense"], 1, "this node supports onnxruntime,"),
        (["detect", "x.jpg", "--accelerator", "cuda:0"], 1, "no accelerator 'cuda:0'"),
        (["detect", "x.jpg", "--labels", "unicorn"], 1, "no label unicorn"),
        (["detect", "x.jpg", "--confidence", "200"], 2, "between 0 and 100"),
        (["detect", "x.jpg", "--threads", "0"], 2, "a number, at least 1"),
        (["detect"], 2, "required"),
        ([], 2, "required"),
        (["results", "--data", "/nonexistent"], 1, "no event log"),
        (["serve", "--data", "/tmp/x"], 2, "either --socket"),
        (["serve", "--data", "/tmp/x", "--host", "127.0.0.1"], 2, "needs --port"),
        (["serve", "--data", "/tmp/x", "--host", "127.0.0.1", "--port", "0"], 2, "--token-file"),
    ],
)
def test_wrong_usage_and_failure_have_one_clear_line(
    arguments: list[str], status: int, reason: str
) -> None:
    result = run(*arguments, status=status)
    assert reason in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_port_beyond_this_machine_needs_tls(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    options = ("--data", tmp_path / "data", "--token-file", token, "--port", "0")
    assert "needs --tls" in run("serve", "--host", "0.0.0.0", *options, status=2).stderr


def test_bench() -> None:
    result = run_json("bench", "--seconds", "0.2")
    assert "1280x720" in result["picture"]
    assert result["still_ms"] > result["engine_ms"] > 0
    assert result["ratio"] == pytest.approx(result["still_ms"] / result["engine_ms"], abs=0.02)


def test_results(tmp_path: Path) -> None:
    log = ResultLog(tmp_path / "results.db")
    log.append([event("person", at=datetime.now(UTC)), event("dog", pipeline_id="yard")])
    log.close()
    lines = run("results", "--data", tmp_path, "--json").stdout.splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["dog", "person"]
    assert "dog x1" in run("results", "--data", tmp_path, "--pipeline", "yard").stdout


def test_version() -> None:
    assert run("--version").stdout.strip() == f"edge-vision-node {__version__}"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m edge_vision_node models --json | head -c 1"
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=node_environment(), check=False
    )
    assert result.stderr == ""


@needs_test_data
@pytest.mark.parametrize(
    ("name", "label", "least"),
    [
        ("pets.jpg", "dog", 2),
        ("cat_720p.jpg", "cat", 1),
        ("grace_hopper.png", "person", 1),
        ("squat.png", "person", 1),
        ("face.jpg", "person", 3),
        ("traffic_0001.png", "car", 2),
    ],
)
def test_finds_what_is_there(name: str, label: str, least: int) -> None:
    found = run_json("detect", TEST_DATA / "images" / name)["objects"]
    assert sum(item["label"] == label for item in found) >= least
