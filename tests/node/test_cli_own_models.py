"""`--model FILE`: your own file or archive for one command, without saving it."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.library.unpack import is_archive
from edge_vision_node.library.uploads import Uploads, labels_beside
from PIL import Image

from tests.engines import needs
from tests.onnx_files import answering

from .test_cli import run


def detector(folder: Path, name: str = "Best v2.onnx") -> Path:
    """Write a YOLOv8 that finds one object of its second class."""
    table = np.full((1, 7, 189), 0.01, np.float32)
    table[0, :, 9] = (48, 48, 24, 24, 0.02, 0.9, 0.02)
    content = answering([("images", (1, 3, 96, 96), "float32")], {"output0": table})
    (folder / name).write_bytes(content)
    return folder / name


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (96, 96)).save(tmp_path / "p.png")
    return tmp_path / "p.png"


@needs("onnxruntime")
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_looked_with_once(tmp_path: Path, picture: Path, packed: bool) -> None:
    path = detector(tmp_path)
    path.with_suffix(".yaml").write_text("names: [nut, bolt, washer]\n")
    if packed:
        with zipfile.ZipFile(tmp_path / "mine.zip", "w") as file:
            file.write(path, "a\\b.onnx")
            file.write(path.with_suffix(".yaml"), "a\\data.yaml")
        path = tmp_path / "mine.zip"
    data = tmp_path / "data"
    done = run("detect", picture, "--model", path, "--data", data, "--json", "--labels", "bolt")
    answer = json.loads(done.stdout)
    assert answer["model"] == ("mine" if packed else "best_v2")
    assert [item["label"] for item in answer["objects"]] == ["bolt"]
    assert "is read as yolov8 with 3 labels" in done.stderr
    assert not (data / "models").exists()


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, picture: Path) -> None:
    for name, content, reason in (
        ("gone.onnx", None, "No such file"),
        ("empty.onnx", b"", "empty.onnx is empty"),
        ("x.zip", b"PK\3\4", "damaged or cut short"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert reason in run("detect", picture, "--model", tmp_path / name, status=1).stderr


def test_a_pipe_is_no_picture_and_no_model(tmp_path: Path, picture: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "plain file" in run("detect", tmp_path / "pipe.onnx", status=1).stderr
    assert "plain file" in run("inspect", tmp_path / "pipe.onnx", status=1).stderr
    os.mkfifo(tmp_path / "pipe.txt")
    command = ("inspect", detector(tmp_path), "--labels", tmp_path / "pipe.txt")
    assert "plain file" in run(*command, status=1).stderr
    os.mkfifo(tmp_path / "pipe.zip")
    assert not is_archive(picture)
    assert "plain file" in run("inspect", tmp_path / "pipe.zip", status=1).stderr


def test_what_is_no_folder_and_no_model_is_said_in_one_line(tmp_path: Path, picture: Path) -> None:
    pipe, text = tmp_path / "pipe", tmp_path / "model.pt"
    os.mkfifo(pipe)
    text.write_bytes(bytes(range(256)) * 20)
    for options, status, words in (
        (("--data", pipe), 1, "pipe is not a folder"),
        (("--annotate", pipe), 2, "needs a folder"),
        (("--model", text), 1, "model.pt"),
    ):
        said = run("detect", picture, *options, status=status).stderr
        assert words in said
        assert "this node has" not in said
        assert len(said.strip().splitlines()) == 1
    said = run("serve", "--data", pipe, "--socket", tmp_path / "s", status=1).stderr
    assert said.strip().endswith("pipe cannot be used: it is no folder")


def test_labels_of_an_upload_are_known_by_their_suffix(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads")
    first = uploads.append(None, "best.onnx", 0, b"x")
    for name in ("data.yaml", "weights.bin"):
        uploads.append(first.upload, name, 0, b"x")
    model, labels = uploads.find(first.upload, None)
    assert (model.name, labels and labels.name) == ("best.onnx", "data.yaml")
    (tmp_path / "m.onnx").write_bytes(b"x")
    assert labels_beside(tmp_path / "m.onnx") is None
    (tmp_path / "m.NAMES").write_bytes(b"x")
    assert labels_beside(tmp_path / "m.onnx") == tmp_path / "m.NAMES"
