"""Adding cameras to a node and changing what is done with them, with the real node."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.exceptions import HomeAssistantError
from PIL import Image

from custom_components.edge_vision.const import DATA_DIR, SUBENTRY_PIPELINE
from custom_components.edge_vision.flows import camera_settings
from custom_components.edge_vision.node.edge_vision_node import protocol
from tests.hub import flows
from tests.hub.conftest import STREET, Cameras, Home, entry_with, pipeline, until
from tests.pictures import NODE_FOLDER
from tests.small_models import add_embedding, add_landmarks

MODEL = "ssd_mobilenet_v2_coco"
VIDEO = {
    "fps": 5,
    "look": "balanced",
    "sensitivity": "medium",
    "cooldown": 0,
    "transport": "auto",
    "key_frames_only": False,
    "hardware_decoding": False,
}
BUNDLED = NODE_FOLDER / "edge_vision_node" / "models" / "bundled" / MODEL


def answers(camera: str = "camera.porch", **changes: Any) -> dict[str, Any]:
    """Return a form filled in; `changes` go where their fields are."""
    form: dict[str, Any] = {
        "camera": camera,
        "detection": {"labels": ["person", "traffic_light"], "confidence": 40},
        "schedule": {"source": "auto", "only_on_request": True, "scan_interval": 30},
        "video": dict(VIDEO),
        "advanced": {"place": "auto", "allow_fallback": False},
    }
    for key, value in changes.items():
        sections = [part for part in form.values() if isinstance(part, dict) and key in part]
        (sections[0] if sections else form)[key] = value
    return form


class Flow:
    """A subentry flow in a browser."""

    def __init__(self, hass: HomeAssistant, result: Any) -> None:
        self._manager = hass.config_entries.subentries
        self.result = result

    @classmethod
    async def begin(cls, home: Home) -> Flow:
        result = await home.hass.config_entries.subentries.async_init(
            (home.entry.entry_id, SUBENTRY_PIPELINE), context={"source": SOURCE_USER}
        )
        return cls(home.hass, result)

    @classmethod
    async def change(cls, home: Home, what: str = "change_settings") -> Flow:
        (subentry_id,) = home.entry.subentries
        flow = cls(
            home.hass, await home.entry.start_subentry_reconfigure_flow(home.hass, subentry_id)
        )
        await flow.pick(what)
        return flow

    async def send(self, form: dict[str, Any]) -> Any:
        self.result = await self._manager.async_configure(self.result["flow_id"], form)
        if self.result["type"] is FlowResultType.SHOW_PROGRESS:  # on a busy machine
            return await self.through_progress()
        return self.result

    async def through_progress(self) -> Any:
        """Ask again until it is done, as the browser does."""
        while True:
            self.result = await self._manager.async_configure(self.result["flow_id"])
            if self.result["type"] is not FlowResultType.SHOW_PROGRESS:
                return self.result
            await asyncio.sleep(0.05)

    async def pick(self, option: str) -> Any:
        return await self.send({"next_step_id": option})

    @property
    def aborted_with(self) -> str | None:
        return self.result["reason"] if self.result["type"] is FlowResultType.ABORT else None

    @property
    def defaults(self) -> dict[str, Any]:
        """Return what the form holds when it opens."""
        schema = self.result["data_schema"].schema
        values: dict[str, Any] = {}
        for key, kind in schema.items():
            if hasattr(kind, "options"):
                values[str(key)] = kind.schema({})
            elif key.description and "suggested_value" in key.description:
                values[str(key)] = key.description["suggested_value"]
            elif callable(key.default):
                values[str(key)] = key.default()
        return values

    def options(self, *path: str) -> dict[str, str]:
        """Return the choices of a field: value → label."""
        kind = self.result["data_schema"]
        for name in path:
            kind = next(value for key, value in kind.schema.items() if key == name)
            kind = getattr(kind, "schema", kind)
        return {option["value"]: option["label"] for option in kind.config["options"]}


# --- It works -------------------------------------------------------------------------------------


@pytest.mark.real_node
async def test_a_trial_of_a_model_that_is_compiled_first_shows_that_it_goes_on(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = flows.slow_engine(monkeypatch, tmp_path)
    monkeypatch.setattr(camera_settings, "_SHOW_PROGRESS_AFTER_S", 0.2)
    await home.add()
    flow = await Flow.begin(home)
    manager = home.hass.config_entries.subentries
    shown = await manager.async_configure(flow.result["flow_id"], answers())
    assert (shown["type"], shown["progress_action"]) == (FlowResultType.SHOW_PROGRESS, "trial")
    again = await manager.async_configure(flow.result["flow_id"])
    assert again["type"] is FlowResultType.SHOW_PROGRESS
    gate.unlink()
    made = await flow.through_progress()
    assert made["type"] is FlowResultType.CREATE_ENTRY
    assert made["data"]["camera"] == "camera.porch"


async def test_a_trial_ends_with_the_flow_that_nobody_finishes(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras.porch.delay_s = 60.0
    monkeypatch.setattr(camera_settings, "_SHOW_PROGRESS_AFTER_S", 0.1)
    await home.add()
    flow = await Flow.begin(home)
    manager = home.hass.config_entries.subentries
    shown = await manager.async_configure(flow.result["flow_id"], answers())
    assert shown["type"] is FlowResultType.SHOW_PROGRESS
    (trial,) = (task for task in asyncio.all_tasks() if task.get_name() == "Edge Vision trial")
    manager.async_abort(flow.result["flow_id"])
    await asyncio.wait([trial], timeout=5)
    assert trial.cancelled()


async def test_a_trial_that_fails_late_goes_back_to_the_form(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras.porch.delay_s = 1.0
    monkeypatch.setattr(camera_settings, "_SHOW_PROGRESS_AFTER_S", 0.1)
    await home.add()
    flow = await Flow.begin(home)
    cameras.porch.picture = OSError("no route to the camera")
    await flow.send(answers())
    assert flow.result["step_id"] == "no_picture"
    cameras.porch.picture = STREET
    await flow.pick("settings")
    await flow.send(answers(labels=[]))
    assert flow.result["errors"] == {"detection": "no_labels"}


async def test_a_camera_is_tried_and_added_in_one_screen(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    await home.add()
    flow = await Flow.begin(home)
    assert (flow.result["type"], flow.result["step_id"]) == (FlowResultType.FORM, "settings")
    assert flow.result["last_step"] is True
    assert flow.defaults == {
        "detection": {"labels": ["person", "cat", "dog", "car"], "confidence": 50},
        "schedule": {"source": "auto", "only_on_request": False, "scan_interval": 10},
        "video": VIDEO,
        "advanced": {"place": "auto", "allow_fallback": False},
    }
    labels = flow.options("detection", "labels")
    assert len(labels) == 80
    assert labels["traffic_light"] == "Traffic light"
    places = flow.options("advanced", "place")
    assert places["auto"] == "auto"
    assert places["onnxruntime/cpu"] == "ONNX Runtime, CPU"
    assert places["ncnn/cpu"] == "ncnn, CPU"

    made = await flow.send(answers())
    assert made["type"] is FlowResultType.CREATE_ENTRY
    assert made["title"] == "Porch"
    assert made["data"] == {
        "camera": "camera.porch",
        "model": MODEL,
        "labels": ["person", "traffic light"],
        "confidence": 40.0,
        "source": "auto",
        "only_on_request": True,
        "scan_interval": 30,
        **VIDEO,
        "engine": "auto",
        "accelerator": "auto",
        "allow_fallback": False,
        "pattern": "full_edge",
    }
    assert cameras.porch.asked == 1
    await home.until_state("binary_sensor.porch_person", "on")
    assert home.state("binary_sensor.porch_traffic_light") in ("on", "off")


async def test_what_is_masked_in_another_entry_is_not_looked_at_in_the_trial(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = [{"x": x, "y": y} for x, y in ((0, 0), (1, 0), (1, 1))]
    await home.add(pipeline(privacy_masks=[mask]))
    request, asked = home.runtime.node.async_request, []

    async def note(command: Any, params: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(params)
        return await request(command, params, *arguments, **more)

    monkeypatch.setattr(home.runtime.node, "async_request", note)
    flow = await Flow.begin(home)
    await flow.send(answers("camera.porch"))
    (trial,) = [item for item in asked if isinstance(item, protocol.DetectRequest)]
    assert len(trial.privacy_masks) == 1


async def test_a_camera_can_be_added_twice_under_another_name(home: Home) -> None:
    await home.add(pipeline("Porch"))
    flow = await Flow.begin(home)
    made = await flow.send(answers(name="  Porch at night "))
    assert made["title"] == "Porch at night"
    assert len(home.entry.subentries) == 2


async def test_every_engine_can_be_chosen_for_a_camera(home: Home, cameras: Cameras) -> None:
    await home.add()
    flow = await Flow.begin(home)
    made = await flow.send(answers(place="ncnn/cpu"))
    assert made["type"] is FlowResultType.CREATE_ENTRY
    await home.hass.async_block_till_done()
    await home.until_state("sensor.porch_status", "on_request")
    await until(lambda: home.pipeline.look is not None)
    assert home.pipeline.look.engine == "ncnn"


# --- Changing it ----------------------------------------------------------------------------------


async def test_the_form_shows_what_was_chosen_and_keeps_the_change(home: Home) -> None:
    await home.add(
        pipeline(labels=["person", "traffic light"], confidence=62.0, model=MODEL, engine="ncnn")
    )
    flow = await Flow.change(home)
    assert flow.defaults == {
        "camera": "camera.porch",
        "name": "Front door",
        "detection": {"labels": ["person", "traffic_light"], "confidence": 62.0},
        "schedule": {"source": "stills", "only_on_request": True, "scan_interval": 3600},
        "video": VIDEO,
        "advanced": {"place": "ncnn/auto", "allow_fallback": False},
    }
    await flow.send(answers("camera.garden", name="Back door", labels=["dog"]))
    assert flow.aborted_with == "reconfigure_successful"
    await home.hass.async_block_till_done()
    (subentry,) = home.entry.subentries.values()
    assert subentry.title == "Back door"
    assert subentry.data["camera"] == "camera.garden"
    assert subentry.data["labels"] == ["dog"]
    await home.until_state("binary_sensor.back_door_dog", "off")


async def test_what_is_changed_elsewhere_while_a_form_is_open_stays(home: Home) -> None:
    await home.add(pipeline(confidence=40.0))
    flow = await Flow.change(home)
    await home.call("number", "set_value", "number.front_door_minimum_confidence", value=70)
    await flow.send(answers(name="Front door", labels=["dog"], confidence=40))
    assert flow.aborted_with == "reconfigure_successful"
    (subentry,) = home.entry.subentries.values()
    assert (subentry.data["confidence"], subentry.data["labels"]) == (70, ["dog"])


async def test_a_zone_forgets_a_label_that_the_camera_does_not_look_for_any_more(
    home: Home,
) -> None:
    corners = [{"x": x, "y": y} for x, y in ((0, 0), (1, 0), (1, 1))]
    zone = {"name": "Porch", "points": corners, "labels": ["person", "dog"]}
    await home.add(pipeline(source="auto", only_on_request=False, zones=[zone]))
    flow = await Flow.change(home, "areas")
    await flow.pick("change")
    await flow.send({"item": "zones/0"})
    assert flow.defaults["labels"] == ["person"]
    await flow.send(
        {"name": "Porch", "points": "0,0 1,0 1,1", "labels": ["person"], "counting": False}
    )
    assert flow.result["step_id"] == "areas"


async def test_what_is_no_longer_to_be_had_falls_back(home: Home) -> None:
    await home.add(pipeline(labels=["person", "unicorn"], engine="hailo", accelerator="hailo:0"))
    flow = await Flow.change(home)
    assert flow.defaults["detection"]["labels"] == ["person"]
    assert flow.defaults["advanced"]["place"] == "auto"


async def test_a_name_taken_away_becomes_the_cameras(home: Home) -> None:
    await home.add(pipeline())
    flow = await Flow.change(home)
    await flow.send(answers())
    await home.hass.async_block_till_done()
    (subentry,) = home.entry.subentries.values()
    assert subentry.title == "Porch"


# --- More than one model --------------------------------------------------------------------------


@pytest.fixture
def second_model(hass: HomeAssistant) -> str:
    """A model in the node's data folder that knows fewer labels and runs on one engine only."""
    import hashlib

    folder = Path(hass.config.path(DATA_DIR)) / "models" / "two_labels"
    shutil.copytree(BUNDLED, folder)
    manifest = json.loads((folder / "model.json").read_text())
    manifest |= {"id": "two_labels", "name": "Two labels"}
    labels = (folder / "labels.txt").read_text().split("\n")
    labels[0], labels[1] = "pedestrian", "cyclist"
    text = "\n".join(labels).encode()
    (folder / "labels.txt").write_bytes(text)
    manifest["labels"] |= {"sha256": hashlib.sha256(text).hexdigest(), "size": len(text)}
    manifest["engines"] = {"onnxruntime": manifest["engines"]["onnxruntime"]}
    (folder / "model.json").write_text(json.dumps(manifest))
    return "two_labels"


