"""Manifests and the store: only files with the digests of a manifest are loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.engines import describe_engines
from edge_vision_node.errors import (
    AcceleratorError,
    EngineMissingError,
    InferenceError,
    ModelError,
    UnknownModelError,
)
from edge_vision_node.inference.runner import Runner, default_engine
from edge_vision_node.models.manifest import load_model
from edge_vision_node.models.store import BUNDLED, DEFAULT_MODEL, ModelStore

# The engines that run the default model here.
ENGINES_HERE = [
    engine.id
    for engine in describe_engines()
    if engine.version and engine.id in ModelStore().get(None).manifest.engines
]

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the default model that tests can damage."""
    return Path(shutil.copytree(BUNDLED / DEFAULT_MODEL, tmp_path / "models" / "copy"))


def change(folder: Path, how: Change) -> None:
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    how(manifest)
    path.write_text(json.dumps(manifest))


def test_the_default_model_is_whole_for_every_engine() -> None:
    model = ModelStore().get(None)
    assert model.id == DEFAULT_MODEL
    assert len(model.labels) == 80
    assert {"person", "dog", "cat", "car"} <= set(model.labels)
    for engine in model.manifest.engines:
        assert all(path.is_file() for path in model.files(engine).paths.values())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a model manifest"),
        ("[]", "an object was expected"),
        ('{"schema": 1}', "id is missing"),
        ("[" * 50_000, "not a model manifest"),
    ],
)
def test_a_broken_manifest_says_so(folder: Path, text: str, reason: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelError, match=reason):
        load_model(folder)


def test_a_manifest_of_a_newer_schema_is_refused(folder: Path) -> None:
    change(folder, lambda m: m.update(schema=2))
    with pytest.raises(ModelError, match="schema 2"):
        load_model(folder)


def test_a_changed_byte_is_noticed_before_an_engine_sees_the_file(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(folder).files("onnxruntime")


def test_a_file_cut_short_is_noticed(folder: Path) -> None:
    path = folder / "model.ncnn.bin"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder).files("ncnn")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: No such file"):
        load_model(folder).files("onnxruntime")


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "sub/../../x", ".."])
def test_a_path_cannot_leave_the_folder(folder: Path, path: str) -> None:
    change(folder, lambda m: m["engines"]["onnxruntime"]["files"]["model"].update(path=path))
    with pytest.raises(ModelError, match="outside"):
        load_model(folder).files("onnxruntime")


def test_a_link_cannot_leave_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    with pytest.raises(ModelError, match="outside"):
        load_model(folder).files("onnxruntime")


def test_a_damaged_model_is_left_out_and_the_others_stay(folder: Path) -> None:
    (folder / "model.json").write_text("{}")
    store = ModelStore([folder.parent])
    assert list(store.models) == [DEFAULT_MODEL]
    assert "missing" in store.damaged[folder]


def test_an_unknown_model_names_those_that_are_there() -> None:
    with pytest.raises(UnknownModelError, match=DEFAULT_MODEL):
        ModelStore().get("nonsense")


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_a_file_that_is_no_model_is_a_clear_error(folder: Path, engine: str) -> None:
    def rubbish(manifest: dict[str, Any]) -> None:
        import hashlib

        for spec in manifest["engines"][engine]["files"].values():
            data = b"7767517\nrubbish\n" * 20
            (folder / spec["path"]).write_bytes(data)
            spec.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    change(folder, rubbish)
    with pytest.raises((ModelError, InferenceError), match=r"cannot load|failed|no input"):
        Runner(load_model(folder), engine)


def test_a_model_for_an_unknown_task_is_refused(folder: Path) -> None:
    change(folder, lambda m: m.update(task="fortune telling"))
    with pytest.raises(ModelError, match="fortune telling"):
        load_model(folder)


def test_an_engine_that_the_model_has_no_files_for_names_those_it_has(folder: Path) -> None:
    change(folder, lambda m: m["engines"].pop("ncnn"))
    with pytest.raises(EngineMissingError, match="it runs on onnxruntime"):
        Runner(load_model(folder), "ncnn")


def test_without_a_usable_engine_the_reasons_are_told(folder: Path) -> None:
    change(folder, lambda m: m.update(engines={}))
    with pytest.raises(EngineMissingError, match=r"no files for (ONNX Runtime|ncnn)"):
        default_engine(load_model(folder))


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_an_accelerator_that_is_not_here_is_an_error_not_the_cpu(engine: str) -> None:
    with pytest.raises(AcceleratorError, match="cuda:0"):
        Runner(ModelStore().get(None), engine, "cuda:0")


def test_an_unknown_label_is_named() -> None:
    runner = Runner(ModelStore().get(None))
    with pytest.raises(ModelError, match="unicorn"):
        runner.class_ids(("person", "unicorn"))


def test_a_runner_that_was_closed_says_so() -> None:
    runner = Runner(ModelStore().get(None))
    runner.close()
    with pytest.raises(InferenceError, match="unloaded"):
        runner.infer(None)  # type: ignore[arg-type]  # never reached
