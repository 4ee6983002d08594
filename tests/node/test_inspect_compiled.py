"""Your own models for accelerators: Edge TPU and Hailo. This was not run on such devices.

The package of Hailo is a simulation, which the processes of the workers import, too.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.errors import ModelError
from edge_vision_node.library.uploads import Uploads
from edge_vision_node.models.heads import build_head
from edge_vision_node.models.store import SELF_TEST_PICTURE, ModelStore
from edge_vision_node.workers import pool

from tests.pictures import needs_test_data

from .inspection import MODELS, Bench
from .test_cli import run
from .test_engine_hailort import IMITATED
from .tflite_files import ssd_for_edge_tpu

NO_EDGE_TPU = (
    "It is compiled for an Edge TPU and runs on nothing else, and there is none here; connect one,"
    " or use the file for the CPU"
)


# --- Edge TPU -------------------------------------------------------------------------------------


@needs_test_data
@pytest.mark.parametrize(
    ("name", "task", "family", "side"),
    [
        ("movenet_single_pose_lightning_ptq_edgetpu", "pose", "movenet", 192),
        ("mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu", "embedding", "embedding", 224),
    ],
)
async def test_a_model_for_the_edge_tpu_is_recognised_without_one(
    bench: Bench, name: str, task: str, family: str, side: int
) -> None:
    found = await bench.look(MODELS / f"{name}.tflite", save_as="mine")
    assert found.problem == NO_EDGE_TPU
    assert found.saved is None
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == (task, family)
    manifest = found.proposal.manifest
    assert (manifest["input"]["width"], manifest["engines"]["litert"]["dtype"]) == (side, "uint8")


@needs_test_data
async def test_an_object_detector_for_the_edge_tpu_is_recognised_without_one(
    bench: Bench,
) -> None:
    path = bench.folder / "ssd_mobilenet_v2_coco_quant_postprocess_edgetpu.tflite"
    ssd_for_edge_tpu(path)
    found = await bench.look(path)
    assert found.problem == NO_EDGE_TPU
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == ("detection", "ssd_postprocess")
    assert found.proposal.labels == ModelStore().get(None).labels
    labelled = await bench.look(path, labels=MODELS / "coco_labels.txt")
    assert labelled.proposal is not None
    assert labelled.proposal.labels == found.proposal.labels
    assert labelled.proposal.manifest["head"] == found.proposal.manifest["head"]
    result = run("inspect", path, status=1)
    assert "detection, read as ssd_postprocess" in result.stdout
    assert NO_EDGE_TPU in result.stderr


# --- Hailo ----------------------------------------------------------------------------------------

HEF = b"\x01HEF and what Hailo's compiler made"
# The example in docs/models.md has the same keys.
DESCRIPTION: dict[str, Any] = {
    "name": "Three things",
    "task": "detection",
    "input": {"width": 48, "height": 32},
    "inputs": ["net/input_layer1"],
    "outputs": ["net/nms"],
    "head": {"type": "end_to_end", "classes": 3, "normalised": True},
    "labels": ["nut", "bolt", "washer"],
}


def zipped(folder: Path, description: dict[str, Any] | None = None, name: str = "nms.hef") -> Path:
    path = folder / "model.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, HEF)
        file.writestr("model.json", json.dumps(DESCRIPTION | (description or {})))
    return path


@pytest.fixture
async def hailo(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An inspector with a simulated Hailo accelerator in this process and its children."""
    monkeypatch.syspath_prepend(str(IMITATED))
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(IMITATED), inherited))))
    bench.workers._engines = (await pool._describe_alone("hailort"),)
    return bench


async def test_a_hailo_model_with_its_description_is_tried_saved_and_used(hailo: Bench) -> None:
    found = await hailo.look(zipped(hailo.folder), save_as="things")
    assert found.problem is None
    assert (found.format, found.engine, found.accelerator) == ("Hailo HEF", "hailort", "hailo:0")
    assert found.proposal is not None
    assert found.proposal.reasons == ("As specified in its model.json",)
    assert found.findings is not None
    assert [(item.label, item.confidence) for item in found.findings.objects] == [
        ("nut", 90.0),
        ("washer", 50.0),
        ("washer", 40.0),
    ]
    model = hailo.store.get("things")
    assert model.manifest.name == "Three things"
    assert sorted(path.name for path in model.folder.iterdir()) == [
        "labels.txt",
        "model.json",
        "nms.hef",
    ]
    place = await hailo.workers.choose(model, None, None)
    result = await hailo.workers.lane(place).run(
        "door", place, SELF_TEST_PICTURE.read_bytes(), 60.0, ()
    )
    assert [item.label for item in result.findings.objects] == ["nut"]