@pytest.mark.real_node
@pytest.mark.usefixtures("all_engines")  # so that there is more than one place
async def test_with_more_models_the_model_comes_first(home: Home, second_model: str) -> None:
    await home.add()
    flow = await Flow.begin(home)
    assert (flow.result["step_id"], flow.result["last_step"]) == ("model", False)
    assert flow.defaults == {"model": MODEL}
    assert set(flow.options("model")) == {MODEL, second_model}

    await flow.send({"model": second_model})
    assert flow.result["step_id"] == "settings"
    assert flow.result["description_placeholders"]["model"] == "Two labels"
    labels = flow.options("detection", "labels")
    assert labels["pedestrian"] == "Pedestrian"
    assert "person" not in labels
    assert flow.defaults["detection"]["labels"] == ["cat", "dog", "car"]  # what it has of the usual
    places = flow.options("advanced", "place")
    assert {place.partition("/")[0] for place in places} == {"auto", "onnxruntime"}

    made = await flow.send(answers(labels=["cyclist"]))
    assert made["data"]["model"] == second_model
    assert made["data"]["labels"] == ["cyclist"]


@pytest.mark.real_node
async def test_a_change_begins_with_the_model_there_is(home: Home, second_model: str) -> None:
    await home.add(pipeline(model=second_model, labels=["cyclist"]))
    flow = await Flow.change(home)
    assert flow.defaults == {"model": second_model}
    await flow.send({"model": second_model})
    assert flow.defaults["detection"]["labels"] == ["cyclist"]
    assert (
        "advanced" not in flow.defaults
    )  # with one engine and no accelerator nothing is to choose


