"""Setting up the local node and changing its engine, with the real node and real engines."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from homeassistant.config_entries import ConfigEntryState, FlowType
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, UnknownFlow
from homeassistant.requirements import RequirementsNotFound

from custom_components.edge_vision import config_flow
from custom_components.edge_vision.const import CONF_ENGINE, DATA_DIR, DOMAIN
from custom_components.edge_vision.local_node import (
    engine_test,
    node_process,
    requirements,
)
from custom_components.edge_vision.node.edge_vision_node import protocol
from custom_components.edge_vision.runtime import benchmark_text
from tests.hub import flows
from tests.hub.conftest import Home, pipeline, processes_of, until
from tests.hub.flows import begin, choose, through_progress, try_engine, until_testing

pytestmark = pytest.mark.real_node


@pytest.fixture
def data_folder(hass: HomeAssistant) -> Path:
    return Path(hass.config.path(DATA_DIR))


def there(path: Path) -> bool:
    return path.exists()


@pytest.fixture(autouse=True)
def not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Engines whose package cannot be installed. The others take their time, as a download does."""
    engines: set[str] = set()
    process = requirements.async_process_requirements

    async def install(hass: HomeAssistant, name: str, wanted: list[str], is_built_in: bool) -> None:
        await asyncio.sleep(0.05)
        if any(requirements.ENGINE_REQUIREMENTS[engine] in wanted for engine in engines):
            raise RequirementsNotFound(name, wanted)
        await process(hass, name, wanted, is_built_in)

    monkeypatch.setattr(requirements, "async_process_requirements", install)
    return engines


@pytest.fixture(autouse=True)
def _short_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_test, "BENCHMARK_SECONDS", 0.05)
    # Which place is the fastest depends on the machine, and on what else it does.
    monkeypatch.setattr(benchmark_text, "_WORTH_A_CHANGE", 1e9)


@pytest.fixture(autouse=True)
async def _no_process_is_left(hass: HomeAssistant, run_folders: Path) -> Any:
    yield
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        await hass.config_entries.async_unload(entry.entry_id)
    assert processes_of(Path(hass.config.config_dir)) == []


# --- It works -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "engine", "name"),
    [
        ("auto", "onnxruntime", "ONNX Runtime, CPU (1."),
        ("onnxruntime", "onnxruntime", "ONNX Runtime, CPU (1."),
        ("ncnn", "ncnn", "ncnn, CPU (1."),
    ],
)
async def test_an_engine_is_installed_tested_and_kept(
    hass: HomeAssistant, choice: str, engine: str, name: str
) -> None:
    form = await begin(hass)
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == "user"
    assert form["errors"] == {}
    assert form["description_placeholders"]["automatic"] == "ONNX Runtime"

    working = await choose(hass, form["flow_id"], choice)
    assert working["type"] is FlowResultType.SHOW_PROGRESS
    assert working["progress_action"] == "install"
    actions: list[str] = []
    shown = await through_progress(hass, form["flow_id"], actions)
    assert actions == ["install", "test", "benchmark"]

    assert shown["type"] is FlowResultType.FORM
    assert shown["step_id"] == "confirm"
    told = shown["description_placeholders"]
    assert told["place"].startswith(name)
    assert told["model"]
    assert re.fullmatch(r"\d+ x person.*", told["found"])
    assert int(told["inference_ms"]) > 0
    assert "|" not in told["benchmark"]  # a table of so many columns fits no phone
    for place in ("ONNX Runtime, CPU", "ncnn, CPU"):
        assert re.search(
            rf"^- \*\*{place}\*\*: \d+ ms a picture, ", told["benchmark"], re.MULTILINE
        )
    assert " for each of 1, 2, 4 or 8 cameras" in told["benchmark"]
    assert told["accelerators"].startswith("- ")
    assert processes_of(Path(hass.config.config_dir)) == []  # the node for the test has ended

    made = await hass.config_entries.flow.async_configure(form["flow_id"], {})
    assert made["type"] is FlowResultType.CREATE_ENTRY
    assert made["data"] == {"node_type": "local", "engine": engine, "accelerator": "auto"}
    assert "next_flow" not in made  # there is no camera to go on with
    entry = made["result"]
    assert entry.state is ConfigEntryState.LOADED
    # the node is the one that was tested, and knows what was measured
    assert entry.unique_id == entry.runtime_data.node.greeting.node_id
    (kept,) = entry.runtime_data.node.info.benchmarks
    assert benchmark_text.listed(kept) == told["benchmark"]


