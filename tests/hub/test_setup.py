"""An entry from set-up to removal, and every way in which the set-up can fail."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest
from homeassistant.config_entries import ConfigEntryState, ConfigSubentry
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, EVENT_STATE_CHANGED
from homeassistant.core import (
    CoreState,
    Event,
    EventStateChangedData,
    HomeAssistant,
    callback,
)
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.entity_component import DATA_INSTANCES, EntityComponent
from homeassistant.loader import async_get_integration
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.edge_vision import PLATFORMS
from custom_components.edge_vision.const import CONF_ENGINE, DOMAIN, Issue, issue_id
from custom_components.edge_vision.local_node import node_process, requirements
from custom_components.edge_vision.node.edge_vision_node import protocol
from custom_components.edge_vision.runtime import pipelines as pipelines_module
from tests.hub.conftest import (
    STREET,
    Cameras,
    Home,
    entry_with,
    pipeline,
    processes_of,
    until,
)

pytestmark = pytest.mark.usefixtures("run_folders")

NODE_ENTITIES = {
    ("binary_sensor", "connectivity"),
    ("button", "benchmark"),
    ("sensor", "hardware"),
    ("sensor", "memory"),
}
PIPELINE_ENTITIES = {
    ("binary_sensor", "occupancy_person"),
    ("camera", "live_view"),
    ("event", "detection"),
    ("image", "last_detection"),
    ("image_processing", "detection"),
    ("number", "confidence"),
    ("sensor", "count_person"),
    ("sensor", "status"),
    ("switch", "detection"),
}
MEASUREMENTS = {
    ("sensor", "dropped_frames"),
    ("sensor", "inference_time"),
    ("sensor", "latency"),
    ("sensor", "look_rate"),
}


def registered(home: Home, subentry_id: str | None) -> dict[tuple[str, str], er.RegistryEntry]:
    """Return the registered entities of a pipeline, or of the node, by platform and key."""
    registry = er.async_get(home.hass)
    owner = subentry_id or home.entry.unique_id
    return {
        (entity.domain, entity.unique_id.removeprefix(f"{owner}_")): entity
        for entity in er.async_entries_for_config_entry(registry, home.entry.entry_id)
        if entity.config_subentry_id == subentry_id
    }


@pytest.mark.real_node
async def test_set_up_makes_devices_and_entities_of_the_subentry(home: Home) -> None:
    entry = await home.add(pipeline())
    (subentry_id,) = entry.subentries

    # A temperature is only there where the machine tells one.
    assert registered(home, None).keys() - {("sensor", "temperature")} == NODE_ENTITIES
    assert registered(home, subentry_id).keys() == PIPELINE_ENTITIES | MEASUREMENTS
    # The names that automations are written with.
    assert home.entity_ids() >= {
        "binary_sensor.front_door_person",
        "event.front_door",
        "image.front_door_last_detection",
        "image_processing.front_door",
        "sensor.front_door_person_count",
        "switch.front_door_detection",
    }
    devices = dr.async_get(home.hass)
    node = devices.async_get_device_by_identifier((DOMAIN, "01NODE"), entry.entry_id)
    device = devices.async_get_device_by_identifier((DOMAIN, subentry_id), entry.entry_id)
    assert node is not None
    assert device is not None
    assert device.via_device_id == node.id
    assert device.name == "Front door detection"
    assert node.sw_version == home.runtime.node.greeting.version


def changes_of(events: list[Event], home: Home) -> list[tuple[str, str, str]]:
    """Return which of our entities had a state and then another one."""
    ours = home.entity_ids()
    return [
        (event.data["entity_id"], event.data["old_state"].state, event.data["new_state"].state)
        for event in events
        if event.data["entity_id"] in ours
        and event.data["old_state"] is not None
        and event.data["new_state"] is not None
        and event.data["old_state"].state != event.data["new_state"].state
        and not event.data["entity_id"].startswith("event.")
    ]


async def test_entities_come_with_what_the_first_look_shows(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines_module, "FIRST_LOOKS_PATIENCE_S", 120.0)
    cameras.porch.picture = STREET
    changed = async_capture_events(home.hass, EVENT_STATE_CHANGED)
    await home.add(pipeline(), pipeline("Garden", "camera.garden"))
    assert home.state("binary_sensor.front_door_person") == "on"
    assert home.state("binary_sensor.garden_person") == "off"
    assert home.state("sensor.garden_status") == "on_request"
    await until(lambda: home.runtime.last_seq)
    assert changes_of(changed, home) == []


async def test_a_camera_that_hangs_does_not_hold_up_the_set_up(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines_module, "FIRST_LOOKS_PATIENCE_S", 0.1)
    cameras.porch.delay_s = 60.0
    await home.add(pipeline())
    assert home.state("binary_sensor.front_door_person") in ("unknown", "unavailable")


async def test_while_home_assistant_starts_cameras_are_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines_module, "FIRST_LOOKS_PATIENCE_S", 120.0)
    home.hass.set_state(CoreState.starting)
    adding = asyncio.create_task(home.add(pipeline(camera="camera.late")))
    await until(lambda: home.entries and hasattr(home.entry, "runtime_data"))
    await until(lambda: home.pipeline.problem == "camera_unavailable")
    assert not home.pipeline.is_settled
    assert home.entry.state is ConfigEntryState.SETUP_IN_PROGRESS
    # It gives no picture either, but that is known now.
    home.hass.states.async_set("camera.late", "idle")
    await adding
    assert home.pipeline.is_settled
    home.hass.set_state(CoreState.running)


async def test_measurements_are_off_until_somebody_wants_them(home: Home) -> None:
    await home.add(pipeline())
    (subentry_id,) = home.entry.subentries
    entities = registered(home, subentry_id).items()
    assert {key for key, entity in entities if entity.disabled_by} == MEASUREMENTS


@pytest.mark.real_node
async def test_unload_leaves_no_process_and_no_entity(home: Home) -> None:
    entry = await home.add(pipeline())
    pid = home.local_node.pid
    assert pid in processes_of(Path(home.hass.config.config_dir))

    assert await home.hass.config_entries.async_unload(entry.entry_id)

    assert entry.state is ConfigEntryState.NOT_LOADED
    assert processes_of(Path(home.hass.config.config_dir)) == []
    assert home.state("image_processing.front_door") == "unavailable"
    component = home.hass.data[DATA_INSTANCES]["image_processing"]
    assert component.get_entity("image_processing.front_door") is None


@pytest.mark.real_node
async def test_reload_brings_everything_back(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "on")
    first = home.local_node.pid

    for _ in range(2):
        assert await home.hass.config_entries.async_reload(entry.entry_id)
        await home.until_state("binary_sensor.front_door_person", "on")

    assert entry.state is ConfigEntryState.LOADED
    assert home.local_node.pid != first
    assert len(processes_of(Path(home.hass.config.config_dir))) == 1


@pytest.mark.real_node
async def test_removal_deletes_what_the_node_kept(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "on")
    assert home.has_data()

    await home.hass.config_entries.async_remove(entry.entry_id)
    await home.hass.async_block_till_done()

    assert not home.has_data()
    assert home.entity_ids() == set()
    assert home.hass.states.get("image_processing.front_door") is None
    assert [issue for domain, issue in ir.async_get(home.hass).issues if domain == DOMAIN] == []


async def test_removing_a_pipeline_removes_its_device_and_entities(home: Home) -> None:
    entry = await home.add(pipeline(), pipeline("Back door", "camera.garden"))
    first, _ = entry.subentries

    home.hass.config_entries.async_remove_subentry(entry, first)
    await home.hass.async_block_till_done()

    assert list(home.runtime.pipelines) == list(entry.subentries)

    assert not any("front_door" in entity_id for entity_id in home.entity_ids())
    assert "image_processing.back_door" in home.entity_ids()


def niceness_of_session(pid: int) -> str | None:
    """Return that of a process's session; None where the kernel does not count by session."""
    session = Path(f"/proc/{pid}/autogroup")
    return session.read_text().split()[-1] if session.exists() else None