@pytest.mark.real_node
async def test_a_model_that_looks_at_what_another_finds_is_offered_when_that_is_there(
    home: Home, hass: HomeAssistant
) -> None:
    models = Path(hass.config.path(DATA_DIR)) / "models"
    add_landmarks(models)
    add_embedding(models)  # entities cannot be made of it
    await home.add()
    assert set((await Flow.begin(home)).options("model")) == {MODEL, "marks", "points"}
    shutil.rmtree(models / "marks")
    before = home.runtime
    await hass.config_entries.async_reload(home.entry.entry_id)
    await home.reloaded(before)
    assert (await Flow.begin(home)).result["step_id"] == "settings"  # nothing is left to choose


# --- It cannot begin ------------------------------------------------------------------------------


async def test_a_node_that_is_not_set_up_cannot_take_a_camera(home: Home) -> None:
    entry = entry_with()
    entry.add_to_hass(home.hass)
    home.entries.append(entry)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert (await Flow.begin(home)).aborted_with == "entry_not_loaded"


async def test_a_node_that_is_away_cannot_take_a_camera(home: Home) -> None:
    await home.add()
    home.kill_node()
    await until(lambda: not home.runtime.node.connected)
    assert (await Flow.begin(home)).aborted_with == "node_unavailable"
    await until(lambda: home.runtime.node.connected)


