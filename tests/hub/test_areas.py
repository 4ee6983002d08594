"""What is drawn and limited in the flows: zones, lines, masks, objects, motion."""

from __future__ import annotations

import io
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from homeassistant.components.camera import async_get_image
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from PIL import Image
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision.const import (
    SUBENTRY_PIPELINE,
)
from tests.hub.conftest import ALL, AREAS, STREET, Cameras, Home, live, pipeline, until
from tests.hub.flows import ChangeFlow, picture_address
from tests.live_camera import MjpegCamera

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.mark.real_node
async def test_zones_lines_and_masks_are_drawn_in_the_flow(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    hass_client: ClientSessionGenerator,
) -> None:
    cameras.porch.picture = STREET
    await home.add(live())
    flows = hass.config_entries.subentries
    (subentry_id,) = home.entry.subentries

    async def step(flow: Any, **answer: Any) -> Any:
        return await flows.async_configure(flow["flow_id"], answer)

    flow = await flows.async_init(
        (home.entry.entry_id, SUBENTRY_PIPELINE),
        context={"source": "reconfigure", "subentry_id": subentry_id},
    )
    assert (flow["type"], flow["step_id"]) == (FlowResultType.MENU, "reconfigure")
    flow = await step(flow, next_step_id="areas")
    assert flow["menu_options"] == ["zone", "line", "privacy_mask", "motion_mask", "save"]
    client = await hass_client()
    plain = await (await client.get(picture_address(flow))).read()
    flow = await step(flow, next_step_id="zone")
    assert flow["data_schema"]({"name": "a", "points": "b", "counting": False})["labels"] == [
        "person"
    ]
    wrong = {
        "0.1,0.2": "too_few_points",
        "0.1,0.2 0.3": "not_points",
        "0.1,0.2 0.3,1.3 0.1,0.1": "outside",
        "0.1,0.1 0.5,0.5 0.9,0.9": "no_area",
        "0.1,0.1 0.1,0.1 0.1,0.1": "too_few_points",
        "0.1,0.1 0.9,0.9 0.9,0.1 0.1,0.9": "crossing",
    }
    for points, error in wrong.items():
        flow = await step(flow, name="Porch", points=points, labels=[], counting=False)
        assert flow["errors"] == {"points": error}
    plain_zone = {"points": "0,0 1,0 1,1", "labels": [], "counting": False}
    flow = await step(flow, name="P" * 51, **plain_zone)
    assert flow["errors"] == {"name": "long_name"}
    # The camera counts from 40 % on, so that less would change nothing.
    flow = await step(flow, name="Porch", confidence=39, **plain_zone)
    assert flow["errors"] == {"confidence": "below_the_camera"}
    flow = await step(
        flow, name="Porch", points="0.1, 0.2; 0.9 ,0.2; 0.9,1 0.1,1", labels=[], counting=True
    )
    # Another zone of that name would take its place in all that goes by names.
    flow = await step(flow, next_step_id="zone")
    flow = await step(flow, name="porch ", **plain_zone)
    assert flow["errors"] == {"name": "name_taken"}
    flow = await step(flow, name="Path", **plain_zone)
    flow = await step(flow, next_step_id="remove")
    flow = await step(flow, item=["zones/1"])
    flow = await step(flow, next_step_id="line")
    flow = await step(flow, name="Gate", points="0.1,0.5")
    assert flow["errors"] == {"points": "not_a_line"}
    flow = await step(flow, name="@", points="0.1,0.5 0.1,0.5")
    assert flow["errors"] == {"points": "not_a_line"}
    flow = await step(flow, name="@", points="0.1,0.5 0.2,0.5")
    assert flow["errors"] == {"name": "no_name"}
    flow = await step(flow, name="Gate", points="0.1,0.5 0.1,0.5")
    assert flow["errors"] == {"points": "not_a_line"}
    flow = await step(flow, name="Gate", points="0.1,0.5 0.9,0.5")
    flow = await step(flow, next_step_id="privacy_mask")
    flow = await step(flow, points="0,0 0.2,0 0.2,0.2")
    flow = await step(flow, next_step_id="motion_mask")
    flow = await step(flow, points="0.8,0 1,0 1,0.2")
    drawn = await (await client.get(picture_address(flow))).read()
    assert drawn.startswith(b"\xff\xd8")
    assert drawn != plain
    # What is there can be changed, and stands in its form as it is.
    flow = await step(flow, next_step_id="change")
    flow = await step(flow, item="zones/0")
    assert flow["step_id"] == "zone"
    assert suggested(flow)["points"] == "0.1,0.2 0.9,0.2 0.9,1 0.1,1"
    assert suggested(flow)["counting"] is True
    flow = await step(
        flow, name="Porch", points="0.1,0.2 0.9,0.2 0.9,1", labels=[], counting=True, loitering_s=9
    )
    assert flow["step_id"] == "areas"
    flow = await step(flow, next_step_id="remove")
    flow = await step(flow, item=["motion_masks/0"])
    address = picture_address(flow)
    flow = await step(flow, next_step_id="save")
    assert flow["reason"] == "reconfigure_successful"
    assert (await client.get(address)).status == HTTPStatus.NOT_FOUND
    await hass.async_block_till_done()
    data = home.entry.subentries[subentry_id].data
    (zone,) = data["zones"]
    assert zone["counting"]
    assert (len(zone["points"]), zone["loitering_s"]) == (3, 9)
    assert data["lines"][0]["start"] == {"x": 0.1, "y": 0.5}
    assert len(data["privacy_masks"]) == 1
    assert data["areas_aspect"] == pytest.approx(384 / 288)
    assert data["motion_masks"] == []
    await home.until_state("binary_sensor.front_door_person_in_porch", "off")
    await home.until_state("sensor.front_door_gate_out", "0")
    # Settings that are changed later leave the areas as they are.
    assert home.pipeline.settings.areas.zones[0].name == "Porch"


