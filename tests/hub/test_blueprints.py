"""The blueprints: their files over updates and removal, and what they do in real automations."""
# ruff: noqa: ASYNC240  # small files, in a test

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from homeassistant.components.automation.config import AUTOMATION_BLUEPRINT_SCHEMA
from homeassistant.components.blueprint.models import Blueprint
from homeassistant.core import CoreState, HomeAssistant, ServiceCall
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from homeassistant.util.yaml import load_yaml
from PIL import Image
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
    async_mock_service,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION
from custom_components.edge_vision.runtime import blueprint_files
from custom_components.edge_vision.runtime.blueprint_files import (
    DELIVERED,
    async_add_blueprints,
    async_remove_blueprints,
)
from tests.hub.automations import automate, device_of
from tests.hub.conftest import BLANK, STREET, Cameras, Home, pipeline, until
from tests.hub.texts import INTEGRATION

BLUEPRINTS = sorted((INTEGRATION / "blueprints").rglob("*.yaml"))
NOTIFY = "edge_vision/notify_with_picture.yaml"
LIGHT = "edge_vision/light_while_occupied.yaml"
PERSON = "binary_sensor.front_door_person"
PORCH = "binary_sensor.front_door_person_in_porch"
SENSOR = "binary_sensor.somebody"
SCAN = "image_processing", "scan", {"entity_id": "image_processing.front_door"}


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprints_are_valid(path: Path) -> None:
    blueprint = Blueprint(
        load_yaml(path),
        expected_domain="automation",
        schema=AUTOMATION_BLUEPRINT_SCHEMA,
    )
    assert blueprint.validate() is None


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_asks_for_the_version_that_the_integration_needs(path: Path) -> None:
    needed = json.loads((INTEGRATION.parents[1] / "hacs.json").read_text())["homeassistant"]
    assert load_yaml(path)["blueprint"]["homeassistant"]["min_version"] == needed


def test_what_can_be_picked_is_not_typed() -> None:
    data = load_yaml(INTEGRATION / "blueprints/automation" / NOTIFY)
    inputs = data["blueprint"]["input"]
    shown = {
        key: next(iter(item["selector"])) for key, item in inputs.items() if "input" not in item
    }
    assert shown == {
        "phones": "device",
        "camera": "device",
        "objects": "entity",
        "tap": "select",
        "pause": "number",
        "silence": "number",
    }


# --- Files ----------------------------------------------------------------------------------------


def test_every_version_that_was_delivered_is_known() -> None:
    assert {path.name for path in BLUEPRINTS} <= set(DELIVERED)
    for path in BLUEPRINTS:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert DELIVERED[path.name][0] == digest, f"add {digest} before the others of {path.name}"


