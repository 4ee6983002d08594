"""Models that classify, see bodies or see faces: entities, events, forms, with real inference."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from typing import Any

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION, Issue, issue_id
from custom_components.edge_vision.image_processing import _MAX_FACES
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until
from tests.hub.test_subentry_flow import BUNDLED, Flow, answers
from tests.pictures import NODE_FOLDER, TEST_DATA, needs_test_data
from tests.small_models import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    add_classification,
    add_face,
    add_pose,
    painted,
)

ENTITY = "image_processing.front_door"


def of_task(home: Home, add: Any, **changes: Any) -> Any:
    return pipeline(model=add(home.data_folder / "models"), **changes)


async def show(home: Home, cameras: Cameras, colour: tuple[int, int, int]) -> None:
    cameras.porch.picture = painted(colour)
    await home.scan()


# --- Classification -------------------------------------------------------------------------------


@pytest.mark.real_node
async def test_a_classification_has_its_label_as_state(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = painted(BLACK)
    await home.add(of_task(home, add_classification, labels=[]))
    await home.until_state(ENTITY, "none")
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    await show(home, cameras, RED)

    assert home.state(ENTITY) == "red"
    (best,) = home.attribute(ENTITY, "classes")
    assert best["label"] == "red"
    assert best["confidence"] > 99
    assert home.attribute(ENTITY, "model") == "colours"
    assert home.attribute(ENTITY, "accelerator") == "cpu"
    assert home.attribute(ENTITY, "last_detection")
    assert home.attribute(ENTITY, "objects") is None

    await until(lambda: len(fired) >= 2)
    told = {(event.data["kind"], event.data["phase"], event.data["label"]) for event in fired}
    assert told == {("classification", "instant", "red"), ("scan", "instant", "red")}
    assert all(event.data["entity_id"] == ENTITY for event in fired)
    assert all(event.data["box"] is None for event in fired)
    assert home.attribute("event.front_door", "label") == "red"

    await show(home, cameras, BLACK)
    assert home.state(ENTITY) == "none"


@pytest.mark.real_node
async def test_labels_that_matter_are_no_things_that_come_and_go(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = painted(RED)
    await home.add(of_task(home, add_classification, labels=["green", "blue"]))
    await home.until_state(ENTITY, "none")
    await show(home, cameras, GREEN)
    assert home.state(ENTITY) == "green"
    assert not [name for name in home.entity_ids() if "green" in name or "blue" in name]


@pytest.mark.real_node
async def test_not_looked_is_not_none(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = painted(RED)
    await home.add(of_task(home, add_classification, labels=[]))
    await home.until_state(ENTITY, "red")
    await home.call("switch", "turn_off", "switch.front_door_detection")
    assert home.state(ENTITY) == "unknown"
    assert home.attribute(ENTITY, "classes") is None


# --- Pose -----------------------------------------------------------------------------------------


@pytest.mark.real_node
async def test_a_pose_has_the_posture_as_state(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = painted(BLACK)
    await home.add(of_task(home, add_pose))
    await home.until_state(ENTITY, "none")
    assert home.state("binary_sensor.front_door_person") == "off"
    for colour, posture in ((RED, "standing"), (GREEN, "sitting"), (BLUE, "lying")):
        await show(home, cameras, colour)
        assert home.state(ENTITY) == posture
        (body,) = home.attribute(ENTITY, "objects")
        assert body["posture"] == posture
        assert len(body["keypoints"]) == 17
        assert body["keypoints"][0].keys() == {"name", "x", "y", "confidence"}
    assert home.state("binary_sensor.front_door_person") == "on"
    assert home.state("sensor.front_door_person_count") == "1"


# --- Faces ----------------------------------------------------------------------------------------


@pytest.mark.real_node
async def test_each_face_is_fired_as_home_assistant_does(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = painted(BLUE)
    await home.add(of_task(home, add_face, labels=["face"]))
    await home.until_state(ENTITY, "0")
    assert home.attribute(ENTITY, "faces") == []
    assert home.attribute(ENTITY, "device_class") == "face"
    fired = async_capture_events(home.hass, "image_processing.detect_face")
    await show(home, cameras, GREEN)

    assert home.state(ENTITY) == "2"
    assert home.attribute(ENTITY, "total_faces") == 2
    faces = home.attribute(ENTITY, "faces")
    assert [face["confidence"] for face in faces] == [90.0, 70.0]
    assert [event.data for event in fired] == [
        {"entity_id": ENTITY, "confidence": 90.0},
        {"entity_id": ENTITY, "confidence": 70.0},
    ]
    assert [item["label"] for item in home.attribute(ENTITY, "objects")] == ["face", "face"]
    assert home.state("binary_sensor.front_door_face") == "on"
    assert home.state("sensor.front_door_face_count") == "2"

    # What is not a look fires nothing.
    home.pipeline.async_notify()
    await home.hass.async_block_till_done()
    assert len(fired) == 2
    await home.call("switch", "turn_off", "switch.front_door_detection")
    assert home.state(ENTITY) == "unknown"
    assert (home.attribute(ENTITY, "faces"), home.attribute(ENTITY, "total_faces")) == ([], 0)
    assert _MAX_FACES * 100 < 16 * 1024


# --- Models that others have made -----------------------------------------------------------------

CATALOGUE = NODE_FOLDER / "edge_vision_node" / "library" / "catalogue"


def installed(home: Home, model: str) -> str:
    """Put a model of the catalogue where the node keeps models; its files are the test data's."""
    folder = home.data_folder / "models" / model
    shutil.copytree(CATALOGUE / model, folder)
    manifest = json.loads((folder / "model.json").read_text())
    files = [file for engine in manifest["engines"].values() for file in engine["files"].values()]
    for name in {manifest["labels"]["path"], *(file["path"] for file in files)}:
        if not (folder / name).exists():
            shutil.copy(TEST_DATA / "models" / name, folder / name)
    return model