@pytest.mark.real_node
async def test_the_node_yields_to_home_assistant_and_ends_with_it(home: Home) -> None:
    await home.add(pipeline())
    pid = home.local_node.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == 10
    assert niceness_of_session(pid) in (None, "5")

    home.hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await home.hass.async_block_till_done()
    assert processes_of(Path(home.hass.config.config_dir)) == []


async def test_the_end_of_home_assistant_is_no_failure(
    home: Home, warnings: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    await home.add(pipeline())
    await home.until_state("image_processing.front_door", "0")
    caplog.clear()
    await home.hass.async_stop(force=True)
    assert processes_of(Path(home.hass.config.config_dir)) == []
    ours = [line for line in warnings() if "edge_vision" in line]
    assert ours == []
    assert "cannot look" not in caplog.text


@pytest.mark.real_node
async def test_a_node_that_is_not_ready_in_time_is_tried_again_later(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_process, "READY_TIMEOUT_S", 0.01)
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)
    assert "not ready within" in str(entry.reason) or entry.error_reason_translation_key
    assert processes_of(Path(home.hass.config.config_dir)) == []
    assert home.hass.states.get("image_processing.front_door") is None

    monkeypatch.undo()
    await home.hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.real_node
async def test_a_start_failure_is_told_in_the_nodes_own_words(home: Home) -> None:
    home.occupy("node.lock")
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)
    assert entry.error_reason_translation_key == "node_not_started"
    error = entry.error_reason_translation_placeholders["error"]
    assert "cannot be used" in error
    assert "Traceback" not in error


