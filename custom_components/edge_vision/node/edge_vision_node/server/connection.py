"""A connection of the node's websocket API: greeting, authentication, commands and answers."""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from .. import __version__
from ..errors import NodeError
from ..node import Node
from ..protocol import (
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    SCHEMA_MAX,
    SCHEMA_MIN,
    WEBSOCKET_PATH,
    ErrorCode,
    Greeting,
    ProtocolError,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    write,
)
from .commands import Call, execute
from .listener import Peer
from .push import Pusher

_LOGGER = logging.getLogger(__name__)

_FEATURES = ("detect", "full_edge", "live", "models", "presence", "results")
_AUTH_TIMEOUT_S = 10
_AUTH_FAILURE_DELAY_S = 1
_MOST_LOGIN_CHARS = 4096
_MAX_COMMANDS = 64  # at the same time on a connection
_MOST_ERROR_CHARS = 4000


def make_app(node: Node, token: str | None) -> web.Application:
    """Return the web application. Without a token, everyone who can connect is let in."""

    async def connect(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        peer = request.transport.get_protocol() if request.transport is not None else None
        known = peer if isinstance(peer, Peer) else None
        try:
            await _Connection(node, socket, token, known).run()
        except Exception:
            _LOGGER.exception("A connection failed")
        return socket

    app = web.Application()
    app.router.add_get(WEBSOCKET_PATH, connect)
    return app


def make_runner(node: Node, token: str | None) -> web.AppRunner:
    """Return what runs the web application."""
    # Malformed requests of strangers are not logged.
    quiet = logging.getLogger(f"{__name__}.http")
    quiet.setLevel(logging.CRITICAL)
    return web.AppRunner(
        make_app(node, token), access_log=None, logger=quiet, shutdown_timeout=1, lingering_time=0
    )


class _Connection:
    """One hub."""

    def __init__(
        self,
        node: Node,
        socket: web.WebSocketResponse,
        token: str | None,
        peer: Peer | None = None,
    ) -> None:
        self._node = node
        self._socket = socket
        self._token = token
        self._peer = peer
        self._tasks: set[asyncio.Task[None]] = set()
        self._pusher = Pusher(node, self._send, self._close)

    async def run(self) -> None:
        greeting = Greeting(
            node_id=self._node.node_id,
            version=__version__,
            schema_min=SCHEMA_MIN,
            schema_max=SCHEMA_MAX,
            features=_FEATURES,
        )
        try:
            await self._send({"type": "hello", **write(greeting)})
            if not await self._authenticate():
                return
            if self._peer is not None:
                self._peer.log_in()
            await self._send({"type": "ready"})
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._take(message.data)
        except ConnectionError:
            _LOGGER.debug("The hub went away")
        finally:
            for task in self._tasks:
                task.cancel()
            await self._pusher.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._socket.close()

    async def _authenticate(self) -> bool:
        """Check the login of the hub, and answer why it is refused."""
        try:
            message = await self._socket.receive(_AUTH_TIMEOUT_S)
            if message.type is not WSMsgType.TEXT:
                raise ProtocolError("authentication was expected")
            if len(message.data) > _MOST_LOGIN_CHARS:
                raise ProtocolError(f"a login of {len(message.data)} characters")
            auth = decode_text(message.data)
            token, schema = auth.get("token"), auth.get("schema")
            if auth.get("type") != "auth" or type(schema) is not int:
                raise ProtocolError("authentication was expected")
        except TimeoutError:
            return False
        except ProtocolError as err:
            await self._send_error(None, ErrorCode.BAD_MESSAGE, str(err))
            return False
        if not await self._may_enter(token):
            return False
        if not SCHEMA_MIN <= schema <= SCHEMA_MAX:
            text = f"This node speaks schema {SCHEMA_MIN} to {SCHEMA_MAX}, not {schema}"
            await self._send_error(None, ErrorCode.SCHEMA_MISMATCH, text)
            return False
        return True

    async def _may_enter(self, token: object) -> bool:
        """Check a token. Wrong ones are answered late, and their number per address is limited."""
        if self._token is None:
            return True
        address = self._peer.address if self._peer is not None else None
        if self._peer is not None and address and self._peer.failures.too_many(address):
            text = "Too many wrong logins came from this address; wait a minute"
            await self._send_error(None, ErrorCode.BUSY, text)
            return False
        # A token may hold anything, even what cannot be encoded.
        given = token.encode("utf-8", "replace") if isinstance(token, str) else b""
        if hmac.compare_digest(given, self._token.encode()):
            return True
        if self._peer is not None and address:
            self._peer.failures.note(address)
        _LOGGER.warning("A connection with a wrong token was refused")
        await asyncio.sleep(_AUTH_FAILURE_DELAY_S)
        await self._send_error(None, ErrorCode.AUTH_FAILED, "The token is wrong")
        return False

    async def _take(self, data: str | bytes) -> None:
        """Start a command. An invalid message is answered with an error."""
        number: int | None = None
        try:
            if isinstance(data, str):
                header, picture = decode_text(data, few=True), None
            else:
                header, picture = decode_binary(data, few=True)
            number = _id_of(header)
            if len(self._tasks) >= _MAX_COMMANDS:
                raise ProtocolError(f"more than {_MAX_COMMANDS} commands at once")
        except ProtocolError as err:
            await self._send_error(number, ErrorCode.BAD_MESSAGE, str(err))
            return
        task = asyncio.create_task(self._answer(number, header, picture))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, number: int, header: dict[str, Any], picture: memoryview | None
    ) -> None:
        with suppress(ConnectionError):
            try:
                call = Call(self._node, self._pusher, header, picture)
                answer, picture_out = await execute(call)
            except ProtocolError as err:
                await self._send_error(number, ErrorCode.BAD_MESSAGE, str(err))
            except NodeError as err:
                await self._send_error(number, err.code, str(err))
            except Exception as err:
                _LOGGER.exception("Command %r failed", header.get("type"))
                await self._send_error(number, ErrorCode.INTERNAL, f"{type(err).__name__}: {err}")
            else:
                await self._send_answer(number, header, answer, picture_out)

    async def _send_answer(
        self, number: int, header: dict[str, Any], answer: object, picture: bytes | None
    ) -> None:
        """Send an answer, or why it cannot be sent."""
        try:
            message = {"id": number, "type": "result", "result": write(answer)}
            frame = encode_text(message) if picture is None else encode_binary(message, picture)
        except Exception as err:
            _LOGGER.exception("The answer to %r cannot be sent", header.get("type"))
            await self._send_error(number, ErrorCode.INTERNAL, f"The answer cannot be sent: {err}")
            return
        if isinstance(frame, str):
            await self._socket.send_str(frame)
        else:
            await self._socket.send_bytes(frame)

    async def _close(self) -> None:
        await self._socket.close()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_str(encode_text(message))

    async def _send_error(self, number: int | None, code: str, text: str) -> None:
        message = text[:_MOST_ERROR_CHARS]
        await self._send({"id": number, "type": "error", "code": code, "message": message})


def _id_of(header: dict[str, Any]) -> int:
    number = header.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) > MAX_INTEGER:
        raise ProtocolError("the command has no id")
    return number
