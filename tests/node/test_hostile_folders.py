"""The node starts and provides intact models, no matter what is in its data folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.errors import ModelError
from edge_vision_node.library.install import Installer
from edge_vision_node.library.manager import ModelManager
from edge_vision_node.models.manifest import load_model
from edge_vision_node.models.store import DEFAULT_MODEL, ModelStore
from edge_vision_node.node import _node_id
from edge_vision_node.plain_files import open_plain, read_plain
from edge_vision_node.workers.pool import Workers

from tests.small_models import add_classification, relabel


def manifest(folder: Path, **changes: Any) -> None:
    """Change the manifest, possibly to invalid JSON."""
    document = json.loads((folder / "model.json").read_text())
    for key, value in changes.items():
        *path, last = key.split("__")
        place = document
        for part in path:
            place = place[part]
        place[last] = value
    (folder / "model.json").write_text(json.dumps(document).replace('"1e999"', "1e999"))


def replaced(make: Callable[[Path], object], name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def link(path: Path) -> None:
    target = path.parent.parent / f"outside {path.name}"
    target.write_bytes(b"x\n")
    path.symlink_to(target)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"{name} is a {kind}": (replaced(make, name), reason)
        for name in ("model.json", "labels.txt")
        for kind, make, reason in (
            ("pipe", os.mkfifo, "no plain file"),
            ("folder", Path.mkdir, "no plain file|directory"),
            ("link", link, "is a link"),
            ("link to itself", lambda path: path.symlink_to(path.name), "link"),
        )
    },
    "no JSON": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe"), "not a model manifest"),
    "deep": (lambda f: (f / "model.json").write_text("[" * 200_000), "not a model manifest"),
    "huge": (lambda f: (f / "model.json").write_text(" " * 5_000_000), "more than"),
    "NaN": (lambda f: manifest(f, head__x=float("nan")), "not a number"),
    "infinite": (lambda f: manifest(f, head__x="1e999"), "is too large"),
    "long number": (lambda f: (f / "model.json").write_text("9" * 5000), "not a model manifest"),
    "wide": (lambda f: manifest(f, input__width=10**12), "8192"),
    "wide beyond all": (lambda f: manifest(f, input__width=10**400), "too large|8192"),
    "no height": (lambda f: manifest(f, input__height=0), "8192"),
    "negative": (lambda f: manifest(f, input__height=-3), "8192"),
    "scale": (lambda f: manifest(f, input__scale=[1e30] * 3), "three numbers"),
    "two means": (lambda f: manifest(f, input__mean=[0, 0]), "three numbers"),
    "pad": (lambda f: manifest(f, input__pad=256), "0 to 255"),
    "colour": (lambda f: manifest(f, input__colour="CMYK"), "Unknown input colour"),
    "keypoints": (lambda f: manifest(f, keypoints=["x"] * 5000), "keypoints"),
    "labels not UTF-8": (lambda f: _labels(f, b"caf\xe9\n"), "not UTF-8"),
    "many labels": (lambda f: relabel(f, ["x"] * 60_000), "60000 labels"),
    "long path": (lambda f: manifest(f, labels__path="a" * 5000), "outside"),
    "NUL": (lambda f: manifest(f, labels__path="a\0b"), "outside"),
    "the folder itself": (lambda f: manifest(f, labels__path="."), "outside"),
    "surrogate": (lambda f: manifest(f, labels__path="a\ud800b"), "surrogates|No such|not Unicode"),
    **{
        f"id {value[:9]!r}": (lambda f, value=value: manifest(f, id=value), "model ID")
        for value in ("", ".", "..", "../../x", "a/b", "a\\b", "current", "a\0", "a\n", "x" * 65)
    },
    **{
        f"version {value[:9]!r}": (lambda f, value=value: manifest(f, version=value), "version")
        for value in ("", "..", "current", "Current", "current.tmp", "model.json", "1/2", "x" * 33)
    },
}


def _labels(folder: Path, content: bytes) -> None:
    relabel(folder, ["x" * (len(content) - 1)])
    (folder / "labels.txt").write_bytes(content)
    manifest(folder, labels__sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_model_is_left_out_and_says_why(tmp_path: Path, name: str) -> None:
    change, reason = DAMAGE[name]
    whole, damaged = tmp_path / "models", tmp_path / "models" / "bad"
    add_classification(whole)
    add_classification(tmp_path)
    (tmp_path / "colours").rename(damaged)
    manifest(damaged, id="bad")
    change(damaged)
    store = ModelStore([whole])
    assert set(store.models) == {DEFAULT_MODEL, "colours"}
    assert re.search(reason, store.damaged[damaged])
    assert len(store.damaged[damaged]) <= 500


@pytest.mark.parametrize("size", [None, 0])
def test_a_model_without_its_files_does_not_hide_the_one_that_comes_along(
    tmp_path: Path, size: int | None
) -> None:
    add_classification(tmp_path)
    folder = (tmp_path / "colours").rename(tmp_path / DEFAULT_MODEL)
    manifest(folder, id=DEFAULT_MODEL)
    assert ModelStore([tmp_path]).get(None).folder == folder  # an intact one does
    (folder / "model.onnx").unlink()
    if size is not None:
        (folder / "model.onnx").write_bytes(bytes(size))
    store = ModelStore([tmp_path])
    assert store.get(None).folder != folder
    assert "model.onnx" in store.damaged[folder]


def test_names_of_a_model_can_be_shown(tmp_path: Path) -> None:
    folder = tmp_path / add_classification(tmp_path)
    relabel(folder, ["a\x1b[2Jb", "", "\u202ec" * 200], name="Mine\n\x07" + "x" * 500)
    model = load_model(folder)
    assert model.labels[:2] == ("a [2Jb", "class 1") and len(model.labels[2]) <= 100
    assert model.manifest.name.startswith("Mine xxx") and len(model.manifest.name) == 80


@pytest.mark.parametrize(
    "version", ["current", "CURRENT", "current.tmp", "model.json", "..", "a/b"]
)
def test_a_version_that_the_folder_needs_itself_is_refused(tmp_path: Path, version: str) -> None:
    installer = Installer(ModelStore([tmp_path / "models"]), tmp_path / "models")
    staging = installer.stage()
    add_classification(tmp_path)
    for item in (tmp_path / "colours").iterdir():
        item.rename(staging / item.name)
    manifest(staging, version=version)
    with pytest.raises(ModelError, match="version"):
        installer.adopt(staging)
    assert not (tmp_path / "models" / "colours").exists()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda p: p.write_bytes(b"\xff" * 5000)])
def test_what_names_the_version_in_use_may_be_damaged(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    add_classification(tmp_path)
    folder = tmp_path / "models" / "colours"
    folder.mkdir(parents=True)
    (tmp_path / "colours").rename(folder / "1.0.0")
    make(folder / "current")
    assert "colours" in ModelStore([tmp_path / "models"]).models


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p.write_bytes(b"\xff\xfe\0"),
        lambda p: p.write_bytes(b""),
        lambda p: p.write_text("../../x"),
        lambda p: p.write_text("x" * 5000),
        Path.mkdir,
        os.mkfifo,
        lambda p: p.symlink_to("nowhere"),
        lambda p: p.symlink_to(p.name),
    ],
)
def test_a_damaged_id_is_made_anew(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "node_id"
    make(path)
    made = _node_id(path)
    assert len(made) == 26
    assert _node_id(path) == made


async def test_files_in_the_place_of_folders_stop_nothing(tmp_path: Path) -> None:
    for name in ("drop", "models", "cache", "uploads"):
        (tmp_path / name).write_text("x")
    store = ModelStore([tmp_path / "models"])
    manager = ModelManager(tmp_path, store, Workers())
    answer = await manager.catalogue()
    assert answer.dropped == () and answer.models
    await manager.close()


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    assert read_plain(path, 5) == read_plain(tmp_path / "link", 5) == b"12345"
    for odd, follow in ((tmp_path, True), (tmp_path / "pipe", True), (tmp_path / "link", False)):
        with pytest.raises(OSError, match=r"no plain file|is a link"):
            open_plain(odd, follow=follow)
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_plain(path, 4)
    with pytest.raises(OSError, match="null"):
        read_plain(Path("a\0b"), 4)
    with pytest.raises(OSError, match="no plain file"):
        read_plain(Path("/dev/zero"), 4)