async def test_the_first_camera_comes_next(hass: HomeAssistant, home: Home) -> None:
    shown = await try_engine(hass, "auto")
    made = await hass.config_entries.flow.async_configure(shown["flow_id"], {})
    home.entries.append(made["result"])
    kind, flow_id = made["next_flow"]
    assert kind is FlowType.CONFIG_SUBENTRIES_FLOW
    assert hass.config_entries.subentries.async_get(flow_id)["step_id"] == "settings"


def test_accelerators_are_listed_with_what_they_lack() -> None:
    stick = protocol.DeviceInfo(id="usb", kind="edge_tpu", name="Coral", missing="Plug it in.")
    chip = protocol.DeviceInfo(id="pci", kind="hailo", name="Hailo-8L")
    assert benchmark_text.accelerators([stick, chip]) == "- Coral: Plug it in.\n- Hailo-8L: ready"
    assert "None was found" in benchmark_text.accelerators([])


@pytest.mark.parametrize("pick", ["other", "this"])
async def test_what_is_recommended_is_taken_with_one_press(
    hass: HomeAssistant, home: Home, monkeypatch: pytest.MonkeyPatch, pick: str
) -> None:
    monkeypatch.setattr(benchmark_text, "_WORTH_A_CHANGE", 0.0)
    best = protocol.Recommendation(engine="onnxruntime", accelerator="cpu", reason="It is *so*.")
    measure = engine_test.async_benchmark

    async def measured(*arguments: Any) -> Any:
        found = await measure(*arguments)
        assert found is not None
        return replace(found, recommendation=best)

    monkeypatch.setattr(config_flow, "async_benchmark", measured)
    shown = await try_engine(hass, "ncnn")
    assert shown["step_id"] == "confirm"
    assert shown["description_placeholders"]["advice"] == r"It is \*so\*."
    ((marker, field),) = shown["data_schema"].schema.items()
    options = {option["value"]: option["label"] for option in field.config["options"]}
    assert options == {"other": "ONNX Runtime, CPU", "this": "ncnn, CPU"}
    assert (str(marker), marker.default()) == ("place", "other")
    actions: list[str] = []
    done = await hass.config_entries.flow.async_configure(shown["flow_id"], {"place": pick})
    if pick == "other":  # it is measured already
        done = await through_progress(hass, shown["flow_id"], actions)
        assert actions[-1] == "test"
    assert done["type"] is FlowResultType.CREATE_ENTRY
    home.entries.append(done["result"])
    engine, accelerator = ("onnxruntime", "cpu") if pick == "other" else ("ncnn", "auto")
    assert done["data"] == {"node_type": "local", "engine": engine, "accelerator": accelerator}
    node = home.runtime.node
    assert node.info is not None
    # Automatic runs there: the default model, and what was measured there.
    taken = (engine, "cpu" if pick == "other" else None)
    assert node.place_for(None, None, None) == taken
    assert node.place_for(node.info.default_model, None, None) == taken
    assert node.place_for(node.info.default_model, "ncnn", "cpu") == ("ncnn", "cpu")
    assert node.place_for(node.info.default_model, "ncnn", None) == ("ncnn", None)


def _row(engine: str, accelerator: str, rate: float | None) -> Any:
    return protocol.BenchmarkRow(
        engine=engine,
        engine_name=engine,
        accelerator=accelerator,
        accelerator_name=accelerator,
        median_ms=1000 / rate if rate else None,
        p95_ms=1000 / rate if rate else None,
        frames_per_second=rate,
    )


@pytest.mark.parametrize(
    ("rows", "best", "better"),
    [
        ([("a", "cpu", 10), ("b", "cpu", 20)], ("b", "cpu"), True),
        ([("a", "cpu", 10), ("b", "cpu", 11)], ("b", "cpu"), False),  # nobody would notice
        ([("a", "cpu", 10), ("a", "npu", 9)], ("a", "npu"), True),  # it frees the processor
        ([("a", "cpu", 10)], ("a", "cpu"), False),
        ([("b", "cpu", 10)], ("b", "cpu"), True),  # where it ran could not be measured
        ([("a", "cpu", None), ("b", "cpu", 10)], ("b", "cpu"), True),
        ([("a", "cpu", 10)], ("b", "cpu"), False),
        ([], None, False),
    ],
)
def test_a_change_is_recommended_where_it_makes_a_difference(
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Any],
    best: tuple[str, str] | None,
    better: bool,
) -> None:
    monkeypatch.setattr(benchmark_text, "_WORTH_A_CHANGE", 1.2)
    reason = "It is faster."
    measured = protocol.Benchmark(
        model="m",
        model_name="M",
        at="2026-11-01T12:00:00+00:00",
        rows=tuple(_row(*row) for row in rows),
        recommendation=best
        and protocol.Recommendation(engine=best[0], accelerator=best[1], reason=reason),
    )
    found = benchmark_text.better_place(measured, "a", "cpu")
    assert (found is not None) is better
    if found is not None:
        assert ((found[0].engine, found[0].accelerator), found[1]) == (best, reason)
    assert benchmark_text.better_place(None, "a", "cpu") is None


