"""All cameras of a config entry: created, configured, changed, removed, and their events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import STATE_OFF, Platform
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import restore_state
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.entity_platform import EntityPlatform

from ..api.client import NodeClient, NodeCommandError, NodeRequestError
from ..const import DOMAIN, EVENT_DETECTION, Issue
from ..node.edge_vision_node.protocol import (
    Command,
    Configure,
    Forget,
    Look,
    NodeEvent,
    NodeInfo,
    NodeStatus,
    Nothing,
)
from .camera_device import async_update_pipeline_device
from .driven_pipeline import DrivenPipeline
from .entities import MakeEntities, PipelineEntities
from .event_data import event_data
from .issues import async_clear_issue, async_raise_issue
from .node import SET_UP_TIMEOUT_S, EntryNode, task_in
from .pipeline import PipelineRuntime
from .privacy import SIGNAL_MASKS_CHANGED, Masks, PrivacyMasks, async_masks_changed
from .settings import Damaged, PipelineSettings, pipeline_settings
from .stream_addresses import StreamAddresses, fingerprint
from .stream_finder import StreamFinder

_LOGGER = logging.getLogger(__name__)

# How long the set-up waits for the first looks. Home Assistant's start waits with it, and complains
# about what takes ten seconds; the node needs some of them to start.
FIRST_LOOKS_PATIENCE_S = 6.0


class Pipelines(Mapping[str, PipelineRuntime]):
    """The pipelines of an entry by their ids. `damaged` are those with unusable settings."""

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, node: EntryNode, save: CALLBACK_TYPE
    ) -> None:
        """Initialize from the entry's subentries. `save` stores what `stored` returns."""
        self._hass = hass
        self._entry = entry
        self._node = node
        self._save = save
        self.streams = StreamAddresses(hass)
        self._finder = StreamFinder(
            hass, entry, node, self.streams, reconfigure=self._async_reconfigure_one, save=save
        )
        usual, self.damaged = pipeline_settings(entry)
        self._cameras = {key: self._new(key, settings) for key, settings in usual.items()}
        # Those of each platform, in the order in which the platforms were set up.
        self._entities: list[PipelineEntities] = []
        self._updating = asyncio.Lock()
        self._configuring = asyncio.Lock()
        # Settings changed while the node was disconnected.
        self.dirty = False
        self._sent_masks: dict[str, Masks] = {}
        self._stopping = False
        # Removed cameras of which the node still has pictures.
        self._removed: set[str] = set()
        self._off_damaged: set[str] = set()
        self._unsubscribe_masks: CALLBACK_TYPE | None = None

    @override
    def __getitem__(self, pipeline_id: str) -> PipelineRuntime:
        return self._cameras[pipeline_id].pipeline

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    @override
    def __len__(self) -> int:
        return len(self._cameras)

    def _new(self, pipeline_id: str, settings: PipelineSettings) -> DrivenPipeline:
        return DrivenPipeline(
            self._hass,
            self._entry,
            self._node,
            self.streams,
            pipeline_id,
            settings,
            self._async_reconfigure_one,
        )

    # --- From start to stop ----------------------------------------------------------------------

    @callback
    def async_restore(self, stored: Mapping[str, Any]) -> None:
        """Restore what was stored: what is switched off must not be looked at even once."""
        self._report_damaged()
        self._off_damaged = {key for key in stored.get("off", ()) if key in self.damaged}
        for pipeline_id, pipeline in self.items():
            if pipeline_id in stored["off"] if "off" in stored else self._was_off(pipeline_id):
                pipeline.enabled = False
        self.streams.fingerprints.update(stored.get("addresses", {}))
        self._removed.update(stored.get("removed", ()))
        # Some may have been removed while the entry was not set up.
        self._removed |= set(stored.get("known", ())) - self._entry.subentries.keys()

    def _was_off(self, pipeline_id: str) -> bool:
        """Return whether a camera was off before it was stored here which ones are."""
        entity_id = er.async_get(self._hass).async_get_entity_id(
            Platform.SWITCH, DOMAIN, f"{pipeline_id}_detection"
        )
        stored = restore_state.async_get(self._hass).last_states.get(entity_id or "")
        return stored is not None and stored.state.state == STATE_OFF

    def stored(self) -> dict[str, Any]:
        """Return what is to be stored."""
        off = [key for key, pipeline in self.items() if not pipeline.enabled]
        cameras = {pipeline.settings.camera for pipeline in self.values()}
        addresses = self.streams.fingerprints.items()
        return {
            "off": [*off, *sorted(self._off_damaged & self.damaged.keys())],
            "known": sorted({*self, *self.damaged}),
            "addresses": {camera: known for camera, known in addresses if camera in cameras},
            "removed": sorted(self._removed),
        }

    async def async_start(self) -> None:
        """Start looking, and wait until it is known of most cameras what they show."""
        self._unsubscribe_masks = async_dispatcher_connect(
            self._hass, SIGNAL_MASKS_CHANGED, self._async_masks_changed
        )
        async_masks_changed(self._hass)
        for position, camera in enumerate(self._cameras.values()):
            camera.async_start(position, len(self._cameras))
        await self._async_wait_for_looks()

    async def _async_wait_for_looks(self) -> None:
        """Wait until each camera was looked at or cannot be, but not for long."""
        settled = asyncio.Event()

        @callback
        def check() -> None:
            if all(pipeline.is_settled for pipeline in self.values()):
                settled.set()

        unsubscribe = [pipeline.async_add_listener(check) for pipeline in self.values()]
        check()
        try:
            async with asyncio.timeout(FIRST_LOOKS_PATIENCE_S):
                await settled.wait()
        except TimeoutError:
            _LOGGER.info("Some cameras were not looked at yet: they start as unknown")
        finally:
            for stop in unsubscribe:
                stop()

    async def async_stop(self) -> None:
        """Stop looking."""
        self._stopping = True
        self._finder.async_stop()
        if self._unsubscribe_masks is not None:
            self._unsubscribe_masks()
            self._unsubscribe_masks = None
        await asyncio.gather(*(camera.async_stop() for camera in self._cameras.values()))

    # --- Changes ---------------------------------------------------------------------------------

    async def async_update(self) -> None:
        """Apply what the user has changed about cameras; the others go on as they are."""
        async with self._updating:  # one at a time, each with the newest settings
            before, damaged = self.keys() | self.damaged.keys(), self.damaged
            wanted, self.damaged = pipeline_settings(self._entry)
            self._report_damaged(damaged)
            removed = [self._cameras.pop(key) for key in self.keys() - wanted.keys()]
            for camera in removed:
                await self._async_remove(camera)
            changed = [
                camera
                for key, camera in self._cameras.items()
                if camera.pipeline.settings != wanted[key]
            ]
            moved = [
                camera
                for camera in changed
                if camera.pipeline.settings.camera != wanted[camera.pipeline.pipeline_id].camera
            ]
            for camera in moved:
                await camera.async_stop()  # the look under way is at the other camera
            for camera in changed:
                self._change(camera, wanted[camera.pipeline.pipeline_id])
            added = [self._new(key, wanted[key]) for key in wanted.keys() - self.keys()]
            off = {
                camera.pipeline.pipeline_id for camera in removed if not camera.pipeline.enabled
            } | self._off_damaged
            for camera in added:
                camera.pipeline.enabled = camera.pipeline.pipeline_id not in off
            self._off_damaged = off & self.damaged.keys()
            self._cameras |= {camera.pipeline.pipeline_id: camera for camera in added}
            # The node is configured last, so that its first events find their entities.
            for camera in (*added, *changed):
                await self._async_update_entities(camera.pipeline)
            if removed or changed or added:
                await self.async_reconfigure(camera.pipeline for camera in changed)
            gone = before - self._entry.subentries.keys()
            for pipeline_id in gone:
                async_clear_issue(self._hass, Issue.SETTINGS_DAMAGED, pipeline_id)
            self._removed |= gone
            await self.async_forget()
            if removed or added or gone:
                self._save()
            if not self._stopping:
                for camera in (*added, *moved):
                    camera.async_start(0, 1)
        async_masks_changed(self._hass)

    async def _async_remove(self, camera: DrivenPipeline) -> None:
        camera.pipeline.async_remove_issues()
        await camera.async_stop()
        for entities in self._entities:
            entities.forget(camera.pipeline.pipeline_id)

    @callback
    def _change(self, camera: DrivenPipeline, settings: PipelineSettings) -> None:
        """Change a pipeline's settings; entities and node follow."""
        pipeline, before = camera.pipeline, camera.pipeline.settings
        if settings.video_source != before.video_source:
            camera.source.async_reset()
        if (settings.name, settings.camera) != (before.name, before.camera):
            async_update_pipeline_device(
                self._hass,
                self._entry.entry_id,
                pipeline.pipeline_id,
                settings,
                self._node.device_id,
            )
        pipeline.async_set_settings(settings)

    async def async_forget(self) -> None:
        """Have the node delete what it has of cameras that the user has removed.

        Where it cannot be asked now, this is done when it is back.
        """
        for pipeline_id in sorted(self._removed):
            try:
                await self._node.async_request(
                    Command.FORGET, Forget(pipeline_id=pipeline_id), Nothing
                )
            except NodeRequestError as err:
                _LOGGER.debug("Pictures of a removed camera are still stored: %s", err)
            else:
                self._removed.discard(pipeline_id)

    @callback
    def async_set_enabled(self, pipeline: PipelineRuntime, enabled: bool) -> None:
        """Switch detection on or off."""
        changed = pipeline.enabled != enabled
        source = self._cameras[pipeline.pipeline_id].source
        source.async_reset()
        pipeline.async_set_enabled(enabled)
        if changed:
            self._save()
        if changed and pipeline.settings.may_be_live:
            # While it is off, the node need not read the video either. And only then is it known
            # whether there is any, or stills are to be looked at.
            source.async_reconfigure_soon()
        elif enabled:
            pipeline.async_wake()

    async def async_scan(self, pipeline: PipelineRuntime) -> None:
        """Look once, now. Raises `HomeAssistantError` where that is not possible."""
        await self._cameras[pipeline.pipeline_id].stills.async_scan()

    # --- Entities --------------------------------------------------------------------------------

    async def async_add_platform(self, platform: EntityPlatform, make: MakeEntities) -> None:
        """Add a platform's entities for each pipeline, now and later."""
        entities = PipelineEntities(self._hass, self._entry, platform, make)
        self._entities.append(entities)
        for pipeline in self.values():
            await entities.async_update(pipeline)

    async def _async_update_entities(self, pipeline: PipelineRuntime) -> None:
        for entities in self._entities:
            await entities.async_update(pipeline)

    async def async_info_changed(self, before: NodeInfo | None) -> None:
        """Update the entities of pipelines whose model now is for something else."""
        async with self._updating:
            for pipeline in tuple(self.values()):
                if task_in(before, pipeline.settings.model) != pipeline.task:
                    await self._async_update_entities(pipeline)

    # --- Configuring the node --------------------------------------------------------------------

    async def async_configure(self, client: NodeClient) -> None:
        """Send all pipelines to the node. Raises `NodeRequestError`."""
        # One at a time, each with the newest settings: the last change wins.
        async with self._configuring:
            self.dirty = False
            await self._finder.async_update(self.values())
            sent = {pipeline: pipeline.settings for pipeline in self.values()}
            self._sent_masks = self._masks()
            configs = tuple(
                settings.config(
                    pipeline.pipeline_id,
                    self._node.place_for(settings.model, settings.engine, settings.accelerator),
                    pipeline.stream,
                    self.streams.options(settings.camera, settings.video_address),
                    camera=self._identity(settings),
                    privacy_masks=self._sent_masks[pipeline.pipeline_id].polygons,
                    mask_aspects=self._sent_masks[pipeline.pipeline_id].aspects,
                )
                for pipeline, settings in sent.items()
            )
            status = await client.request(
                Command.CONFIGURE,
                Configure(pipelines=configs),
                NodeStatus,
                timeout_s=SET_UP_TIMEOUT_S,
            )
            for pipeline, settings in sent.items():
                pipeline.sent_settings = settings
        self._node.async_set_status(status)

    def _masks(self) -> dict[str, Masks]:
        """Return the privacy masks that hold for each pipeline now."""
        masks = PrivacyMasks.async_get(self._hass)
        return {
            key: masks.of(pipeline.settings.camera, pipeline.settings.video_address)
            for key, pipeline in self.items()
        }

    def _identity(self, settings: PipelineSettings) -> str:
        """Return what stays the same while it is the same camera, whatever it is called."""
        if settings.camera is None:
            return fingerprint(settings.video_address or "")
        item = er.async_get(self._hass).async_get(settings.camera)
        return item.id if item is not None else settings.camera

    async def async_reconfigure(self, changed: Iterable[PipelineRuntime]) -> None:
        """Send all pipelines to the node; while it is disconnected, this is done later."""
        if self._node.client is None:
            self.dirty = True
            return
        try:
            await self.async_configure(self._node.client)
        except NodeCommandError as err:
            _LOGGER.warning("The node did not accept its new settings: %s", err)
            return
        except NodeRequestError as err:
            _LOGGER.debug("The node gets its new settings when it is back: %s", err)
            return
        for pipeline in changed:
            pipeline.async_wake()

    async def _async_reconfigure_one(self, pipeline: PipelineRuntime) -> None:
        await self.async_reconfigure([pipeline])

    @callback
    def _async_masks_changed(self) -> None:
        """Reconfigure the node where masks changed, of this entry or another."""
        if self._stopping:
            return
        unasked = not self._finder.has_asked(self._finder.cameras_of_masks(self.values()))
        if unasked or self._sent_masks != self._masks():
            self._entry.async_create_background_task(
                self._hass, self.async_reconfigure(()), "Edge Vision privacy masks"
            )

    # --- What the node says ----------------------------------------------------------------------

    @callback
    def async_node_ready(self) -> None:
        """Look again with a node that has connected."""
        for pipeline in self.values():
            pipeline.async_node_ready()

    @callback
    def async_node_lost(self) -> None:
        """Show nothing that may no longer be true."""
        for camera in self._cameras.values():
            camera.source.async_node_lost()
            camera.pipeline.async_node_lost()

    @callback
    def async_notify(self) -> None:
        """Notify the listeners of all pipelines."""
        for pipeline in self.values():
            pipeline.async_notify()

    @callback
    def async_set_status(self, status: NodeStatus) -> None:
        """Update all pipelines from the node's status."""
        for item in status.pipelines:
            if (camera := self._cameras.get(item.pipeline_id)) is not None:
                camera.pipeline.async_set_status(item)
                camera.source.async_set_status(item.source)
                camera.pipeline.async_notify()

    @callback
    def async_take_look(self, look: Look) -> None:
        """Show a result of live video."""
        if (pipeline := self.get(look.pipeline_id)) is not None:
            pipeline.async_take_live_look(look)

    @callback
    def async_fire(self, event: NodeEvent, late: bool) -> None:
        """Fire an event on the bus. `late`: it happened while Home Assistant was away."""
        if (pipeline := self.get(event.pipeline_id)) is None:
            _LOGGER.debug("Event of removed pipeline %.40r skipped", event.pipeline_id)
            return
        data = event_data(
            self._hass,
            self._entry.entry_id,
            self._node.node_id,
            pipeline.sent_settings,
            event,
            replayed=late,
        )
        self._hass.bus.async_fire(EVENT_DETECTION, data)
        pipeline.async_notify_event(data)

    @callback
    def _report_damaged(self, before: Mapping[str, Damaged] | None = None) -> None:
        """Report cameras that are not looked at because their settings are damaged."""
        if self.damaged == before:
            return
        for subentry in self._entry.subentries.values():
            key = subentry.subentry_id
            if (item := self.damaged.get(key)) is None:
                async_clear_issue(self._hass, Issue.SETTINGS_DAMAGED, key)
                continue
            placeholders = {"name": subentry.title, "error": item.reason}
            _LOGGER.error("The settings of %s cannot be read: %s", subentry.title, item.reason)
            async_raise_issue(self._hass, Issue.SETTINGS_DAMAGED, key, placeholders)