@pytest.mark.real_node
async def test_a_data_folder_in_use_is_told(home: Home) -> None:
    folder = home.occupy()
    with (folder / "node.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)
    error = entry.error_reason_translation_placeholders["error"]
    assert "Another node is using" in error


async def test_an_engine_that_cannot_be_installed_is_a_repair_issue(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # No index has this version, and no network is there to ask one.
    wanted = requirements.ENGINE_REQUIREMENTS | {"onnxruntime": "onnxruntime==0.0.0.dev0"}
    monkeypatch.setattr(requirements, "ENGINE_REQUIREMENTS", wanted)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    home.hass.config.skip_pip = False

    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)

    assert entry.error_reason_translation_key == "engine_not_installed"
    issue = ir.async_get(home.hass).async_get_issue(
        DOMAIN, issue_id(Issue.ENGINE_NOT_INSTALLED, entry.entry_id)
    )
    assert issue is not None
    assert issue.is_fixable
    assert issue.translation_placeholders["requirement"] == "onnxruntime==0.0.0.dev0"
    assert processes_of(Path(home.hass.config.config_dir)) == []

    # The next try is a real one, not a memory of the failure.
    monkeypatch.undo()
    await home.hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert not ir.async_get(home.hass).async_get_issue(DOMAIN, issue.issue_id)


async def test_a_node_of_another_protocol_is_a_repair_issue(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hub as it would be after an update of the integration that the node has not seen.
    monkeypatch.setattr(protocol, "SCHEMA_MIN", 7)
    monkeypatch.setattr(protocol, "SCHEMA_MAX", 8)
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_ERROR)
    assert entry.error_reason_translation_key == "node_version_mismatch"
    assert ir.async_get(home.hass).async_get_issue(
        DOMAIN, issue_id(Issue.VERSION_MISMATCH, entry.entry_id)
    )
    assert processes_of(Path(home.hass.config.config_dir)) == []


@pytest.mark.real_node
async def test_a_set_up_that_is_cancelled_leaves_no_process(
    home: Home, hass: HomeAssistant
) -> None:
    folder = Path(hass.config.config_dir)
    for moment_s in (0.0, 0.05, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0):
        entry = entry_with(pipeline())
        entry.add_to_hass(hass)
        task = asyncio.create_task(hass.config_entries.async_setup(entry.entry_id))
        await asyncio.sleep(moment_s)
        task.cancel()
        await asyncio.wait([task])
        await hass.async_block_till_done()
        if entry.state is ConfigEntryState.LOADED:
            home.entries.append(entry)  # this machine was faster
            break
        await until(lambda: not processes_of(folder))
        component = hass.data[DATA_INSTANCES].get("image_processing")
        assert component is None or entry.entry_id not in component._platforms
        await hass.config_entries.async_remove(entry.entry_id)


async def test_a_platform_that_fails_leaves_nothing_behind(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = EntityComponent.async_setup_entry

    async def setup(self: EntityComponent, entry: object) -> bool:
        return False if self.domain == "image_processing" else await real(self, entry)

    monkeypatch.setattr(EntityComponent, "async_setup_entry", setup)
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_ERROR)
    assert processes_of(Path(home.hass.config.config_dir)) == []

    monkeypatch.undo()
    assert await home.hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    (subentry_id,) = entry.subentries
    assert registered(home, subentry_id).keys() == PIPELINE_ENTITIES | MEASUREMENTS


async def test_changes_that_touch_no_entity_do_not_reload(
    home: Home, warnings: Callable[[], list[str]]
) -> None:
    entry = await home.add(pipeline())
    hub = home.runtime
    (subentry,) = entry.subentries.values()
    for changes in ({"confidence": 77.0}, {"scan_interval": 5}, {"only_on_request": False}):
        home.hass.config_entries.async_update_subentry(
            entry, subentry, data={**subentry.data, **changes}
        )
        await home.hass.async_block_till_done()
    assert home.runtime is hub
    assert home.pipeline.settings.confidence == 77.0
    assert home.pipeline.settings.scan_interval_s == 5
    assert warnings() == []


@pytest.mark.real_node
async def test_no_camera_notices_what_happens_to_another(home: Home, cameras: Cameras) -> None:
    """Cameras come, change in every way, and go, and not one entity of the others blinks."""
    cameras.garden.picture = STREET
    entry = await home.add(pipeline(), pipeline("Back door", "camera.garden"))
    await home.until_state("binary_sensor.back_door_person", "on")
    manager, hub, node = home.hass.config_entries, home.runtime, home.local_node.pid
    first, _ = entry.subentries.values()
    seen: list[tuple[str, str]] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        entity_id, new = event.data["entity_id"], event.data["new_state"]
        if "back_door" in entity_id:
            seen.append((entity_id, new.state if new else "removed"))

    home.hass.bus.async_listen(EVENT_STATE_CHANGED, note)

    async def change(title: str | None = None, **changes: object) -> None:
        subentry = entry.subentries[first.subentry_id]
        data = {**subentry.data, **changes}
        manager.async_update_subentry(entry, subentry, data=data, title=title or subentry.title)
        await home.hass.async_block_till_done()

    await home.until_state("binary_sensor.front_door_person", "off")
    await change(labels=["person", "dog"])
    # What is known of one label stays known while another is added.
    assert home.state("binary_sensor.front_door_person") == "off"
    await home.until_state("binary_sensor.front_door_dog", "off")
    await change(labels=["dog"])
    assert "binary_sensor.front_door_person" not in home.entity_ids()
    await change(camera="camera.garden", labels=["person"])
    await home.until_state("binary_sensor.front_door_person", "on")
    await change(title="Porch")
    devices = dr.async_entries_for_config_entry(dr.async_get(home.hass), entry.entry_id)
    assert {device.name for device in devices} == {
        "This device",
        "Porch detection",
        "Back door detection",
    }
    assert home.hass.states.get("binary_sensor.front_door_person").name == "Porch detection Person"
    manager.async_remove_subentry(entry, first.subentry_id)
    for name in ("Shed", "Barn"):
        added = pipeline(name, "camera.garden")
        data = MappingProxyType(added["data"])
        manager.async_add_subentry(entry, ConfigSubentry(**{**added, "data": data}))
    await home.hass.async_block_till_done()
    await home.until_state("binary_sensor.shed_person", "on")
    await home.until_state("binary_sensor.barn_person", "on")
    assert not any("front_door" in entity_id for entity_id in home.entity_ids())

    assert home.runtime is hub
    assert home.local_node.pid == node
    await home.scan("image_processing.back_door")
    assert [item for item in seen if item[1] in ("unavailable", "unknown", "removed", "off")] == []


async def test_a_camera_that_was_changed_is_followed(home: Home, cameras: Cameras) -> None:
    cameras.garden.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "off")
    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "camera": "camera.garden"}
    )
    await home.until_state("binary_sensor.front_door_person", "on")
    cameras.porch.set_available(False)
    await home.hass.async_block_till_done()
    assert home.state("binary_sensor.front_door_person") == "on"
    cameras.garden.set_available(False)
    await home.hass.async_block_till_done()
    assert home.state("binary_sensor.front_door_person") == "unavailable"


