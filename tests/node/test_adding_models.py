"""Models are inspected, installed, allowed and removed: from the command line, and by a hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.models.store import DEFAULT_MODEL, SELF_TEST_PICTURE, ModelStore
from edge_vision_node.models.trust import Trust
from PIL import Image

from tests.engines import ENGINE, needs
from tests.onnx_files import onnx_file
from tests.pictures import needs_test_data

from .conftest import NodeProcess
from .inspection import DEFAULT, MODELS, image, out
from .test_cli import run, run_json


@needs("onnxruntime")
def test_the_command_line_inspects_saves_and_uses_a_model(tmp_path: Path) -> None:
    data, drawn = tmp_path / "data", tmp_path / "drawn.jpg"
    document = run_json(
        *("inspect", DEFAULT / "model.onnx", "--data", data, "--save", "mine"),
        *("--set", "name=My own", "--annotate", drawn),
    )
    assert document["saved"]["name"] == "My own"
    with Image.open(drawn) as picture:
        assert picture.format == "JPEG"
    assert "mine 1.0.0" in run("models", "--data", data).stdout
    again = ("inspect", DEFAULT / "model.onnx", "--data", data, "--save", "mine")
    assert "or replace it" in run(*again, status=1).stderr
    assert run_json(*again, "--replace")["saved"]["name"] == "model"
    (line,) = run("detect", SELF_TEST_PICTURE, "--data", data, "--model", "mine").stdout.split(
        "\n"
    )[:1]
    assert "person" in line
    (data / "cache" / "mine-0123456789ab").mkdir(parents=True)
    run("models", "remove", "mine", "--data", data)
    assert not (data / "cache" / "mine-0123456789ab").exists(), "what engines compiled of it"
    assert "mine" not in run("models", "--data", data).stdout


def test_the_command_line_explains_what_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_file([image(320)], [out(1, 63, name="hand"), out(1, 5, name="side")]))
    result = run("inspect", path, status=1)
    assert "images 1 x 3 x 320 x 320 float32" in result.stdout
    assert "hand 1 x 63 float32; side 1 x 5 float32" in result.stdout
    assert "do not match a known family" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["models", "install"], 2, "needs --data"),
        (["models", "install", "--data", "/tmp/x"], 2, "needs the id"),
        (["models", "remove", DEFAULT_MODEL, "--data", "DATA"], 1, "is included with Edge Vision"),
        (["models", "install", "nonsense", "--data", "DATA"], 1, "The catalog has no model"),
        (["inspect", "/nonexistent"], 1, "No such file"),
        (["inspect", "x", "--save", "y"], 2, "--save needs --data"),
    ],
)
def test_wrong_usage_has_one_clear_line(
    tmp_path: Path, arguments: list[str], status: int, reason: str
) -> None:
    arguments = [str(tmp_path) if item == "DATA" else item for item in arguments]
    result = run(*arguments, status=status)
    assert reason in result.stderr.splitlines()[-1]


def test_the_catalogue_is_listed() -> None:
    items = {item["id"]: item for item in run_json("models", "--available")}
    assert items["yolox_nano"]["recommended"]
    assert items["movenet_lightning"]["edgetpu"]
    assert "yolox_nano 0.1.1 (recommended)" in run("models", "--available").stdout


@needs("onnxruntime")
@needs_test_data
def test_a_model_of_the_catalogue_is_installed_and_used_by_the_command_line(
    tmp_path: Path,
) -> None:
    options = ("--data", tmp_path, "--mirror", MODELS)
    assert "Installed fastestdet" in run("models", "install", "fastestdet", *options).stdout
    found = run_json("detect", SELF_TEST_PICTURE, "--data", tmp_path, "--model", "fastestdet")
    assert sum(item["label"] == "person" for item in found["objects"]) >= 2


# --- By a hub -------------------------------------------------------------------------------------


@needs("onnxruntime")
async def test_a_hub_uploads_inspects_saves_uses_and_removes_a_model(
    node: NodeProcess, street: bytes
) -> None:
    content = (DEFAULT / "model.onnx").read_bytes()
    async with node.connect() as hub:
        upload, offset = None, 0
        while offset < len(content):
            part = content[offset : offset + 4_000_000]
            answer = await hub.ask("upload", part, name="my.onnx", offset=offset, upload=upload)
            upload, offset = answer["upload"], answer["size"]
        found = await hub.ask("inspect_model", upload=upload, save_as="mine")
        assert found["saved"]["id"] == "mine"
        assert found["picture"].startswith(b"\xff\xd8")
        status = await hub.configured({"pipeline_id": "door", "name": "Door", "model": "mine"})
        assert status["pipelines"][0]["state"] == "ready"
        assert len((await hub.look("door", street))["objects"]) >= 2
        refused = await hub.ask("remove_model", model="mine")
        assert refused["message"] == "my is used by Door; choose another model there first"
        await hub.configured()
        compiled = node.data / "cache" / "mine-0123456789ab"
        compiled.mkdir(parents=True)
        assert await hub.ask("remove_model", model="mine") == {}
        assert not compiled.exists()
        models = (await hub.ask("info"))["models"]
        assert [model["id"] for model in models] == [DEFAULT_MODEL]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "Specify an upload"),
        ({"dropped": "../../etc/passwd"}, "There is no file"),
        ({"dropped": "gone.onnx"}, "There is no file 'gone.onnx'"),
        ({"upload": "../x"}, "There is no upload"),
        ({"url": "http://127.0.0.1/m.onnx"}, "http is not https"),
        ({"url": "file:///etc/passwd"}, "file is not https"),
    ],
)
async def test_what_a_hub_cannot_have_inspected(
    node: NodeProcess, arguments: dict[str, str], reason: str
) -> None:
    async with node.connect() as hub:
        assert reason in (await hub.ask("inspect_model", **arguments))["message"]


async def test_parts_out_of_order_and_names_that_lead_elsewhere_are_refused(
    node: NodeProcess,
) -> None:
    async with node.connect() as hub:
        answer = await hub.ask("upload", b"x", name="../x", offset=0)
        assert "is not a file name" in answer["message"]
        first = await hub.ask("upload", b"abc", name="m.onnx", offset=0)
        again = await hub.ask("upload", b"x", name="m.onnx", offset=7, upload=first["upload"])
        assert "Expected the part of" in again["message"]


@needs("onnxruntime")
async def test_a_dropped_file_is_offered_and_inspected(node: NodeProcess) -> None:
    drop = node.data / "drop"
    shutil.copyfile(DEFAULT / "model.onnx", drop / "street.onnx")
    (drop / "street.txt").write_text("\n".join(f"kind {i}" for i in range(90)))
    async with node.connect() as hub:
        assert (await hub.ask("catalogue"))["dropped"] == ["street.onnx"]
        found = await hub.ask("inspect_model", dropped="street.onnx")
        assert found["problem"] is None
        assert found["proposal"]["labels"][1] == "kind 1"


@needs("onnxruntime")
@needs_test_data
async def test_a_hub_installs_from_the_catalogue_and_sees_how_far_it_is(
    start_node: Any, street: bytes
) -> None:
    node = await start_node("--mirror", str(MODELS))
    async with node.connect() as hub:
        before = {item["id"]: item for item in (await hub.ask("catalogue"))["models"]}
        assert before["yolox_nano"]["installed"] is None
        number = await hub.send({"type": "install_model", "model": "yolox_nano"})
        pushed = []
        while True:
            message, _ = await hub.receive()
            if message.get("id") == number:
                break
            pushed.append(message)
        assert message["result"]["id"] == "yolox_nano"
        assert pushed[-1]["command"] == number
        progress = pushed[-1]["progress"]
        assert progress["done_bytes"] == progress["total_bytes"] > 3_000_000
        after = {item["id"]: item for item in (await hub.ask("catalogue"))["models"]}
        assert after["yolox_nano"]["installed"] == "0.1.1"
        found = await hub.ask("detect", street, model="yolox_nano")
        assert sum(item["label"] == "person" for item in found["objects"]) >= 2


async def test_a_quarantined_model_is_named_in_the_pipelines_error_and_allowed_by_command(
    start_node: Any, street: bytes, tmp_path: Path
) -> None:
    trust = Trust(tmp_path / "data")
    (tmp_path / "data").mkdir()
    model = ModelStore().get(None)
    for _ in range(3):
        await trust.strike(model, ENGINE, "cpu", "the engine crashed (SIGSEGV)")
    node = await start_node()
    async with node.connect() as hub:
        pipeline = {"pipeline_id": "door", "name": "Door", "engine": ENGINE}
        status = await hub.configured({**pipeline, "accelerator": "cpu"})
        (door,) = status["pipelines"]
        assert (door["state"], door["error_code"]) == ("failed", "model_quarantined")
        assert door["error"].startswith("SSD MobileNetV2 COCO crashed its engine 3 times in a row")
        assert [item["model"] for item in status["quarantined"]] == [DEFAULT_MODEL]
        refused = await hub.look("door", street)
        assert refused["code"] == "model_quarantined"
        allowed = await hub.ask("allow_model", model=DEFAULT_MODEL)
        assert allowed["quarantined"] == []
        assert allowed["pipelines"][0]["state"] in ("loading", "ready")
        await hub.loaded(allowed)
        assert len((await hub.look("door", street))["objects"]) >= 2