# --- The camera has no picture --------------------------------------------------------------------


def broken_picture() -> bytes:
    return STREET[:100] + bytes(200)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (HomeAssistantError("it is asleep"), "it is asleep"),
        (OSError("no route to it"), "no route to it"),
        (None, ""),
        (b"<html>login</html>", ""),
        (broken_picture(), ""),
        (bytes(protocol.MAX_PICTURE_BYTES + 1), "larger than 32 MiB"),
    ],
    ids=["camera-error", "other-error", "none", "no-picture", "broken", "too-large"],
)
async def test_a_camera_without_a_picture_can_be_saved_all_the_same(
    home: Home, cameras: Cameras, picture: Any, reason: str
) -> None:
    cameras.porch.picture = picture
    await home.add()
    flow = await Flow.begin(home)
    menu = await flow.send(answers())
    assert (menu["type"], menu["step_id"]) == (FlowResultType.MENU, "no_picture")
    assert menu["menu_options"] == ["settings", "save"]
    assert menu["description_placeholders"]["camera"] == "Porch"
    assert menu["description_placeholders"]["reason"]
    assert reason in menu["description_placeholders"]["reason"]

    made = await flow.pick("save")
    assert made["type"] is FlowResultType.CREATE_ENTRY
    assert made["data"]["labels"] == ["person", "traffic light"]


