"""The ncnn models of the catalog, compared with the same models in their original runtimes.

The results are recorded; see make_ncnn_fixtures.py. Those of MoveNet are from TensorFlow.js with
the complete graph, those of faces are from LiteRT.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node import engines
from edge_vision_node.detections import Detections
from edge_vision_node.frames.decode import decode
from edge_vision_node.inference.runner import Runner
from edge_vision_node.library.catalogue import Catalogue, catalogue
from edge_vision_node.library.install import Installer, detector_of
from edge_vision_node.library.manager import describe
from edge_vision_node.models.heads import build_head
from edge_vision_node.models.manifest import load_model
from edge_vision_node.models.store import ModelStore
from edge_vision_node.system import System

from tests.pictures import SELF_TEST_PICTURE, TEST_DATA, needs_test_data

from .heads import DATA, recorded

FACES = ("face_detection_short_range", "face_landmark")
NCNN_MODELS = (*FACES, "movenet_lightning", "selfie_segmentation")
PICTURES = TEST_DATA / "images"
SEEN = 0.3  # minimum score of a meaningful keypoint


@pytest.fixture
def on_musl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate Home Assistant OS, where ncnn is the only engine."""
    system = System("Linux", "aarch64", "musl")
    monkeypatch.setattr(engines, "this_system", lambda: system)
    monkeypatch.setattr(engines, "is_installed", lambda engine: engine == "ncnn")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore([tmp_path / "models"])


async def run_of(model_id: str, store: ModelStore, folder: Path) -> Runner:
    """Install a model as on Home Assistant OS, without a network, and load it with ncnn."""
    await Installer(store, folder / "models").install(model_id)
    return Runner(store.get(model_id), "ncnn", "cpu")


def found_in(runner: Runner, picture: Path, confidence: float) -> Detections:
    found, _ = runner.run(runner.prepare(picture.read_bytes()), confidence)
    assert isinstance(found, Detections) and found.keypoints is not None
    return found


# --- Installing -------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_musl")
@pytest.mark.parametrize("model_id", NCNN_MODELS)
async def test_where_ncnn_is_all_there_is_nothing_is_fetched(
    tmp_path: Path, store: ModelStore, model_id: str
) -> None:
    """Sockets are forbidden in this file, and no package client is run."""
    entry = catalogue().get(model_id)
    told = describe(entry, store)
    assert told.unavailable is None
    assert told.download_bytes == 0
    runner = await run_of(model_id, store, tmp_path)
    model = store.get(model_id)
    assert model.engines == ("ncnn",)
    assert {path.name for path in model.folder.iterdir()} == {
        *("model.json", "labels.txt", "model.ncnn.param", "model.ncnn.bin")
    }
    if entry.manifest.crops is not None:
        assert store.get(entry.manifest.crops.detector).engines == ("ncnn",)
    assert runner.run(runner.prepare(SELF_TEST_PICTURE.read_bytes()), 1)


def test_elsewhere_all_files_are_fetched_as_before() -> None:
    system = System("Linux", "x86_64", "glibc")
    for model_id in NCNN_MODELS:
        entry = catalogue().get(model_id)
        assert entry.on(system) == entry
        assert entry.size_bytes > 0
    # Without any available engine, the reason for the rejection is kept.
    nowhere = System("Plan 9", "mips", "")
    yolox = catalogue().get("yolox_nano")
    assert {"onnxruntime", "openvino"} == yolox.on(nowhere).manifest.engines.keys()


@pytest.mark.usefixtures("on_musl")
async def test_an_older_detector_without_files_for_ncnn_is_renewed(
    tmp_path: Path, store: ModelStore
) -> None:
    entry = catalogue().get("face_landmark")
    await Installer(store, tmp_path / "models").install("face_detection_short_range")
    assert detector_of(entry, store, catalogue()) is None
    held = store.get("face_detection_short_range")
    document = (held.folder / "model.json").read_text()
    (held.folder / "model.json").write_text(document.replace('"ncnn": {', '"openvino": {'))
    store.reload()
    needed = detector_of(entry, store, catalogue())
    assert needed is not None and needed.id == "face_detection_short_range"
    await run_of("face_landmark", store, tmp_path)
    assert store.get("face_landmark").engines == ("ncnn",)


@pytest.mark.usefixtures("on_musl")
async def test_a_file_that_came_along_damaged_is_not_installed(
    tmp_path: Path, store: ModelStore
) -> None:
    folder = tmp_path / "catalogue"
    shutil.copytree(catalogue().get("movenet_lightning").folder, folder / "movenet_lightning")
    weights = folder / "movenet_lightning" / "model.ncnn.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    installer = Installer(store, tmp_path / "models", entries=Catalogue(folder))
    with pytest.raises(Exception, match=r"model.ncnn.bin is not the expected file"):
        await installer.install("movenet_lightning")
    assert "movenet_lightning" not in store.models


# --- MoveNet ----------------------------------------------------------------------------------


