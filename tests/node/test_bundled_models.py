"""The included files are complete, small enough, and described by their manifests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

BUNDLED = (
    Path(__file__).parents[2] / "custom_components/edge_vision/node/edge_vision_node/models/bundled"
)
MODELS = sorted(path.parent for path in BUNDLED.glob("*/model.json"))
MAX_FILE_BYTES = 12_000_000
MAX_PICTURE_BYTES = 60 * 1024

pytestmark = pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "model.json").read_text("utf-8"))
    return manifest


def _files(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    engines = manifest["engines"].values()
    return [manifest["labels"], *(file for engine in engines for file in engine["files"].values())]


def test_manifest_has_the_fields_of_its_schema(folder: Path) -> None:
    manifest = _manifest(folder)
    assert manifest["schema"] == 1
    assert manifest["id"] == folder.name
    for key in ("version", "name", "license", "source"):
        assert isinstance(manifest[key], str) and manifest[key]
    assert manifest["task"] == "detection"
    assert set(manifest["engines"]) == {"onnxruntime", "openvino", "ncnn"}
    image = manifest["input"]
    assert image["width"] > 0 and image["height"] > 0
    assert image["layout"] in ("NHWC", "NCHW") and image["colour"] in ("RGB", "BGR")
    assert len(image["mean"]) == len(image["scale"]) == 3
    for engine in manifest["engines"].values():
        assert engine["files"] and engine["inputs"] and engine["outputs"]


def test_every_file_has_the_size_and_checksum_of_the_manifest(folder: Path) -> None:
    for entry in _files(_manifest(folder)):
        data = (folder / entry["path"]).read_bytes()
        assert len(data) == entry["size"], entry["path"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["path"]


def test_every_file_is_in_the_manifest_and_small_enough_to_ship(folder: Path) -> None:
    named = {entry["path"] for entry in _files(_manifest(folder))}
    assert {path.name for path in folder.iterdir()} == named | {"model.json"}
    for path in folder.iterdir():
        assert path.stat().st_size <= MAX_FILE_BYTES, path.name


def test_labels_are_the_80_of_coco_in_order_of_category_id(folder: Path) -> None:
    labels = (folder / "labels.txt").read_text("utf-8").splitlines()
    ids = _manifest(folder)["head"]["class_ids"]
    assert len(labels) == len(set(labels)) == len(ids) == 80
    assert ids == sorted(set(ids)) and (ids[0], ids[-1]) == (1, 90)
    by_id = dict(zip(ids, labels, strict=True))
    assert (by_id[1], by_id[18], by_id[62], by_id[90]) == ("person", "dog", "chair", "toothbrush")


def test_the_self_test_picture_is_the_expected_one_and_its_labels_exist(folder: Path) -> None:
    expected = json.loads((BUNDLED / "selftest.json").read_text("utf-8"))
    picture = (BUNDLED / expected["image"]).read_bytes()
    assert hashlib.sha256(picture).hexdigest() == expected["sha256"]
    assert len(picture) <= MAX_PICTURE_BYTES
    labels = (folder / "labels.txt").read_text("utf-8").splitlines()
    assert expected["expect"]
    for want in expected["expect"]:
        assert want["label"] in labels
        assert want["min_count"] >= 1 and 0 < want["min_confidence"] <= 100
