"""A config entry at run time: puts its node, its pipelines and its events together."""

from __future__ import annotations

import logging
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..api.client import NodeClient, NodeDisconnected, NodeRequestError
from ..const import DOMAIN
from ..node.edge_vision_node.protocol import Command, Look, NodeEvent, NodeInfo, NodeStatus
from . import links
from .event_inbox import EventInbox
from .node import EntryNode
from .node_issues import NodeIssues
from .pipelines import Pipelines
from .privacy import Masks, async_masks_for

_LOGGER = logging.getLogger(__name__)

type EdgeVisionConfigEntry = ConfigEntry[EntryRuntime]


class EntryRuntime:
    """What a config entry has at run time. It is the `NodeListener` of the entry's link."""

    def __init__(self, hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> None:
        """Initialize; `async_start` starts the node."""
        self.hass = hass
        self.entry = entry
        # What the set-up depends on: when it is no longer this, the entry must be reloaded.
        self.made_for = (entry.title, entry.data)
        self.node = EntryNode(
            hass,
            entry,
            links.make_link(hass, entry),
            on_status=self._async_status_changed,
            on_info=self._async_info_changed,
        )
        self.pipelines = Pipelines(hass, entry, self.node, self._async_save_soon)
        self._inbox = EventInbox(hass, entry.entry_id, self.pipelines.async_fire, self._stored)
        self._issues = NodeIssues(hass, entry.entry_id, self.node.place_name)
        self._started = False
        self._stopping = False

    @property
    def last_seq(self) -> int | None:
        """Return the number of the last event that was processed."""
        return self._inbox.seq

    # --- From start to stop ----------------------------------------------------------------------

    async def async_start(self) -> None:
        """Start the node, connect, and configure its pipelines.

        Raises `NodeRequestError`; nothing is left running then.
        """
        stored = await self._inbox.async_load()
        self.pipelines.async_restore(stored)
        await self.node.link.start(self)
        self._inbox.async_go_on(stored, self.node.node_id)

    async def async_begin(self) -> None:
        """Start looking, and wait until it is known of most cameras what they show.

        Entities that are added after this have their states at once: "unknown" first would fill
        the logbook with each restart.
        """
        self._started = True
        self._async_save_soon()
        if (client := self.node.client) is not None:
            try:
                await self._async_subscribe(client)
            except NodeRequestError as err:
                # The link sees the same and connects again, which subscribes, too.
                _LOGGER.debug("The node disconnected during set-up: %s", err)
        self.node.async_start_polling()
        await self.pipelines.async_start()

    @callback
    def async_hear(self) -> None:
        """Process events from now on: every entity is added."""
        self._inbox.async_begin()

    async def async_update(self) -> None:
        """Apply what the user has changed about cameras."""
        await self.pipelines.async_update()

    async def async_stop(self) -> None:
        """Stop looking, then the node, and store the number of the last event."""
        self._stopping = True
        self._inbox.async_mute()
        self.node.async_stop_polling()
        await self.pipelines.async_stop()
        try:
            await self.node.link.stop()
        finally:
            await self._inbox.async_save()

    async def async_masks_of(
        self, camera: str | None, address: str | None = None, *, except_for: str | None = None
    ) -> Masks:
        """Return the privacy masks of a camera that a picture is from, of all entries."""
        return await async_masks_for(
            self.hass, self.pipelines.streams, camera, address, except_for=except_for
        )

    async def async_benchmark(self) -> None:
        """Measure the default model, and those that cameras use, in every place.

        Raises `NodeRequestError` where the default one cannot be measured.
        """
        await self.node.async_benchmark(item.settings.model for item in self.pipelines.values())

    # --- What the link reports -------------------------------------------------------------------

    async def async_connected(self, client: NodeClient) -> None:
        """Set up a node that has just connected. Raises `NodeRequestError`."""
        node, pipelines = self.node, self.pipelines
        await node.async_greet(client)
        # Before the node looks again, so that what it sees from now on is new.
        await self._inbox.async_meet(client)
        await pipelines.async_configure(client)
        node.async_set_client(client)
        while pipelines.dirty:
            await pipelines.async_configure(client)
        node.async_notify()
        pipelines.async_notify()  # so that no event reaches an unavailable entity
        if self._started:
            await self._async_subscribe(client)
        await pipelines.async_forget()
        if not client.connected:
            raise NodeDisconnected("the connection ended while the node was set up")
        pipelines.async_node_ready()

    @callback
    def async_disconnected(self) -> None:
        """Show that the node is disconnected."""
        self.node.async_drop_client()
        if self._stopping or self.hass.is_stopping:
            return  # nothing has failed, and the entities are removed, too
        self.pipelines.async_node_lost()
        self.node.async_notify()

    @callback
    def async_take_event(self, seq: int | None, event: NodeEvent, log: str | None) -> None:
        """Process an event, once, as soon as automations can hear it."""
        self._inbox.async_receive(seq, event, log)

    @callback
    def async_take_status(self, status: NodeStatus) -> None:
        """Update from a status that the node pushed."""
        self.node.async_set_status(status)

    @callback
    def async_take_look(self, look: Look) -> None:
        """Show a result of live video."""
        self.pipelines.async_take_look(look)

    @callback
    def async_crash_loop(self, count: int, reason: str) -> None:
        """Report a node that ends again and again."""
        self._issues.async_crash_loop(count, reason)

    @callback
    def async_stable(self) -> None:
        """Clear the report about a node that ended again and again."""
        self._issues.async_stable()

    async def _async_subscribe(self, client: NodeClient) -> None:
        await self._inbox.async_subscribe(client)
        # A model may have been loaded since the node answered to `configure`.
        self.node.async_set_status(await client.request(Command.STATUS, None, NodeStatus))

    # --- What the parts report -------------------------------------------------------------------

    @callback
    def _async_status_changed(self, status: NodeStatus) -> None:
        self._issues.async_update(status)
        self.pipelines.async_set_status(status)

    async def _async_info_changed(self, before: NodeInfo | None) -> None:
        await self.pipelines.async_info_changed(before)

    @callback
    def _async_save_soon(self) -> None:
        self._inbox.async_save_soon()

    def _stored(self) -> dict[str, Any]:
        return {"node_id": self.node.node_id, **self.pipelines.stored()}


@callback
def find_runtime(hass: HomeAssistant, pipeline_id: str) -> EntryRuntime | None:
    """Return which entry a pipeline is of; None where there is none, or it is not loaded."""
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        runtime: EntryRuntime = entry.runtime_data
        if pipeline_id in runtime.pipelines:
            return runtime
    return None