def test_the_raw_outputs_are_read_as_the_graph_reads_them() -> None:
    sample = recorded("movenet_raw")
    outputs = [output.astype(np.float32) for output in sample.outputs]
    found = sample.head(outputs, 0.01)
    assert isinstance(found, Detections) and found.keypoints is not None
    expected = sample.answer["points"]
    # The published graph has 1/48 in 16 bits.
    np.testing.assert_allclose(found.keypoints[0, :, :2], expected[:, 1::-1], atol=5e-4)
    np.testing.assert_allclose(found.keypoints[0, :, 2], expected[:, 2], atol=1e-5)


def test_both_forms_make_the_same_person() -> None:
    sample = recorded("movenet_raw")
    raw = sample.head([output.astype(np.float32) for output in sample.outputs], 0.01)
    decoded = build_head(sample.spec, sample.size)([sample.answer["points"][None, None]], 0.01)
    assert isinstance(raw, Detections) and isinstance(decoded, Detections)
    np.testing.assert_allclose(raw.boxes, decoded.boxes, atol=5e-4)
    np.testing.assert_allclose(raw.scores, decoded.scores, atol=1e-5)


@needs_test_data
@pytest.mark.usefixtures("on_musl")
async def test_movenet_finds_what_the_uncut_graph_finds(tmp_path: Path, store: ModelStore) -> None:
    runner = await run_of("movenet_lightning", store, tmp_path)
    with np.load(DATA / "ncnn_movenet.npz") as file:
        names, answers = file["names"].tolist(), file["points"]
    for name, expected in zip(names, answers, strict=True):
        frame = decode((PICTURES / name).read_bytes(), (192, 192))
        tensor, _ = runner.preprocess(frame)
        found = runner._head(runner.infer(tensor), 0.001)
        assert isinstance(found, Detections) and found.keypoints is not None
        points = found.keypoints[0]
        np.testing.assert_allclose(points[:, 2], expected[:, 2], atol=0.005, err_msg=name)
        seen = expected[:, 2] >= SEEN
        np.testing.assert_allclose(
            points[seen, :2], expected[seen, 1::-1], atol=0.001, err_msg=name
        )


@needs_test_data
@pytest.mark.parametrize("picture", ["squat.png", "grace_hopper.png"])
@pytest.mark.usefixtures("on_musl")
async def test_movenet_finds_the_joints_where_the_quantised_file_finds_them(
    tmp_path: Path, store: ModelStore, picture: str
) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    folder = tmp_path / "litert"
    entry = catalogue().get("movenet_lightning")
    shutil.copytree(entry.folder, folder)
    for name in entry.sources.files:
        shutil.copy(TEST_DATA / "models" / name, folder)
    one = found_in(Runner(load_model(folder), "litert", "cpu"), PICTURES / picture, 10)
    other = found_in(await run_of("movenet_lightning", store, tmp_path), PICTURES / picture, 10)
    assert one.keypoints is not None and other.keypoints is not None
    seen = one.keypoints[0, :, 2] >= SEEN
    assert seen.sum() >= 6
    distances = np.linalg.norm((one.keypoints - other.keypoints)[0, seen, :2], axis=1)
    # As a share of the sides of the picture; 8 bits compared with 16.
    assert distances.max() < 0.03
    assert one.scores[0] == pytest.approx(other.scores[0], abs=0.1)


# --- MediaPipe --------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_musl")
@pytest.mark.parametrize("model_id", FACES)
async def test_the_network_answers_as_with_litert(
    tmp_path: Path, store: ModelStore, model_id: str
) -> None:
    runner = await run_of(model_id, store, tmp_path)
    tensor, _ = runner.preprocess(decode(SELF_TEST_PICTURE.read_bytes()))
    outputs = runner.infer(tensor)
    with np.load(DATA / "ncnn_mediapipe.npz") as file:
        expected = [file[f"{model_id}.{number}"] for number in (0, 1)]
    for output, wanted in zip(outputs, expected, strict=True):
        # They were recorded in 16 bits.
        np.testing.assert_allclose(output.ravel(), wanted.ravel(), rtol=1e-3, atol=0.01)


@needs_test_data
@pytest.mark.usefixtures("on_musl")
@pytest.mark.parametrize("model_id", FACES)
async def test_faces_and_their_points_are_found_as_with_litert(
    tmp_path: Path, store: ModelStore, model_id: str
) -> None:
    runner = await run_of(model_id, store, tmp_path)
    found = found_in(runner, PICTURES / "face.jpg", 50)
    with np.load(DATA / "ncnn_mediapipe.npz") as file:
        expected = {key: file[f"{model_id}.{key}"] for key in ("boxes", "scores", "keypoints")}
    assert len(found) == len(expected["scores"]) > 0
    np.testing.assert_allclose(found.boxes, expected["boxes"], atol=0.002)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=0.005)
    np.testing.assert_allclose(found.keypoints, expected["keypoints"], atol=0.005)


@needs_test_data
@pytest.mark.usefixtures("on_musl")
async def test_people_are_where_they_are_with_litert(tmp_path: Path, store: ModelStore) -> None:
    runner = await run_of("selfie_segmentation", store, tmp_path)
    (mask,) = runner.infer(runner.prepare((PICTURES / "face.jpg").read_bytes()).tensor)
    with np.load(DATA / "ncnn_mediapipe.npz") as file:
        expected = file["mask"]
    assert 0.1 < (expected > 0.5).mean() < 0.9
    assert np.abs(mask[0, ::4, ::4, 0] - expected).max() < 0.01
