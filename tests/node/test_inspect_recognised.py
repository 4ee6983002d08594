"""Your own models: the content of files and how it is interpreted."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from typing import Any

import pytest
from edge_vision_node.engines import get_engine
from edge_vision_node.errors import EngineMissingError, ModelError
from edge_vision_node.models.formats.reading import read_model_file
from edge_vision_node.models.store import SELF_TEST_PICTURE, ModelStore
from PIL import Image

from tests.engines import needs
from tests.onnx_files import Tensor
from tests.pictures import TEST_DATA, needs_test_data

from .inspection import DEFAULT, MODELS, NAMES, ULTRALYTICS, Bench, image, out


def litert_is_here() -> bool:
    try:
        get_engine("litert").version()
    except EngineMissingError:
        return False
    return True


needs_litert = pytest.mark.skipif(not litert_is_here(), reason="LiteRT is not installed here")


@needs("onnxruntime")
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
        (
            224,
            [out(1, 3)],
            {**ULTRALYTICS, "task": "classify"},
            "classification",
            "classification",
            {"classes": 3},
        ),
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
    # For a head with a sigmoid, zeros are boxes of 50 %.
    found = await bench.look_at([image(side)], outputs, metadata=metadata, confidence=60.0)
    assert found.problem is None
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == (task, family)
    assert found.proposal.manifest["head"].items() >= head.items()
    assert found.proposal.manifest["input"]["width"] == side
    assert found.proposal.reasons
    # It was run with the recognized head.
    assert found.findings is not None
    assert found.findings.objects == ()
    if "names" in metadata and len(found.proposal.labels) == 3:
        assert found.proposal.labels == ("nut", "bolt", "washer")


@needs("onnxruntime")
async def test_an_embedding_is_known_by_its_lonely_vector(bench: Bench) -> None:
    found = await bench.look_at([image(224)], [out(1, 512)], fill=0.5)
    assert found.proposal is not None
    assert found.proposal.task == "embedding"
    assert found.findings is not None
    assert len(found.findings.embedding) == 512


@needs("onnxruntime")
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


@needs("onnxruntime")
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
    assert f"needs the detections of {detector}; install that" in found.problem
    assert found.proposal is not None
    assert (found.proposal.task, found.proposal.family) == (task, "landmarks")
    assert found.proposal.manifest["crops"]["detector"] == detector
    assert len(found.proposal.manifest["keypoints"]) == points


@needs("onnxruntime")
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


@needs("onnxruntime")
async def test_sides_that_are_left_open_come_from_the_metadata(bench: Bench) -> None:
    metadata = {**ULTRALYTICS, "imgsz": "[320, 320]"}
    found = await bench.look_at(
        [("images", (None, 3, None, None), "float32")], [out(1, 7, 2100)], metadata=metadata
    )
    assert found.problem is None
    assert found.inputs[0].shape == (-1, 3, -1, -1)
    assert found.proposal is not None
    assert found.proposal.manifest["input"]["width"] == 320


@needs("onnxruntime")
async def test_logits_and_scores_are_told_apart_by_running(bench: Bench) -> None:
    logits = await bench.look_at([image(224)], [out(1, 1000)], fill=7.0)
    scores = await bench.look_at([image(224)], [out(1, 1000)], fill=0.001)
    assert logits.proposal is not None
    assert scores.proposal is not None
    assert logits.proposal.manifest["head"]["score"] == "softmax"
    assert "score" not in scores.proposal.manifest["head"]


# --- Real models ----------------------------------------------------------------------------------


@needs("onnxruntime")
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
    assert found.outputs[0].shape == (1, 1917, 4)  # not in the file, but known from the run
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


async def test_a_folder_is_looked_into(bench: Bench) -> None:
    folder = bench.folder / "export"
    folder.mkdir()
    with pytest.raises(ModelError, match="export should contain one model; it contains nothing"):
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


@needs("onnxruntime")
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


@needs_test_data
def test_what_a_tflite_file_says_of_itself_is_read_without_an_engine() -> None:
    found = read_model_file(MODELS / "mobilenet_v2_1.0_224_quant.tflite")
    assert found.inputs[0].text == "input [1, 224, 224, 3] uint8"
    assert found.normalised == ((127.5,), (127.5,))
    assert len(found.labels) == 1001
    assert found.quantised == (0.0078125, 128)


# --- Labels ---------------------------------------------------------------------------------------


async def test_too_few_labels_are_told(bench: Bench) -> None:
    labels = bench.folder / "few.txt"
    labels.write_text("cat\ndog\n")
    found = await bench.look_at([image(416)], [out(1, 3549, 8)], labels=labels)
    assert found.proposal is not None
    assert "There are 2 labels for 3 classes; check them" in found.proposal.reasons
    assert found.proposal.labels == ("cat", "dog", "class 2")
