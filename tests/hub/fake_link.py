"""Connects Home Assistant to a fake node: a real client, a real websocket on a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from custom_components.edge_vision.api.client import NodeClient, NodeRequestError
from custom_components.edge_vision.api.link import LinkReport, NodeListener, NodeStartError
from custom_components.edge_vision.node.edge_vision_node.protocol import (
    MAX_MESSAGE_BYTES,
    SCHEMA_MAX,
    SCHEMA_MIN,
    WEBSOCKET_PATH,
    Command,
    ErrorCode,
    Greeting,
    ProtocolError,
    Subscribe,
    Subscribed,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    read,
    write,
)
from tests.hub.fake_node import FakeNode, Refusal

TOKEN = "only-for-tests"
_WITH_PICTURE = {Command.LOOK, Command.DETECT, Command.OUTLINE, Command.UPLOAD}
# Fields of pushed messages that are dataclasses.
_BODIES = ("event", "status", "look", "progress")


class FakeLink:
    """The `NodeLink` to a fake node: connects anew when the connection ends."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.restarts = 0
        self.last_exit: str | None = None
        self.restart_after_s = 0.01
        # Why the node does not come up; None where it does.
        self.start_error: str | None = None
        self._listener: NodeListener | None = None
        self._session: _Session | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, listener: NodeListener) -> None:
        self._listener = listener
        session = await self._open()
        self._task = asyncio.create_task(self._keep_up(session), name="fake link")

    async def stop(self) -> None:
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    def restart(self, reason: str) -> None:
        self.last_exit = reason
        self.drop()

    def report(self) -> LinkReport:
        state = "running" if self._session else "restarting"
        return LinkReport(
            state=state, restarts=self.restarts, last_exit=self.last_exit, log=("fake",)
        )

    def drop(self) -> None:
        """End the connection, as a node that is killed does."""
        if self._session is not None:
            self._session.drop()

    async def _open(self) -> _Session:
        assert self._listener is not None
        if self.start_error is not None:
            raise NodeStartError(self.start_error)
        session = _Session(self.node, self._listener)
        try:
            await session.connect()
            await self._listener.async_connected(session.client)
        except BaseException:
            await session.close()
            raise
        self._session = session
        return session

    async def _keep_up(self, session: _Session) -> None:
        try:
            while True:
                await session.client.disconnected.wait()
                self._session = None
                await session.close()
                session = await self._reopen()
        finally:
            self._session = None
            await session.close()

    async def _reopen(self) -> _Session:
        while True:
            await asyncio.sleep(self.restart_after_s)
            self.restarts += 1
            with contextlib.suppress(NodeRequestError):
                return await self._open()


class _Session:
    """One run of the node and the connection to it."""

    def __init__(self, node: FakeNode, listener: NodeListener) -> None:
        self._server = FakeServer(node)
        self._closing: asyncio.Task[None] | None = None
        self.client = NodeClient(
            on_event=listener.async_take_event,
            on_status=listener.async_take_status,
            on_look=listener.async_take_look,
            on_disconnect=listener.async_disconnected,
        )

    async def connect(self) -> None:
        socket = await self._server.start()
        await self.client.connect(socket, TOKEN)

    def drop(self) -> None:
        self._server.drop()

    async def close(self) -> None:
        # Once, to its end, whoever waits for it.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self.client.close()
        finally:
            await self._server.stop()