@pytest.mark.real_node
async def test_what_one_entry_masks_no_entry_of_that_camera_sees_or_shows(
    hass: HomeAssistant, home: Home, cameras: Cameras, hass_client: ClientSessionGenerator
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline(), pipeline("Masked", privacy_masks=[ALL]))
    seen = await async_get_image(hass, "camera.front_door_live_view")
    assert _is_black(seen.content)
    await home.scan()
    assert home.state("binary_sensor.front_door_person") == "off"
    plain, masked = home.entry.subentries
    client = await hass_client()
    flow = ChangeFlow(hass, home)
    await flow.begin("objects", plain)
    assert "Person" not in flow.result["description_placeholders"]["picture"]
    assert _is_black(await (await client.get(picture_address(flow.result))).read())
    await flow.begin("areas", plain)
    drawn = Image.open(io.BytesIO(await (await client.get(picture_address(flow.result))).read()))
    assert np.asarray(drawn.convert("L")).mean() < 40  # a grid on black
    # Without the mask there is something to see: at once, and in both.
    subentry = home.entry.subentries[masked]
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "privacy_masks": []}
    )
    await hass.async_block_till_done()
    await home.scan()
    assert home.state("binary_sensor.front_door_person") == "on"
    seen = await async_get_image(hass, "camera.front_door_live_view")
    assert not _is_black(seen.content)


def named(name: str, **changes: Any) -> Any:
    """Return one as `live`, with a name."""
    return {**live(**changes), "title": name}