async def test_a_benchmark_that_fails_is_in_nobodys_way(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_test, "COMPILE_TIMEOUT_S", 0.001)
    shown = await try_engine(hass, "onnxruntime")
    assert shown["step_id"] == "confirm"
    assert shown["description_placeholders"]["benchmark"] == "It could not be measured."


# --- Only one of them -----------------------------------------------------------------------------


async def test_there_is_one_local_node(hass: HomeAssistant, home: Home) -> None:
    await home.add()
    refused = await begin(hass)
    assert refused["type"] is FlowResultType.ABORT
    assert refused["reason"] == "single_instance_allowed"


async def test_two_windows_do_not_work_at_the_same_time(hass: HomeAssistant) -> None:
    first, second = await begin(hass), await begin(hass)
    await choose(hass, first["flow_id"], "onnxruntime")

    third = await begin(hass)
    assert (third["type"], third["reason"]) == (FlowResultType.ABORT, "already_in_progress")
    refused = await choose(hass, second["flow_id"], "onnxruntime")
    assert (refused["type"], refused["reason"]) == (FlowResultType.ABORT, "already_in_progress")

    shown = await through_progress(hass, first["flow_id"], [])
    assert shown["step_id"] == "confirm"


async def test_a_window_that_was_left_open_is_not_in_the_way(hass: HomeAssistant) -> None:
    left_open = await try_engine(hass, "onnxruntime")
    assert left_open["step_id"] == "confirm"

    shown = await try_engine(hass, "onnxruntime")
    made = await hass.config_entries.flow.async_configure(shown["flow_id"], {})
    assert made["type"] is FlowResultType.CREATE_ENTRY

    assert hass.config_entries.flow.async_progress() == []  # it was closed: there is one node
    assert left_open["flow_id"] != shown["flow_id"]
    assert len(hass.config_entries.async_entries(DOMAIN)) == 1


# --- Somebody changes their mind ------------------------------------------------------------------


async def test_a_window_closed_during_the_test_leaves_nothing(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_folder: Path
) -> None:
    flows.fake_engine(monkeypatch, tmp_path, flows.HANGS)
    form = await begin(hass)
    await choose(hass, form["flow_id"], "onnxruntime")
    await until_testing(hass, form["flow_id"])
    await until(lambda: processes_of(data_folder))
    hass.config_entries.flow.async_abort(form["flow_id"])

    await hass.async_block_till_done()
    assert processes_of(data_folder) == []
    assert not there(data_folder)
    with pytest.raises(UnknownFlow):
        await hass.config_entries.flow.async_configure(form["flow_id"])