class FakeServer:
    """Serves a fake node on a unix socket."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self._folder: Path | None = None
        self._runner: web.AppRunner | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> Path:
        """Start to serve; return where."""
        app = web.Application()
        app.router.add_get(WEBSOCKET_PATH, self._connect)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        # The path of a socket is limited to about a hundred bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="fake_"))
        socket = self._folder / "node.sock"
        await web.UnixSite(self._runner, str(socket)).start()
        return socket

    async def stop(self) -> None:
        """End all connections, and the video that is read."""
        self.drop()
        await self._node.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def drop(self) -> None:
        """End all connections at once."""
        for connection in tuple(self._connections):
            connection.drop()

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        connection = _Connection(self._node, socket, request)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
        return socket


class _Connection:
    """One hub that is connected."""

    def __init__(self, node: FakeNode, socket: web.WebSocketResponse, request: web.Request) -> None:
        self._node = node
        self._socket = socket
        self._request = request
        self._tasks: set[asyncio.Task[None]] = set()
        self._pushed: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._stop_listening: Callable[[], None] | None = None

    def drop(self) -> None:
        if (transport := self._request.transport) is not None:
            transport.abort()

    async def run(self) -> None:
        node = self._node
        greeting = Greeting(
            node_id=node.node_id,
            version=node.version,
            schema_min=SCHEMA_MIN,
            schema_max=SCHEMA_MAX,
            features=("detect", "full_edge", "live", "models", "presence", "results"),
        )
        try:
            await self._send({"type": "hello", **write(greeting)})
            login = decode_text(await self._socket.receive_str())
            if login.get("token") != TOKEN:
                await self._send_error(None, ErrorCode.AUTH_FAILED, "The token is wrong")
                return
            await self._send({"type": "ready"})
            self._start(self._push())
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._take(message.data)
        except ConnectionError:
            pass
        finally:
            if self._stop_listening is not None:
                self._stop_listening()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, data: str | bytes) -> None:
        number = None
        try:
            if isinstance(data, str):
                header, picture = decode_text(data, few=True), None
            else:
                header, view = decode_binary(data, few=True)
                picture = bytes(view)
            number = header.get("id")
            if not isinstance(number, int) or isinstance(number, bool):
                number = None
                raise ProtocolError("the command has no id")
        except ProtocolError as err:
            await self._send_error(number, ErrorCode.BAD_MESSAGE, str(err))
            return
        self._start(self._answer(number, header, picture))

    async def _answer(self, number: int, header: dict[str, Any], picture: bytes | None) -> None:
        def progress(message: dict[str, Any]) -> None:
            self._pushed.put_nowait({"type": "progress", "command": number, **message})

        with contextlib.suppress(ConnectionError):
            try:
                command = _command(header, picture)
                if command == Command.SUBSCRIBE:
                    answer, out = self._subscribe(read(Subscribe, header)), None
                else:
                    answer, out = await self._node.answer(command, header, picture, progress)
            except ProtocolError as err:
                await self._send_error(number, ErrorCode.BAD_MESSAGE, str(err))
            except Refusal as err:
                await self._send_error(number, err.code, str(err))
            else:
                message = {"id": number, "type": "result", "result": write(answer)}
                if out is None:
                    await self._send(message)
                else:
                    await self._socket.send_bytes(encode_binary(message, out))

    def _subscribe(self, request: Subscribe) -> Subscribed:
        node = self._node
        if self._stop_listening is not None:
            raise ProtocolError("this connection has subscribed already")
        self._stop_listening = node.listen(self._pushed.put_nowait)
        if node.storage_error is not None:
            return Subscribed(seq=-1)
        if request.after is not None:
            same = request.log in (None, node.log_id)
            after = min(request.after, node.newest) if same else 0
            missed = itertools.dropwhile(lambda logged: logged.seq <= after, node.log)
            for logged in missed:
                self._pushed.put_nowait(
                    {
                        "type": "event",
                        "seq": logged.seq,
                        "log": node.log_id,
                        "event": logged.event,
                    }
                )
        return Subscribed(seq=node.newest, log=node.log_id)

    async def _push(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                message = await self._pushed.get()
                bodies = {key: write(message[key]) for key in _BODIES if key in message}
                await self._send({**message, **bodies})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_str(encode_text(message))

    async def _send_error(self, number: int | None, code: str, text: str) -> None:
        await self._send({"id": number, "type": "error", "code": code, "message": text})


def _command(header: dict[str, Any], picture: bytes | None) -> Command:
    name = header.get("type")
    try:
        command = Command(str(name))
    except ValueError:
        raise Refusal(ErrorCode.UNKNOWN_COMMAND, f"This node knows no command {name!r}") from None
    if (command in _WITH_PICTURE) != (picture is not None):
        kind = "a binary message with a picture" if picture is None else "a text message"
        raise ProtocolError(f"{command} is {kind}")
    return command
