"""The device of a pipeline: separate from the camera's device, and linked to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo

from ..const import DOMAIN, MANUFACTURER

if TYPE_CHECKING:
    from .pipeline import PipelineRuntime
    from .runtime import EdgeVisionHub


@callback
def pipeline_device(hub: EdgeVisionHub, pipeline: PipelineRuntime) -> DeviceInfo:
    """Return the device info of a pipeline.

    A new device starts in the area of its camera, and its link opens the camera's device.
    """
    camera = pipeline.settings.camera
    info = DeviceInfo(
        identifiers={(DOMAIN, pipeline.pipeline_id)},
        entry_type=DeviceEntryType.SERVICE,
        manufacturer=MANUFACTURER,
        model=camera,
        configuration_url=None,
        translation_key="pipeline",
        translation_placeholders={"name": pipeline.settings.name},
    )
    if hub.node_device_id is not None:
        info["via_device_id"] = hub.node_device_id
    if camera is None or (item := er.async_get(hub.hass).async_get(camera)) is None:
        return info
    device = dr.async_get(hub.hass).async_get(item.device_id) if item.device_id else None
    if device is not None:
        info["configuration_url"] = f"homeassistant://config/devices/device/{device.id}"
    area_id = item.area_id or (device.area_id if device else None)
    if area_id and (area := ar.async_get(hub.hass).async_get_area(area_id)) is not None:
        info["suggested_area"] = area.name
    return info


@callback
def async_update_pipeline_device(
    hass: HomeAssistant, hub: EdgeVisionHub, pipeline: PipelineRuntime
) -> None:
    """Update name, model and link of the device to the settings; its area is the user's choice."""
    registry = dr.async_get(hass)
    entry_id, owner = hub.entry.entry_id, pipeline.pipeline_id
    if registry.async_get_device_by_identifier((DOMAIN, owner), entry_id) is not None:
        info = pipeline_device(hub, pipeline)
        registry.async_get_or_create(config_entry_id=entry_id, config_subentry_id=owner, **info)
