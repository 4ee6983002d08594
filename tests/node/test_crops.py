"""Models for crops: the crops match those of MediaPipe, and results are in the picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.detections import Detections, Placement
from edge_vision_node.errors import EngineMissingError, ModelError
from edge_vision_node.inference.landmark_crops import Crop, find_crops
from edge_vision_node.inference.runner import Runner, default_engine
from edge_vision_node.library.catalogue import catalogue
from edge_vision_node.library.install import Installer
from edge_vision_node.models.heads import build_head
from edge_vision_node.models.manifest import CropSpec, load_model
from edge_vision_node.models.store import SELF_TEST_PICTURE, ModelStore
from PIL import Image

from tests.engines import ENGINE, ENGINES, needs
from tests.small_models import BLUE, RED, add_landmarks, keep_engine, painted

from .conftest import StartNode
from .heads import recorded
from .test_cli import run
from .test_track_command import CLIP

CROPS = {"detector": "marks", "start": 0, "end": 1, "angle": 0, "scale": 1.5}


@pytest.mark.parametrize(
    ("model", "detector", "landmarks"),
    [
        ("face_landmark", "blazeface", "face_mesh"),
        ("blazepose_landmark_full", "blazepose_detector", "blazepose"),
    ],
)
def test_a_crop_lies_where_mediapipe_cuts_it(model: str, detector: str, landmarks: str) -> None:
    """The rectangle of MediaPipe is recorded; its detector used a differently padded picture."""
    place = recorded(landmarks).answer["place"]
    size = (round(1000 * place[1, 1] / place[0, 0]), 1000)  # the picture, in some unit
    theirs = place * np.array(size)[:, np.newaxis]
    spec = catalogue().get(model).manifest.crops
    assert spec is not None
    sample = recorded(detector)
    head = build_head(catalogue().get(spec.detector).manifest.head, sample.size)
    found = head(sample.outputs, 0.5)
    assert isinstance(found, Detections)
    whole = Placement(size[0] / max(size), size[1] / max(size))
    (crop,) = find_crops(found.placed(whole), spec, size, 4)
    side = math.hypot(theirs[0, 0], theirs[1, 0])
    assert crop.side == pytest.approx(side, rel=0.02)
    assert math.dist(crop.center, theirs @ [0.5, 0.5, 1]) < 0.02 * side
    assert crop.turn == pytest.approx(math.atan2(theirs[1, 0], theirs[0, 0]), abs=0.06)


def test_a_crop_is_upright_and_its_points_go_back_to_where_they_came_from() -> None:
    with Image.open(SELF_TEST_PICTURE) as file:
        picture = file.convert("RGB")
    width, height = picture.size
    side = height // 2
    box = ((width - side) // 2, (height - side) // 2)
    plain = picture.crop((*box, box[0] + side, box[1] + side))
    centre = (box[0] + side / 2, box[1] + side / 2)
    straight = Crop(centre, side, 0.0).cut(picture, (side, side))
    np.testing.assert_array_equal(straight, np.asarray(plain))
    # Turned clockwise by a quarter: what was at the right is at the top now.
    turned = Crop(centre, side, math.pi / 2).cut(picture, (side, side))
    expected = np.asarray(plain.transpose(Image.Transpose.ROTATE_90)).astype(int)
    assert np.abs(turned.astype(int) - expected).max() <= 1
    points = np.array([[[0.5, 0.0, 0.7]]], np.float32)
    there = Crop(centre, side, math.pi / 2).to_picture(points, picture.size)
    np.testing.assert_allclose(
        there[0, 0], [(centre[0] + side / 2) / width, centre[1] / height, 0.7], atol=1e-6
    )


def test_beyond_the_picture_its_edge_goes_on() -> None:
    picture = Image.new("RGB", (40, 20), (10, 20, 30))
    cut = Crop((0.0, 0.0), 100.0, 0.3).cut(picture, (8, 8))
    np.testing.assert_array_equal(cut, np.full((8, 8, 3), [10, 20, 30]))


def test_a_detection_without_the_points_that_mark_a_crop_is_an_error() -> None:
    spec = CropSpec(detector="boxes", start=0, end=1, angle=0, scale=1.5)
    one = Detections(np.array([[0, 0, 1, 1]], "f4"), np.ones(1, "f4"), np.zeros(1, "i4"))
    with pytest.raises(ModelError, match="boxes does not find the points"):
        find_crops(one, spec, (100, 100), 4)
    # A mark without an extent is ignored.
    empty = Detections(one.boxes * 0, one.scores, one.class_ids, np.zeros((1, 2, 3), "f4"))
    assert find_crops(empty, spec, (100, 100), 4) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("turned", "x", "y"), [(False, 0.6875, 0.6875), (True, 0.6875, 0.3125)])
def test_a_picture_goes_through_both_models(
    tmp_path: Path, turned: bool, x: float, y: float, engine: str
) -> None:
    added = add_landmarks(tmp_path, turned)
    model = ModelStore([tmp_path]).get(added)
    runner = Runner(model, engine, "cpu")
    result, _ = runner.run(runner.prepare(painted(RED)), 50)
    (face,) = runner.findings(result, 50).objects
    assert [point.name for point in face.keypoints] == ["left", "right"]
    assert (face.keypoints[0].x, face.keypoints[0].y) == pytest.approx((x, y), abs=1e-3)
    # If the detector finds nobody, there are no points.
    result, _ = runner.run(runner.prepare(painted(BLUE)), 50)
    assert isinstance(result, Detections)
    assert len(result) == 0
    runner.close()


def test_without_its_detector_a_model_says_what_to_install(tmp_path: Path) -> None:
    add_landmarks(tmp_path)
    model = load_model(tmp_path / "points")
    with pytest.raises(ModelError, match="Points needs the detections of marks; install that"):
        Runner(model, ENGINE, "cpu")


@needs("onnxruntime")
def test_both_models_run_on_the_same_engine(tmp_path: Path) -> None:
    add_landmarks(tmp_path)
    keep_engine(tmp_path / "marks", "ncnn")
    keep_engine(tmp_path / "points", "onnxruntime")
    model = ModelStore([tmp_path]).get("points")
    assert model.engines == model.info().engines == ()
    with pytest.raises(EngineMissingError, match="Points has no files for ONNX Runtime"):
        default_engine(model)


async def test_a_detector_stays_while_another_model_looks_at_what_it_finds(tmp_path: Path) -> None:
    add_landmarks(tmp_path)
    installer = Installer(ModelStore([tmp_path]), tmp_path)
    with pytest.raises(ModelError, match="Points needs Marks; remove Points first"):
        await installer.remove("marks")
    await installer.remove("points")
    await installer.remove("marks")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "detection"}, "has no landmarks of a pose or face"),
        ({"head": {"type": "movenet"}}, "has no landmarks of a pose or face"),
        (
            {
                "crops": {
                    "detector": "m",
                    "start": 0,
                    "end": 1,
                    "angle": 0,
                    "scale": 1,
                    "around": "x",
                }
            },
            "around 'x', not around a box or circle",
        ),
    ],
)
def test_crops_that_make_no_sense_are_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    add_landmarks(tmp_path)
    path = tmp_path / "points" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=reason):
        load_model(path.parent)


def test_the_command_line_runs_both(tmp_path: Path) -> None:
    add_landmarks(tmp_path / "models")
    for name, colour in (("red", RED), ("blue", BLUE)):
        (tmp_path / f"{name}.png").write_bytes(painted(colour))
    pictures = (tmp_path / "red.png", tmp_path / "blue.png")
    by_id = run("detect", *pictures, "--data", tmp_path, "--model", "points").stdout.splitlines()
    assert "red.png: face 100%" in by_id[0]
    assert "blue.png: nothing" in by_id[1]
    path = tmp_path / "models" / "points" / "model.json"
    followed = run("track", CLIP, "--fps", "2", "--data", tmp_path, "--model", "points")
    assert "objects; 1.0 looks a frame" in followed.stderr
    by_file = run("detect", *pictures, "--data", tmp_path, "--model", path).stdout
    assert "red.png: face 100%" in by_file


async def test_a_node_runs_both_and_measures_them(start_node: StartNode, tmp_path: Path) -> None:
    add_landmarks(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        models = {item["id"]: item for item in (await hub.ask("info"))["models"]}
        assert models["points"]["detector"] == "marks"
        pipeline = {"pipeline_id": "door", "name": "Door", "model": "points"}
        status = await hub.configured(pipeline)
        assert status["pipelines"][0]["state"] == "ready", status
        look = await hub.look("door", painted(RED))
        assert look["objects"][0]["keypoints"][0]["x"] == pytest.approx(0.6875, abs=1e-3)
        assert (await hub.look("door", painted(BLUE)))["objects"] == []
        measured = await hub.ask("benchmark", model="points", seconds=0.05)
        rows = {(row["engine"], row["accelerator"]): row for row in measured["rows"]}
        assert rows[ENGINE, "cpu"]["frames_per_second"] > 0