async def test_entities_of_labels_that_are_no_longer_chosen_go(home: Home) -> None:
    entry = await home.add(pipeline(labels=["person", "dog", "traffic light"]))
    assert "binary_sensor.front_door_traffic_light" in home.entity_ids()
    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "labels": ["traffic light"]}
    )
    await home.hass.async_block_till_done()
    labelled = {e for e in home.entity_ids() if e.startswith("binary_sensor.front") or "count" in e}
    assert labelled == {
        "binary_sensor.front_door_traffic_light",
        "sensor.front_door_traffic_light_count",
    }


async def test_the_manifest_names_what_is_used(hass: HomeAssistant) -> None:
    integration = await async_get_integration(hass, DOMAIN)
    manifest = json.loads((integration.file_path / "manifest.json").read_text())
    assert list(manifest)[:2] == ["domain", "name"]
    assert list(manifest)[2:] == sorted(list(manifest)[2:])
    assert {"camera", "image_processing"} <= set(manifest["dependencies"])
    assert not manifest.get("requirements")
    for platform in PLATFORMS:
        assert (integration.file_path / f"{platform}.py").exists()


async def test_the_engine_of_an_entry_is_one_that_is_known(home: Home) -> None:
    entry = await home.add(pipeline())
    assert entry.data[CONF_ENGINE] in requirements.ENGINE_REQUIREMENTS
