"""Compiled engines are cached per model, engine and device, and never prevent loading."""

from __future__ import annotations

from pathlib import Path

import pytest
from edge_vision_node.engines.base import with_cache
from edge_vision_node.errors import AcceleratorError, ModelError
from edge_vision_node.models.store import ModelStore

ORT = ("onnxruntime", "1.32.0")


def test_each_place_has_its_folder(tmp_path: Path) -> None:
    places = ["tensorrt:0", "tensorrt:1"]
    folders = {with_cache(tmp_path / "ssd", ORT, place, lambda folder: folder) for place in places}
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

    assert with_cache(tmp_path, ORT, "x", load) == "loaded"
    assert with_cache(tmp_path, ORT, "x", load) == "loaded"


def test_a_compiled_engine_outlives_a_failure_that_has_nothing_to_do_with_it(
    tmp_path: Path,
) -> None:
    """For example, another program may use all memory of the GPU for a moment."""
    free = True

    def load(folder: Path | None) -> str:
        assert folder is not None
        if not free:
            (folder / "partial").touch()
            raise AcceleratorError("out of memory")
        if not (folder / "engine").exists():
            (folder / "engine").write_text("compiled for a quarter of an hour")
            return "compiled"
        return "loaded"

    assert with_cache(tmp_path, ORT, "cuda:0", load) == "compiled"
    free = False
    with pytest.raises(AcceleratorError, match="out of memory"):
        with_cache(tmp_path, ORT, "cuda:0", load)
    free = True
    assert with_cache(tmp_path, ORT, "cuda:0", load) == "loaded"
    assert [path.name for path in tmp_path.iterdir()] == ["onnxruntime-1.32.0-cuda_0"]


def test_a_compiled_engine_outlives_the_end_of_the_process_in_the_middle_of_making_it_anew(
    tmp_path: Path,
) -> None:
    class Killed(BaseException):
        pass

    def load(folder: Path | None) -> None:
        assert folder is not None
        if not any(folder.iterdir()):
            (folder / "partial").touch()
            raise Killed
        raise AcceleratorError("out of memory")

    (tmp_path / "onnxruntime-1.32.0-cuda_0").mkdir()
    (tmp_path / "onnxruntime-1.32.0-cuda_0" / "engine").touch()
    with pytest.raises(Killed):
        with_cache(tmp_path, ORT, "cuda:0", load)
    folder = with_cache(tmp_path, ORT, "cuda:0", lambda folder: folder)
    assert folder is not None
    assert [path.name for path in folder.iterdir()] == ["engine"]


def test_what_another_version_compiled_goes_when_this_one_has_loaded(tmp_path: Path) -> None:
    for version, accelerator in (("1.31.0", "cuda:0"), ("1.31.0", "cuda:1"), ("1.32.0", "cuda:0")):
        with_cache(tmp_path, ("onnxruntime", version), accelerator, lambda folder: folder)
    with_cache(tmp_path, ("openvino", "2026.1"), "GPU", lambda folder: folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "onnxruntime-1.31.0-cuda_1",
        "onnxruntime-1.32.0-cuda_0",
        "openvino-2026.1-GPU",
    ]


def test_what_was_compiled_from_files_that_no_model_has_is_deleted(tmp_path: Path) -> None:
    store = ModelStore()
    kept = store.get(None).files("onnxruntime", tmp_path).cache
    assert kept is not None
    for folder in (kept, tmp_path / f"{store.get(None).id}-0123456789ab", tmp_path / "gone-0123"):
        (folder / "onnxruntime-1.32.0-cuda_0").mkdir(parents=True)
    store.prune(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
    store.prune(tmp_path / "nothing compiled yet")


def test_a_model_that_fails_without_a_compiled_engine_fails_once(tmp_path: Path) -> None:
    tries = []

    def load(folder: Path | None) -> None:
        tries.append(folder)
        raise ModelError("damaged")

    with pytest.raises(ModelError, match="damaged"):
        with_cache(tmp_path, ORT, "x", load)
    assert len(tries) == 1


def test_a_folder_that_cannot_be_written_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert with_cache(tmp_path / "file", ORT, "x", lambda folder: folder) is None
    assert "Compiled engines cannot be cached" in caplog.text