async def test_a_window_closed_during_the_installation_leaves_nothing(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    async def slow(*_: Any, **__: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(requirements, "async_process_requirements", slow)
    form = await begin(hass)
    working = await choose(hass, form["flow_id"], "onnxruntime")
    assert working["progress_action"] == "install"
    hass.config_entries.flow.async_abort(form["flow_id"])
    await hass.async_block_till_done()
    assert not there(data_folder)


async def test_a_window_closed_before_it_is_kept_leaves_nothing(
    hass: HomeAssistant, data_folder: Path
) -> None:
    shown = await try_engine(hass, "onnxruntime")
    assert there(data_folder)
    hass.config_entries.flow.async_abort(shown["flow_id"])
    await hass.async_block_till_done()
    assert not there(data_folder)


async def test_what_was_in_the_data_folder_before_stays(
    hass: HomeAssistant, data_folder: Path
) -> None:
    (data_folder / "models").mkdir(parents=True)
    shown = await try_engine(hass, "onnxruntime")
    hass.config_entries.flow.async_abort(shown["flow_id"])
    await hass.async_block_till_done()
    assert (data_folder / "models").is_dir()


# --- It does not work -----------------------------------------------------------------------------


async def test_a_package_that_cannot_be_installed_is_named_and_can_be_tried_again(
    hass: HomeAssistant, not_to_be_had: set[str]
) -> None:
    not_to_be_had.add("onnxruntime")
    form = await try_engine(hass, "onnxruntime")
    assert (form["step_id"], form["errors"]) == ("user", {"base": "engine_not_installed"})
    told = form["description_placeholders"]
    assert told["engine"] == "ONNX Runtime"
    assert told["requirement"] == requirements.ENGINE_REQUIREMENTS["onnxruntime"]
    assert told["platform"] == requirements.platform_name()
    assert form["data_schema"]({})[CONF_ENGINE] == "onnxruntime"  # what was chosen is still chosen

    await choose(hass, form["flow_id"], "ncnn")
    shown = await through_progress(hass, form["flow_id"], [])
    assert shown["step_id"] == "confirm"
    assert shown["description_placeholders"]["place"].startswith("ncnn")


async def test_automatic_takes_the_first_engine_that_works(
    hass: HomeAssistant, not_to_be_had: set[str]
) -> None:
    not_to_be_had.add("onnxruntime")
    shown = await try_engine(hass, "auto")
    assert shown["step_id"] == "confirm"
    made = await hass.config_entries.flow.async_configure(shown["flow_id"], {})
    assert made["data"][CONF_ENGINE] == "ncnn"


async def test_automatic_goes_on_after_an_engine_that_fails_its_test(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flows.fake_engine(monkeypatch, tmp_path, flows.CANNOT_BE_IMPORTED)
    shown = await try_engine(hass, "auto")
    assert shown["step_id"] == "confirm"
    assert shown["description_placeholders"]["place"].startswith("ncnn")


async def test_automatic_with_nothing_that_works_tells_of_the_best(
    hass: HomeAssistant, not_to_be_had: set[str]
) -> None:
    not_to_be_had |= {"onnxruntime", "ncnn"}
    form = await try_engine(hass, "auto")
    assert form["errors"] == {"base": "engine_not_installed"}
    assert form["description_placeholders"]["engine"] == "ONNX Runtime"


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (flows.CANNOT_BE_IMPORTED, "engine_unusable", "libgomp.so.1 is missing"),
        (flows.CRASHES.format(signal="SIGSEGV"), "node_crashed", "SIGSEGV"),
        (flows.CRASHES.format(signal="SIGILL"), "processor_unsuitable", "ONNX Runtime"),
        (flows.CANNOT_LOAD, "self_test_failed", "bad magic"),
        (flows.SEES_NOTHING, "self_test_wrong", "nothing"),
    ],
    ids=["not-importable", "crash", "illegal-instruction", "cannot-load", "blind"],
)
async def test_an_engine_that_fails_is_told_in_words(
    hass: HomeAssistant,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    code: str,
    error: str,
    told: str,
) -> None:
    flows.fake_engine(monkeypatch, tmp_path, code)
    form = await try_engine(hass, "onnxruntime")
    assert (form["step_id"], form["errors"]) == ("user", {"base": error})
    placeholders = form["description_placeholders"]
    assert any(told in text for text in placeholders.values()), placeholders
    assert "Traceback" not in str(placeholders)


async def test_a_crash_tells_the_last_line_of_the_log(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = "import sys; print('delegate is on fire', file=sys.stderr, flush=True);"
    flows.fake_engine(monkeypatch, tmp_path, words + flows.CRASHES.format(signal="SIGABRT"))
    form = await try_engine(hass, "onnxruntime")
    assert form["errors"] == {"base": "node_crashed"}
    assert "delegate is on fire" in form["description_placeholders"]["line"]


async def test_an_engine_that_hangs_ends_the_wait(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine_test, "SELF_TEST_TIMEOUT_S", 1.0)
    flows.fake_engine(monkeypatch, tmp_path, flows.HANGS)
    form = await try_engine(hass, "onnxruntime")
    assert form["errors"] == {"base": "node_silent"}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os._exit(3)", "status 3"),
        (flows.HANGS, "not ready within"),
    ],
    ids=["exits", "hangs"],
)
async def test_a_node_that_does_not_start_is_told_in_words(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, told: str
) -> None:
    monkeypatch.setattr(node_process, "READY_TIMEOUT_S", 3.0)
    # Python imports this before it runs anything else.
    flows.fake_module(monkeypatch, tmp_path, "sitecustomize", code)
    form = await try_engine(hass, "onnxruntime")
    assert form["errors"] == {"base": "node_not_started"}
    assert told in form["description_placeholders"]["error"]


