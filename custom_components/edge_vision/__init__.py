"""Edge Vision: local AI detection for the cameras of Home Assistant."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

from homeassistant.const import EVENT_HOMEASSISTANT_STOP, Platform
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryError, ConfigEntryNotReady
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.device_registry import DeviceEntryType
from homeassistant.helpers.entity_component import DATA_INSTANCES, EntityComponent
from homeassistant.helpers.typing import ConfigType

from .api.client import NodeRequestError, NodeVersionMismatch
from .const import (
    CONF_ENGINE,
    CONF_FURTHER_ENGINES,
    CONF_NODE_TYPE,
    DOMAIN,
    MANUFACTURER,
    NODE_TYPE_LOCAL,
    Issue,
)
from .flows.picture import async_setup_flow_pictures
from .local_node.node_process import data_dir
from .local_node.requirements import EngineInstallError, async_install_engine, async_install_video
from .runtime.blueprint_files import async_add_blueprints, async_remove_blueprints
from .runtime.event_inbox import event_store
from .runtime.issues import async_clear_issue, async_raise_issue
from .runtime.privacy import async_masks_changed
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime
from .services import async_setup_services
from .views import EvidenceView

_LOGGER = logging.getLogger(__name__)

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)

# `image_processing` is set up separately: its component does not support config entries.
PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.BUTTON,
    Platform.CAMERA,
    Platform.EVENT,
    Platform.IMAGE,
    Platform.NUMBER,
    Platform.SENSOR,
    Platform.SWITCH,
]


async def async_setup(hass: HomeAssistant, _config: ConfigType) -> bool:
    """Register actions and views."""
    await hass.async_add_import_executor_job(load_modules)
    async_setup_services(hass)
    async_setup_flow_pictures(hass)
    hass.http.register_view(EvidenceView)
    return True


def load_modules() -> None:
    """Import every module of the integration.

    Home Assistant imports some only when they are needed. Between an update and the restart those
    on disk are newer than those in use, and would not fit.
    """
    folder = Path(__file__).parent
    for module in pkgutil.iter_modules([str(folder)]):
        name = f"{__package__}.{module.name}"
        importlib.import_module(name)
        if module.ispkg:
            for inner in pkgutil.iter_modules([str(folder / module.name)]):
                importlib.import_module(f"{name}.{inner.name}")


async def async_setup_entry(hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> bool:
    """Start the node of an entry and add its entities."""
    await async_add_blueprints(hass)
    await _install_engine(hass, entry)
    runtime = EntryRuntime(hass, entry)
    await _install_video(hass, entry, runtime)

    async def stop(_event: Event) -> None:
        # Entries are not unloaded when Home Assistant stops.
        await runtime.async_stop()

    entry.async_on_unload(hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop))
    await _start(hass, entry, runtime)
    # Undo everything if a later step fails or is canceled.
    async with AsyncExitStack() as undo:
        undo.push_async_callback(runtime.async_stop)
        entry.runtime_data = runtime
        _register_node_device(hass, entry, runtime)
        await runtime.async_begin()
        await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
        undo.push_async_callback(hass.config_entries.async_unload_platforms, entry, PLATFORMS)
        component = _image_processing(hass)
        # Before the set-up, because a failed one must be undone, too.
        undo.push_async_callback(component.async_unload_entry, entry)
        if not await component.async_setup_entry(entry):
            raise ConfigEntryError("The image processing platform could not be set up")
        runtime.async_hear()
        undo.pop_all()
    entry.async_on_unload(entry.add_update_listener(_async_entry_updated))
    await runtime.async_update()  # apply changes made during the set-up
    return True


async def async_unload_entry(hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> bool:
    """Remove the entities of an entry and stop its node."""
    if not await hass.config_entries.async_unload_platforms(entry, PLATFORMS):
        return False
    await _image_processing(hass).async_unload_entry(entry)
    await entry.runtime_data.async_stop()
    return True


async def async_remove_entry(hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> None:
    """Delete everything that the node stores, and what is stored about it."""
    for issue in Issue:
        for owner in (entry.entry_id, *entry.subentries):
            async_clear_issue(hass, issue, owner)
    for domain, issue_key in tuple(ir.async_get(hass).issues):
        if domain == DOMAIN and entry.entry_id in issue_key:  # issues of its models
            ir.async_delete_issue(hass, domain, issue_key)
    await event_store(hass, entry.entry_id).async_remove()
    if entry.data.get(CONF_NODE_TYPE, NODE_TYPE_LOCAL) == NODE_TYPE_LOCAL:
        await hass.async_add_executor_job(_delete_folder, data_dir(hass))
    if not [other for other in hass.config_entries.async_entries(DOMAIN) if other is not entry]:
        await async_remove_blueprints(hass)
    async_masks_changed(hass)


def _delete_folder(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as err:
        _LOGGER.warning("%s could not be deleted: %s; you can delete it by hand", folder, err)


def _image_processing(hass: HomeAssistant) -> EntityComponent:
    return hass.data[DATA_INSTANCES][Platform.IMAGE_PROCESSING]


async def _install_engine(hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> None:
    try:
        await async_install_engine(hass, entry.data[CONF_ENGINE])
    except EngineInstallError as err:
        async_raise_issue(
            hass,
            Issue.ENGINE_NOT_INSTALLED,
            entry.entry_id,
            err.translation_placeholders,
            reload_fixes=entry.entry_id,
        )
        raise ConfigEntryNotReady(
            str(err),
            translation_domain=DOMAIN,
            translation_key=err.translation_key,
            translation_placeholders=err.translation_placeholders,
        ) from err
    async_clear_issue(hass, Issue.ENGINE_NOT_INSTALLED, entry.entry_id)
    for engine in entry.data.get(CONF_FURTHER_ENGINES, ()):
        try:
            await async_install_engine(hass, engine)
        except EngineInstallError as err:
            _LOGGER.warning("%s; the cameras that need it cannot look", err)


async def _install_video(
    hass: HomeAssistant, entry: EdgeVisionConfigEntry, runtime: EntryRuntime
) -> None:
    """Install the package for live video if a camera needs it; without it, stills are used."""
    if any(pipeline.settings.may_be_live for pipeline in runtime.pipelines.values()):
        runtime.node.video_missing = await async_install_video(hass)
    if runtime.node.video_missing is None:
        async_clear_issue(hass, Issue.VIDEO_NOT_INSTALLED, entry.entry_id)
        return
    async_raise_issue(
        hass,
        Issue.VIDEO_NOT_INSTALLED,
        entry.entry_id,
        {"error": runtime.node.video_missing},
        reload_fixes=entry.entry_id,
        severity=ir.IssueSeverity.WARNING,
    )


async def _start(hass: HomeAssistant, entry: EdgeVisionConfigEntry, runtime: EntryRuntime) -> None:
    try:
        await runtime.async_start()
    except NodeVersionMismatch as err:
        placeholders = {"node": entry.title, "reason": str(err)}
        async_raise_issue(hass, Issue.VERSION_MISMATCH, entry.entry_id, placeholders)
        raise ConfigEntryError(
            translation_domain=DOMAIN,
            translation_key="node_version_mismatch",
            translation_placeholders=placeholders,
        ) from err
    except NodeRequestError as err:
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN,
            translation_key="node_not_started",
            translation_placeholders={"error": str(err)},
        ) from err
    async_clear_issue(hass, Issue.VERSION_MISMATCH, entry.entry_id)


@callback
def _register_node_device(
    hass: HomeAssistant, entry: EdgeVisionConfigEntry, runtime: EntryRuntime
) -> None:
    hardware = runtime.node.info.hardware if runtime.node.info else None
    device = dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id,
        identifiers={(DOMAIN, str(entry.unique_id))},
        entry_type=DeviceEntryType.SERVICE,
        manufacturer=MANUFACTURER,
        model=(hardware.board or hardware.cpu) if hardware else None,
        name=entry.title,
        sw_version=runtime.node.greeting.version if runtime.node.greeting else None,
    )
    runtime.node.device_id = device.id


async def _async_entry_updated(hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> None:
    """Apply changed settings; only those of the node reload the entry."""
    runtime = entry.runtime_data
    if runtime.made_for != (entry.title, entry.data):
        hass.config_entries.async_schedule_reload(entry.entry_id)
        return
    await _install_video(hass, entry, runtime)
    await runtime.async_update()