def test_every_version_in_the_history_is_known() -> None:
    folder = BLUEPRINTS[0].parent

    def git(*arguments: str) -> bytes:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, check=True
        ).stdout

    try:
        commits = git("log", "--format=%H", "--", ".").decode().split()
    except OSError, subprocess.CalledProcessError:
        pytest.skip("this is not a git checkout")
    for commit in commits:
        for name in git("ls-tree", "--name-only", commit, "./").decode().split():
            content = git("show", f"{commit}:./{Path(name).name}")
            assert hashlib.sha256(content).hexdigest() in DELIVERED[Path(name).name], (commit, name)


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return what an earlier version delivered as the blueprint of the light."""
    source = (INTEGRATION / "blueprints/automation" / LIGHT).read_bytes()
    content = source.replace(b"default: 60", b"default: 61")
    digest = hashlib.sha256(content).hexdigest()
    known = {**DELIVERED, Path(LIGHT).name: (*DELIVERED[Path(LIGHT).name], digest)}
    monkeypatch.setattr(blueprint_files, "DELIVERED", known)
    return content


@pytest.fixture
def folder(hass: HomeAssistant) -> Path:
    """Return where Home Assistant looks for our blueprints."""
    return Path(hass.config.path("blueprints/automation/edge_vision"))


async def test_blueprints_come_and_go_with_the_integration(
    hass: HomeAssistant, home: Home, folder: Path
) -> None:
    entry = await home.add()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in BLUEPRINTS
    }
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()
    assert not folder.exists()


async def test_an_untouched_copy_is_updated_and_a_changed_one_stays(
    hass: HomeAssistant, folder: Path, older: bytes
) -> None:
    light, notify = folder / Path(LIGHT).name, folder / Path(NOTIFY).name
    folder.mkdir(parents=True)
    light.write_bytes(older)
    notify.write_text("mine")
    await async_add_blueprints(hass)
    assert light.read_bytes() == (BLUEPRINTS[0].parent / light.name).read_bytes()
    assert notify.read_text() == "mine"
    light.write_bytes(older)
    await async_remove_blueprints(hass)
    assert [path.name for path in folder.iterdir()] == [notify.name]


async def test_what_stands_in_the_way_is_told_and_stops_nothing(
    hass: HomeAssistant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / Path(LIGHT).name).mkdir(parents=True)
    await async_add_blueprints(hass)
    assert (folder / Path(NOTIFY).name).is_file()
    assert f"{Path(LIGHT).name} cannot be added" in caplog.text
    await async_remove_blueprints(hass)
    assert [path.name for path in folder.iterdir()] == [Path(LIGHT).name]


def light_automation(**inputs: Any) -> dict[str, Any]:
    given = {"occupancy": SENSOR, "light": {"entity_id": "light.porch"}, **inputs}
    return {"id": "light", "alias": "Light", "use_blueprint": {"path": LIGHT, "input": given}}


async def test_an_automation_runs_the_updated_blueprint_at_once(
    hass: HomeAssistant, folder: Path, older: bytes, hass_config_dir: str
) -> None:
    folder.mkdir(parents=True)
    (folder / Path(LIGHT).name).write_bytes(older)
    config = Path(hass_config_dir) / "configuration.yaml"
    inputs = f"{{occupancy: {SENSOR}, light: {{entity_id: light.porch}}}}"
    config.write_text(
        f"automation:\n- id: light\n  alias: Light\n"
        f"  use_blueprint:\n    path: {LIGHT}\n    input: {inputs}\n"
    )
    assert await async_setup_component(hass, "automation", {"automation": [light_automation()]})
    await hass.async_block_till_done()

    def waits() -> Any:
        entity = hass.data["automation"].get_entity("automation.light")
        return re.findall(r"'seconds': (\d+)", str(entity.raw_config))

    assert waits() == ["61"]
    await async_add_blueprints(hass)
    await until(lambda: waits() == ["60"])
    await hass.async_block_till_done()


@pytest.mark.parametrize("how", ["loaded", "disabled", "package", "unreadable"])
async def test_a_blueprint_in_use_outlives_the_integration(
    hass: HomeAssistant, folder: Path, hass_config_dir: str, how: str
) -> None:
    await async_add_blueprints(hass)
    config = Path(hass_config_dir) / "configuration.yaml"
    use = f"use_blueprint: {{path: {LIGHT}, input: {{}}}}"
    match how:
        case "loaded":
            assert await async_setup_component(
                hass, "automation", {"automation": [light_automation()]}
            )
        case "disabled":  # in the registry, it is not loaded; its file has it
            config.write_text("automation: !include automations.yaml\n")
            config.with_name("automations.yaml").write_text(f"- alias: Light\n  {use}\n")
        case "package":
            config.write_text(
                "homeassistant: {packages: {porch: {automation porch: {alias: Light, "
                + use
                + "}}}}"
            )
        case "unreadable":
            config.write_text("automation: [")
    await async_remove_blueprints(hass)
    kept = {Path(LIGHT).name} | ({Path(NOTIFY).name} if how == "unreadable" else set())
    assert {path.name for path in folder.iterdir()} == kept
    (told,) = hass.data["persistent_notification"].values()
    assert all(f"blueprints/automation/edge_vision/{name}" in told["message"] for name in kept)


# --- Notifications --------------------------------------------------------------------------------

PICTURE = "01EVIDENCE"


@pytest.fixture
def phone(hass: HomeAssistant) -> Callable[[str], str]:
    """Return a function that adds a phone of a name as the app does, and returns its device."""
    entry = MockConfigEntry(domain="mobile_app")
    entry.add_to_hass(hass)

    def add(name: str) -> str:
        device = dr.async_get(hass).async_get_or_create(
            config_entry_id=entry.entry_id, identifiers={("mobile_app", name)}, name=name
        )
        return device.id

    return add


def notification(camera: str, **inputs: Any) -> dict[str, Any]:
    return {"use_blueprint": {"path": NOTIFY, "input": {"camera": camera, **inputs}}}


async def test_a_notification_has_the_picture_of_its_event_and_opens_its_camera(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    phone: Callable[[str], str],
    hass_client: ClientSessionGenerator,
) -> None:
    await home.add(pipeline())
    anns = phone("Ann's Pixel")
    dr.async_get(hass).async_update_device(anns, name_by_user="Something else")
    gone = phone("Gone")  # the others are notified all the same
    dr.async_get(hass).async_remove_device(gone)
    calls = async_mock_service(hass, "notify", "mobile_app_ann_s_pixel")
    await automate(hass, notification(device_of(home), phones=[gone, anns], objects=[PERSON]))
    await home.until_state(PERSON, "off")
    cameras.porch.picture = STREET
    await hass.services.async_call(*SCAN, blocking=True)
    cameras.porch.picture = BLANK
    await until(lambda: calls)
    await stop_automations(hass)
    assert calls[0].data["title"] == "Front door detection"
    assert calls[0].data["message"].endswith(" x person")
    data = calls[0].data["data"]
    pipeline_id = home.pipeline.pipeline_id
    assert data["tag"] == f"edge_vision-{pipeline_id}-person"
    assert data["url"] == data["clickAction"] == "/?more-info-entity-id=camera.porch"
    client = await hass_client()
    response = await client.get(data["image"])
    assert response.status == 200, data["image"]
    shown, street = Image.open(io.BytesIO(await response.read())), Image.open(io.BytesIO(STREET))
    assert shown.size == street.size
    live, pictures, silence = data["actions"]
    assert (live["action"], live["uri"]) == ("URI", data["url"])
    assert pictures["uri"] == (
        "/media-browser/browser/app%2Cmedia-source%3A%2F%2Fedge_vision/"
        f"image%2Cmedia-source%3A%2F%2Fedge_vision%2F{pipeline_id}"
    )
    assert silence["title"] == "Silence for 30 min"


@dataclass
class Notified:
    """An automation made of the blueprint, and what it has sent."""

    hass: HomeAssistant
    camera: str
    calls: list[ServiceCall]

    async def see(self, **changes: Any) -> None:
        """Fire an event as the hub does."""
        event = {
            "device_id": self.camera,
            "pipeline_id": "01P",
            "camera_entity_id": "camera.porch",
            "occupancy_entity_id": PERSON,
            "kind": "object",
            "phase": "start",
            "label": "person",
            "count": 1,
            "track_id": 7,
            "zone": None,
            "zones": [],
            "evidence_id": PICTURE,
            "replayed": False,
            **changes,
        }
        self.hass.bus.async_fire(EVENT_DETECTION, event)
        await self.let_pass(0.6)

    async def press(self, button: str) -> None:
        """Press a button of the notification, as the app says it."""
        self.hass.bus.async_fire("mobile_app_notification_action", {"action": button})
        await self.let_pass(0)

    async def let_pass(self, seconds: float) -> None:
        """Let what waits for no longer than this go on, without waiting."""
        await settle()
        async_fire_time_changed(self.hass, dt_util.utcnow() + timedelta(seconds=seconds))
        await settle()

    @property
    def messages(self) -> list[str]:
        return [call.data["message"] for call in self.calls]


async def settle() -> None:
    """Let every run come to its next wait; one that waits would block till it is done."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.fixture