@pytest.mark.real_node
@needs_test_data
@pytest.mark.parametrize("model", ["fastestdet", "yolox_nano"])
async def test_other_detectors_count_people(home: Home, cameras: Cameras, model: str) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(model=installed(home, model)))
    await until(lambda: home.pipeline.look is not None)
    assert int(home.state(ENTITY)) >= 2
    assert home.attribute(ENTITY, "model") == model
    assert home.state("binary_sensor.front_door_person") == "on"


@pytest.mark.real_node
@needs_test_data
@pytest.mark.skipif(not find_spec("ai_edge_litert"), reason="LiteRT is not installed")
@pytest.mark.parametrize(
    ("model", "picture", "state"),
    [
        ("mobilenet_v2_imagenet", "cat_720p.jpg", "Egyptian cat"),
        ("movenet_lightning", "squat.png", "sitting"),
    ],
)
async def test_models_of_litert(
    home: Home, cameras: Cameras, model: str, picture: str, state: str
) -> None:
    cameras.porch.picture = (TEST_DATA / "images" / picture).read_bytes()
    labels = ["person"] if state == "sitting" else []
    await home.add(pipeline(model=installed(home, model), labels=labels))
    await home.until_state(ENTITY, state)
    assert home.attribute(ENTITY, "engine") == "litert"


@pytest.mark.real_node
async def test_automatic_is_an_engine_that_the_model_has_files_for(
    home: Home, cameras: Cameras
) -> None:
    """The node's own engine, ONNX Runtime here, where it can; else any other that can."""
    cameras.porch.picture = STREET
    folder = home.data_folder / "models" / "for_ncnn"
    shutil.copytree(BUNDLED, folder)
    manifest = json.loads((folder / "model.json").read_text())
    manifest |= {"id": "for_ncnn", "engines": {"ncnn": manifest["engines"]["ncnn"]}}
    (folder / "model.json").write_text(json.dumps(manifest))
    await home.add(pipeline(model="for_ncnn"), pipeline("Back door", "camera.porch"))
    await home.until_state("binary_sensor.front_door_person", "on")
    await home.until_state("binary_sensor.back_door_person", "on")
    engines = {
        entity_id: home.attribute(entity_id, "engine")
        for entity_id in (ENTITY, "image_processing.back_door")
    }
    assert engines == {ENTITY: "ncnn", "image_processing.back_door": "onnxruntime"}
    answer = await home.hass.services.async_call(
        "edge_vision",
        "detect",
        {"entity_id": "camera.porch", "model": "for_ncnn"},
        blocking=True,
        return_response=True,
    )
    assert answer is not None
    assert answer["engine"] == "ncnn"


# --- Another model for the same camera ------------------------------------------------------------


@pytest.mark.real_node
async def test_a_model_for_another_task_keeps_the_entity_and_drops_the_labels(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = painted(RED)
    models = home.data_folder / "models"
    colours = add_classification(models)
    entry = await home.add(of_task(home, add_pose))
    await home.until_state(ENTITY, "standing")
    registry = er.async_get(home.hass)
    before = registry.async_get(ENTITY)
    assert before is not None

    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "model": colours, "labels": []}
    )
    await home.until_state(ENTITY, "red")
    after = registry.async_get(ENTITY)
    assert after is not None
    assert after.id == before.id
    assert registry.async_get("binary_sensor.front_door_person") is None


