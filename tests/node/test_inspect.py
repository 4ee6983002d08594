"""Bring your own model: what a file shows, what is made of it, and what the user reads."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.engines import get_engine
from edge_vision_node.errors import EngineMissingError, ModelError
from edge_vision_node.models.formats import read_model_file
from edge_vision_node.models.inspection.clues import read_labels
from edge_vision_node.models.inspection.inspector import Inspector, Wish
from edge_vision_node.models.install import Installer
from edge_vision_node.models.store import BUNDLED, DEFAULT_MODEL, SELF_TEST_PICTURE, ModelStore
from edge_vision_node.models.trust import Trust
from edge_vision_node.protocol import EngineInfo, Inspection
from edge_vision_node.workers.pool import Workers
from PIL import Image

from tests.onnx_files import Tensor, onnx_file
from tests.pictures import TEST_DATA, needs_test_data

from .conftest import NodeProcess
from .test_cli import run, run_json

DEFAULT = BUNDLED / DEFAULT_MODEL
MODELS = TEST_DATA / "models"


def litert_is_here() -> bool:
    try:
        get_engine("litert").version()
    except EngineMissingError:
        return False
    return True


needs_litert = pytest.mark.skipif(not litert_is_here(), reason="LiteRT is not installed here")


@dataclass
class Bench:
    """A place to look at models."""

    folder: Path
    store: ModelStore
    workers: Workers
    inspector: Inspector

    async def look(self, path: Path, **wishes: Any) -> Inspection:
        wishes.setdefault("picture", SELF_TEST_PICTURE.read_bytes())
        inspection, self.jpeg = await self.inspector.inspect(Wish(path=path, **wishes))
        staging = self.folder / "models" / ".staging"
        assert not staging.exists() or not any(staging.iterdir())
        return inspection

    async def look_at(
        self, inputs: list[Tensor], outputs: list[Tensor], fill: float = 0.0, **more: Any
    ) -> Inspection:
        """Look at an ONNX model with some tensors."""
        path = self.folder / "mine.onnx"
        metadata, producer = more.pop("metadata", None), more.pop("producer", "tests")
        path.write_bytes(onnx_file(inputs, outputs, metadata, fill, producer))
        return await self.look(path, **more)


# Asking every engine what it can do takes a process each; once is enough for all tests.
_described: list[tuple[EngineInfo, ...]] = []


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    workers = Workers(trust=Trust(tmp_path))
    if not _described:
        _described.append(await workers.engines())
    workers._engines = _described[0]
    store = ModelStore([tmp_path / "models"])
    installer = Installer(store, tmp_path / "models")
    yield Bench(tmp_path, store, workers, Inspector(workers, installer))
    await workers.close()


def image(side: int = 640, *, nhwc: bool = False) -> Tensor:
    return ("images", (1, side, side, 3) if nhwc else (1, 3, side, side), "float32")


def out(*shape: int, name: str = "output0", dtype: str = "float32") -> Tensor:
    return (name, shape, dtype)


NAMES = {"names": "{0: 'nut', 1: 'bolt', 2: 'washer'}"}
ULTRALYTICS = {**NAMES, "task": "detect", "stride": "32", "imgsz": "[640, 640]"}


@pytest.mark.parametrize(
    ("side", "outputs", "metadata", "task", "family", "head"),
    [
        (640, [out(1, 8400, 85)], {}, "detection", "yolox", {"classes": 80}),
        (640, [out(1, 25200, 85)], {}, "detection", "yolov5", {"classes": 80}),
        (640, [out(1, 25200, 8)], NAMES, "detection", "yolov5", {"classes": 3}),
        (640, [out(1, 84, 8400)], {}, "detection", "yolov8", {"classes": 80}),
        (640, [out(1, 7, 8400)], ULTRALYTICS, "detection", "yolov8", {"classes": 3}),
        (320, [out(1, 7, 2100)], ULTRALYTICS, "detection", "yolov8", {"classes": 3}),
        (
            640,
            [out(1, 56, 8400)],
            {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[17, 3]"},
            "pose",
            "yolov8",
            {"classes": 1, "keypoints": 17},
        ),
        (640, [out(1, 300, 6)], ULTRALYTICS, "detection", "end_to_end", {"classes": 3}),
        (
            640,
            [out(1, 300, 57)],
            {"task": "pose", "names": "{0: 'person'}"},
            "pose",
            "end_to_end",
            {"keypoints": 17},
        ),
        (
            640,
            [out(1, 8400, 4, name="boxes"), out(1, 8400, 80, name="scores")],
            {},
            "detection",
            "yolo_nas",
            {"classes": 80},
        ),
        (
            640,
            [out(1, 300, 80, name="logits"), out(1, 300, 4, name="pred_boxes")],
            {},
            "detection",
            "detr",
            {"classes": 80},
        ),
        (
            560,
            [out(1, 300, 4, name="dets"), out(1, 300, 91, name="labels")],
            {},
            "detection",
            "detr",
            {"classes": 91},
        ),
        (416, [out(1, 3598, 112)], {}, "detection", "nanodet", {"classes": 80, "bins": 8}),
        (352, [out(1, 85, 22, 22)], {}, "detection", "fastestdet", {"classes": 80}),
        (224, [out(1, 1000)], {}, "classification", "classification", {"classes": 1000}),
        (224, [out(1, 3)], ULTRALYTICS, "classification", "classification", {"classes": 3}),
        (192, [out(1, 1, 17, 3)], {}, "pose", "movenet", {}),
        (256, [out(1, 21, 256, 256)], {}, "segmentation", "segmentation", {"classes": 21}),
        (256, [out(1, 1, 256, 256)], {}, "segmentation", "segmentation", {"form": "mask"}),
        (
            300,
            [
                out(1, 100, 4, name="b"),
                out(1, 100, name="c"),
                out(1, 100, name="s"),
                out(1, name="n"),
            ],
            {},
            "detection",
            "ssd_postprocess",
            {"classes": 90},
        ),
    ],
)
async def test_a_family_is_known_by_its_tensors_and_runs_as_such(
    bench: Bench,
    side: int,
    outputs: list[Tensor],
    metadata: dict[str, str],
    task: str,
    family: str,
    head: dict[str, Any],
) -> None:
    # Zeros are boxes of 50 % to a head that puts logits through a sigmoid.
    found = await bench.look_at([image(side)], outputs, metadata=metadata, confidence=60.0)
    assert found.problem is None
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == (task, family)
    assert found.proposal.manifest["head"].items() >= head.items()
    assert found.proposal.manifest["input"]["width"] == side
    assert found.proposal.reasons
    # It ran, through the head that it was taken for.
    assert found.findings is not None
    assert found.findings.objects == ()
    if "names" in metadata and len(found.proposal.labels) == 3:
        assert found.proposal.labels == ("nut", "bolt", "washer")


async def test_an_embedding_is_known_by_its_lonely_vector(bench: Bench) -> None:
    found = await bench.look_at([image(224)], [out(1, 512)], fill=0.5)
    assert found.proposal is not None
    assert found.proposal.task == "embedding"
    assert found.findings is not None
    assert len(found.findings.embedding) == 512


async def test_rt_detr_gets_the_size_that_it_asks_for(bench: Bench) -> None:
    found = await bench.look_at(
        [image(640), ("orig_target_sizes", (1, 2), "int64")],
        [
            out(1, 300, name="labels", dtype="int64"),
            out(1, 300, 4, name="boxes"),
            out(1, 300, name="scores"),
        ],
    )
    assert found.problem is None
    assert found.proposal is not None
    assert found.proposal.manifest["head"]["form"] == "decoded"
    constants = found.proposal.manifest["engines"]["onnxruntime"]["constants"]
    assert constants == {"orig_target_sizes": {"dtype": "int64", "value": [[640, 640]]}}


@pytest.mark.parametrize(
    ("side", "length", "task", "detector", "points"),
    [
        (192, 1404, "face", "face_detection_short_range", 18),
        (256, 195, "pose", "blazepose_detection", 33),
    ],
)
async def test_landmarks_name_the_model_that_finds_what_they_look_at(
    bench: Bench, side: int, length: int, task: str, detector: str, points: int
) -> None:
    found = await bench.look_at(
        [image(side, nhwc=True)], [out(1, length, name="marks"), out(1, 1, name="there")]
    )
    assert found.problem is not None
    assert f"looks at what {detector} finds; install that" in found.problem
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == (task, "landmarks")
    assert found.proposal.manifest["crops"]["detector"] == detector
    assert len(found.proposal.manifest["keypoints"]) == points


async def test_yunet_is_known_by_its_twelve_outputs(bench: Bench) -> None:
    outputs = [
        out(1, (320 // stride) ** 2, columns, name=f"{kind}_{stride}")
        for kind, columns in (("kps", 10), ("cls", 1), ("obj", 1), ("bbox", 4))
        for stride in (8, 16, 32)
    ]
    found = await bench.look_at([image(320)], outputs)
    assert found.problem is None
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == ("face", "yunet")


async def test_sides_that_are_left_open_come_from_the_metadata(bench: Bench) -> None:
    metadata = {**ULTRALYTICS, "imgsz": "[320, 320]"}
    found = await bench.look_at(
        [("images", (None, 3, None, None), "float32")], [out(1, 7, 2100)], metadata=metadata
    )
    assert found.problem is None
    assert found.inputs[0].shape == (-1, 3, -1, -1)
    assert found.proposal is not None
    assert found.proposal.manifest["input"]["width"] == 320


async def test_logits_and_scores_are_told_apart_by_running(bench: Bench) -> None:
    logits = await bench.look_at([image(224)], [out(1, 1000)], fill=7.0)
    scores = await bench.look_at([image(224)], [out(1, 1000)], fill=0.001)
    assert logits.proposal is not None
    assert scores.proposal is not None
    assert logits.proposal.manifest["head"]["score"] == "softmax"
    assert "score" not in scores.proposal.manifest["head"]


# --- A real model, from file to use ---------------------------------------------------------------


async def test_a_real_model_is_recognised_tried_saved_and_found_again(bench: Bench) -> None:
    found = await bench.look(DEFAULT / "model.onnx", save_as="my_street")
    assert found.problem is None
    assert found.proposal is not None
    assert (found.proposal.family, len(found.proposal.labels)) == ("ssd", 80)
    assert found.findings is not None
    assert sum(item.label == "person" for item in found.findings.objects) >= 2
    assert bench.jpeg is not None
    with Image.open(io.BytesIO(bench.jpeg)) as drawn, Image.open(SELF_TEST_PICTURE) as picture:
        assert drawn.size == picture.size
    assert found.saved is not None
    assert found.saved.id == "my_street"
    model = ModelStore([bench.folder / "models"]).get("my_street")
    assert model.labels == ModelStore().get(None).labels
    assert "added by the user from model.onnx" in model.manifest.source
    assert json.loads((bench.folder / "proven.json").read_text())


async def test_an_ncnn_graph_with_its_weights_is_read_too(bench: Bench) -> None:
    found = await bench.look(DEFAULT / "model.ncnn.param")
    assert found.problem is None
    assert found.outputs[0].shape == (1, 1917, 4)  # the file does not say, the run did
    assert found.proposal is not None
    assert found.proposal.manifest["input"]["width"] == 300
    assert found.findings is not None
    assert len(found.findings.objects) >= 2


async def test_an_archive_is_unpacked_aside(bench: Bench) -> None:
    path = bench.folder / "model.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(DEFAULT / "model.ncnn.param", "export/m.param")
        file.write(DEFAULT / "model.ncnn.bin", "export/m.bin")
        file.writestr("export/labels.txt", "\n".join(f"kind {i}" for i in range(90)))
    found = await bench.look(path)
    assert found.problem is None
    assert found.proposal is not None
    assert found.proposal.labels[0] == "kind 0"


@needs_test_data
@pytest.mark.parametrize(
    ("name", "family", "label"),
    [("yolox_nano.onnx", "yolox", "person"), ("FastestDet.onnx", "fastestdet", "person")],
)
async def test_models_of_others_are_recognised_and_find_people(
    bench: Bench, name: str, family: str, label: str
) -> None:
    found = await bench.look(MODELS / name)
    assert found.problem is None
    assert found.proposal is not None
    assert found.proposal.family == family
    assert found.findings is not None
    assert sum(item.label == label for item in found.findings.objects) >= 2


@needs_litert
@needs_test_data
@pytest.mark.parametrize(
    ("name", "picture", "task", "family", "sees"),
    [
        ("mobilenet_v2_1.0_224_quant", "cat_720p.jpg", "classification", "", "Egyptian cat"),
        ("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", "pets.jpg", "detection", "", "dog"),
        ("movenet_single_pose_lightning_ptq", "squat.png", "pose", "movenet", "person"),
        ("mobilenet_v1_1.0_224_quant_embedding_extractor", "pets.jpg", "embedding", "", None),
    ],
)
async def test_tflite_models_are_recognised_and_see_what_is_there(
    bench: Bench, name: str, picture: str, task: str, family: str, sees: str | None
) -> None:
    data = (TEST_DATA / "images" / picture).read_bytes()
    found = await bench.look(MODELS / f"{name}.tflite", picture=data)
    assert found.problem is None
    assert found.proposal is not None
    assert found.proposal.task == task
    assert found.proposal.family == (family or found.proposal.family)
    assert found.findings is not None
    seen = [item.label for item in (*found.findings.objects, *found.findings.classes)]
    assert sees is None or sees in seen


# --- The user knows better ------------------------------------------------------------------------


async def test_what_is_proposed_can_be_corrected(bench: Bench) -> None:
    found = await bench.look_at(
        [image(416)],
        [out(1, 3549, 8)],
        corrections={
            "name": "Parts",
            "input.colour": "RGB",
            "input.scale": [0.5, 0.5, 0.5],
            "head.iou_threshold": 0.3,
            "labels": ["a", "b", "c"],
        },
        save_as="parts",
    )
    assert found.problem is None
    manifest = bench.store.get("parts").manifest
    assert (manifest.name, manifest.input.colour) == ("Parts", "RGB")
    assert manifest.input.scale == (0.5, 0.5, 0.5)
    assert manifest.head == {"type": "yolox", "classes": 3, "iou_threshold": 0.3}
    assert bench.store.get("parts").labels == ("a", "b", "c")


async def test_a_head_can_be_named_for_what_is_not_recognised(bench: Bench) -> None:
    tensors = ([image(64)], [out(1, 33, 5, 7)])
    unknown = await bench.look_at(*tensors)
    assert unknown.proposal is None
    corrections = {
        "task": "segmentation",
        "head.type": "segmentation",
        "head.classes": 33,
        "labels": [f"kind {i}" for i in range(33)],
    }
    found = await bench.look_at(*tensors, corrections=corrections)
    assert found.problem is None
    assert found.findings is not None
    assert found.findings.classes[0].label == "kind 0"


@pytest.mark.parametrize(
    ("corrections", "reason"),
    [
        ({"engines.onnxruntime.files": {}}, "engines.onnxruntime.files cannot be corrected"),
        ({"id": "x"}, "id cannot be corrected"),
        ({"input.width": 10**6}, "numbers of pixels from 8 to 4096"),
        ({"input.colour": "HSV"}, "Unknown input colour 'HSV'"),
        ({"head.type": "nonsense"}, "Unknown head 'nonsense'"),
        ({"head.classes": "many"}, "incomplete"),
        ({"task": "fortune telling"}, "fortune telling"),
        ({"labels": "person"}, "a list of texts"),
        ({"head.type": "yolov8"}, "do not fit its manifest"),
    ],
)
async def test_a_wrong_correction_says_why_and_nothing_is_saved(
    bench: Bench, corrections: dict[str, Any], reason: str
) -> None:
    found = await bench.look_at(
        [image(416)], [out(1, 3549, 85)], corrections=corrections, save_as="mine"
    )
    assert found.problem is not None
    assert reason in found.problem
    assert found.saved is None
    assert "mine" not in bench.store.models


@pytest.mark.parametrize(
    ("model_id", "reason"),
    [
        ("../escape", "cannot be an id"),
        ("Big Letters", "cannot be an id"),
        (DEFAULT_MODEL, "is taken by a model that comes with Edge Vision"),
        ("candidate", "is taken"),
        ("yolox_nano", "yolox_nano is taken by a model of the catalogue"),
    ],
)
async def test_an_id_must_be_free_and_plain(bench: Bench, model_id: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        await bench.look(DEFAULT / "model.onnx", save_as=model_id)


async def test_a_model_of_ones_own_is_replaced_only_when_that_is_asked_for(bench: Bench) -> None:
    tensors = ([image(416)], [out(1, 3549, 8)])
    await bench.look_at(*tensors, save_as="mine", corrections={"name": "First"})
    with pytest.raises(ModelError, match="mine is a model that you have already; choose another"):
        await bench.look_at(*tensors, save_as="mine", corrections={"name": "Second"})
    assert bench.store.get("mine").manifest.name == "First"
    await bench.look_at(*tensors, save_as="mine", corrections={"name": "Second"}, replace=True)
    assert bench.store.get("mine").manifest.name == "Second"


# --- What the user reads when it cannot be --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.onnx", b"", "m.onnx is empty"),
        (
            "m.onnx",
            (DEFAULT / "model.onnx").read_bytes()[:100_000],
            "m.onnx is damaged or cut short: it is not a whole ONNX file",
        ),
        (
            "m.onnx",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "m.onnx is damaged or cut short: it is not a whole ONNX file",
        ),
        ("m.tflite", b"<html>", "m.tflite is a web page or a pointer to a file"),
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(20), "m.tflite is damaged or cut short"),
        ("m.pt", b"PK\x03\x04 a zip, says who", "m.pt is a PyTorch checkpoint, which runs code"),
        ("m.dat", b"PK\x03\x04 a zip, says who", "m.dat is an archive that is damaged or cut"),
        ("m.h5", b"\x89HDF\r\n", "m.h5 is a Keras model; convert it to TensorFlow Lite"),
        ("m.engine", b"ftrt", "m.engine is a TensorRT engine, made for one GPU"),
        ("m.param", b"7767517\n5 5\nInput in 0 1 in0\n", "m.param needs its weights, m.bin"),
        ("m.xml", b"<?xml version='1.0'?><net></net>", "m.xml is an XML file, but no OpenVINO"),
        ("m.xml", b"<?xml version='1.0'?><!DOCTYPE net [<!ENTITY a 'b'>]><net/>", "XML entities"),
        ("m.dat", b"who knows", "of a kind that is not known here; supported are ONNX"),
    ],
)
async def test_a_file_that_is_no_model_is_told_for_what_it_is(
    bench: Bench, name: str, content: bytes, reason: str
) -> None:
    (bench.folder / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        await bench.look(bench.folder / name)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "members", "reason"),
    [
        ("best.pt", ["best/data.pkl", *(f"best/data/{i}" for i in range(302))], "PyTorch"),
        ("renamed.zip", ["best/data.pkl", *(f"best/data/{i}" for i in range(302))], "PyTorch"),
        ("m.keras", ["metadata.json", "config.json", "model.weights.h5"], "Keras model"),
        ("m.zip", ["metadata.json", "config.json", "model.weights.h5"], "Keras model"),
        ("m.mlpackage", ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"], "Core ML"),
        ("m.zip", ["m.mlpackage/Data/com.apple.CoreML/model.mlmodel"], "Core ML"),
        ("saved.zip", ["m/saved_model.pb", "m/variables/variables.index"], "TensorFlow graph"),
    ],
)
async def test_model_files_of_others_that_are_archives_are_told_before_they_are_unpacked(
    bench: Bench, name: str, members: list[str], reason: str
) -> None:
    with zipfile.ZipFile(bench.folder / name, "w") as file:
        for member in members:
            file.writestr(member, b"x")
    with pytest.raises(ModelError, match=f"^{name} is a.* {reason}"):
        await bench.look(bench.folder / name)


async def test_a_folder_is_looked_into(bench: Bench) -> None:
    folder = bench.folder / "export"
    folder.mkdir()
    with pytest.raises(ModelError, match="export should hold one model; it holds nothing"):
        await bench.look(folder)
    shutil.copyfile(DEFAULT / "model.ncnn.param", folder / "m.param")
    shutil.copyfile(DEFAULT / "model.ncnn.bin", folder / "m.bin")
    (folder / "labels.txt").write_text("\n".join(f"kind {i}" for i in range(90)))
    found = await bench.look(folder)
    assert found.problem is None
    assert found.proposal is not None
    assert found.proposal.labels[0] == "kind 0"
    package = bench.folder / "m.mlpackage"
    package.mkdir()
    with pytest.raises(ModelError, match="is a Core ML model"):
        await bench.look(package)


async def test_what_is_not_recognised_is_explained_with_every_tensor(bench: Bench) -> None:
    found = await bench.look_at(
        [image(320)], [out(1, 63, name="hand"), out(1, 5, name="side")], save_as="hands"
    )
    assert [(item.name, item.shape, item.dtype) for item in (*found.inputs, *found.outputs)] == [
        ("images", (1, 3, 320, 320), "float32"),
        ("hand", (1, 63), "float32"),
        ("side", (1, 5), "float32"),
    ]
    assert found.problem is not None
    assert found.problem.startswith(
        "Its outputs fit no family of models that is known here: hand [63], side [5]. Supported"
        " are: SSD"
    )
    assert (found.proposal, found.saved) == (None, None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "metadata", "reason"),
    [
        ([("x", (1, 80), "float32")], [out(1, 5)], {}, "None of its inputs takes a picture"),
        ([("x", (1, 1, 28, 28), "float32")], [out(1, 10)], {}, "in shades of grey"),
        (
            [image(256), ("state", (1, 8, 8, 320), "float32")],
            [out(1, 5)],
            {},
            "Besides the picture it wants state [1, 8, 8, 320] float32",
        ),
        (
            [image(640)],
            [out(1, 116, 8400), out(1, 32, 160, 160, name="protos")],
            {"task": "segment"},
            "It segments instances (boxes with a mask each), which is not supported",
        ),
        ([image(640)], [out(1, 20, 8400)], {"task": "obb"}, "rotated boxes"),
    ],
)
async def test_a_model_for_something_else_is_told_so(
    bench: Bench,
    inputs: list[Tensor],
    outputs: list[Tensor],
    metadata: dict[str, str],
    reason: str,
) -> None:
    found = await bench.look_at(inputs, outputs, metadata=metadata)
    assert found.problem is not None
    assert reason in found.problem


async def test_numbers_that_are_none_are_told(bench: Bench) -> None:
    found = await bench.look_at([image(416)], [out(1, 3549, 85)], fill=float("nan"))
    assert found.problem is not None
    assert "numbers that are not finite" in found.problem


async def test_absurd_answers_are_refused_before_an_engine_computes_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bench.workers, "choose", None)  # where an engine is looked for
        with pytest.raises(ModelError, match="It answers one picture with 252000000 numbers"):
            await bench.look_at([image(640)], [out(1, 84, 3_000_000)])
    # What the file leaves open shows when it is run.
    path = bench.folder / "open.onnx"
    left_open = [("output0", (1, None, None), "float32")]
    path.write_bytes(onnx_file([image(64)], [out(1, 84, 3_000_000)], declared=left_open))
    found = await bench.look(path)
    assert found.problem is not None
    assert "It answers one picture with 252000000 numbers" in found.problem


async def test_a_model_that_crashes_its_engine_is_told_and_not_saved(bench: Bench) -> None:
    crashes = "7767517\n2 2\nInput in 0 1 in0 0=8 1=8 2=3\nROIPooling r 1 1 in0 out0 0=7 1=7\n"
    (bench.folder / "m.param").write_text(crashes)
    (bench.folder / "m.bin").write_bytes(bytes(64))
    found = await bench.look(bench.folder / "m.param", save_as="crash")
    assert found.problem == (
        "It was tried in a process of its own, and there the engine crashed (SIGSEGV); it is not"
        " used"
    )
    assert found.saved is None


async def test_weights_from_elsewhere_do_not_come_along(bench: Bench, tmp_path: Path) -> None:
    from .test_quarantine import external

    for location in ("../secret", "/etc/passwd"):
        (bench.folder / "m.onnx").write_bytes(external(location))
        with pytest.raises(ModelError, match="outside its own folder, and is refused"):
            await bench.look(bench.folder / "m.onnx")
    (tmp_path / "target").write_bytes(b"secret")
    (bench.folder / "weights").symlink_to(tmp_path / "target")
    (bench.folder / "m.onnx").write_bytes(external("weights"))
    with pytest.raises(ModelError, match="missing"):
        await bench.look(bench.folder / "m.onnx")


@needs_test_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "model_invoking_error.tflite",
            (
                "None of its inputs takes a picture: one of shape 1 x 3 x height x width or 1 x"
                " height x width x 3 was expected; and it uses the operation fake-op-double, which"
                " belongs to another program"
            ),
        ),
        (
            "movenet_single_pose_lightning_ptq_edgetpu.tflite",
            (
                "It is compiled for an Edge TPU and runs on nothing else, and there is none here;"
                " connect one, or bring the file for the CPU"
            ),
        ),
        ("traffic_model.tflite", "Besides the picture it wants raw_inputs/init_lstm_c"),
    ],
)
async def test_tflite_models_that_cannot_be_used_say_why(
    bench: Bench, name: str, reason: str
) -> None:
    found = await bench.look(MODELS / name, save_as="mine")
    assert found.problem is not None
    assert reason in found.problem
    assert found.saved is None


@needs_test_data
@pytest.mark.parametrize("size", [0, 5, 100, 20_000, 1_000_000])
async def test_a_tflite_model_cut_short_says_so(bench: Bench, size: int) -> None:
    path = bench.folder / "cut.tflite"
    path.write_bytes((MODELS / "mobilenet_v2_1.0_224_quant.tflite").read_bytes()[:size])
    with pytest.raises(ModelError, match=r"cut short|empty|not known here"):
        await bench.look(path)


@needs_test_data
def test_what_a_tflite_file_says_of_itself_is_read_without_an_engine() -> None:
    found = read_model_file(MODELS / "mobilenet_v2_1.0_224_quant.tflite")
    assert found.inputs[0].text == "input [1, 224, 224, 3] uint8"
    assert found.normalised == ((127.5,), (127.5,))
    assert len(found.labels) == 1001
    assert found.quantised == (0.0078125, 128)


# --- Labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat\ndog\n\n", ("cat", "dog")),
        ("0 cat\n1 dog\n", ("cat", "dog")),
        ("0: cat\n2: dog\n", ("cat", "???", "dog")),
        ("\ufeffcat\r\ndog", ("cat", "dog")),
    ],
)
def test_label_files_come_in_several_forms(
    tmp_path: Path, text: str, labels: tuple[str, ...]
) -> None:
    (tmp_path / "l.txt").write_text(text, "utf-8")
    assert read_labels(tmp_path / "l.txt") == labels


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xff", b"x\n" * 60_000])
def test_what_is_no_list_of_labels_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(ModelError, match=r"labels"):
        read_labels(tmp_path / "l.txt")


async def test_too_few_labels_are_told(bench: Bench) -> None:
    labels = bench.folder / "few.txt"
    labels.write_text("cat\ndog\n")
    found = await bench.look_at([image(416)], [out(1, 3549, 8)], labels=labels)
    assert found.proposal is not None
    assert "There are 2 labels for 3 classes: check them" in found.proposal.reasons
    assert found.proposal.labels == ("cat", "dog", "class 2")


# --- From the command line, and over the wire -----------------------------------------------------


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
    assert "ask for it to be replaced" in run(*again, status=1).stderr
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
    assert "fit no family" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["models", "install"], 2, "needs --data"),
        (["models", "install", "--data", "/tmp/x"], 2, "needs the id"),
        (["models", "remove", DEFAULT_MODEL, "--data", "DATA"], 1, "comes with Edge Vision"),
        (["models", "install", "nonsense", "--data", "DATA"], 1, "The catalogue has no model"),
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


@needs_test_data
def test_a_model_of_the_catalogue_is_installed_and_used_by_the_command_line(
    tmp_path: Path,
) -> None:
    options = ("--data", tmp_path, "--mirror", MODELS)
    assert "Installed fastestdet" in run("models", "install", "fastestdet", *options).stdout
    found = run_json("detect", SELF_TEST_PICTURE, "--data", tmp_path, "--model", "fastestdet")
    assert sum(item["label"] == "person" for item in found["objects"]) >= 2


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
        assert refused["message"] == "mine is used by Door; choose another one there"
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
        ({}, "Name either an upload"),
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
        assert "is not the name of a file" in answer["message"]
        first = await hub.ask("upload", b"abc", name="m.onnx", offset=0)
        again = await hub.ask("upload", b"x", name="m.onnx", offset=7, upload=first["upload"])
        assert "the one at 3 was expected" in again["message"]


async def test_a_dropped_file_is_offered_and_inspected(node: NodeProcess) -> None:
    drop = node.data / "drop"
    shutil.copyfile(DEFAULT / "model.onnx", drop / "street.onnx")
    (drop / "street.txt").write_text("\n".join(f"kind {i}" for i in range(90)))
    async with node.connect() as hub:
        assert (await hub.ask("catalogue"))["dropped"] == ["street.onnx"]
        found = await hub.ask("inspect_model", dropped="street.onnx")
        assert found["problem"] is None
        assert found["proposal"]["labels"][1] == "kind 1"


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
        await trust.strike(model, "onnxruntime", "cpu", "the engine crashed (SIGSEGV)")
    node = await start_node()
    async with node.connect() as hub:
        pipeline = {"pipeline_id": "door", "name": "Door", "engine": "onnxruntime"}
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
        assert len((await hub.look("door", street))["objects"]) >= 2
