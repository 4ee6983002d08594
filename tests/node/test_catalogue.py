"""The catalog and its installation: complete, pinned, installed entirely or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node import engines
from edge_vision_node.errors import DownloadError, ModelError, UnknownModelError
from edge_vision_node.library.catalogue import Catalogue, FileSource, catalogue
from edge_vision_node.library.download import DownloadLimits
from edge_vision_node.library.install import Installer, Step, detector_of
from edge_vision_node.library.manager import describe
from edge_vision_node.library.registry_packages import fetch_member
from edge_vision_node.models.heads import build_head
from edge_vision_node.models.store import BUNDLED, DEFAULT_MODEL, ModelStore
from edge_vision_node.system import System
from yarl import URL

from tests.pictures import TEST_DATA, needs_test_data

MIRROR = TEST_DATA / "models"
QUICK = DownloadLimits(connect_s=2, silence_s=2, attempts=1, pause_s=0.01)
NOWHERE = "https://nowhere.invalid/model.onnx"
_ORIGINS = ("github.com", "raw.githubusercontent.com", "storage.googleapis.com")
# Their files are in a package that is too large to download in a test.
IN_THE_MIRROR = (
    "fastestdet",
    "mobilenet_v1_embedding",
    "mobilenet_v2_imagenet",
    "movenet_lightning",
    "ssd_mobilenet_v1_coco",
    "ssd_mobilenet_v2_coco_quant",
    "yolox_nano",
)


@pytest.fixture(autouse=True)
def allow_loopback(socket_enabled: None) -> None:
    """The test plugin of Home Assistant forbids sockets unless a test requests them."""


def make_catalogue(folder: Path, **changes: Any) -> Catalogue:
    """Make a catalog with one model: the bundled one with another name, for ONNX Runtime."""
    entry = folder / "street"
    entry.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((BUNDLED / DEFAULT_MODEL / "model.json").read_text())
    del manifest["engines"]["ncnn"]
    manifest.update(id="street", **changes)
    (entry / "model.json").write_text(json.dumps(manifest))
    shutil.copyfile(BUNDLED / DEFAULT_MODEL / "labels.txt", entry / "labels.txt")
    source = {"summary": "For tests.", "files": {"model.onnx": [{"kind": "url", "url": NOWHERE}]}}
    (entry / "source.json").write_text(json.dumps(source))
    return Catalogue(folder)


class Home:
    """A data folder with a catalog and a mirror of its only model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.models = path / "data" / "models"
        self.mirror = path / "mirror"
        self.mirror.mkdir()
        shutil.copyfile(BUNDLED / DEFAULT_MODEL / "model.onnx", self.mirror / "model.onnx")
        self.store = ModelStore([self.models])

    def installer(self, mirror: bool = True, **changes: Any) -> Installer:
        entries = make_catalogue(self.path / "catalogue", **changes)
        place = self.mirror if mirror else None
        return Installer(self.store, self.models, place, entries, QUICK)

    @property
    def left(self) -> list[str]:
        """The temporary files of an installation."""
        return [str(path) for path in (self.models / ".staging").glob("*")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# --- The catalogue that comes along -----------------------------------------------------------


def test_every_entry_is_complete_licensed_and_has_a_head() -> None:
    entries = catalogue().entries
    folders = {
        path.parent.name for path in BUNDLED.parents[1].glob("library/catalogue/*/model.json")
    }
    assert set(entries) == folders
    for entry in entries.values():
        manifest = entry.manifest
        assert manifest.license in {"Apache-2.0", "BSD-3-Clause", "MIT"}, entry.id
        assert entry.sources.summary.endswith("."), entry.id
        assert build_head(manifest.head, (manifest.input.width, manifest.input.height))
        if manifest.head["type"] == "landmarks":
            assert manifest.crops is not None, entry.id
            detector = entries[manifest.crops.detector].manifest
            points = max(manifest.crops.start, manifest.crops.end)
            assert len(detector.keypoints) > points
            assert set(manifest.engines) <= set(detector.engines)


def test_what_the_catalogue_is_for_is_there() -> None:
    tasks: dict[str, set[str]] = {}
    for entry in catalogue().entries.values():
        tasks.setdefault(entry.manifest.task, set()).add(entry.id)
    assert {"detection", "classification", "pose", "face", "embedding"} <= tasks.keys()
    assert any(entry.sources.recommended for entry in catalogue().entries.values())
    assert any(
        "edgetpu" in engine.files
        for entry in catalogue().entries.values()
        for engine in entry.manifest.engines.values()
    )


@pytest.mark.parametrize(
    ("system", "runs", "not_there"),
    [
        (System("Linux", "x86_64", "glibc"), {"yolox_nano", "movenet_lightning"}, set()),
        (System("Linux", "aarch64", "glibc"), {"yolox_nano", "movenet_lightning"}, set()),
        (
            System("Linux", "x86_64", "musl"),
            {"movenet_lightning", "face_landmark", "selfie_segmentation"},
            {"yolox_nano", "fastestdet", "blazepose_landmark_full"},
        ),
        (System("Linux", "armv7l", "glibc"), set(), {"yolox_nano", "movenet_lightning"}),
    ],
)
def test_what_cannot_run_on_a_system_is_told_before_it_is_chosen(
    monkeypatch: pytest.MonkeyPatch, system: System, runs: set[str], not_there: set[str]
) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda _: False)
    entries = catalogue().entries.values()
    reasons = {entry.id: describe(entry, ModelStore(), system).unavailable for entry in entries}
    assert all(reasons[model_id] is None for model_id in runs)
    assert not_there <= {model_id for model_id, reason in reasons.items() if reason}
    if not_there:
        assert reasons["yolox_nano"] == (
            "it needs ONNX Runtime or OpenVINO, which cannot be installed on this system"
            f" (Linux {system.machine} with {system.libc})"
        )
    # An engine that was installed in any other way is enough.
    monkeypatch.setattr(engines, "is_installed", lambda engine: engine == "onnxruntime")
    assert describe(catalogue().get("yolox_nano"), ModelStore(), system).unavailable is None


