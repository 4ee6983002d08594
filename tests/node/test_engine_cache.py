"""Compiled engines are kept per model, engine and device, and never keep a model from loading."""

from __future__ import annotations

from pathlib import Path

import pytest
from edge_vision_node.engines.base import with_cache
from edge_vision_node.errors import ModelError
from edge_vision_node.models.store import ModelStore


def test_each_place_has_its_folder(tmp_path: Path) -> None:
    places = ["onnxruntime-1.32.0-tensorrt:0", "onnxruntime-1.32.0-tensorrt:1"]
    folders = {with_cache(tmp_path / "ssd", place, lambda folder: folder) for place in places}
    assert len(folders) == 2
    assert all(folder is not None and folder.is_dir() for folder in folders)


def test_a_model_s_folder_changes_with_its_files(tmp_path: Path) -> None:
    model = ModelStore().get(None)
    folders = {model.files(engine, tmp_path).cache for engine in ("onnxruntime", "ncnn")}
    assert len(folders) == 2
    assert {folder.parent for folder in folders if folder} == {tmp_path}
    assert model.files("onnxruntime").cache is None


def test_a_compiled_engine_that_is_refused_is_made_anew(tmp_path: Path) -> None:
    def load(folder: Path | None) -> str:
        assert folder is not None
        if (folder / "engine").exists():
            raise ModelError("made by another driver")
        (folder / "engine").touch()
        return "loaded"

    assert with_cache(tmp_path, "x", load) == "loaded"
    assert with_cache(tmp_path, "x", load) == "loaded"


def test_a_model_that_fails_without_a_compiled_engine_fails_once(tmp_path: Path) -> None:
    tries = []

    def load(folder: Path | None) -> None:
        tries.append(folder)
        raise ModelError("damaged")

    with pytest.raises(ModelError, match="damaged"):
        with_cache(tmp_path, "x", load)
    assert len(tries) == 1


def test_a_folder_that_cannot_be_written_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert with_cache(tmp_path / "file", "x", lambda folder: folder) is None
    assert "No compiled engines are kept" in caplog.text