async def notified(hass: HomeAssistant) -> AsyncIterator[Callable[..., Awaitable[Notified]]]:
    """Return a function that sets an automation up, for a camera and a way to notify."""
    entry = MockConfigEntry(domain=DOMAIN)
    entry.add_to_hass(hass)
    camera = dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id, identifiers={(DOMAIN, "01P")}, name="Front door"
    )

    async def make(**inputs: Any) -> Notified:
        await async_add_blueprints(hass)
        calls = async_mock_service(hass, "notify", "family")
        await automate(hass, notification(camera.id, notify_action="notify.family", **inputs))
        return Notified(hass, camera.id, calls)

    yield make
    await stop_automations(hass)


IN_PORCH = {"kind": "zone", "zone": "Porch", "zones": ["Porch"], "occupancy_entity_id": PORCH}


@pytest.mark.parametrize(
    ("inputs", "changes", "messages"),
    [
        ({}, {}, ["Person"]),
        ({}, {"zones": ["Garden", "Porch"]}, ["Person (Garden, Porch)"]),
        ({}, {"track_id": None, "count": 3}, ["3 x person"]),
        ({}, {"replayed": True}, []),
        ({}, {"phase": "end"}, []),
        ({}, {"phase": "update"}, []),
        ({}, {"device_id": "another"}, []),
        ({}, IN_PORCH, []),
        ({}, {"kind": "scan"}, []),
        ({"objects": [PERSON]}, {}, ["Person"]),
        ({"objects": [PERSON]}, {"label": "dog", "occupancy_entity_id": None}, []),
        ({"objects": [PERSON]}, IN_PORCH, []),
        ({"objects": [PORCH]}, IN_PORCH, ["Person (Porch)"]),
        ({"objects": [PORCH]}, {}, []),
        # As an earlier version of the blueprint was asked.
        ({"labels": ["Person"], "picture": "image.last"}, {}, ["Person"]),
        ({"labels": ["dog"]}, {}, []),
        ({"zone": "porch"}, IN_PORCH, ["Person (Porch)"]),
        ({"zone": "porch"}, {**IN_PORCH, "zone": "Garden"}, []),
        ({"zone": "porch"}, {"zones": ["Porch"]}, []),
    ],
)
async def test_a_notification_is_sent_of_what_was_picked(
    notified: Callable[..., Awaitable[Notified]],
    inputs: dict[str, Any],
    changes: dict[str, Any],
    messages: list[str],
) -> None:
    automation = await notified(**inputs)
    await automation.see(**changes)
    assert automation.messages == messages