async def test_a_mask_holds_however_the_camera_is_known(
    home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    cameras.garden.stream_address = "rtsp://127.0.0.1:1/garden"
    by_address = {"camera": None, "video_address": stream.address, "source": "live"}
    await home.add(
        pipeline(privacy_masks=[ALL]),
        named("By address", **by_address),
        pipeline("Stills", privacy_masks=[]),
        named("Garden", camera="camera.garden"),
    )
    told: dict[str, Any] = {}
    await until(lambda: home.runtime.pipelines.streams.known("camera.garden"))
    for item in home.runtime.pipelines.values():
        settings = item.settings
        told[settings.name] = await home.runtime.async_masks_of(
            settings.camera, settings.video_address
        )
    assert {name: len(masks.polygons) for name, masks in told.items()} == {
        "Front door": 1,
        "By address": 1,
        "Stills": 1,
        "Garden": 0,
    }


@pytest.mark.real_node
@pytest.mark.parametrize("is_live", [True, False])
async def test_a_mask_holds_while_its_camera_is_away_and_after(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera, is_live: bool
) -> None:
    stream.picture = STREET
    by_address = {"camera": None, "video_address": stream.address, "source": "live"}
    masked = live if is_live else pipeline
    await home.add(masked(privacy_masks=[ALL]), named("By address", **by_address))

    async def is_masked() -> bool:
        await home.until_state("binary_sensor.by_address_person", "off")
        return _is_black((await async_get_image(hass, "camera.by_address_live_view")).content)

    assert await is_masked()
    await cameras.porch.async_remove(force_remove=True)
    await home.frames()
    assert await is_masked()
    await hass.config_entries.async_reload(home.entry.entry_id)
    assert await is_masked()


async def test_a_mask_holds_as_soon_as_its_camera_is_there(
    hass: HomeAssistant, home: Home, cameras: Cameras, stream: MjpegCamera
) -> None:
    stream.picture = STREET
    cameras.porch.stream_address = None
    cameras.porch.set_available(False)
    by_address = {"camera": None, "video_address": stream.address, "source": "live"}
    await home.add(pipeline(privacy_masks=[ALL]), named("By address", **by_address))
    await home.until_state("binary_sensor.by_address_person", "on")
    cameras.porch.stream_address = stream.address
    cameras.porch.set_available(True)
    await home.until_state("binary_sensor.by_address_person", "off")


def _is_black(jpeg: bytes) -> bool:
    darkest, brightest = Image.open(io.BytesIO(jpeg)).convert("L").getextrema()
    return darkest <= brightest < 16


async def test_entities_stay_with_a_zone_or_line_that_gets_another_name(
    hass: HomeAssistant, home: Home, stream: MjpegCamera
) -> None:
    zones = [*AREAS["zones"], {"name": "Gate", "points": ALL}]
    await home.add(live(**{**AREAS, "zones": zones}))
    registry = er.async_get(hass)
    before = home.entity_ids()

    def names(*entity_ids: str) -> list[str]:
        return [hass.states.get(item).name for item in entity_ids]

    flow = ChangeFlow(hass, home)
    await flow.begin("areas")

    async def rename(item: str, name: str) -> None:
        await flow.pick("change")
        await flow.send(item=item)
        points = "0,0 1,0 1,1" if item.startswith("zones") else "0,0.05 1,0.05"
        more = {"labels": [], "counting": False} if item.startswith("zones") else {}
        await flow.send(name=name, points=points, **more)

    # Two zones swap their names by way of a third, and a line that is called as one of them moves.
    await rename("zones/0", "Aside")
    await rename("zones/1", "Porch")
    await rename("zones/0", "Gate")
    await rename("lines/0", "Door")
    await flow.pick("save")
    await hass.async_block_till_done()
    await home.until_state("binary_sensor.front_door_person_in_porch", "off")
    assert home.entity_ids() == before
    assert names(
        "binary_sensor.front_door_person_in_porch",
        "binary_sensor.front_door_person_in_gate",
        "sensor.front_door_gate_in",
    ) == [
        "Front door detection Person in Gate",
        "Front door detection Person in Porch",
        "Front door detection Door in",
    ]

    # What there are only for live video goes with it, disabled or not.
    assert registry.async_get("camera.front_door_motion_view")
    (subentry,) = home.entry.subentries.values()
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "source": "stills"}
    )
    await hass.async_block_till_done()
    gone = before - home.entity_ids()
    assert "camera.front_door_motion_view" in gone
    assert len(gone) == 1 + 4 + 2
    await home.until_state("binary_sensor.front_door_person", "off")


def suggested(form: Any) -> dict[str, Any]:
    """Return what a form opens with."""
    return {
        str(key): key.description["suggested_value"]
        for key in form["data_schema"].schema
        if key.description
    }


@pytest.mark.real_node
async def test_single_objects_have_limits_of_their_own(
    hass: HomeAssistant,
    home: Home,
    cameras: Cameras,
    stream: MjpegCamera,
    hass_client: ClientSessionGenerator,
) -> None:
    cameras.porch.picture = stream.picture = STREET
    await home.add(live(labels=["person", "car"]))
    await home.until_state("binary_sensor.front_door_person", "on")
    flow = ChangeFlow(hass, home)
    await flow.begin("objects")
    shown = flow.result["description_placeholders"]
    assert "- Person: " in shown["picture"]
    assert shown["limits"] == "none"
    client = await hass_client()
    first = picture_address(flow.result)
    assert (await (await client.get(first)).read()).startswith(b"\xff\xd8")
    await flow.pick("limit")
    await flow.send(label="person")
    assert suggested(flow.result) == {"confidence": 40.0, "min_size": 0.0, "max_size": 100.0}
    await flow.send(min_size=20, max_size=10)
    assert flow.result["errors"] == {"max_size": "sizes_crossed"}
    await flow.send(confidence=70, min_size=50, max_size=100)
    shown = flow.result["description_placeholders"]
    assert shown["limits"] == "- Person: from 70 %, size from 50 %"
    assert (await client.get(first)).status == HTTPStatus.NOT_FOUND
    await flow.pick("limit")
    await flow.send(label="car")
    await flow.send(confidence=80)
    await flow.pick("limit")
    await flow.send(label="car")
    await flow.send()  # nothing is asked of it any more
    # What is in force stands there; changing one limit keeps the others.
    await flow.pick("limit")
    await flow.send(label="person")
    assert suggested(flow.result) == {"confidence": 70.0, "min_size": 50.0, "max_size": 100.0}
    await flow.send(**{**suggested(flow.result), "max_size": 90})
    await flow.pick("limit")
    await flow.send(label="person")
    assert suggested(flow.result) == {"confidence": 70.0, "min_size": 50.0, "max_size": 90.0}
    await flow.send(**{**suggested(flow.result), "max_size": 100})
    await flow.pick("save")
    await hass.async_block_till_done()
    (subentry,) = home.entry.subentries.values()
    assert subentry.data["limits"] == {"person": {"confidence": 70.0, "min_area": 0.5}}
    # The people of this street are smaller than half the picture.
    await home.until_state("binary_sensor.front_door_person", "off")
    # Stills are held to the same limits.
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "source": "stills", "scan_interval": 1}
    )
    await hass.async_block_till_done()
    await home.until_state("binary_sensor.front_door_person", "off")
    view = "/api/camera_proxy/camera.front_door_live_view"
    unmarked = await (await client.get(view)).read()
    hass.config_entries.async_update_subentry(
        home.entry, subentry, data={**subentry.data, "limits": {}}
    )
    await home.until_state("binary_sensor.front_door_person", "on")
    assert await (await client.get(view)).read() != unmarked  # now there are boxes