async def test_the_warning_shows_no_password(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = OSError("cannot open rtsp://admin:hunter2@10.0.0.9/live")
    await home.add()
    flow = await Flow.begin(home)
    menu = await flow.send(answers())
    assert "10.0.0.9" in menu["description_placeholders"]["reason"]
    assert "hunter2" not in str(menu)


async def test_from_the_warning_one_gets_back_to_what_was_filled_in(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = HomeAssistantError("it is asleep")
    await home.add()
    flow = await Flow.begin(home)
    await flow.send(answers(name="Night", confidence=33))
    await flow.pick("settings")
    assert flow.result["step_id"] == "settings"
    assert flow.defaults["camera"] == "camera.porch"
    assert flow.defaults["name"] == "Night"
    assert flow.defaults["detection"] == {"labels": ["person", "traffic_light"], "confidence": 33}

    cameras.porch.picture = STREET
    made = await flow.send(answers())
    assert made["type"] is FlowResultType.CREATE_ENTRY


async def test_a_changed_camera_without_a_picture_is_saved_too(
    home: Home, cameras: Cameras
) -> None:
    await home.add(pipeline())
    cameras.garden.picture = HomeAssistantError("it is asleep")
    flow = await Flow.change(home)
    await flow.send(answers("camera.garden"))
    await flow.pick("save")
    assert flow.aborted_with == "reconfigure_successful"
    (subentry,) = home.entry.subentries.values()
    assert subentry.data["camera"] == "camera.garden"


# --- It cannot work -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"camera": "camera.gone"}, {"camera": "camera_not_found"}),
        ({"labels": []}, {"detection": "no_labels"}),
        ({"confidence": 5}, {"detection": "does_not_fit"}),
        ({"labels": ["unicorn"]}, {"detection": "does_not_fit"}),
        ({"scan_interval": 3601}, {"schedule": "does_not_fit"}),
        ({"fps": 0}, {"video": "does_not_fit"}),
        ({"place": "hailo"}, {"advanced": "does_not_fit"}),
    ],
)
async def test_what_cannot_work_is_refused_and_can_be_put_right(
    home: Home, changes: dict[str, Any], errors: dict[str, str]
) -> None:
    await home.add()
    flow = await Flow.begin(home)
    await flow.send(answers(**changes))
    assert (flow.result["step_id"], flow.result["errors"]) == ("settings", errors)
    made = await flow.send(answers())
    assert made["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    "changes",
    [
        {"camera": "light.porch"},
        {"engine": "hailo"},
    ],
)
async def test_what_the_form_does_not_offer_is_not_taken(
    home: Home, changes: dict[str, Any]
) -> None:
    await home.add()
    flow = await Flow.begin(home)
    with pytest.raises(InvalidData):
        await flow.send(answers(**changes))


@pytest.mark.real_node
@pytest.mark.usefixtures("all_engines")
async def test_a_model_that_the_engine_cannot_load_is_told_in_words(
    home: Home, second_model: str
) -> None:
    await home.add()
    # The file was fine when the node started.
    folder = Path(home.hass.config.path(DATA_DIR)) / "models" / second_model
    damaged = io.BytesIO()
    Image.new("RGB", (8, 8)).save(damaged, "PNG")
    await home.hass.async_add_executor_job((folder / "model.onnx").write_bytes, damaged.getvalue())
    flow = await Flow.begin(home)
    await flow.send({"model": second_model})
    await flow.send(answers(labels=["cyclist"]))
    assert (flow.result["step_id"], flow.result["errors"]) == ("settings", {"base": "cannot_run"})
    assert flow.result["description_placeholders"]["reason"]


async def test_a_node_that_goes_away_meanwhile_loses_no_answers(
    home: Home, cameras: Cameras
) -> None:
    await home.add()
    flow = await Flow.begin(home)
    home.kill_node()
    await until(lambda: not home.runtime.node.connected)
    await flow.send(answers(confidence=33))
    assert flow.result["errors"] == {"base": "node_gone"}
    assert flow.defaults["detection"]["confidence"] == 33
    await until(lambda: home.runtime.node.connected)
    made = await flow.send(answers())
    assert made["type"] is FlowResultType.CREATE_ENTRY
