"""What the device of a pipeline, and its entities, are called, and where they stand."""

from __future__ import annotations

from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.edge_vision.const import CONF_CAMERA, DOMAIN
from tests.hub.conftest import Cameras, Home, entry_with, pipeline


def give_device(home: Home, name: str, area: str | None) -> dr.DeviceEntry:
    """Give the camera `camera.<name>` a device, as the integrations of cameras do."""
    owner = MockConfigEntry(domain="test")
    owner.add_to_hass(home.hass)
    devices = dr.async_get(home.hass)
    device = devices.async_get_or_create(
        config_entry_id=owner.entry_id, identifiers={("test", name)}, name=name.capitalize()
    )
    if area is not None:
        area_id = ar.async_get(home.hass).async_get_or_create(area).id
        devices.async_update_device(device.id, area_id=area_id)
    er.async_get(home.hass).async_update_entity(f"camera.{name}", device_id=device.id)
    return device


def area_of(home: Home, device: dr.DeviceEntry) -> str | None:
    area = ar.async_get(home.hass).async_get_area(device.area_id or "")
    return area.name if area else None


def device_of(home: Home) -> dr.DeviceEntry:
    (subentry_id,) = home.entry.subentries
    found = dr.async_get(home.hass).async_get_device_by_identifier(
        (DOMAIN, subentry_id), home.entry.entry_id
    )
    assert found is not None
    return found


async def test_a_device_stands_beside_its_camera_and_says_whose_it_is(
    home: Home, cameras: Cameras
) -> None:
    camera = give_device(home, "porch", "Outside")
    await home.add(pipeline("Porch"))
    device = device_of(home)
    assert device.id != camera.id
    assert area_of(home, device) == "Outside"
    assert device.name == "Porch detection"
    assert device.model == "camera.porch"
    assert device.configuration_url == f"homeassistant://config/devices/device/{camera.id}"
    # Neither the area nor the device's name gets into ids that automations are written with.
    assert home.entity_ids() >= {"image_processing.porch", "event.porch", "switch.porch_detection"}


async def test_every_entity_says_what_it_is(home: Home, cameras: Cameras) -> None:
    give_device(home, "porch", None)
    await home.add(pipeline("Porch"))
    states = home.hass.states
    names = {id_: states.get(id_).name for id_ in home.entity_ids() if states.get(id_)}
    ours = {id_: name for id_, name in names.items() if name.startswith("Porch")}
    assert len(set(ours.values())) == len(ours) >= 8
    assert "Porch detection" not in ours.values()
    assert "Porch" not in ours.values()
    assert names["image_processing.porch"] == "Porch detection Objects"
    assert names["event.porch"] == "Porch detection Event"


async def test_entities_of_before_keep_their_ids_and_the_user_what_is_theirs(
    home: Home, cameras: Cameras
) -> None:
    give_device(home, "porch", "Outside")
    entry = entry_with(pipeline("Porch"))
    entry.add_to_hass(home.hass)
    home.entries.append(entry)
    (subentry_id,) = entry.subentries
    registry = er.async_get(home.hass)
    before = registry.async_get_or_create(
        "image_processing",
        DOMAIN,
        f"{subentry_id}_detection",
        config_entry=entry,
        config_subentry_id=subentry_id,
        suggested_object_id="gate",
    )
    # As an earlier version made it, and as its user has changed it.
    devices = dr.async_get(home.hass)
    old = devices.async_get_or_create(
        config_entry_id=entry.entry_id,
        config_subentry_id=subentry_id,
        identifiers={(DOMAIN, subentry_id)},
        name="Porch",
    )
    kitchen = ar.async_get(home.hass).async_get_or_create("Kitchen")
    devices.async_update_device(old.id, area_id=kitchen.id, name_by_user="Mine")
    assert await home.hass.config_entries.async_setup(entry.entry_id)
    await home.hass.async_block_till_done()
    assert before.entity_id in home.entity_ids()
    device = device_of(home)
    assert device.id == old.id
    assert (device.name, device.name_by_user) == ("Porch detection", "Mine")
    assert area_of(home, device) == "Kitchen"


async def test_a_device_says_which_camera_it_has_now(home: Home, cameras: Cameras) -> None:
    give_device(home, "porch", "Outside")
    garden = give_device(home, "garden", "Garden")
    entry = await home.add(pipeline("Porch"))
    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, title="Lawn", data={**subentry.data, CONF_CAMERA: "camera.garden"}
    )
    await home.hass.async_block_till_done()
    device = device_of(home)
    assert (device.name, device.model) == ("Lawn detection", "camera.garden")
    assert device.configuration_url == f"homeassistant://config/devices/device/{garden.id}"
    assert area_of(home, device) == "Outside"