async def test_motion_is_shown_and_its_numbers_can_be_set(
    hass: HomeAssistant, home: Home, stream: MjpegCamera, hass_client: ClientSessionGenerator
) -> None:
    await home.add(live())
    await home.until_state("binary_sensor.front_door_person", "off")
    flow = ChangeFlow(hass, home)
    await flow.begin("motion")
    client = await hass_client()
    view = await (await client.get(picture_address(flow.result))).read()
    assert view.startswith(b"\xff\xd8")
    await flow.pick("motion_settings")
    assert flow.result["description_placeholders"]["least_difference"] == "12"
    await flow.send(sensitivity="high", numbers={"least_difference": 30, "least_area": 2})
    await flow.pick("motion_settings")
    shown = flow.result["description_placeholders"]
    assert (shown["least_difference"], shown["noise_factor"], shown["least_area"]) == (
        "30",
        "3.5",
        "2 %",
    )
    await flow.send(sensitivity="high", numbers={"least_difference": 30, "least_area": 2})
    await flow.pick("save")
    await hass.async_block_till_done()
    (subentry,) = home.entry.subentries.values()
    assert subentry.data["motion"] == {"least_difference": 30.0, "least_area": 0.02}
    assert home.pipeline.settings.video.motion is not None
    assert home.pipeline.settings.video.motion.noise_factor == 3.5
    # The same as an entity, for those who want to watch it.
    registry = er.async_get(hass)
    entity_id = "camera.front_door_motion_view"
    entry = registry.async_get(entity_id)
    assert entry is not None
    assert entry.disabled
    registry.async_update_entity(entity_id, disabled_by=None)
    await hass.config_entries.async_reload(home.entry.entry_id)
    await home.until_state("binary_sensor.front_door_person", "off")
    seen = await async_get_image(hass, entity_id)
    assert seen.content.startswith(b"\xff\xd8")


async def test_a_flow_goes_on_when_the_entry_is_loaded_anew(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(live())
    flow = ChangeFlow(hass, home)
    await flow.begin("areas")
    await hass.config_entries.async_reload(home.entry.entry_id)
    await flow.pick("zone")
    await flow.send(name="Porch", points="0,0 1,0 1,1", labels=[], counting=False)
    assert picture_address(flow.result).startswith("/")


async def test_what_two_browsers_draw_is_kept(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    await home.add(live(zones=[{"name": "Old", "points": ALL}]))
    (subentry_id,) = home.entry.subentries
    one, other = ChangeFlow(hass, home), ChangeFlow(hass, home)
    corners = "0,0 1,0 1,1"
    for flow in (one, other):
        await flow.begin("areas", subentry_id)
    await one.pick("zone")
    await one.send(name="Alpha", points=corners, labels=[], counting=False)
    await one.pick("privacy_mask")
    await one.send(points=corners)
    await one.pick("save")
    await other.pick("remove")
    await other.send(item=["zones/0"])
    await other.pick("zone")
    await other.send(name="Beta", points=corners, labels=[], counting=False)
    await other.pick("privacy_mask")
    await other.send(points="0,0 0.5,0 0.5,1")
    await other.pick("save")
    data = home.entry.subentries[subentry_id].data
    assert [zone["name"] for zone in data["zones"]] == ["Alpha", "Beta"]
    assert len(data["privacy_masks"]) == 2
