"""Purpose-specific triggers and the conditions, in real automations."""

from __future__ import annotations

from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers.condition import async_get_all_descriptions as condition_descriptions
from homeassistant.helpers.trigger import async_get_all_descriptions as trigger_descriptions
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.edge_vision.condition import async_get_conditions
from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION
from custom_components.edge_vision.trigger import TRIGGERS
from tests.hub.automations import automate, device_of
from tests.hub.conftest import STREET, Cameras, Home, pipeline
from tests.hub.texts import ENGLISH


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
            # The editor's search looks at names and descriptions only.
            assert "Edge Vision" in ENGLISH[part][key]["description"]


async def test_the_editor_offers_ours_for_a_camera_and_counts_cameras(
    hass: HomeAssistant, home: Home, hass_ws_client: WebSocketGenerator
) -> None:
    await home.add(pipeline())
    assert await async_setup_component(hass, "automation", {})
    client = await hass_ws_client()
    for part, described, known in (
        ("triggers", await trigger_descriptions(hass), TRIGGERS),
        ("conditions", await condition_descriptions(hass), await async_get_conditions(hass)),
    ):
        target = {"device_id": [device_of(home)]}
        await client.send_json_auto_id({"type": f"get_{part}_for_target", "target": target})
        offered = set((await client.receive_json())["result"])
        assert {f"{DOMAIN}.{key}" for key in known} <= offered
        for key in known:
            description = described[f"{DOMAIN}.{key}"]
            assert description is not None
            (wanted,) = description["target"]["entity"]
            meant = [
                entity_id
                for entity_id in home.entity_ids()
                if entity_id.split(".")[0] in wanted["domain"]
            ]
            assert len(meant) == 1, meant