def test_files_that_come_along_are_those_the_manifest_names() -> None:
    for entry in catalogue().entries.values():
        for name, spec in entry.files.items():
            path = entry.folder / name
            if path.is_file():
                data = path.read_bytes()
                assert hashlib.sha256(data).hexdigest() == spec.sha256, path
                assert len(data) == spec.size <= 12_000_000, path


def test_no_registry_is_named_and_every_address_is_pinned() -> None:
    """A package is specified by registry, name and version; its client selects the server."""
    for entry in catalogue().entries.values():
        for places in entry.sources.files.values():
            for place in places:
                if place.url is not None:
                    url = URL(place.url)
                    assert url.scheme == "https"
                    assert url.host in _ORIGINS
                    # A branch changes, so the digest of its files will change, too.
                    if url.host == "raw.githubusercontent.com":
                        assert re.fullmatch(r"[0-9a-f]{40}", url.parts[3]), place.url
                else:
                    assert place.version
                    assert len(place.archive_sha256 or "") == 64


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"kind": "url", "url": "http://x.invalid/m"}, "a digest"),
        ({"kind": "url", "url": NOWHERE, "member": "m.onnx"}, "a digest"),
        ({"kind": "package", "registry": "pypi", "name": "x", "version": "1"}, "a digest"),
        ({"kind": "pigeon"}, "a digest"),
        ({}, "kind is missing"),
    ],
)
def test_a_source_that_is_not_pinned_is_refused(
    tmp_path: Path, source: dict[str, str], reason: str
) -> None:
    make_catalogue(tmp_path)
    document = {"summary": "x", "files": {"model.onnx": [source]}}
    (tmp_path / "street" / "source.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=reason):
        Catalogue(tmp_path)


# --- Installing -------------------------------------------------------------------------------


async def test_a_model_is_installed_from_a_mirror_and_used(home: Home) -> None:
    steps: list[Step] = []
    model = await home.installer().install("street", steps.append)
    assert model is home.store.get("street")
    assert model.folder == home.models / "street" / "1.0.0"
    assert model.files("onnxruntime").paths["model"].is_file()
    assert steps[-1].done_bytes == steps[-1].total_bytes == 9037598
    assert home.left == []
    assert ModelStore([home.models]).get("street").manifest == model.manifest


async def test_a_model_brings_along_the_one_that_finds_what_it_looks_at(home: Home) -> None:
    entries = make_catalogue(home.path / "catalogue")
    folder = home.path / "catalogue" / "marked"
    shutil.copytree(entries.get("street").folder, folder)
    manifest = json.loads((folder / "model.json").read_text())
    crops = {"detector": "street", "start": 0, "end": 1, "angle": 0, "scale": 1.5}
    head = {"type": "landmarks", "points": 2}
    manifest.update(id="marked", task="face", head=head, crops=crops)
    (folder / "model.json").write_text(json.dumps(manifest))
    entries = Catalogue(home.path / "catalogue")
    installer = Installer(home.store, home.models, home.mirror, entries, QUICK)
    assert detector_of(entries.get("marked"), home.store, entries) is entries.get("street")
    model = await installer.install("marked")
    assert model.detector is home.store.get("street")
    assert detector_of(entries.get("marked"), home.store, entries) is None
    assert home.left == []


async def test_who_asks_twice_gets_the_same_installation(home: Home) -> None:
    installer = home.installer()
    first, second = await asyncio.gather(installer.install("street"), installer.install("street"))
    assert first is second


async def test_an_earlier_version_stays_to_go_back_to(home: Home) -> None:
    await home.installer().install("street")
    model = await home.installer(version="1.1.0").install("street")
    assert model.manifest.version == "1.1.0"
    assert home.store.get("street").manifest.version == "1.1.0"
    assert sorted(path.name for path in (home.models / "street").iterdir()) == [
        "1.0.0",
        "1.1.0",
        "current",
    ]
    # Only one file has to be changed to go back.
    (home.models / "street" / "current").write_text("1.0.0\n")
    assert ModelStore([home.models]).get("street").manifest.version == "1.0.0"


async def test_installing_again_mends_a_damaged_model(home: Home) -> None:
    model = await home.installer().install("street")
    (model.folder / "model.onnx").write_bytes(b"damaged")
    model = await home.installer().install("street")
    assert model.files("onnxruntime")
    assert home.left == []


async def test_without_network_or_mirror_the_reason_is_told_and_nothing_is_left(
    home: Home,
) -> None:
    with pytest.raises(
        DownloadError, match=r"cannot be downloaded: Downloading from nowhere\.invalid failed"
    ):
        await home.installer(mirror=False).install("street")
    assert home.left == []
    assert not (home.models / "street").exists()


async def test_a_mirror_with_another_file_is_not_believed(home: Home) -> None:
    (home.mirror / "model.onnx").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        await home.installer().install("street")
    assert home.left == []


async def test_where_one_source_is_gone_the_next_is_tried(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may then be another export of the same model: the manifest has its digest."""
    data = (BUNDLED / DEFAULT_MODEL / "model.onnx").read_bytes()
    wheel = make_wheel(tmp_path / "wheels", {"tiny_model/model.onnx": data})
    installer = home.installer(mirror=False)
    package = package_source(wheel, "tiny_model/model.onnx")
    source = {
        "summary": "x",
        "files": {"model.onnx": [{"kind": "url", "url": NOWHERE, "sha256": "0" * 64}, package]},
    }
    (tmp_path / "catalogue" / "street" / "source.json").write_text(json.dumps(source))
    use_only(wheel.parent, monkeypatch)
    entries = Catalogue(tmp_path / "catalogue")
    installer = Installer(home.store, home.models, None, entries, QUICK)
    assert (await installer.install("street")).files("onnxruntime")


async def test_an_installation_that_is_cut_off_leaves_nothing_in_use(home: Home) -> None:
    scrap = home.models / ".staging" / "01"
    scrap.mkdir(parents=True)
    shutil.copytree(BUNDLED / DEFAULT_MODEL, scrap / "street")
    assert "street" not in ModelStore([home.models]).models
    home.installer().sweep()
    assert home.left == []


@pytest.mark.parametrize("version", ["../x", "", ".", "a/b", "x" * 40])
async def test_a_version_cannot_leave_the_folder(home: Home, version: str) -> None:
    with pytest.raises(ModelError, match="letters, digits"):
        await home.installer(version=version).install("street")
    assert home.left == []
    assert not (home.models / "street").exists()


async def test_removing(home: Home) -> None:
    installer = home.installer()
    await installer.install("street")
    await installer.remove("street")
    assert "street" not in home.store.models
    assert not (home.models / "street").exists()
    assert home.left == []
    with pytest.raises(UnknownModelError, match="No model 'street'"):
        await installer.remove("street")
    with pytest.raises(ModelError, match="is included with Edge Vision and cannot be removed"):
        await installer.remove(DEFAULT_MODEL)


async def test_an_unknown_model_names_those_there_are(home: Home) -> None:
    with pytest.raises(UnknownModelError, match="it has street"):
        await home.installer().install("../../etc")


@needs_test_data
@pytest.mark.parametrize("model_id", IN_THE_MIRROR)
async def test_a_catalogue_model_installs_from_the_test_data(tmp_path: Path, model_id: str) -> None:
    store = ModelStore([tmp_path])
    model = await Installer(store, tmp_path, MIRROR, limits=QUICK).install(model_id)
    for engine in model.manifest.engines:
        assert model.files(engine).paths
    assert not any((tmp_path / ".staging").iterdir())


# --- Packages ---------------------------------------------------------------------------------


def make_wheel(folder: Path, files: dict[str, bytes]) -> Path:
    """Make a wheel that is as small as possible."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        wheel.writestr(f"{info}/RECORD", record)
    return path


def package_source(wheel: Path, member: str) -> dict[str, str]:
    return {
        "kind": "package",
        "registry": "pypi",
        "name": "tiny-model",
        "version": "1.0",
        "python": "3.12",
        "platform": "manylinux_2_17_x86_64",
        "member": member,
        "archive_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
    }


def use_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let package clients only use a folder."""
    for name, value in (
        ("UV_FIND_LINKS", str(folder)),
        ("UV_NO_INDEX", "1"),
        ("UV_OFFLINE", "1"),
        ("PIP_FIND_LINKS", str(folder)),
        ("PIP_NO_INDEX", "1"),
    ):
        monkeypatch.setenv(name, value)


async def test_a_member_of_a_package_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "wheels", {"tiny_model/m.tflite": b"weights"})
    use_only(wheel.parent, monkeypatch)
    (tmp_path / "out").mkdir()
    source = package_source(wheel, "tiny_model/m.tflite")
    await fetch_member(FileSource(**source), tmp_path / "out" / "m.tflite")
    assert (tmp_path / "out" / "m.tflite").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.tflite"]


async def test_a_member_may_be_an_archive_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as packed:
        packed.writestr("fs/m.tflite", b"weights")
    wheel = make_wheel(tmp_path / "wheels", {"tiny_model/plugin.zip": inside.getvalue()})
    use_only(wheel.parent, monkeypatch)
    (tmp_path / "out").mkdir()
    source = FileSource(**package_source(wheel, "tiny_model/plugin.zip"))
    target = tmp_path / "out" / "m.tflite"
    await fetch_member(replace(source, inner="fs/m.tflite"), target)
    assert target.read_bytes() == b"weights"
    with pytest.raises(ModelError, match="has no fs/other"):
        await fetch_member(replace(source, inner="fs/other.tflite"), target)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.tflite"]


async def test_a_package_of_another_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "wheels", {"tiny_model/m.tflite": b"weights"})
    source = {**package_source(wheel, "tiny_model/m.tflite"), "archive_sha256": "0" * 64}
    use_only(wheel.parent, monkeypatch)
    (tmp_path / "out").mkdir()
    with pytest.raises(DownloadError, match="The package cannot be downloaded"):
        await fetch_member(FileSource(**source), tmp_path / "out" / "m.tflite")
    assert not any((tmp_path / "out").iterdir())