async def test_what_follows_of_an_object_replaces_its_notification(
    notified: Callable[..., Awaitable[Notified]],
) -> None:
    automation = await notified(objects=[PERSON, PORCH])
    await automation.see()
    await automation.see(phase="update", label="dog", track_id=8)
    await automation.see(phase="update", replayed=True)
    await automation.see(track_id=8)  # within the pause
    await automation.see(**IN_PORCH)
    await automation.see(phase="end", **IN_PORCH)
    await automation.see(phase="update", zones=["Garden"])
    assert automation.messages == ["Person", "Person (Porch)", "Person (Garden)"]
    sent = [call.data["data"] for call in automation.calls]
    assert {data["tag"] for data in sent} == {"edge_vision-01P-7"}
    assert {data["image"] for data in sent} == {f"/api/edge_vision/evidence/01P/{PICTURE}"}
    assert ["push" in data for data in sent] == [False, True, True]
    await automation.let_pass(31)
    await automation.see(track_id=9, evidence_id=None)
    assert automation.messages[3:] == ["Person"]
    assert automation.calls[-1].data["data"]["tag"] == "edge_vision-01P-9"
    assert "image" not in automation.calls[-1].data["data"]


@pytest.mark.parametrize("pause", [30, 0])
async def test_a_camera_can_be_silenced_from_its_notification(
    notified: Callable[..., Awaitable[Notified]], pause: int
) -> None:
    automation = await notified(pause=pause, silence=20)
    await automation.see()
    (*_, button) = automation.calls[0].data["data"]["actions"]
    assert button["title"] == "Silence for 20 min"
    await automation.press("EDGE_VISION_SILENCE_another")
    await automation.press(button["action"])
    await automation.see(track_id=8)
    await automation.let_pass(19 * 60)
    await automation.see(track_id=9)
    assert len(automation.calls) == 1
    await automation.let_pass(20 * 60 + 1)
    await automation.see(track_id=10)
    assert len(automation.calls) == 2


@pytest.mark.parametrize(
    ("inputs", "link", "buttons"),
    [
        ({"tap": "/dashboard-cameras/garden"}, "/dashboard-cameras/garden", 3),
        ({"tap": "pictures", "silence": 0}, "/media-browser/browser/app%2C", 2),
    ],
)
async def test_what_pressing_a_notification_opens_can_be_chosen(
    notified: Callable[..., Awaitable[Notified]], inputs: dict[str, Any], link: str, buttons: int
) -> None:
    automation = await notified(**inputs)
    await automation.see()
    data = automation.calls[0].data["data"]
    assert data["url"] == data["clickAction"]
    assert data["url"].startswith(link)
    assert len(data["actions"]) == buttons


# --- Lights ---------------------------------------------------------------------------------------


