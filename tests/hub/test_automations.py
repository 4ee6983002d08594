"""Purpose-specific triggers, the condition and the blueprints, in real automations."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from homeassistant.components.automation.config import AUTOMATION_BLUEPRINT_SCHEMA
from homeassistant.components.blueprint.models import Blueprint
from homeassistant.core import CoreState, HomeAssistant, ServiceCall
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.condition import async_get_all_descriptions as condition_descriptions
from homeassistant.helpers.trigger import async_get_all_descriptions as trigger_descriptions
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml
from pytest_homeassistant_custom_component.common import async_mock_service

from custom_components.edge_vision.condition import async_get_conditions
from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION
from custom_components.edge_vision.trigger import TRIGGERS
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until
from tests.hub.texts import ENGLISH, INTEGRATION

BLUEPRINTS = sorted((INTEGRATION / "blueprints").rglob("*.yaml"))


def device_of(home: Home) -> str:
    (pipeline_id,) = home.entry.subentries
    device = dr.async_get(home.hass).async_get_device_by_identifier(
        (DOMAIN, pipeline_id), home.entry.entry_id
    )
    assert device is not None
    return device.id


async def automate(hass: HomeAssistant, *automations: dict[str, Any]) -> list[ServiceCall]:
    """Set automations up; return the list of calls that their actions will make."""
    calls = async_mock_service(hass, "test", "done")
    assert await async_setup_component(hass, "automation", {"automation": list(automations)})
    await hass.async_block_till_done()
    return calls


def automation(name: str, trigger: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "alias": name,
        "triggers": trigger,
        "actions": {
            "action": "test.done",
            "data": {"name": name, "label": "{{ trigger.event.data.label }}"},
        },
        **more,
    }


async def test_triggers_fire_for_their_cameras_objects_zones_and_directions(
    hass: HomeAssistant, home: Home
) -> None:
    await home.add(pipeline())
    (pipeline_id,) = home.entry.subentries
    device = {"target": {"device_id": device_of(home)}}
    entity = {"target": {"entity_id": "binary_sensor.front_door_person"}}
    elsewhere = {"target": {"entity_id": "camera.porch"}}

    def trigger(key: str, target: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"trigger": f"edge_vision.{key}", **target, "options": options}

    calls = await automate(
        hass,
        automation("any", trigger("object_detected", device)),
        automation("person", trigger("object_detected", entity, label="person", confidence=80)),
        automation("other camera", trigger("object_detected", elsewhere)),
        automation("porch", trigger("object_detected", device, zone="Porch")),
        automation("left", trigger("object_gone", device)),
        automation("left porch", trigger("object_gone", device, zone="Porch")),
        automation("line in", trigger("line_crossed", device, line="Gate", direction="in")),
        automation("line", trigger("line_crossed", device)),
        automation("loitering", trigger("loitering", device, zone="Porch")),
        automation("capitals", trigger("object_detected", device, label="Dog", zone="PORCH")),
    )

    async def fire(**changes: Any) -> set[str]:
        calls.clear()
        data = {
            "pipeline_id": pipeline_id,
            "kind": "object",
            "phase": "start",
            "label": "person",
            "confidence": 90.0,
            "zones": [],
            "zone": None,
            "line": None,
            "direction": None,
        }
        hass.bus.async_fire(EVENT_DETECTION, data | changes)
        await hass.async_block_till_done()
        return {call.data["name"] for call in calls}

    assert await fire() == {"any", "person"}
    assert await fire(confidence=60.0) == {"any"}
    assert await fire(label="dog") == {"any"}
    assert calls[0].data["label"] == "dog"
    assert await fire(pipeline_id="another") == set()
    assert await fire(phase="update") == set()
    # Zones may overlap: who enters the garden and stands on the porch has not entered the porch.
    both = {"zones": ["Porch", "Garden"]}
    assert await fire(kind="zone", zone="Porch", **both) == {"porch"}
    assert await fire(kind="zone", zone="Garden", **both) == set()
    assert await fire(kind="zone", zone="Porch", label="dog") == {"porch", "capitals"}
    assert await fire(phase="end") == {"left"}
    assert await fire(kind="zone", phase="end", zone="Porch", **both) == {"left porch"}
    assert await fire(kind="zone", phase="end", zone="Garden", **both) == set()
    crossing = {"kind": "line", "phase": "instant", "line": "Gate"}
    assert await fire(**crossing, direction="in") == {"line in", "line"}
    assert await fire(**crossing, direction="out") == {"line"}
    assert await fire(kind="loitering", zone="Porch", **both) == {"loitering"}
    assert await fire(kind="loitering", zone="Garden", **both) == set()


async def test_conditions_are_met_while_somebody_or_nobody_is_there(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "off")
    device = {"target": {"device_id": device_of(home)}}

    def condition(name: str, kind: str = "present", **options: Any) -> dict[str, Any]:
        condition = {"condition": f"edge_vision.object_is_{kind}", **device, "options": options}
        go = {"trigger": "event", "event_type": "go", "event_data": {}}
        made = automation(name, go, conditions=condition)
        made["actions"]["data"] = {"name": name}
        return made

    calls = await automate(
        hass,
        condition("anybody"),
        condition("person", label="Person"),
        condition("dog", label=["dog"]),
        condition("zone", zone="Porch"),
        condition("nobody", "absent"),
        condition("no person", "absent", label="Person"),
        # Nobody looks for dogs, or at a porch: what is not looked for cannot be known to be absent.
        condition("no dog", "absent", label=["person", "dog"]),
        condition("nobody in zone", "absent", zone="Porch"),
    )

    async def met() -> set[str]:
        calls.clear()
        hass.bus.async_fire("go")
        await hass.async_block_till_done()
        return {call.data["name"] for call in calls}

    assert await met() == {"nobody", "no person"}
    cameras.porch.picture = STREET
    await home.scan()
    await home.until_state("binary_sensor.front_door_person", "on")
    assert await met() == {"anybody", "person"}
    home.kill_node()
    await home.until_state("binary_sensor.front_door_person", "unavailable")
    assert await met() == set()
    assert await hass.config_entries.async_unload(home.entry.entry_id)
    assert await met() == set()


async def test_descriptions_texts_and_fields_are_the_same_set(
    hass: HomeAssistant, home: Home
) -> None:
    await home.add(pipeline())
    assert await async_setup_component(hass, "automation", {})
    for part, described, known in (
        ("triggers", await trigger_descriptions(hass), TRIGGERS),
        (
            "conditions",
            await condition_descriptions(hass),
            await async_get_conditions(hass),
        ),
    ):
        assert set(ENGLISH[part]) == set(known)
        for key in known:
            fields = described[f"{DOMAIN}.{key}"]["fields"]
            assert set(fields) == set(ENGLISH[part][key]["fields"])


# --- Blueprints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprints_are_valid(path: Any) -> None:
    blueprint = Blueprint(
        load_yaml(path),
        expected_domain="automation",
        schema=AUTOMATION_BLUEPRINT_SCHEMA,
    )
    assert blueprint.validate() is None


async def test_blueprints_are_there_after_the_set_up_and_work(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    assert len(BLUEPRINTS) == 2
    await home.add(pipeline())
    await home.until_state("binary_sensor.front_door_person", "off")
    for path in BLUEPRINTS:
        assert await hass.async_add_executor_job(
            (home.data_folder.parent / "blueprints/automation/edge_vision" / path.name).is_file
        )
    notified = async_mock_service(hass, "notify", "phone")
    lit = async_mock_service(hass, "light", "turn_on")
    dark = async_mock_service(hass, "light", "turn_off")
    await automate(
        hass,
        {
            "use_blueprint": {
                "path": "edge_vision/notify_with_picture.yaml",
                "input": {
                    "camera": device_of(home),
                    "picture": "image.front_door_last_detection",
                    "notify_action": "notify.phone",
                },
            }
        },
        {
            "use_blueprint": {
                "path": "edge_vision/light_while_occupied.yaml",
                "input": {
                    "occupancy": "binary_sensor.front_door_person",
                    "light": {"entity_id": "light.porch"},
                    "wait": 0,
                },
            }
        },
    )
    scan = "image_processing", "scan", {"entity_id": "image_processing.front_door"}
    cameras.porch.picture = STREET
    await hass.services.async_call(*scan, blocking=True)
    await until(lambda: notified and lit)
    assert notified[0].data["title"] == "Front door"
    assert "person" in notified[0].data["message"].lower()
    assert notified[0].data["data"]["image"] == ("/api/image_proxy/image.front_door_last_detection")
    assert lit[0].data["entity_id"] == ["light.porch"]
    from tests.hub.conftest import BLANK

    cameras.porch.picture = BLANK
    for _ in range(3):
        await hass.services.async_call(*scan, blocking=True)
    await until(lambda: dark)
    await stop_automations(hass)


SENSOR = "binary_sensor.somebody"


async def light_blueprint(hass: HomeAssistant, **more: Any) -> list[str]:
    """Have a light follow a sensor; return the list of what is done to the light."""
    done: list[str] = []

    async def note(call: ServiceCall) -> None:
        done.append(call.service)

    for service in ("turn_on", "turn_off"):
        hass.services.async_register("light", service, note)
    inputs = {"occupancy": SENSOR, "light": {"entity_id": "light.porch"}, "wait": 0, **more}
    path = "edge_vision/light_while_occupied.yaml"
    await automate(hass, {"use_blueprint": {"path": path, "input": inputs}})
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
    hass: HomeAssistant, home: Home, states: str, done: list[str]
) -> None:
    await home.add()
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
    hass: HomeAssistant, home: Home, states: str, done: list[str]
) -> None:
    await home.add()
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
    hass: HomeAssistant, home: Home
) -> None:
    await home.add()
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
    hass: HomeAssistant, home: Home, sun: str, done: list[str]
) -> None:
    await home.add()
    hass.states.async_set("sun.sun", sun)
    await see(hass, "off")
    seen = await light_blueprint(hass, only_in_the_dark=True)
    await see(hass, "on", "unavailable", "on", "off")
    await stop_automations(hass)
    assert seen == done


async def test_the_notification_blueprint_tells_of_its_zone_and_of_no_other(
    hass: HomeAssistant, home: Home
) -> None:
    await home.add(pipeline())
    notified = async_mock_service(hass, "notify", "phone")
    await automate(
        hass,
        {
            "use_blueprint": {
                "path": "edge_vision/notify_with_picture.yaml",
                "input": {
                    "camera": device_of(home),
                    "picture": "image.front_door_last_detection",
                    "notify_action": "notify.phone",
                    "labels": ["Person"],
                    "zone": "porch",
                    "pause": 0,
                },
            }
        },
    )
    event = {
        "device_id": device_of(home),
        "phase": "start",
        "kind": "zone",
        "label": "person",
        "zones": ["Garden", "Porch"],
    }
    hass.bus.async_fire(EVENT_DETECTION, {**event, "zone": "Garden"})
    hass.bus.async_fire(EVENT_DETECTION, {**event, "zone": None, "kind": "object"})
    hass.bus.async_fire(EVENT_DETECTION, {**event, "zone": "Porch"})
    await until(lambda: notified)
    await hass.async_block_till_done()
    assert [call.data["message"] for call in notified] == ["Person (porch)"]


async def test_a_blueprint_that_somebody_has_changed_is_left_alone(
    hass: HomeAssistant, home: Home
) -> None:
    folder = home.data_folder.parent / "blueprints/automation/edge_vision"
    folder.mkdir(parents=True)
    mine = folder / BLUEPRINTS[0].name
    mine.write_text("mine")
    await home.add(pipeline())
    assert mine.read_text() == "mine"
