"""The link to a node, wherever it runs: keeps the connection and reports to a listener."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..node.edge_vision_node.protocol import Look, NodeEvent, NodeStatus
from .client import NodeClient, NodeRequestError


class NodeStartError(NodeRequestError):
    """The node did not come up; the text says why, in the node's own words where it had any."""


class NodeListener(Protocol):
    """Receives what happens to a node. All methods run in the event loop."""

    async def async_connected(self, client: NodeClient) -> None:
        """Set up a node that has just connected.

        The connection counts once this has returned, and is closed if it raises
        `NodeRequestError`.
        """

    def async_disconnected(self) -> None:
        """Handle the end of a connection."""

    def async_take_event(self, seq: int | None, event: NodeEvent, log: str | None) -> None:
        """Handle an event and its number in a log; both are None where it was not logged."""

    def async_take_status(self, status: NodeStatus) -> None:
        """Handle a status that the node pushed."""

    def async_take_look(self, look: Look) -> None:
        """Handle a result of live video."""

    def async_crash_loop(self, count: int, reason: str) -> None:
        """Handle a node that has ended `count` times in a short time; `reason` is the last one."""

    def async_stable(self) -> None:
        """Handle a node that has been running for long enough."""


@dataclass(frozen=True, kw_only=True)
class LinkReport:
    """How a link is doing, for diagnostics and system health. The log holds no credentials."""

    state: str
    restarts: int
    last_exit: str | None
    log: tuple[str, ...]


class NodeLink(Protocol):
    """Connects to one node, and connects again whenever the connection ends."""

    async def start(self, listener: NodeListener) -> None:
        """Connect for the first time; from then on the connection is kept up.

        Raises `NodeRequestError`, or `NodeStartError` if the node did not come up. When it raises,
        or is cancelled, nothing is left running.
        """

    async def stop(self) -> None:
        """Disconnect, and stop a node that was started for this."""

    def restart(self, reason: str) -> None:
        """Start over with a node that no longer answers."""

    def report(self) -> LinkReport:
        """Return how the link is doing."""
