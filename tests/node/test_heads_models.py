"""Real models of the catalog with real pictures, from the bytes of the picture to the result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from edge_vision_node.inference.runner import Runner
from edge_vision_node.library import catalogue
from edge_vision_node.models.manifest import load_model
from edge_vision_node.protocol import Findings

from tests.engines import HERE
from tests.pictures import TEST_DATA, needs_test_data

pytestmark = needs_test_data
CATALOGUE = Path(catalogue.__file__).parent


@pytest.fixture
def look(tmp_path: Path):
    """Run a model of the catalog on a test picture."""

    def look(model_id: str, picture: str, confidence: float = 40.0) -> Findings:
        runner = _runner(model_id, tmp_path)
        prepared = runner.prepare((TEST_DATA / "images" / picture).read_bytes())
        result, _ = runner.run(prepared, confidence)
        answer = runner.findings(result, confidence)
        runner.close()
        return answer

    return look


def _runner(model_id: str, folder: Path) -> Runner:
    target = folder / model_id
    shutil.copytree(CATALOGUE / model_id, target, dirs_exist_ok=True)
    manifest = json.loads((target / "model.json").read_text())
    files = [item for engine in manifest["engines"].values() for item in engine["files"].values()]
    for path in {item["path"] for item in (manifest["labels"], *files)}:
        if not (target / path).is_file():
            shutil.copyfile(TEST_DATA / "models" / path, target / path)
    engine = "litert" if "litert" in manifest["engines"] else "onnxruntime"
    if engine not in HERE:
        pytest.skip(f"not installed here: {engine}")
    return Runner(load_model(target), engine, "cpu")


DETECTORS = ("fastestdet", "yolox_nano", "ssd_mobilenet_v1_coco")


@pytest.mark.parametrize("model_id", DETECTORS)
@pytest.mark.parametrize(
    ("picture", "label", "box"),
    [
        # boxes drawn by hand
        ("cat_720p.jpg", "cat", (0.09, 0.13, 0.72, 0.99)),
        ("squat.png", "person", (0.22, 0.22, 0.73, 0.97)),
        ("hot_dog.jpg", "hot dog", (0.22, 0.21, 0.92, 0.61)),
        ("traffic_0001.png", "car", (0.20, 0.59, 0.49, 0.78)),
        ("grace_hopper.png", "tie", (0.44, 0.70, 0.57, 0.90)),
    ],
)
def test_a_detector_finds_what_is_there(look, model_id, picture, label, box) -> None:
    found = [item for item in look(model_id, picture).objects if item.label == label]
    best = max(found, key=lambda item: item.confidence)
    corners = (best.box.x_min, best.box.y_min, best.box.x_max, best.box.y_max)
    assert corners == pytest.approx(box, abs=0.06)


@pytest.mark.parametrize("model_id", DETECTORS)
def test_a_detector_finds_both_dogs(look, model_id) -> None:
    boxes = sorted(
        (item.box.x_min, item.box.x_max)
        for item in look(model_id, "pets.jpg").objects
        if item.label == "dog"
    )
    assert len(boxes) == 2
    assert boxes[0] == pytest.approx((0.22, 0.50), abs=0.05)
    assert boxes[1] == pytest.approx((0.67, 0.97), abs=0.05)


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("cat_720p.jpg", "Egyptian cat"),
        ("sunflower.png", "daisy"),  # ImageNet has no class for sunflowers
        ("hot_dog.jpg", "hotdog, hot dog, red hot"),
    ],
)
def test_a_classifier_names_the_picture(look, picture, label) -> None:
    assert look("mobilenet_v2_imagenet", picture, 10).classes[0].label == label


def test_a_pose_is_a_squat(look) -> None:
    (person,) = look("movenet_lightning", "squat.png").objects
    assert len(person.keypoints) == 17
    at = {point.name: point for point in person.keypoints}
    assert all(point.confidence > 30 for point in person.keypoints)
    # hips about as low as knees, both far below the shoulders and above the ankles
    for side in ("left", "right"):
        assert at[f"{side}_shoulder"].y < at[f"{side}_hip"].y - 0.15
        assert at[f"{side}_hip"].y == pytest.approx(at[f"{side}_knee"].y, abs=0.12)
        assert at[f"{side}_knee"].y < at[f"{side}_ankle"].y - 0.08
    assert 0.2 < person.box.x_min < person.box.x_max < 0.75


def test_no_pose_where_nobody_is(look) -> None:
    assert look("movenet_lightning", "hot_dog.jpg").objects == ()


def test_embeddings_tell_cats_from_dogs_and_hot_dogs(look) -> None:
    def vector(picture: str):
        return look("mobilenet_v1_embedding", f"imprinting_{picture}.png").embedding

    def likeness(a, b) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    trained = {name: vector(f"{name}_train_0") for name in ("cat", "dog", "hotdog")}
    for name in trained:
        tested = vector(f"{name}_test_0")
        assert likeness(tested, tested) == pytest.approx(1, abs=1e-4)
        assert max(trained, key=lambda other: likeness(trained[other], tested)) == name
