"""Deliver each node event exactly once, after Home Assistant has started."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from homeassistant.core import CALLBACK_TYPE, CoreState, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.storage import Store

from ..api.client import NodeClient, NodeCommandError
from ..const import DOMAIN
from ..node.edge_vision_node.protocol import (
    Command,
    NodeEvent,
    Results,
    ResultsRequest,
    Subscribe,
    Subscribed,
)

_LOGGER = logging.getLogger(__name__)

# An event's number, the event, and the log that the number is of.
type _Numbered = tuple[int | None, NodeEvent, str | None]

# If Home Assistant is killed, events after the last save are delivered again.
_SAVE_DELAY_S = 0.25
_STORE_VERSION = 1


def event_store(hass: HomeAssistant, entry_id: str) -> Store[dict[str, Any]]:
    """Return the store for the number of the last delivered event."""
    return Store(hass, _STORE_VERSION, f"{DOMAIN}.{entry_id}")


# Stored lists of strings; anything else under these keys is ignored.
_LISTS = ("off", "known", "removed")


def _readable(kept: object) -> dict[str, Any]:
    if not isinstance(kept, dict):
        return {}
    lists = {
        key: [item for item in kept[key] if isinstance(item, str)]
        for key in _LISTS
        if isinstance(kept.get(key), list)
    }
    addresses = kept.get("addresses")
    if isinstance(addresses, dict):
        addresses = {key: item for key, item in addresses.items() if isinstance(item, str)}
    else:
        addresses = {}
    plain = {key: kept.get(key) for key in ("seq", "log", "node_id")}
    return {**lists, "addresses": addresses, **plain}


class EventInbox:
    """Tracks which events of a node were delivered.

    `seq` is the number of the last one that was taken in, and `log` the node's log that it is of;
    both are None while there was none.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry_id: str,
        take: Callable[[NodeEvent, bool], None],
        extra: Callable[[], dict[str, Any]],
    ) -> None:
        """Initialize.

        `take(event, late)` is called with each; late: it happened before it could be delivered.
        `extra()` returns data to save with the number.
        """
        self.seq: int | None = None
        self.log: str | None = None
        self._hass = hass
        self._take = take
        self._extra = extra
        self._store = event_store(hass, entry_id)
        self._save_pending = False
        # Events up to this number happened before the node was connected.
        self._late_until = 0
        # Events received while Home Assistant starts and automations are not set up; None
        # afterwards.
        self._held: list[_Numbered] | None = []
        # Whether held events are late when they are delivered.
        self._late = True
        # Events received before the log of their numbers is known; None at other times.
        self._early: list[_Numbered] | None = None
        self._unsubscribe_started: CALLBACK_TYPE | None = None

    async def async_load(self) -> dict[str, Any]:
        """Return the stored data; empty if there is none or it cannot be read."""
        try:
            kept = await self._store.async_load()
        except (HomeAssistantError, LookupError, TypeError, ValueError, NotImplementedError) as err:
            _LOGGER.error("What is kept of the node's events cannot be read: %r", err)
            return {}
        return _readable(kept)

    @callback
    def async_go_on(self, kept: dict[str, Any], node_id: str) -> None:
        """Continue after the last delivered event of the stored data."""
        seq, log = kept.get("seq"), kept.get("log")
        if isinstance(log, str):
            self.log = log
        elif kept.get("node_id") != node_id:
            return  # another node's numbers mean nothing to this one
        if isinstance(seq, int) and not isinstance(seq, bool) and seq >= 0:
            self.seq = seq

    @callback
    def async_begin(self) -> None:
        """Deliver held events: now, or as soon as Home Assistant has started."""
        self._late = self._hass.state is not CoreState.running
        self._unsubscribe_started = async_at_started(self._hass, self._async_release)

    @callback
    def async_mute(self) -> None:
        """Leave held events to the next start."""
        if self._unsubscribe_started is not None:
            self._unsubscribe_started()
            self._unsubscribe_started = None

    async def async_save(self) -> None:
        """Save the number now."""
        if self.seq is not None:
            await self._store.async_save(self._stored())

    async def async_meet(self, client: NodeClient) -> None:
        """Note the number of a node's newest event; later ones are new."""
        try:
            answer = await client.request(Command.RESULTS, ResultsRequest(limit=1), Results)
        except NodeCommandError:
            self._late_until = 0  # its log cannot be read
        else:
            self._late_until = answer.events[0].seq if answer.events else 0

    async def async_subscribe(self, client: NodeClient) -> None:
        """Subscribe to undelivered and new events. Raises `NodeRequestError`."""
        before, self._early = self.seq, []
        try:
            request = Subscribe(after=before, log=self.log)
            answer = await client.request(Command.SUBSCRIBE, request, Subscribed)
            if answer.seq >= 0:  # -1: the log cannot be read
                self._begin_after(before, answer)
        finally:
            early, self._early = self._early, None
            for numbered in early:
                self.async_receive(*numbered)

    def _begin_after(self, before: int | None, answer: Subscribed) -> None:
        """Note after which number events are to be delivered."""
        if self.log is not None and answer.log not in (None, self.log):
            self.seq = 0  # another log: none of its events was delivered
        elif before is None or answer.seq < before:
            self.seq = answer.seq
        elif answer.log == self.log:
            return
        self.log = answer.log or self.log
        self.async_save_soon()

    @callback
    def async_receive(self, seq: int | None, event: NodeEvent, log: str | None = None) -> None:
        """Deliver an event, or hold it until Home Assistant has started."""
        if self._early is not None:
            self._early.append((seq, event, log))
        elif self._held is None:
            self._count(seq, event, log, late=False)
        else:
            self._held.append((seq, event, log))

    @callback
    def _async_release(self, _hass: HomeAssistant) -> None:
        held, self._held = self._held, None
        for seq, event, log in held or ():
            self._count(seq, event, log, late=self._late)

    @callback
    def _count(self, seq: int | None, event: NodeEvent, log: str | None, *, late: bool) -> None:
        if seq is not None:
            if log is not None and log != self.log:
                if self.log is not None:
                    self.seq = None  # another log: none of its events was delivered
                self.log = log
            if self.seq is not None and seq <= self.seq:
                return
            self.seq = seq
            self.async_save_soon()
        self._take(event, late or (seq is not None and seq <= self._late_until))

    def _stored(self) -> dict[str, Any]:
        self._save_pending = False
        return {"seq": self.seq, "log": self.log, **self._extra()}

    @callback
    def async_save_soon(self) -> None:
        """Save the number and the extra data soon."""
        # Each call would delay the write again; with a busy camera it would never happen.
        if not self._save_pending:
            self._save_pending = True
            self._store.async_delay_save(self._stored, _SAVE_DELAY_S)
