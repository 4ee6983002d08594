"""The events of a node: each is taken in once, whoever was away, and when it can be heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.storage import Store

from .client import NodeClient, NodeCommandError
from .const import DOMAIN
from .node.edge_vision_node.protocol import (
    Command,
    NodeEvent,
    Results,
    ResultsRequest,
    Subscribe,
    Subscribed,
)

# What was taken in after the last save is taken in again when Home Assistant is killed.
_SAVE_DELAY_S = 0.25
_STORE_VERSION = 1


def event_store(hass: HomeAssistant, entry_id: str) -> Store[dict[str, Any]]:
    """Return where the number of the last event that was taken in is kept."""
    return Store(hass, _STORE_VERSION, f"{DOMAIN}.{entry_id}")


class EventInbox:
    """Keeps count of a node's events.

    `seq` is the number of the last one that was taken in; None while there was none.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry_id: str,
        take: Callable[[NodeEvent, bool], None],
        besides: Callable[[], dict[str, Any]],
    ) -> None:
        """Take in nothing yet.

        `take(event, late)` is called with each: late if it happened while nobody could hear of it.
        `besides()` is what is to be kept beside the number.
        """
        self.seq: int | None = None
        self._hass = hass
        self._take = take
        self._besides = besides
        self._store = event_store(hass, entry_id)
        self._save_pending = False
        # Events up to this number were told by the node before it was connected.
        self._late_until = 0
        # What the node tells while Home Assistant starts, when no automation hears it yet; None
        # afterwards.
        self._held: list[tuple[int | None, NodeEvent]] | None = []
        self._unsubscribe_started: CALLBACK_TYPE | None = None

    async def async_load(self) -> dict[str, Any]:
        """Return what was kept; empty where there is nothing."""
        return await self._store.async_load() or {}

    @callback
    def async_begin(self) -> None:
        """Take in what is held as soon as Home Assistant has started."""
        self._unsubscribe_started = async_at_started(self._hass, self._async_release)

    @callback
    def async_mute(self) -> None:
        """Leave what is held to the next start."""
        if self._unsubscribe_started is not None:
            self._unsubscribe_started()
            self._unsubscribe_started = None

    async def async_save(self) -> None:
        """Write down the number now."""
        if self.seq is not None:
            await self._store.async_save(self._stored())

    async def async_meet(self, client: NodeClient) -> None:
        """Note what a node has told by now; what it tells from now on is news."""
        try:
            answer = await client.request(Command.RESULTS, ResultsRequest(limit=1), Results)
        except NodeCommandError:
            self._late_until = 0  # its log cannot be read
        else:
            self._late_until = answer.events[0].seq if answer.events else 0

    async def async_subscribe(self, client: NodeClient) -> None:
        """Have a node tell what was not taken in yet, and go on. Raises `NodeError`."""
        before = self.seq
        answer = await client.request(Command.SUBSCRIBE, Subscribe(after=before), Subscribed)
        # A log that has been begun anew counts from one again. (-1: it cannot be read.)
        begun_anew = before is not None and 0 <= answer.seq < before
        if self.seq == before and (before is None or begun_anew):
            self.seq = max(answer.seq, 0)
            self.async_save_soon()

    @callback
    def async_receive(self, seq: int | None, event: NodeEvent) -> None:
        """Take in an event, or hold it until somebody can hear it."""
        if self._held is None:
            self._count(seq, event, late=False)
        else:
            self._held.append((seq, event))

    @callback
    def _async_release(self, _hass: HomeAssistant) -> None:
        held, self._held = self._held, None
        for seq, event in held or ():
            self._count(seq, event, late=True)

    @callback
    def _count(self, seq: int | None, event: NodeEvent, *, late: bool) -> None:
        if seq is not None:
            if self.seq is not None and seq <= self.seq:
                return
            self.seq = seq
            self.async_save_soon()
        self._take(event, late or (seq is not None and seq <= self._late_until))

    def _stored(self) -> dict[str, Any]:
        self._save_pending = False
        return {"seq": self.seq, **self._besides()}

    @callback
    def async_save_soon(self) -> None:
        """Write down the number, and what is kept besides."""
        # Each call would put the write off; a camera over a busy street would do so for ever.
        if not self._save_pending:
            self._save_pending = True
            self._store.async_delay_save(self._stored, _SAVE_DELAY_S)