# --- The form -------------------------------------------------------------------------------------


@pytest.mark.real_node
async def test_a_classification_can_be_added_without_choosing_labels(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = painted(GREEN)
    model = add_classification(home.data_folder / "models")
    await home.add()
    flow = await Flow.begin(home)
    await flow.send({"model": model})
    assert flow.defaults["detection"]["labels"] == []
    assert set(flow.options("detection", "labels")) == {"red", "green", "blue"}
    made = await flow.send(answers(labels=[]))
    assert made["data"]["labels"] == []
    await home.until_state("image_processing.porch", "green")


@pytest.mark.real_node
async def test_the_only_label_of_a_model_is_chosen_already(home: Home, cameras: Cameras) -> None:
    model = add_face(home.data_folder / "models")
    await home.add()
    flow = await Flow.begin(home)
    await flow.send({"model": model})
    assert flow.defaults["detection"]["labels"] == ["face"]
    await flow.send(answers(labels=[]))
    assert flow.result["errors"] == {"detection": "no_labels"}


# --- The action -----------------------------------------------------------------------------------


@pytest.mark.real_node
@pytest.mark.parametrize("add", [add_classification, add_pose])
async def test_detect_answers_for_every_task(home: Home, cameras: Cameras, add: Any) -> None:
    cameras.porch.picture = painted(BLUE)
    model = add(home.data_folder / "models")
    await home.add()
    answer = await home.hass.services.async_call(
        DOMAIN,
        "detect",
        {"entity_id": "camera.porch", "model": model},
        blocking=True,
        return_response=True,
    )
    if add is add_classification:
        assert (answer["task"], answer["objects"]) == ("classification", [])
        assert answer["classes"][0]["label"] == "blue"
    else:
        assert (answer["task"], answer["classes"]) == ("pose", [])
        assert answer["objects"][0]["posture"] == "lying"
        assert len(answer["objects"][0]["keypoints"]) == 17


# --- Somewhere else -------------------------------------------------------------------------------


def fallback_issue(hass: HomeAssistant, entry: Any) -> ir.IssueEntry | None:
    (subentry_id,) = entry.subentries
    return ir.async_get(hass).async_get_issue(
        DOMAIN, issue_id(Issue.ACCELERATOR_FALLBACK, subentry_id)
    )


async def test_what_runs_elsewhere_is_named_and_goes_on_looking(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(
        pipeline(engine="onnxruntime", accelerator="cuda:7", allow_fallback=True)
    )
    await until(lambda: home.pipeline.look is not None)
    assert home.attribute(ENTITY, "accelerator") == "cpu"
    issue = fallback_issue(home.hass, entry)
    assert issue is not None
    assert issue.severity is ir.IssueSeverity.WARNING
    assert issue.is_fixable
    placeholders = issue.translation_placeholders or {}
    assert placeholders["name"] == "Front door"
    assert placeholders["place"] == "ONNX Runtime, CPU"
    assert "cuda:7" in placeholders["error"]

    # A look that succeeds does not make it untrue.
    await home.scan()
    assert fallback_issue(home.hass, entry) is not None

    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "accelerator": "cpu"}
    )
    await home.hass.async_block_till_done()
    await until(lambda: fallback_issue(home.hass, entry) is None)


async def test_what_may_not_run_elsewhere_does_not(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline(engine="onnxruntime", accelerator="cuda:7"))
    await home.until_state("sensor.front_door_status", "model_failed")
    assert home.state(ENTITY) == "unavailable"
    assert fallback_issue(home.hass, entry) is None
    (subentry_id,) = entry.subentries
    issue = ir.async_get(home.hass).async_get_issue(
        DOMAIN, issue_id(Issue.MODEL_FAILED, subentry_id)
    )
    assert issue is not None
    assert "cuda:7" in (issue.translation_placeholders or {})["error"]


async def test_a_camera_that_is_removed_takes_the_notice_along(
    home: Home, cameras: Cameras
) -> None:
    entry = await home.add(pipeline(accelerator="cuda:7", allow_fallback=True))
    (subentry_id,) = entry.subentries
    await until(lambda: fallback_issue(home.hass, entry) is not None)
    home.hass.config_entries.async_remove_subentry(entry, subentry_id)
    await home.hass.async_block_till_done()
    assert (
        ir.async_get(home.hass).async_get_issue(
            DOMAIN, issue_id(Issue.ACCELERATOR_FALLBACK, subentry_id)
        )
        is None
    )