async def test_the_worked_example_of_the_docs_is_one(bench: Bench) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    example = json.loads(re.findall(r"```json\n(.*?)```", docs, re.DOTALL)[0])
    path = bench.folder / "yolov8s.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("yolov8s.hef", HEF)
        file.writestr("model.json", json.dumps(example))
    found = await bench.look(path)
    assert found.proposal is not None
    assert found.proposal.labels == ModelStore().get(None).labels
    assert found.proposal.manifest["name"] == "YOLOv8s on Hailo-8L"
    head, size = found.proposal.manifest["head"], found.proposal.manifest["input"]
    rows = np.array([[[0.1, 0.2, 0.5, 0.6, 0.9, 16]]], np.float32)
    result = build_head(head, (size["width"], size["height"]))([rows], 0.5)
    assert isinstance(result, Detections)
    assert found.proposal.labels[result.class_ids[0]] == "dog"


async def test_files_side_by_side_do_as_well(hailo: Bench) -> None:
    folder = hailo.folder / "export"
    folder.mkdir()
    (folder / "nms.hef").write_bytes(HEF)
    (folder / "nms.json").write_text(json.dumps({**DESCRIPTION, "labels": []}))
    (folder / "labels.txt").write_text("a\nb\nc\n")
    found = await hailo.look(folder)
    assert found.problem is None
    assert found.proposal is not None
    assert found.proposal.labels == ("a", "b", "c")
    alone = await hailo.look(folder / "nms.hef", corrections={"input.colour": "BGR"})
    assert alone.proposal is not None
    assert alone.proposal.manifest["input"]["colour"] == "BGR"
    assert alone.proposal.labels == ("class 0", "class 1", "class 2")


async def test_an_upload_of_both_files_does_as_well(bench: Bench) -> None:
    uploads = Uploads(bench.folder / "uploads")
    upload = uploads.append(None, "yolo.hef", 0, HEF).upload
    uploads.append(upload, "model.json", 0, json.dumps(DESCRIPTION).encode())
    path, labels = uploads.find(upload, None)
    assert (path.name, labels) == ("yolo.hef", None)
    found = await bench.look(path)
    assert found.proposal is not None
    assert found.proposal.labels == ("nut", "bolt", "washer")


async def test_a_name_that_the_file_has_not_is_told_with_those_it_has(hailo: Bench) -> None:
    found = await hailo.look(zipped(hailo.folder, {"outputs": ["net/other"]}), save_as="things")
    assert found.problem is not None
    assert "has no net/other; the file has net/input_layer1, net/nms" in found.problem
    assert found.saved is None


async def test_without_a_hailo_accelerator_it_is_described_and_not_tried(bench: Bench) -> None:
    found = await bench.look(zipped(bench.folder))
    assert found.problem is not None
    assert "It was not tested:" in found.problem
    assert "hailo_platform" in found.problem or "found no Hailo" in found.problem
    assert found.proposal is not None
    assert found.proposal.labels == ("nut", "bolt", "washer")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": []}, "must name one input and at least one output"),
        ({"outputs": "net/nms"}, "outputs: a list was expected"),
        ({"engines": {}}, "has engines; supported keys are task, input, head, inputs"),
        ({"dtype": "int8"}, 'the dtype "uint8" or "float32"'),
        ({"input": {"width": 48}}, "input.height is missing"),
        ({"input": {"width": 48, "height": 32, "scale": [0, 1, 1]}}, "three numbers"),
    ],
)
async def test_a_description_that_makes_no_sense_says_why(
    bench: Bench, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        await bench.look(zipped(bench.folder, change))


async def test_a_hailo_model_alone_or_damaged_says_what_is_wanted(bench: Bench) -> None:
    path = bench.folder / "m.hef"
    path.write_bytes(HEF)
    with pytest.raises(ModelError, match=r"add a model\.json that names its tensors"):
        await bench.look(path)
    (bench.folder / "m.json").write_text("[")
    with pytest.raises(ModelError, match=r"m\.json does not describe a Hailo model"):
        await bench.look(path)
    (bench.folder / "m.json").write_text(json.dumps(DESCRIPTION))
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match="does not start like a Hailo model"):
        await bench.look(path)