async def test_a_light_is_turned_on_and_off_by_what_a_camera_shows(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    await home.add(pipeline())
    await home.until_state(PERSON, "off")
    lit = async_mock_service(hass, "light", "turn_on")
    dark = async_mock_service(hass, "light", "turn_off")
    light = {"occupancy": PERSON, "light": {"entity_id": "light.porch"}, "wait": 0}
    await automate(hass, {"use_blueprint": {"path": LIGHT, "input": light}})
    cameras.porch.picture = STREET
    await hass.services.async_call(*SCAN, blocking=True)
    await until(lambda: lit)
    assert lit[0].data["entity_id"] == ["light.porch"]
    cameras.porch.picture = BLANK
    for _ in range(3):
        await hass.services.async_call(*SCAN, blocking=True)
    await until(lambda: dark)
    await stop_automations(hass)


async def light_blueprint(hass: HomeAssistant, **more: Any) -> list[str]:
    """Have a light follow a sensor; return the list of what is done to the light."""
    done: list[str] = []

    async def note(call: ServiceCall) -> None:
        done.append(call.service)

    for service in ("turn_on", "turn_off"):
        hass.services.async_register("light", service, note)
    inputs = {"occupancy": SENSOR, "light": {"entity_id": "light.porch"}, "wait": 0, **more}
    await automate(hass, {"use_blueprint": {"path": LIGHT, "input": inputs}})
    return done


async def see(hass: HomeAssistant, *states: str) -> None:
    for state in states:
        hass.states.async_set(SENSOR, state)
        await asyncio.sleep(0.05)  # a run that waits would block till it is done


async def stop_automations(hass: HomeAssistant) -> None:
    for entity_id in hass.states.async_entity_ids("automation"):
        await hass.services.async_call(
            "automation", "turn_off", {"entity_id": entity_id}, blocking=True
        )


@pytest.mark.parametrize(
    ("states", "done"),
    [
        ("off on off", ["turn_on", "turn_off"]),
        ("off on unavailable off", ["turn_on", "turn_off"]),
        ("off on unavailable unknown off", ["turn_on", "turn_off"]),
        ("off on unavailable", ["turn_on"]),
        # Somebody may have turned it off by hand meanwhile.
        ("off on unavailable on", ["turn_on"]),
        ("off on unavailable on off on", ["turn_on", "turn_off", "turn_on"]),
        ("off unavailable on off", ["turn_on", "turn_off"]),
        ("unavailable unknown on off", ["turn_on", "turn_off"]),
        # Nobody was there: a light that is on was turned on by somebody else.
        ("off unavailable unknown off", []),
    ],
)
async def test_a_light_is_on_while_somebody_is_there_whatever_the_camera_does(
    hass: HomeAssistant, states: str, done: list[str]
) -> None:
    await async_add_blueprints(hass)
    first, *more = states.split()
    await see(hass, first)
    seen = await light_blueprint(hass)
    await see(hass, *more)
    await stop_automations(hass)
    assert seen == done


@pytest.mark.parametrize(
    ("states", "done"),
    [
        ("unavailable unknown off", ["turn_off"]),
        ("unavailable on off", ["turn_on", "turn_off"]),
        ("on off", ["turn_on", "turn_off"]),
    ],
)
async def test_a_light_that_was_on_before_a_restart_does_not_stay_on(
    hass: HomeAssistant, states: str, done: list[str]
) -> None:
    await async_add_blueprints(hass)
    first, *more = states.split()
    await see(hass, first)
    hass.set_state(CoreState.not_running)
    seen = await light_blueprint(hass)
    await hass.async_start()
    await asyncio.sleep(0.05)
    await see(hass, *more)
    await stop_automations(hass)
    assert seen == done


async def test_who_arrives_while_a_light_waits_after_a_restart_gets_light(
    hass: HomeAssistant,
) -> None:
    await async_add_blueprints(hass)
    await see(hass, "unavailable")
    hass.set_state(CoreState.not_running)
    seen = await light_blueprint(hass, wait=3600)
    await hass.async_start()
    await asyncio.sleep(0.05)
    await see(hass, "off", "unavailable", "on")
    await stop_automations(hass)
    assert seen == ["turn_on"]


@pytest.mark.parametrize(
    ("sun", "done"), [("above_horizon", []), ("below_horizon", ["turn_on", "turn_off"])]
)
async def test_a_light_that_is_for_the_dark_is_left_alone_by_day(
    hass: HomeAssistant, sun: str, done: list[str]
) -> None:
    await async_add_blueprints(hass)
    hass.states.async_set("sun.sun", sun)
    await see(hass, "off")
    seen = await light_blueprint(hass, only_in_the_dark=True)
    await see(hass, "on", "unavailable", "on", "off")
    await stop_automations(hass)
    assert seen == done
