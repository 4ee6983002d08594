"""The node's websocket API: greeting, authentication, commands, pushed events."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web

from .. import __version__
from ..errors import NodeError, StorageError
from ..node import Node
from ..protocol import (
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    SCHEMA_MAX,
    SCHEMA_MIN,
    WEBSOCKET_PATH,
    AllowModel,
    BenchmarkRequest,
    Command,
    Configure,
    DetectRequest,
    ErrorCode,
    EvidenceRequest,
    Forget,
    Greeting,
    InspectModel,
    InstallModel,
    InstallProgress,
    LiveRequest,
    Look,
    LookRequest,
    NodeEvent,
    NodeStatus,
    Nothing,
    OutlineRequest,
    PeekRequest,
    PictureRequest,
    PipelineConfig,
    ProtocolError,
    RemoveModel,
    Results,
    ResultsRequest,
    ScanRequest,
    SelfTestRequest,
    Subscribe,
    Subscribed,
    UploadChunk,
    check_polygons,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    read,
    write,
)
from .listener import Peer

_LOGGER = logging.getLogger(__name__)

_FEATURES = ("detect", "full_edge", "live", "models", "presence", "results")
_AUTH_TIMEOUT_S = 10
_AUTH_FAILURE_DELAY_S = 1
_MOST_LOGIN_CHARS = 4096
_MAX_COMMANDS = 64  # under way at once on a connection
_MAX_UNSENT = 10_000  # pushed messages that a slow hub may leave lying
_MAX_RESULTS = 1000
_MOST_ERROR_CHARS = 4000
_UNKNOWN = -1

# An answer, and the picture that comes with it
_Answer = tuple[Any, bytes | None]
_Handler = Callable[[dict[str, Any], memoryview | None], Awaitable[_Answer]]
# Those that bring a picture, or a part of a file.
_WITH_PICTURE = frozenset({Command.LOOK, Command.DETECT, Command.OUTLINE, Command.UPLOAD})
_PROGRESS_EVERY_S = 0.2


def make_app(node: Node, token: str | None) -> web.Application:
    """Return the web application; without a token everybody who can connect is let in."""

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
    # What strangers send is not worth a line in the log, let alone a trace.
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
        self._pushed: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MAX_UNSENT)
        self._stop_listening: list[Callable[[], None]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._commands: dict[Command, _Handler] = {
            Command.ALLOW_MODEL: self._allow_model,
            Command.BENCHMARK: self._benchmark,
            Command.CATALOGUE: self._catalogue,
            Command.CONFIGURE: self._configure,
            Command.DETECT: self._detect,
            Command.EVIDENCE: self._evidence,
            Command.FORGET: self._forget,
            Command.INFO: self._info,
            Command.INSPECT_MODEL: self._inspect_model,
            Command.INSTALL_MODEL: self._install_model,
            Command.LIVE: self._live,
            Command.LOOK: self._look,
            Command.OUTLINE: self._outline,
            Command.PEEK: self._peek,
            Command.PICTURE: self._picture,
            Command.PING: self._ping,
            Command.REMOVE_MODEL: self._remove_model,
            Command.RESULTS: self._results,
            Command.SCAN: self._scan,
            Command.SELF_TEST: self._self_test,
            Command.STATUS: self._status,
            Command.SUBSCRIBE: self._subscribe,
            Command.UPLOAD: self._upload,
        }

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
            for stop in self._stop_listening:
                stop()
            for task in (*self._tasks, *self._telling):
                task.cancel()
            await asyncio.gather(*self._tasks, *self._telling, return_exceptions=True)
            await self._socket.close()

    async def _authenticate(self) -> bool:
        """Let the hub in, or say why not."""
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
        """Check a token; a wrong one is answered late, and only so many from one address."""
        if self._token is None:
            return True
        address = self._peer.address if self._peer is not None else None
        if self._peer is not None and address and self._peer.failures.too_many(address):
            text = "Too many wrong logins came from this address; wait a minute"
            await self._send_error(None, ErrorCode.BUSY, text)
            return False
        # A token may hold anything; what cannot be encoded is wrong.
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
        """Start a command. A message that makes no sense is answered, and ends nothing."""
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
                answer, picture_out = await self._execute(header, picture)
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

    async def _execute(self, header: dict[str, Any], picture: memoryview | None) -> _Answer:
        name = header.get("type")
        try:
            command = Command(str(name))
        except ValueError:
            raise _UnknownCommandError(f"This node knows no command {name!r}") from None
        if (command in _WITH_PICTURE) != (picture is not None):
            kind = "a binary message with a picture" if picture is None else "a text message"
            raise ProtocolError(f"{command} is {kind}")
        return await self._commands[command](header, picture)

    async def _info(self, _header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.info(), None

    async def _status(self, _header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.status(), None

    async def _ping(self, _header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return Nothing(), None

    async def _configure(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        wanted, refused = _pipelines(header.get("pipelines"))
        return await self._node.configure(wanted, refused), None

    async def _look(self, header: dict[str, Any], picture: memoryview | None) -> _Answer:
        assert picture is not None  # by _WITH_PICTURE
        return await self._node.pipelines.look(read(LookRequest, header), picture), None

    async def _detect(self, header: dict[str, Any], picture: memoryview | None) -> _Answer:
        assert picture is not None  # by _WITH_PICTURE
        request = read(DetectRequest, header)
        check_polygons(request.privacy_masks)
        return await self._node.detect(request, picture)

    async def _self_test(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.self_test(read(SelfTestRequest, header)), None

    async def _picture(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.pipelines.last_picture(read(PictureRequest, header).pipeline_id)

    async def _live(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.previews.live_view(read(LiveRequest, header))

    async def _forget(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        await self._node.pipelines.forget(read(Forget, header).pipeline_id)
        return Nothing(), None

    async def _peek(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.previews.peek(read(PeekRequest, header).video)

    async def _evidence(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.pictures.evidence(read(EvidenceRequest, header))

    async def _outline(self, header: dict[str, Any], picture: memoryview | None) -> _Answer:
        assert picture is not None  # by _WITH_PICTURE
        request = read(OutlineRequest, header)
        zones = (zone.points for zone in request.zones)
        check_polygons((*zones, *request.privacy_masks, *request.motion_masks))
        return await self._node.previews.outline(request, picture)

    async def _scan(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.pipelines.scan(read(ScanRequest, header).pipeline_id), None

    async def _results(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        request = read(ResultsRequest, header)
        limit = min(max(request.limit, 1), _MAX_RESULTS)
        events = await self._node.archive.results(request, limit)
        return Results(events=tuple(events)), None

    async def _catalogue(self, _header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.models.catalogue(), None

    async def _install_model(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        request = read(InstallModel, header)
        told = 0.0

        def listener(progress: InstallProgress) -> None:
            nonlocal told
            done = progress.done_bytes == progress.total_bytes
            if done or time.monotonic() - told >= _PROGRESS_EVERY_S:
                told = time.monotonic()
                self._tell_progress(header, progress)

        return await self._node.install_model(request.model, listener), None

    async def _benchmark(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        listener = partial(self._tell_progress, header)
        return await self._node.benchmark(read(BenchmarkRequest, header), listener), None

    def _tell_progress(self, header: dict[str, Any], progress: object) -> None:
        """Say how far a command is; a hub that is gone misses it."""
        message = {"type": "progress", "command": header["id"], "progress": write(progress)}

        async def send() -> None:
            with suppress(ConnectionError):
                await self._send(message)

        task = asyncio.create_task(send())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _remove_model(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        await self._node.remove_model(read(RemoveModel, header).model)
        return Nothing(), None

    async def _allow_model(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.allow_model(read(AllowModel, header).model), None

    async def _upload(self, header: dict[str, Any], part: memoryview | None) -> _Answer:
        assert part is not None  # by _WITH_PICTURE
        return await self._node.models.upload(read(UploadChunk, header), bytes(part)), None

    async def _inspect_model(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        return await self._node.inspect_model(read(InspectModel, header))

    async def _subscribe(self, header: dict[str, Any], _picture: memoryview | None) -> _Answer:
        request = read(Subscribe, header)
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
        task = asyncio.create_task(self._push(request, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer, None

    def _push_event(self, seq: int | None, event: NodeEvent) -> None:
        self._enqueue(_event_message(seq, self._node.archive.log_id, event))

    def _push_status(self, status: NodeStatus) -> None:
        self._enqueue({"type": "status", "status": write(status)})

    def _push_look(self, look: Look) -> None:
        self._enqueue({"type": "look", "look": write(look)})

    def _enqueue(self, message: dict[str, Any]) -> None:
        try:
            self._pushed.put_nowait(message)
        except asyncio.QueueFull:
            # It comes back and resumes after the last event it has seen.
            _LOGGER.warning("The hub does not read its events; the connection ends")
            self._tasks.add(asyncio.create_task(self._close()))

    async def _close(self) -> None:
        await self._socket.close()

    async def _push(self, request: Subscribe, answer: Subscribed) -> None:
        """Send the events that were missed, then everything new as it comes."""
        archive = self._node.archive
        log, newest = answer.log, answer.seq
        try:
            sent = None if log is None else await self._send_missed(request, log, newest)
            while True:
                message = await self._pushed.get()
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
            await self._close()

    async def _send_news(self, message: dict[str, Any]) -> None:
        """Send a pushed message; one that cannot be said must not keep back those after it."""
        try:
            await self._send(message)
        except ProtocolError as err:
            _LOGGER.error("A message %s is left out: %s", message["type"], err)

    async def _send_missed(self, request: Subscribe, log: str, newest: int) -> int:
        """Send what a hub has missed; return the number of the last event that it has."""
        if request.after is None:
            return newest
        # Of another log, it knows nothing. A number beyond the newest is of one, too.
        sent = min(request.after, newest) if request.log in (None, log) else 0
        while missed := await self._node.archive.events_after(sent):
            for logged in missed:
                await self._send_news(_event_message(logged.seq, log, logged.event))
                sent = logged.seq
        return sent

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_str(encode_text(message))

    async def _send_error(self, number: int | None, code: str, text: str) -> None:
        message = text[:_MOST_ERROR_CHARS]
        await self._send({"id": number, "type": "error", "code": code, "message": message})


def _pipelines(items: object) -> tuple[Configure, dict[str, str]]:
    """Return the pipelines that can be read, and id → why not of the others."""
    if not isinstance(items, list):
        raise ProtocolError("Configure.pipelines: a list was expected")
    configs: list[PipelineConfig] = []
    refused: dict[str, str] = {}
    for item in items:
        try:
            configs.append(read(PipelineConfig, item))
        except ProtocolError as err:
            # Whose configuration it is must be known, or nobody would ever hear of it.
            pipeline_id = item.get("pipeline_id") if isinstance(item, dict) else None
            if not isinstance(pipeline_id, str):
                raise
            refused[pipeline_id] = str(err)
    return Configure(pipelines=tuple(configs)), refused


def _id_of(header: dict[str, Any]) -> int:
    number = header.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) > MAX_INTEGER:
        raise ProtocolError("the command has no id")
    return number


def _event_message(seq: int | None, log: str | None, event: NodeEvent) -> dict[str, Any]:
    return {"type": "event", "seq": seq, "log": log, "event": write(event)}


class _UnknownCommandError(NodeError):
    code = ErrorCode.UNKNOWN_COMMAND
