"""The device of a pipeline: separate from the camera's device, and linked to it."""

from __future__ import annotations

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo

from ..const import DOMAIN, MANUFACTURER
from .settings import PipelineSettings


@callback
def pipeline_device(
    hass: HomeAssistant,
    pipeline_id: str,
    settings: PipelineSettings,
    node_device_id: str | None,
) -> DeviceInfo:
    """Return the device info of a pipeline.

    A new device starts in the area of its camera, and its link opens the camera's device.
    """
    camera = settings.camera
    info = DeviceInfo(
        identifiers={(DOMAIN, pipeline_id)},
        entry_type=DeviceEntryType.SERVICE,
        manufacturer=MANUFACTURER,
        model=camera,
        configuration_url=None,
        translation_key="pipeline",
        translation_placeholders={"name": settings.name},
    )
    if node_device_id is not None:
        info["via_device_id"] = node_device_id
    if camera is None or (item := er.async_get(hass).async_get(camera)) is None:
        return info
    device = dr.async_get(hass).async_get(item.device_id) if item.device_id else None
    if device is not None:
        info["configuration_url"] = f"homeassistant://config/devices/device/{device.id}"
    area_id = item.area_id or (device.area_id if device else None)
    if area_id and (area := ar.async_get(hass).async_get_area(area_id)) is not None:
        info["suggested_area"] = area.name
    return info


@callback
def async_update_pipeline_device(
    hass: HomeAssistant,
    entry_id: str,
    pipeline_id: str,
    settings: PipelineSettings,
    node_device_id: str | None,
) -> None:
    """Update name, model and link of the device to the settings; its area is the user's choice."""
    registry = dr.async_get(hass)
    if registry.async_get_device_by_identifier((DOMAIN, pipeline_id), entry_id) is not None:
        info = pipeline_device(hass, pipeline_id, settings, node_device_id)
        registry.async_get_or_create(
            config_entry_id=entry_id, config_subentry_id=pipeline_id, **info
        )
