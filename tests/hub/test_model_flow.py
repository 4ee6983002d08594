"""Models in the UI: the catalogue, one's own, removing, and those that crash."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from homeassistant.components.repairs import repairs_flow_manager
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import config_validation
from homeassistant.helpers import issue_registry as ir
from homeassistant.requirements import RequirementsNotFound
from homeassistant.setup import async_setup_component
from probatio import to_field_list
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision.const import DOMAIN, Issue
from custom_components.edge_vision.flows import model_steps
from custom_components.edge_vision.flows.model_text import corrections
from custom_components.edge_vision.local_node import requirements
from custom_components.edge_vision.markdown import escaped
from custom_components.edge_vision.node.edge_vision_node import protocol
from tests.hub.conftest import Home, pipeline, until
from tests.hub.frontend import opened, sent
from tests.hub.test_subentry_flow import BUNDLED, MODEL, Flow
from tests.onnx_files import onnx_file
from tests.pictures import TEST_DATA, needs_test_data
from tests.small_models import add_classification


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_steps, "MEASURE_SECONDS", 0.05)


class ModelFlow:
    """The gear, in a browser."""

    def __init__(self, home: Home) -> None:
        self._manager = home.hass.config_entries.options
        self._home = home
        self.result: Any = None

    @classmethod
    async def open(cls, home: Home, *steps: str) -> ModelFlow:
        flow = cls(home)
        flow.result = await flow._manager.async_init(home.entry.entry_id)
        for step in steps:
            await flow.send({"next_step_id": step})
        return flow

    async def send(self, answer: dict[str, Any]) -> Any:
        flow_id = self.result["flow_id"]
        self.result = await self._manager.async_configure(flow_id, answer)
        while self.result["type"] is FlowResultType.SHOW_PROGRESS:
            await asyncio.sleep(0.05)
            self.result = await self._manager.async_configure(flow_id)
        return self.result

    @property
    def told(self) -> dict[str, str]:
        placeholders: dict[str, str] = self.result["description_placeholders"]
        return placeholders

    def options(self, field: str) -> dict[str, str]:
        schema = self.result["data_schema"].schema
        return {item["value"]: item["label"] for item in schema[field].config["options"]}

    def answers(self, **changes: Any) -> dict[str, Any]:
        """Return the form as it is shown, with changes."""
        fields = to_field_list(
            self.result["data_schema"], custom_serializer=config_validation.custom_serializer
        )
        return sent({**opened(fields), **changes})


async def upload(
    hass: HomeAssistant, client: ClientSessionGenerator, name: str, data: bytes
) -> str:
    """Send a file as the browser does."""
    assert await async_setup_component(hass, "file_upload", {})
    file = io.BytesIO(data)
    file.name = name
    response = await (await client()).post("/api/file_upload", data={"file": file})
    assert response.status == HTTPStatus.OK
    file_id: str = (await response.json())["file_id"]
    return file_id


def drop(home: Home, name: str, data: bytes | None = None, source: Path | None = None) -> None:
    folder = home.data_folder / "drop"
    folder.mkdir(exist_ok=True)
    if source is not None:
        shutil.copyfile(source, folder / name)
    else:
        (folder / name).write_bytes(data or b"")


@pytest.mark.real_node
async def test_a_model_of_ones_own_from_upload_to_camera(
    home: Home,
    hass_client: ClientSessionGenerator,
    hass_client_no_auth: ClientSessionGenerator,
) -> None:
    hass = home.hass
    await home.add()
    flow = await ModelFlow.open(home)
    assert flow.result["menu_options"] == ["catalogue", "own", "engines"]  # nothing to remove yet
    flow = await ModelFlow.open(home, "own")
    assert flow.result["menu_options"] == ["upload", "address"]
    assert flow.told["folder"].endswith(r"/edge\_vision/drop")

    # What is no model says so, and leads back.
    flow = await ModelFlow.open(home, "own", "upload")
    await flow.send({"file": await upload(hass, hass_client, "my.onnx", b"not a model")})
    assert (flow.result["step_id"], flow.result["errors"]) == (
        "upload",
        {"base": "model_unreadable"},
    )
    assert "my.onnx" in flow.told["reason"]

    # A real one is recognised, tried, and shown.
    onnx = (BUNDLED / "model.onnx").read_bytes()
    await flow.send({"file": await upload(hass, hass_client, "street.onnx", onnx)})
    assert flow.result["step_id"] == "review", flow.told
    assert "Read as ssd for detection" in flow.told["report"]
    assert "person" in flow.told["report"]
    (address,) = re.findall(r"!\[\]\((.+)\)", flow.told["picture"])
    picture = await (await hass_client()).get(address)
    assert picture.status == HTTPStatus.OK
    assert (await picture.read()).startswith(b"\xff\xd8")
    unsigned, anybody = address.partition("?")[0], await hass_client_no_auth()
    assert (await anybody.get(unsigned)).status == HTTPStatus.UNAUTHORIZED

    # A correction that makes no sense is told; the form keeps what was typed.
    await flow.send(flow.answers(mean="a, b", then="again"))
    assert flow.result["errors"] == {"mean": "no_numbers"}
    # Another one is tried: with so high a bar, nothing is found.
    await flow.send(flow.answers(confidence=99, mean="127.5", then="again"))
    assert flow.result["step_id"] == "review"
    assert "In the test picture: nothing" in flow.told["report"]
    await flow.send(flow.answers(name="My street", then="save"))
    assert (flow.result["type"], flow.result["reason"]) == (FlowResultType.ABORT, "model_added")
    assert flow.told["model"] == "My street"
    assert (await (await hass_client()).get(address)).status == HTTPStatus.NOT_FOUND

    # One of that name is replaced only by who says so; names of the catalogue are not to be had.
    flow = await ModelFlow.open(home, "own", "upload")
    await flow.send({"file": await upload(hass, hass_client, "street.onnx", onnx)})
    await flow.send(flow.answers(name="My street", labels="a", then="save"))
    assert (flow.result["step_id"], flow.told["model"]) == ("taken", "My street")
    await flow.send({"next_step_id": "rename"})
    assert flow.answers()["labels"] == "a"  # what was typed is still there
    await flow.send(flow.answers(name="YOLOX nano", labels="", then="save"))
    assert flow.result["reason"] == "model_added"
    assert home.runtime.node.info is not None
    assert "yolox_nano_2" in [model.id for model in home.runtime.node.info.models]
    flow = await ModelFlow.open(home, "own", "upload")
    await flow.send({"file": await upload(hass, hass_client, "street.onnx", onnx)})
    await flow.send(flow.answers(name="My STREET", then="save"))
    await flow.send({"next_step_id": "replace"})
    assert flow.result["reason"] == "model_added"
    assert "My STREET" in [model.name for model in home.runtime.node.info.models]
    flow = await ModelFlow.open(home, "remove")
    await flow.send({"model": "yolox_nano_2"})
    assert (flow.result["step_id"], flow.told["model"]) == (
        "confirm_removal",
        r"YOLOX nano",
    )
    await flow.send({"next_step_id": "do_remove"})
    assert flow.result["reason"] == "model_removed"

    # It is there for cameras at once, and can be removed while none uses it.
    choice = await Flow.begin(home)
    assert set(choice.options("model")) == {MODEL, "my_street"}
    flow = await ModelFlow.open(home, "remove")
    assert flow.options("model") == {"my_street": "My STREET"}
    await flow.send({"model": "my_street"})
    assert flow.result["step_id"] == "confirm_removal"
    assert flow.told == {"model": "My STREET"}
    await flow.send({"next_step_id": "remove"})  # not that one
    assert flow.answers() == {"model": "my_street"}
    await flow.send({"model": "my_street"})
    await flow.send({"next_step_id": "do_remove"})
    assert (flow.result["type"], flow.result["reason"]) == (FlowResultType.ABORT, "model_removed")
    assert home.runtime.node.info is not None
    assert [model.id for model in home.runtime.node.info.models] == [MODEL]


@pytest.mark.real_node
async def test_a_dropped_model_that_is_not_recognised_gets_its_head_by_hand(home: Home) -> None:
    await home.add()
    add_classification(home.data_folder / "models")
    file = next((home.data_folder / "models" / "colours").glob("**/*.onnx"))
    drop(home, "colours.onnx", source=file)
    shutil.rmtree(home.data_folder / "models" / "colours")
    flow = await ModelFlow.open(home, "own", "dropped")
    await flow.send({"file": "colours.onnx"})
    assert flow.result["step_id"] == "review"
    await flow.send(
        flow.answers(
            name="Colours",
            task="classification",
            head="classification",
            labels="red\ngreen\nblue",
            then="save",
        )
    )
    assert flow.result["reason"] == "model_added", flow.told
    assert home.runtime.node.info is not None
    added = next(model for model in home.runtime.node.info.models if model.id == "colours")
    assert (added.task, added.labels) == ("classification", ("red", "green", "blue"))


@pytest.mark.real_node
async def test_size_and_parameters_can_be_corrected_in_the_form(home: Home) -> None:
    await home.add()
    picture, rows = ("images", (1, 3, None, None), "float32"), ("out", (1, 7, 2100), "float32")
    drop(home, "parts.onnx", onnx_file([picture], [rows], {"imgsz": "[640, 640]"}))
    flow = await ModelFlow.open(home, "own", "dropped")
    await flow.send({"file": "parts.onnx"})
    assert "do not match a known family" in flow.told["report"]  # 2100 cells are those of 320 x 320
    assert flow.answers()["details"] == {}
    await flow.send(flow.answers(details={"width": 320, "height": 320}, head="yolov8"))
    details = flow.answers()["details"]
    assert "Read as yolov8 for detection" in flow.told["report"], flow.told
    assert details == {
        "width": 320,
        "height": 320,
        "layout": "nchw",
        "classes": 3,
    }
    await flow.send(flow.answers(details={**details, "iou": 0.7}, name="Parts", then="save"))
    assert flow.result["reason"] == "model_added", flow.told
    manifest = json.loads((home.data_folder / "models/parts/1.0.0/model.json").read_text())
    corrected = {"type": "yolov8", "classes": 3, "iou_threshold": 0.7}
    assert manifest["head"].items() >= corrected.items()
    assert (manifest["input"]["width"], manifest["input"]["height"]) == (320, 320)


@pytest.mark.real_node
async def test_a_model_that_no_camera_can_have_is_not_said_to_be_for_one(home: Home) -> None:
    await home.add()
    picture, vector = ("images", (1, 3, 224, 224), "float32"), ("features", (1, 512), "float32")
    drop(home, "prints.onnx", onnx_file([picture], [vector], fill=0.5))
    flow = await ModelFlow.open(home, "own", "dropped")
    await flow.send({"file": "prints.onnx"})
    await flow.send(flow.answers(then="save"))
    assert flow.result["reason"] == "model_added_apart"
    assert flow.told == {"model": "prints", "id": "prints"}
    assert (await Flow.begin(home)).result["step_id"] == "settings"  # it is not offered


@pytest.mark.real_node
async def test_the_catalogue_tells_what_it_has_and_why_an_installation_fails(home: Home) -> None:
    await home.add()
    flow = await ModelFlow.open(home, "catalogue")
    lines = flow.options("model")
    assert "recommended" in lines["yolox_nano"]
    assert "not for cameras, only for the Detect action" in lines["selfie_segmentation"]
    assert "not for cameras" not in lines["yolox_nano"]
    assert "Apache-2.0" in lines["yolox_nano"]
    drop(home, "yolox_nano.onnx", b"not what it should be")
    await flow.send({"model": "yolox_nano"})  # and there is no network here
    assert (flow.result["step_id"], flow.result["errors"]) == (
        "catalogue",
        {"base": "install_failed"},
    )
    assert flow.told["reason"]


@pytest.mark.real_node
async def test_further_engines_are_installed_and_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.add()
    before = home.runtime
    refused = RequirementsNotFound("edge_vision", ["ai-edge-litert"])
    with monkeypatch.context() as patch:
        patch.setattr(requirements, "async_process_requirements", AsyncMock(side_effect=refused))
        flow = await ModelFlow.open(home, "engines")
        assert flow.answers() == {"engines": []}
        await flow.send({"engines": ["litert"]})
        assert (flow.result["step_id"], flow.result["errors"]) == (
            "engines",
            {"base": "install_failed"},
        )
        assert "ai-edge-litert==2.3.0" in flow.told["reason"]
    await flow.send({"engines": ["litert"]})
    assert flow.result["reason"] == "engines_kept"
    await home.reloaded(before)
    assert home.entry.data["further_engines"] == ["litert"]
    assert (await ModelFlow.open(home, "engines")).answers() == {"engines": ["litert"]}
    # A model that needs an engine that is not here brings it along.
    flow = await ModelFlow.open(home, "catalogue")
    handler = home.hass.config_entries.options._progress[flow.result["flow_id"]]
    assert handler._missing_engine("movenet_lightning") is None
    info = home.runtime.node.info
    assert info is not None
    engines = tuple(item for item in info.engines if item.id != "litert")
    home.runtime.node.info = replace(info, engines=engines)
    assert handler._missing_engine("mobilenet_v2_imagenet") == "litert"
    # MoveNet runs with ncnn, too, and wants LiteRT only where that is not here either.
    assert handler._missing_engine("movenet_lightning") is None
    engines = tuple(item for item in engines if item.id != "ncnn")
    home.runtime.node.info = replace(info, engines=engines)
    assert handler._missing_engine("movenet_lightning") == "litert"
    assert handler._missing_engine("yolox_nano") is None


@pytest.mark.real_node
async def test_what_cannot_run_here_is_told_and_not_offered(home: Home) -> None:
    await home.add()
    flow = await ModelFlow.open(home)
    handler = home.hass.config_entries.options._progress[flow.result["flow_id"]]
    reason = "it needs LiteRT, which cannot be installed on this system (Linux x86_64 with musl)"
    models = [
        replace(item, unavailable=reason if item.engines == ("litert",) else None)
        for item in handler._catalogue.models
    ]
    handler._catalogue = replace(handler._catalogue, models=tuple(models))
    await flow.send({"next_step_id": "catalogue"})
    assert set(flow.options("model")) == {
        *("yolox_nano", "fastestdet"),
        *("movenet_lightning", "face_detection_short_range", "face_landmark"),
        "selfie_segmentation",
    }
    assert "Not on this device" in flow.told["missing"]
    assert "SSD MobileNet v1 COCO, 8 bit" in flow.told["missing"]
    assert escaped(reason) in flow.told["missing"]

    flow = await ModelFlow.open(home)
    handler = home.hass.config_entries.options._progress[flow.result["flow_id"]]
    models = [replace(item, unavailable=reason) for item in models]
    handler._catalogue = replace(handler._catalogue, models=tuple(models))
    await flow.send({"next_step_id": "catalogue"})
    assert flow.result["reason"] == "nothing_in_the_catalogue"
    assert escaped(reason) in flow.told["models"]

    # Nor are engines.
    info = home.runtime.node.info
    assert info is not None
    engines = tuple(replace(item, packaged=item.id != "openvino") for item in info.engines)
    home.runtime.node.info = replace(info, engines=engines)
    assert (await ModelFlow.open(home, "engines")).result["data_schema"].schema["engines"].config[
        "options"
    ] == ["litert"]
    engines = tuple(replace(item, packaged=item.id == "ncnn") for item in info.engines)
    home.runtime.node.info = replace(info, engines=engines)
    assert (await ModelFlow.open(home, "engines")).result["reason"] == "no_further_engines"


@pytest.mark.real_node
@needs_test_data
async def test_a_model_of_the_catalogue_is_installed_without_a_network_and_in_use_not_removed(
    home: Home,
) -> None:
    await home.add(pipeline())
    drop(home, "yolox_nano.onnx", source=TEST_DATA / "models" / "yolox_nano.onnx")
    flow = await ModelFlow.open(home, "catalogue")
    await flow.send({"model": "yolox_nano"})
    assert flow.result["reason"] == "model_added", flow.told
    before = home.runtime
    # It has been measured, and the figures are shown where it is chosen.
    assert before.node.info is not None
    assert [item.model for item in before.node.info.benchmarks] == ["yolox_nano"]
    assert " pictures per second)" in (await Flow.begin(home)).options("model")["yolox_nano"]
    subentry = next(iter(home.entry.subentries.values()))
    home.hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "model": "yolox_nano"}
    )
    await home.hass.async_block_till_done()
    assert home.runtime is before  # it is for the same: no entity changes
    await until(lambda: home.pipeline.look and home.pipeline.look.model == "yolox_nano")
    flow = await ModelFlow.open(home, "remove")
    await flow.send({"model": "yolox_nano"})
    assert flow.result["errors"] == {"base": "model_in_use"}
    assert (flow.told["model"], flow.told["cameras"]) == ("YOLOX-nano COCO", "Front door")
    # It is still the one that is chosen, and another press removes no other one.
    add_classification(home.data_folder / "models")
    await home.runtime.node.async_refresh_info()
    await flow.send(flow.answers())
    assert (flow.result["errors"], flow.answers()) == (
        {"base": "model_in_use"},
        {"model": "yolox_nano"},
    )
    # In the catalogue it is listed, and not offered again.
    flow = await ModelFlow.open(home, "catalogue")
    assert "yolox_nano" not in flow.options("model")
    assert flow.told["installed"].endswith("- YOLOX-nano COCO (finds objects)")


def our_issues(hass: HomeAssistant) -> list[ir.IssueEntry]:
    return [item for item in ir.async_get(hass).issues.values() if item.domain == DOMAIN]


async def test_a_model_that_crashed_is_named_and_can_be_allowed_again(home: Home) -> None:
    assert await async_setup_component(home.hass, "repairs", {})
    await home.add(pipeline())
    item = protocol.QuarantinedModel(
        model=MODEL,
        model_version="1.0.0",
        name="SSD",
        engine="onnxruntime",
        accelerator="cpu",
        strikes=3,
        reason="the engine crashed (SIGSEGV)",
        at="2026-11-01T12:00:00+00:00",
    )
    status = home.runtime.node.status
    assert status is not None
    home.runtime.node.async_set_status(
        protocol.NodeStatus(pipelines=status.pipelines, uptime_s=1.0, quarantined=(item,))
    )
    (issue,) = our_issues(home.hass)
    assert issue.translation_key == Issue.MODEL_QUARANTINED
    assert issue.translation_placeholders == {
        "model": "SSD",
        "model_in_title": "SSD",
        "place": "ONNX Runtime, CPU",
        "count": "3",
        "error": "the engine crashed (SIGSEGV)",
    }
    manager = repairs_flow_manager(home.hass)
    assert manager is not None
    form = await manager.async_init(DOMAIN, data={"issue_id": issue.issue_id})
    result = await manager.async_configure(form["flow_id"], {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await until(lambda: not our_issues(home.hass))


@pytest.mark.parametrize(
    ("form", "changed"),
    [
        ({"task": "pose", "head": "movenet"}, {"task": "pose", "head.type": "movenet"}),
        ({"mean": "127.5"}, {"input.mean": [127.5] * 3}),
        ({"scale": "1; 2; 3"}, {"input.scale": [1.0, 2.0, 3.0]}),
        ({"labels": " a \n\nb"}, {"labels": ["a", "b"]}),
        ({"task": "detection", "labels": ""}, {}),
        (
            {"details": {"width": 320.0, "layout": "nhwc", "classes": 3.0, "iou": 0.5}},
            {
                "input.width": 320,
                "input.layout": "NHWC",
                "head.classes": 3,
                "head.iou_threshold": 0.5,
            },
        ),
        (
            {"head": "yolov8", "details": {"keypoints": "nose, tail"}},
            {"head.type": "yolov8", "keypoints": ["nose", "tail"], "head.keypoints": 2},
        ),
        (
            {"head": "movenet", "details": {"keypoints": "nose"}},
            {"head.type": "movenet", "keypoints": ["nose"]},
        ),
    ],
)
def test_what_a_form_changes(form: dict[str, Any], changed: dict[str, Any]) -> None:
    before = {"name": "kept"}
    assert corrections(form, {"task": "detection"}, before) == {**before, **changed}
    assert json.dumps(changed)
