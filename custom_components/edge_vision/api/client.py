"""One connection to a node: requests with their answers, and what the node pushes.

Nothing in here knows Home Assistant. A peer that breaks the protocol loses the connection; one
that says something odd inside the protocol only loses that message.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, UnixConnector, WSMsgType

from ..node.edge_vision_node import protocol
from ..node.edge_vision_node.protocol import (
    Command,
    ErrorCode,
    Greeting,
    Look,
    NodeEvent,
    NodeStatus,
)

_LOGGER = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0
# For requests that may compile a model for an accelerator first. The node's own limit is half an
# hour.
COMPILE_TIMEOUT_S = 1900.0
_CLOSE_TIMEOUT_S = 1.0

type _Answer = tuple[object, memoryview | None]


class Progress[P](NamedTuple):
    """Progress of a command: `listener` is called with what the node pushes, read as `kind`."""

    kind: type[P]
    listener: Callable[[P], None]


class NodeRequestError(Exception):
    """A request to a node failed."""


class NodeDisconnected(NodeRequestError):
    """There is no connection, or it ended before the answer came."""


class NodeTimeout(NodeRequestError):
    """The node did not answer in time."""


class NodeAuthError(NodeRequestError):
    """The node refused the token."""


class NodeVersionMismatch(NodeRequestError):
    """Hub and node have no version of the protocol in common."""

    def __init__(self, greeting: Greeting) -> None:
        """Initialize with the versions of both."""
        super().__init__(
            f"the node (version {greeting.version}) speaks protocol"
            f" {greeting.schema_min} to {greeting.schema_max}, this integration"
            f" {protocol.SCHEMA_MIN} to {protocol.SCHEMA_MAX}"
        )
        self.version = greeting.version


class NodeProtocolError(NodeRequestError):
    """The node broke the protocol."""


class NodeCommandError(NodeRequestError):
    """The node answered with an error: `code` for programs, `message` for people."""

    def __init__(self, code: str, message: str) -> None:
        """Initialize the error."""
        super().__init__(message)
        self.code = code
        self.message = message


class NodeClient:
    """Connects to one node over one websocket.

    `on_event(seq, event, log)`, `on_status(status)` and `on_look(look)` take what the node pushes;
    `log` says which log `seq` is of, and both are None for an event that the node could not write
    to it. `on_disconnect()` is called once
    when an established connection is gone, whoever ended it. All run in the event loop.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[int | None, NodeEvent, str | None], None] | None = None,
        on_status: Callable[[NodeStatus], None] | None = None,
        on_look: Callable[[Look], None] | None = None,
        on_disconnect: Callable[[], None] | None = None,
    ) -> None:
        """Initialize a client that is not connected."""
        self._on_event = on_event
        self._on_status = on_status
        self._on_look = on_look
        self._on_disconnect = on_disconnect
        self._session: ClientSession | None = None
        self._websocket: ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[_Answer]] = {}
        self._progress: dict[int, Progress[Any]] = {}
        self.greeting: Greeting | None = None
        self.disconnected = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._reader is not None and not self.disconnected.is_set()

    async def __aenter__(self) -> Self:
        """Return the client; it is closed at the end of the context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    async def connect(
        self, socket: Path, token: str, *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Greeting:
        """Connect, authenticate and start reading.

        Raises `NodeAuthError`, `NodeVersionMismatch`, `NodeTimeout`, `NodeProtocolError` or
        `NodeDisconnected`; the client is closed then.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connect(socket, token)
        except TimeoutError as err:
            await self.close()
            raise NodeTimeout(f"the node did not greet within {timeout_s:g} s") from err
        except (ClientError, OSError) as err:
            await self.close()
            raise NodeDisconnected(f"cannot connect to the node: {err}") from err
        except BaseException:
            await self.close()
            raise

    async def _connect(self, socket: Path, token: str) -> Greeting:
        self._session = ClientSession(connector=UnixConnector(str(socket)))
        # The host name is ignored: the connector uses the socket.
        self._websocket = websocket = await self._session.ws_connect(
            f"http://node{protocol.WEBSOCKET_PATH}",
            max_msg_size=protocol.MAX_MESSAGE_BYTES,
            compress=0,
        )
        greeting = _read(Greeting, await self._next_text(websocket, "hello"))
        if greeting.schema_min > protocol.SCHEMA_MAX or greeting.schema_max < protocol.SCHEMA_MIN:
            raise NodeVersionMismatch(greeting)
        schema = min(greeting.schema_max, protocol.SCHEMA_MAX)
        await websocket.send_str(
            protocol.encode_text({"type": "auth", "token": token, "schema": schema})
        )
        await self._next_text(websocket, "ready")
        self.greeting = greeting
        self._reader = asyncio.create_task(
            self._read_all(websocket), name="Edge Vision node client"
        )
        return greeting

    @staticmethod
    async def _next_text(websocket: ClientWebSocketResponse, expected: str) -> dict[str, Any]:
        message = await websocket.receive()
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            raise NodeDisconnected(f"the node closed the connection instead of saying {expected!r}")
        if message.type is not WSMsgType.TEXT:
            raise NodeProtocolError(f"{expected!r} was expected as a text frame")
        data = _decode_text(message.data)
        if data.get("type") == "error":
            error = _command_error(data)
            if error.code == ErrorCode.AUTH_FAILED:
                raise NodeAuthError(str(error))
            raise error
        if data.get("type") != expected:
            raise NodeProtocolError(
                f"{expected!r} was expected, not {str(data.get('type'))[:40]!r}"
            )
        return data

    async def close(self) -> None:
        """End the connection. Pending requests fail; closing twice is fine."""
        try:
            if (reader := self._reader) is not None and reader is not asyncio.current_task():
                reader.cancel()
                await asyncio.wait([reader])
            if self._websocket is not None and not self._websocket.closed:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self._websocket.close()
        except TimeoutError:
            _LOGGER.debug("The node did not take part in closing the connection")
        finally:
            # Also if this is canceled while it waits.
            self._lost()
            if self._session is not None:
                await self._session.close()

    def _lost(self) -> None:
        """Fail pending requests and notify the owner, once."""
        if self.disconnected.is_set():
            return
        self.disconnected.set()
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(NodeDisconnected("the connection to the node ended"))
        if self._on_disconnect is not None and self._reader is not None:
            self._on_disconnect()

    # --- Requests ------------------------------------------------------------------------------

    async def request[T](
        self,
        command: Command,
        params: object | None,
        answer: type[T],
        *,
        picture: bytes | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        progress: Progress[Any] | None = None,
    ) -> T:
        """Send a command and return its answer, one of the protocol's dataclasses.

        Raises `NodeDisconnected`, `NodeTimeout`, `NodeCommandError` or `NodeProtocolError`.
        """
        result, _ = await self._exchange(command, params, picture, timeout_s, progress)
        return _read(answer, result)

    async def request_picture[T](
        self,
        command: Command,
        params: object | None,
        answer: type[T],
        *,
        picture: bytes | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> tuple[T, bytes]:
        """Send a command and return its answer and the picture that comes with it."""
        header, data = await self.request_either(
            command, params, answer, picture=picture, timeout_s=timeout_s
        )
        if data is None:
            raise NodeProtocolError(f"the answer to {command} brought no picture")
        return header, data

    async def request_either[T](
        self,
        command: Command,
        params: object | None,
        answer: type[T],
        *,
        picture: bytes | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> tuple[T, bytes | None]:
        """Send a command and return its answer and a picture, or None without one."""
        result, view = await self._exchange(command, params, picture, timeout_s)
        return _read(answer, result), None if view is None else bytes(view)

    async def _exchange(
        self,
        command: Command,
        params: object | None,
        picture: bytes | None,
        timeout_s: float,
        progress: Progress[Any] | None = None,
    ) -> _Answer:
        websocket = self._websocket
        if websocket is None or not self.connected:
            raise NodeDisconnected("there is no connection to the node")
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "type": str(command)}
        if params is not None:
            message |= protocol.write(params)
        frame = _encode(command, message, picture)
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        if progress is not None:
            self._progress[number] = progress
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(frame, str):
                    await websocket.send_str(frame)
                else:
                    await websocket.send_bytes(frame)
                return await future
        except TimeoutError as err:
            raise NodeTimeout(f"no answer to {command} within {timeout_s:g} s") from err
        except (ClientError, OSError) as err:
            raise NodeDisconnected(f"the connection to the node ended: {err}") from err
        finally:
            self._pending.pop(number, None)
            self._progress.pop(number, None)
            # A connection that ends while the frame is still being sent fails the future too.
            if future.done() and not future.cancelled():
                future.exception()

    # --- What arrives --------------------------------------------------------------------------

    async def _read_all(self, websocket: ClientWebSocketResponse) -> None:
        """Handle messages until the connection ends."""
        try:
            async for message in websocket:
                if message.type is WSMsgType.TEXT:
                    self._take(_decode_text(message.data), None)
                elif message.type is WSMsgType.BINARY:
                    self._take(*_decode_binary(message.data))
                else:
                    raise NodeProtocolError(f"unusable frame: {websocket.exception()}")
        except NodeProtocolError as err:
            _LOGGER.debug("The connection to the node is given up: %s", err)
        finally:
            self._lost()
        # Not in `finally`: whatever cancels the reader closes the socket.
        await self.close()

    def _take(self, message: dict[str, Any], picture: memoryview | None) -> None:
        kind = message.get("type")
        try:
            if kind in ("result", "error"):
                self._take_answer(message, picture)
            elif kind == "event" and self._on_event is not None:
                log = message.get("log")
                event = _read(NodeEvent, message.get("event"))
                self._on_event(_seq(message), event, log if isinstance(log, str) else None)
            elif kind == "status" and self._on_status is not None:
                self._on_status(_read(NodeStatus, message.get("status")))
            elif kind == "progress":
                self._take_progress(message)
            elif kind == "look" and self._on_look is not None:
                self._on_look(_read(Look, message.get("look")))
            else:
                _LOGGER.debug("Message of unknown type %.40r ignored", kind)
        except NodeProtocolError as err:
            _LOGGER.debug("A message of the node was left out: %s", err)
        except Exception:
            # A bug in a listener must not end the connection.
            _LOGGER.exception("A message of the node could not be handled")

    def _take_progress(self, message: dict[str, Any]) -> None:
        number = message.get("command")
        progress = self._progress.get(number) if isinstance(number, int) else None
        if progress is not None:
            progress.listener(_read(progress.kind, message.get("progress")))

    def _take_answer(self, message: dict[str, Any], picture: memoryview | None) -> None:
        number = message.get("id")
        future = self._pending.get(number) if isinstance(number, int) else None
        if future is None or future.done():
            _LOGGER.debug("Answer %.20r ignored: nobody waits for it any more", number)
        elif message["type"] == "error":
            future.set_exception(_command_error(message))
        else:
            future.set_result((message.get("result"), picture))


def _command_error(message: dict[str, Any]) -> NodeCommandError:
    return NodeCommandError(
        str(message.get("code", ErrorCode.INTERNAL))[:64],
        str(message.get("message", "the node gave no reason"))[:1000],
    )


def _seq(message: dict[str, Any]) -> int | None:
    seq = message.get("seq")
    if seq is None or (isinstance(seq, int) and not isinstance(seq, bool)):
        return seq
    raise NodeProtocolError("an event with a sequence number that is none")


def _encode(command: Command, message: dict[str, Any], picture: bytes | None) -> str | bytes:
    try:
        if picture is None:
            return protocol.encode_text(message)
        return protocol.encode_binary(message, picture)
    except protocol.ProtocolError as err:
        raise NodeProtocolError(f"{command} cannot be sent: {err}") from err


def _decode_text(text: str) -> dict[str, Any]:
    try:
        return protocol.decode_text(text)
    except protocol.ProtocolError as err:
        raise NodeProtocolError(str(err)) from err


def _decode_binary(frame: bytes) -> tuple[dict[str, Any], memoryview]:
    try:
        return protocol.decode_binary(frame)
    except protocol.ProtocolError as err:
        raise NodeProtocolError(str(err)) from err


def _read[T](cls: type[T], data: object) -> T:
    try:
        return protocol.read(cls, data)
    except protocol.ProtocolError as err:
        raise NodeProtocolError(str(err)) from err
