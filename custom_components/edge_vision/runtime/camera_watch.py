"""Follows a pipeline's camera entity: whether it is available, and what it is called."""

from __future__ import annotations

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import (
    CALLBACK_TYPE,
    Event,
    EventStateChangedData,
    HomeAssistant,
    callback,
)
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.event import (
    async_track_entity_registry_updated_event,
    async_track_state_change_event,
)

from ..const import CONF_CAMERA, PipelineProblem
from .node import EntryNode
from .pipeline import PipelineRuntime
from .stream_addresses import StreamAddresses
from .video_source import VideoSource


class CameraWatch:
    """Keeps one pipeline up to date with its camera entity."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        node: EntryNode,
        streams: StreamAddresses,
        pipeline: PipelineRuntime,
        source: VideoSource,
    ) -> None:
        """Initialize; `async_start` starts to follow."""
        self._hass = hass
        self._entry = entry
        self._node = node
        self._streams = streams
        self._pipeline = pipeline
        self._source = source
        self._unsubscribe: list[CALLBACK_TYPE] = []

    @callback
    def async_start(self) -> None:
        """Follow the camera of the settings, if it has an entity."""
        self._pipeline.renamed_to = None
        if (camera := self._pipeline.settings.camera) is None:
            return
        self._unsubscribe = [
            async_track_state_change_event(self._hass, camera, self._async_state_changed),
            async_track_entity_registry_updated_event(
                self._hass, camera, self._async_registry_updated
            ),
        ]

    @callback
    def async_stop(self) -> None:
        """Stop following."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    @callback
    def _async_state_changed(self, event: Event[EventStateChangedData]) -> None:
        old, new, camera = event.data["old_state"], event.data["new_state"], event.data["entity_id"]
        pipeline = self._pipeline
        was_available = old is not None and old.state != STATE_UNAVAILABLE
        is_available = new is not None and new.state != STATE_UNAVAILABLE
        if is_available and not was_available:
            self._async_became_available(camera)
        elif new is None and pipeline.renamed_to is None and self._streams_from(camera):
            # The entity was removed: reading its video may no longer be wanted.
            self._streams.forget(camera)
            pipeline.async_fail(PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} is gone")
            self._source.async_reconfigure_soon()
        elif pipeline.stream is not None:
            pass  # the node reads the video itself, and reports on that
        elif was_available and not is_available and pipeline.enabled and self._node.connected:
            pipeline.async_fail(PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} is unavailable")

    @callback
    def _async_became_available(self, camera: str) -> None:
        pipeline = self._pipeline
        pipeline.failures = 0
        pipeline.async_wake()
        self._streams.doubt(camera, at_once=True)
        self._source.async_try_soon()
        # The masks hold for pipelines that have the camera by its address.
        masks = pipeline.settings.areas.privacy_masks
        if (pipeline.settings.may_be_live or masks) and self._node.connected:
            self._source.async_reconfigure_soon()

    def _streams_from(self, camera: str) -> bool:
        pipeline = self._pipeline
        return pipeline.stream is not None and pipeline.settings.asked_for_stream == camera

    @callback
    def _async_registry_updated(self, event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        """Take over how the camera is turned, and its new entity id."""
        if event.data["action"] == "update" and "options" in event.data["changes"]:
            self._source.async_reconfigure_soon()
        if event.data["action"] == "update" and "old_entity_id" in event.data:
            pipeline = self._pipeline
            pipeline.renamed_to = event.data["entity_id"]
            subentry = self._entry.subentries[pipeline.pipeline_id]
            self._hass.config_entries.async_update_subentry(
                self._entry, subentry, data={**subentry.data, CONF_CAMERA: event.data["entity_id"]}
            )
