"""What a connection sends unasked: events, states, looks and the progress of commands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from ..errors import NodeError, StorageError
from ..node import Node
from ..protocol import (
    Look,
    NodeEvent,
    NodeStatus,
    ProtocolError,
    Subscribe,
    Subscribed,
    write,
)

_LOGGER = logging.getLogger(__name__)

_MAX_UNSENT = 10_000  # pushed messages that a slow hub may leave unread
_UNKNOWN = -1

_Message = dict[str, Any]


class Pusher:
    """The pushed messages of one connection."""

    def __init__(
        self,
        node: Node,
        send: Callable[[_Message], Awaitable[None]],
        hang_up: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Push nothing yet. `send` raises `ConnectionError`, or `ProtocolError` if it cannot."""
        self._node = node
        self._send = send
        self._hang_up = hang_up
        self._unsent: asyncio.Queue[_Message] = asyncio.Queue(_MAX_UNSENT)
        self._stop_listening: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop pushing."""
        for stop in self._stop_listening:
            stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send_progress(self, command: int, progress: object) -> None:
        """Report the progress of a command; a hub that is gone misses it."""
        message = {"type": "progress", "command": command, "progress": write(progress)}

        async def send() -> None:
            with suppress(ConnectionError):
                await self._send(message)

        self._start(send())

    async def subscribe(self, request: Subscribe) -> Subscribed:
        """Push events, states and looks from now on. Raises `ProtocolError` the second time."""
        if self._stop_listening:
            raise ProtocolError("this connection has subscribed already")
        # Listen first, then read what was missed: nothing falls between the two.
        self._stop_listening = [
            self._node.teller.listen_events(self._push_event),
            self._node.listen_status(self._push_status),
            self._node.teller.listen_looks(self._push_look),
        ]
        for look in self._node.pipelines.looks:
            self._push_look(look)
        try:
            log, newest = await self._node.archive.position()
            answer = Subscribed(seq=newest, log=log)
        except StorageError:  # shown in the status; events still come, without numbers
            answer = Subscribed(seq=_UNKNOWN)
        self._start(self._push(request, answer))
        return answer

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _push_event(self, seq: int | None, event: NodeEvent) -> None:
        self._enqueue(_event_message(seq, self._node.archive.log_id, event))

    def _push_status(self, status: NodeStatus) -> None:
        self._enqueue({"type": "status", "status": write(status)})

    def _push_look(self, look: Look) -> None:
        self._enqueue({"type": "look", "look": write(look)})

    def _enqueue(self, message: _Message) -> None:
        try:
            self._unsent.put_nowait(message)
        except asyncio.QueueFull:
            # The hub connects again and resumes after the last event that it has received.
            _LOGGER.warning("The hub does not read its events; the connection ends")
            self._start(self._hang_up())

    async def _push(self, request: Subscribe, answer: Subscribed) -> None:
        """Send the events that were missed, then everything new as it comes."""
        archive = self._node.archive
        log, newest = answer.log, answer.seq
        try:
            sent = None if log is None else await self._send_missed(request, log, newest)
            while True:
                message = await self._unsent.get()
                seq = message.get("seq")
                if seq is not None and sent is None:
                    # The log can be read again, or has been begun.
                    log, newest = await archive.position()
                    missed_none = request.after is None
                    sent = seq - 1 if missed_none else await self._send_missed(request, log, newest)
                if seq is None or sent is None or message["log"] != log or seq > sent:
                    await self._send_news(message)
        except (ConnectionError, NodeError) as err:
            _LOGGER.warning("Events cannot be sent: %s", err)
            await self._hang_up()

    async def _send_news(self, message: dict[str, Any]) -> None:
        """Send a message; one that cannot be sent does not keep back those after it."""
        try:
            await self._send(message)
        except ProtocolError as err:
            _LOGGER.error("A message %s is left out: %s", message["type"], err)

    async def _send_missed(self, request: Subscribe, log: str, newest: int) -> int:
        """Send the events that a hub has missed; return the number of its last one."""
        if request.after is None:
            return newest
        # It has nothing of another log. A number beyond the newest is of another one, too.
        sent = min(request.after, newest) if request.log in (None, log) else 0
        while missed := await self._node.archive.events_after(sent):
            for logged in missed:
                await self._send_news(_event_message(logged.seq, log, logged.event))
                sent = logged.seq
        return sent


def _event_message(seq: int | None, log: str | None, event: NodeEvent) -> dict[str, Any]:
    return {"type": "event", "seq": seq, "log": log, "event": write(event)}
