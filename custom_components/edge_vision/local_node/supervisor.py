"""Keep the local node running: start it, watch it, and restart it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from enum import StrEnum
from pathlib import Path

from homeassistant.core import HomeAssistant

from ..api.client import NodeClient, NodeDisconnected, NodeRequestError, NodeTimeout
from ..api.link import LinkReport, NodeListener, NodeStartError
from ..const import CRASH_LOOP_EXITS, CRASH_LOOP_MINUTES
from ..node.edge_vision_node.protocol import Command, Nothing
from .node_log import NodeLog
from .node_process import NodeProcess

_LOGGER = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.5
BACKOFF_LONGEST_S = 60.0
STABLE_AFTER_S = 60.0
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0
PINGS_MISSED = 2


class SupervisorState(StrEnum):
    """The state of the local node."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"


class _Session:
    """A running node and the connection to it."""

    def __init__(self, process: NodeProcess, client: NodeClient) -> None:
        self.process = process
        self.client = client

    async def close(self) -> None:
        try:
            await self.client.close()
        finally:
            await self.process.stop()


class LocalNode:
    """The `NodeLink` to a node on this machine: runs it as a process."""

    def __init__(self, hass: HomeAssistant, data_dir: Path) -> None:
        """Initialize; `start` starts the node."""
        self._hass = hass
        self._data_dir = data_dir
        self._listener: NodeListener | None = None
        self._task: asyncio.Task[None] | None = None
        self._session: _Session | None = None
        self._kill_reason: str | None = None
        self._attempt = 0
        self._exits: deque[float] = deque(maxlen=CRASH_LOOP_EXITS)
        self.log = NodeLog()
        self.state = SupervisorState.STOPPED
        self.restarts = 0
        self.last_exit: str | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id of the node while it runs."""
        return self._session.process.pid if self._session else None

    async def start(self, listener: NodeListener) -> None:
        """Start the node for the first time; from then on it is kept running.

        Raises `NodeStartError`, or `NodeRequestError` if it cannot be connected to. When it raises,
        or is cancelled, no process is left.
        """
        self._listener = listener
        self.state = SupervisorState.STARTING
        try:
            session = await self._open()
        except BaseException:
            self.state = SupervisorState.STOPPED
            raise
        self._task = self._hass.async_create_background_task(
            self._supervise(session), "Edge Vision node supervisor"
        )

    async def stop(self) -> None:
        """Stop the node and wait until it has ended."""
        if (task := self._task) is not None:
            self._task = None
            # At shutdown Home Assistant has canceled the task already; canceling it again would
            # interrupt its cleanup.
            if not task.cancelling():
                task.cancel()
            await asyncio.wait([task])
        self.state = SupervisorState.STOPPED

    def restart(self, reason: str) -> None:
        """Kill the node; it is restarted then."""
        if self._session is not None:
            self._kill_reason = reason
            self._session.process.kill()

    def report(self) -> LinkReport:
        """Return how the node is doing."""
        return LinkReport(
            state=self.state.value,
            restarts=self.restarts,
            last_exit=self.last_exit,
            log=tuple(self.log.lines),
        )

    async def _open(self) -> _Session:
        """Start a process, connect, and have the listener set it up."""
        listener = self._listener
        assert listener is not None  # `start` comes first
        process = await NodeProcess.start(self._hass, self._data_dir, self.log)
        session = _Session(
            process,
            NodeClient(
                on_event=listener.async_take_event,
                on_status=listener.async_take_status,
                on_look=listener.async_take_look,
                on_disconnect=listener.async_disconnected,
            ),
        )
        self._session = session
        try:
            await session.client.connect(process.socket, process.token)
            await listener.async_connected(session.client)
        except BaseException as err:
            self._session = None
            words = None
            if isinstance(err, NodeDisconnected):
                words = await process.last_words()
            await session.close()
            if words is not None:
                raise NodeStartError(f"while it was set up, {words}") from err
            raise
        self.state = SupervisorState.RUNNING
        return session

    async def _supervise(self, session: _Session) -> None:
        try:
            while True:
                reason = await self._watch(session)
                self.state = SupervisorState.RESTARTING
                self._session = None
                await session.close()
                delay = self._count_exit(reason)
                _LOGGER.warning(
                    "The node ended unexpectedly: %s; it is started again in %.1f s", reason, delay
                )
                session = await self._restart(delay)
        finally:
            self._session = None
            await session.close()

    async def _restart(self, delay: float) -> _Session:
        failed_with: str | None = None
        while True:
            await asyncio.sleep(delay)
            self.restarts += 1
            try:
                session = await self._open()
            except Exception as err:
                if not isinstance(err, NodeRequestError):
                    _LOGGER.exception("The node was started, but could not be set up")
                reason = str(err) or type(err).__name__
                delay = self._count_exit(reason)
                # A failure that repeats is logged once as a warning.
                level = logging.DEBUG if reason == failed_with else logging.WARNING
                failed_with = reason
                _LOGGER.log(
                    level, "The node cannot be started again: %s; next try in %.1f s", reason, delay
                )
            else:
                _LOGGER.info("The node is back")
                return session

    def _count_exit(self, reason: str) -> float:
        """Count an exit; return the wait before the next start in seconds."""
        self.last_exit = reason
        self._exits.append(time.monotonic())
        if (
            len(self._exits) == CRASH_LOOP_EXITS
            and self._exits[-1] - self._exits[0] <= CRASH_LOOP_MINUTES * 60
        ):
            assert self._listener is not None
            self._listener.async_crash_loop(CRASH_LOOP_EXITS, reason)
        delay = min(BACKOFF_FIRST_S * 2.0**self._attempt, BACKOFF_LONGEST_S)
        self._attempt = min(self._attempt + 1, 16)
        return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing

    async def _watch(self, session: _Session) -> str:
        """Wait until the node ends, stops answering or disconnects; return the reason."""
        exited = asyncio.create_task(session.process.wait())
        lost = asyncio.create_task(session.client.disconnected.wait())
        silent = asyncio.create_task(self._ping_until_silent(session.client))
        try:
            await asyncio.wait({exited, lost, silent}, return_when=asyncio.FIRST_COMPLETED)
            words = None
            if exited.done() or lost.done():
                words = await session.process.last_words()
            if words is not None:
                reason, self._kill_reason = self._kill_reason, None
                return reason or words
            session.process.kill()  # it would not react to a request to stop
            return "it hung up" if lost.done() else "it did not answer any more"
        finally:
            for task in (exited, lost, silent):
                task.cancel()
            await asyncio.wait({exited, lost, silent})

    async def _ping_until_silent(self, client: NodeClient) -> None:
        started, missed, stable = time.monotonic(), 0, False
        while missed < PINGS_MISSED:
            await asyncio.sleep(PING_EVERY_S)
            try:
                await client.request(Command.PING, None, Nothing, timeout_s=PING_TIMEOUT_S)
            except NodeDisconnected:
                return
            except NodeTimeout:
                missed += 1
                continue
            except NodeRequestError as err:
                _LOGGER.debug("Odd answer to a ping: %s", err)
            missed = 0
            if not stable and time.monotonic() - started >= STABLE_AFTER_S:
                stable = True
                self._attempt = 0
                assert self._listener is not None
                self._listener.async_stable()