async def test_a_node_that_refuses_the_hub_is_told_in_words(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = "import hmac, secrets; hmac.compare_digest = secrets.compare_digest = lambda a, b: False"
    flows.fake_module(monkeypatch, tmp_path, "sitecustomize", code)
    form = await try_engine(hass, "onnxruntime")
    assert form["errors"] == {"base": "self_test_failed"}


async def test_two_versions_that_do_not_understand_each_other_are_told_in_words(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "SCHEMA_MIN", 7)
    monkeypatch.setattr(protocol, "SCHEMA_MAX", 8)
    form = await try_engine(hass, "onnxruntime")
    assert form["errors"] == {"base": "version_mismatch"}
    assert "7 to 8" in form["description_placeholders"]["error"]


async def test_after_every_failure_the_form_can_be_sent_again(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flows.fake_engine(monkeypatch, tmp_path, flows.CRASHES.format(signal="SIGSEGV"))
    form = await try_engine(hass, "onnxruntime")
    assert form["errors"] == {"base": "node_crashed"}
    monkeypatch.delenv("PYTHONPATH")
    await choose(hass, form["flow_id"], "onnxruntime")
    shown = await through_progress(hass, form["flow_id"], [])
    assert shown["step_id"] == "confirm"


# --- Another engine -------------------------------------------------------------------------------


async def test_the_engine_of_a_running_node_is_changed(hass: HomeAssistant, home: Home) -> None:
    entry = await home.add(pipeline())
    await home.scan()
    assert home.attribute("image_processing.front_door", "engine") == "onnxruntime"

    form = await entry.start_reconfigure_flow(hass)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "reconfigure")
    assert form["data_schema"]({})[CONF_ENGINE] == "onnxruntime"
    await choose(hass, form["flow_id"], "ncnn")
    shown = await through_progress(hass, form["flow_id"], [])
    assert shown["step_id"] == "confirm"
    assert home.runtime.node.connected  # the node that runs is left alone

    done = await hass.config_entries.flow.async_configure(form["flow_id"], {})
    assert (done["type"], done["reason"]) == (FlowResultType.ABORT, "reconfigure_successful")
    await hass.async_block_till_done()
    assert entry.data == {"node_type": "local", "engine": "ncnn", "accelerator": "auto"}
    assert entry.state is ConfigEntryState.LOADED
    await home.scan()
    assert home.attribute("image_processing.front_door", "engine") == "ncnn"
    answer = await hass.services.async_call(
        DOMAIN, "detect", {"entity_id": "camera.porch"}, blocking=True, return_response=True
    )
    assert answer["engine"] == "ncnn"


async def test_another_engine_gets_a_node_going_that_could_not_start(
    hass: HomeAssistant, home: Home, not_to_be_had: set[str]
) -> None:
    not_to_be_had.add("onnxruntime")
    entry = await home.add(expect=ConfigEntryState.SETUP_RETRY)
    form = await entry.start_reconfigure_flow(hass)
    await choose(hass, form["flow_id"], "ncnn")
    shown = await through_progress(hass, form["flow_id"], [])
    done = await hass.config_entries.flow.async_configure(shown["flow_id"], {})
    assert done["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED


async def test_an_engine_that_does_not_work_changes_nothing(
    hass: HomeAssistant, home: Home, not_to_be_had: set[str]
) -> None:
    entry = await home.add()
    not_to_be_had.add("ncnn")
    form = await entry.start_reconfigure_flow(hass)
    await choose(hass, form["flow_id"], "ncnn")
    form = await through_progress(hass, form["flow_id"], [])
    assert (form["step_id"], form["errors"]) == ("reconfigure", {"base": "engine_not_installed"})
    assert form["data_schema"]({})[CONF_ENGINE] == "ncnn"
    assert entry.data[CONF_ENGINE] == "onnxruntime"
    assert home.runtime.node.connected


async def test_a_change_that_is_called_off_leaves_the_node_alone(
    hass: HomeAssistant,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    run_folders: Path,
) -> None:
    entry = await home.add()
    pid = home.local_node.pid
    flows.fake_engine(monkeypatch, tmp_path, flows.HANGS)
    form = await entry.start_reconfigure_flow(hass)
    await choose(hass, form["flow_id"], "ncnn")
    await until_testing(hass, form["flow_id"])
    await until(lambda: len(processes_of(run_folders)) == 2)
    hass.config_entries.flow.async_abort(form["flow_id"])
    await until(lambda: processes_of(run_folders) == [pid])
    await until(lambda: len(list(run_folders.iterdir())) == 1)  # that of the node that runs
    assert home.runtime.node.connected
