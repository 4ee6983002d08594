"""Clients before login: they are limited, disconnected soon, and do not lock out others."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import os
import random
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest
from edge_vision_node.node import Node
from edge_vision_node.server import connection
from edge_vision_node.server import listener as listener_module
from edge_vision_node.server.connection import make_runner
from edge_vision_node.server.listener import Listener, LoginFailures, tcp_sockets, unix_socket

pytestmark = pytest.mark.usefixtures("socket_enabled")

SECRET = "a token that nobody guesses"
HUB, STRANGER = "127.0.0.1", "127.0.0.2"
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Served:
    """A node that listens on TCP."""

    def __init__(self, listener: Listener, port: int) -> None:
        self.listener = listener
        self.port = port
        self.trusted: ssl.SSLContext | None = None

    async def raw(
        self, address: str = STRANGER
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HUB, self.port, local_addr=(address, 0))

    async def log_in(
        self, stack: AsyncExitStack, token: str = SECRET, address: str = HUB
    ) -> tuple[aiohttp.ClientWebSocketResponse, dict[str, object]]:
        """Return a connection and the response of the node to a login."""
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        scheme = "https" if self.trusted else "http"
        socket = await session.ws_connect(
            f"{scheme}://{HUB}:{self.port}/ws", max_msg_size=0, ssl=self.trusted or True
        )
        stack.push_async_callback(socket.close)
        assert json.loads((await socket.receive(20)).data)["type"] == "hello"
        await socket.send_str(json.dumps({"type": "auth", "token": token, "schema": 1}))
        return socket, json.loads((await socket.receive(20)).data)

    async def works(self, address: str = HUB) -> bool:
        async with AsyncExitStack() as stack:
            socket, answer = await self.log_in(stack, address=address)
            assert answer == {"type": "ready"}, answer
            await socket.send_str('{"id": 1, "type": "ping"}')
            reply: dict[str, object] = json.loads((await socket.receive(20)).data)
            return reply["type"] == "result"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    node = Node(tmp_path / "data")
    runner = make_runner(node, SECRET)
    await runner.setup()
    assert runner.server is not None
    sockets = tcp_sockets(HUB, 0)
    listener = Listener(sockets, runner.server)
    yield Served(listener, sockets[0].getsockname()[1])
    await listener.close()
    await runner.cleanup()
    await node.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait until the node has closed the connection."""
    with suppress(ConnectionError):
        async with asyncio.timeout(20):
            while await reader.read(65536):
                pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /ws HT",
        _UPGRADE,
        _UPGRADE + b"\r\n",
        _UPGRADE + b"\r\n\x81\xfe\x00",
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nHost: node\r\nContent-Length: 1000000\r\n\r\nx",
        b"\x16\x03\x01\x02\x00",
    ],
    ids=range(8),
)
async def test_who_does_not_log_in_in_time_has_to_go(
    served: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_LOGIN_S", 0.3)
    reader, writer = await served.raw()
    writer.write(sent)
    assert await ended(reader)
    writer.close()
    monkeypatch.undo()
    assert await served.works()


@pytest.mark.parametrize(
    "sent",
    [
        random.Random(1).randbytes(100_000),
        b"GET /" + b"x" * 100_000,
        _UPGRADE + b"X: " + b"y" * 100_000,
        b"".join((_UPGRADE, *(b"X%d: y\r\n" % number for number in range(5000)))),
        # The first frame declares 32 MiB.
        _UPGRADE + b"\r\n\x82\xff" + (32 * 2**20).to_bytes(8) + b"mask" + b"x" * 100_000,
        # 5,000 characters of a login.
        _UPGRADE + b"\r\n\x81\xfe" + (5000).to_bytes(2) + b"\0\0\0\0" + b"x" * 5000,
        # Endless small frames.
        _UPGRADE + b"\r\n" + b"\x89\x80\0\0\0\0" * 20_000,
    ],
    ids=["noise", "path", "header", "headers", "frame", "login", "pings"],
)
async def test_who_sends_much_before_a_login_has_to_go(served: Served, sent: bytes) -> None:
    reader, writer = await served.raw()
    with suppress(ConnectionError):
        writer.write(sent)
        await writer.drain()
    assert await ended(reader)
    writer.close()
    assert await served.works()


def _frame(first: int, payload: bytes) -> bytes:
    """A masked frame with a mask of zeros, so that the data is sent unchanged."""
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize(
    "sent",
    [
        # A login in endless fragments.
        _UPGRADE + b"\r\n" + _frame(0x01, b"{") + _frame(0x00, b" ") * 3000,
        # 16 MiB of compressed zeros without negotiated compression.
        _UPGRADE
        + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        + b"\xc1\xfe"
        + (4000).to_bytes(2)
        + bytes(4)
        + zlib.compress(bytes(4_000_000), 9)[2:4002],
        _UPGRADE + b"\r\n" + _frame(0xF1, b"x"),
        _UPGRADE + b"\r\n" + _frame(0x83, b"x"),
        # Requests one after the other without waiting for responses.
        b"GET /nothing HTTP/1.1\r\nHost: node\r\n\r\n" * 1000,
        b"POST /ws HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 4000,
        b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 99999999\r\n\r\n"
        + gzip.compress(bytes(10**7)),
        (_UPGRADE + b"\r\n") * 200,
    ],
    ids=["fragments", "bomb", "reserved", "opcode", "pipeline", "chunks", "gzip", "upgrades"],
)
async def test_odd_frames_and_requests_before_a_login_end_only_themselves(
    served: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_LOGIN_S", 3.0)
    peers = [await served.raw(f"127.0.2.{number + 1}") for number in range(12)]
    for _, writer in peers:
        writer.write(sent)
    assert await served.works()
    for reader, writer in peers:
        assert await ended(reader)
        writer.close()
    assert await served.works()
    assert not served.listener._unknown


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_hub_gets_in_while_many_send_byte_by_byte(tmp_path: Path, tls: bool) -> None:
    """Slow headers, partial handshakes, no data at all, and half-closed connections."""
    certificate = None
    if tls:  # the package for certificates is not available everywhere
        make = importlib.import_module("tests.certificates").make_certificate
        certificate = make(tmp_path / "certificate", address=HUB)
    node = Node(tmp_path / "data")
    runner = make_runner(node, SECRET)
    await runner.setup()
    assert runner.server is not None
    sockets = tcp_sockets(HUB, 0)
    listener = Listener(sockets, runner.server, certificate.server if certificate else None)
    served = Served(listener, sockets[0].getsockname()[1])
    if certificate:
        served.trusted = ssl.create_default_context(cafile=str(certificate.authority))
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" if tls else _UPGRADE
    writers: list[asyncio.StreamWriter] = []

    async def slow(number: int) -> None:
        while True:
            with suppress(OSError):
                _, writer = await served.raw(f"127.0.{3 + number % 40}.{1 + number // 40}")
                writers.append(writer)
                if number % 4 == 1:
                    writer.write_eof()
                for byte in hello if number % 4 else b"":
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1)

    async def gets_in() -> bool:
        # A hub that was rejected because of too many connections tries again.
        for _ in range(50):
            with suppress(aiohttp.ClientError, OSError, TypeError):
                return await served.works()
            await asyncio.sleep(0.1)
        return False

    flood = [asyncio.create_task(slow(number)) for number in range(80)]
    try:
        await asyncio.sleep(0.3)
        for _ in range(5):
            assert await gets_in()
            assert len(listener._unknown) <= 32
    finally:
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        for writer in writers:
            writer.close()
        await listener.close()
        await runner.cleanup()
        await node.close()


async def test_after_a_login_there_is_room(served: Served) -> None:
    async with AsyncExitStack() as stack:
        socket, _ = await served.log_in(stack)
        await socket.send_str(json.dumps({"id": 1, "type": "x" * 1_000_000}))
        answer = json.loads((await socket.receive(20)).data)
        assert answer["code"] == "unknown_command"
        assert len(answer["message"]) < 5000


@pytest.mark.parametrize("flood", ["many", "one", "the hub's own"])
async def test_connections_without_end_lock_nobody_out(served: Served, flood: str) -> None:
    addresses: Callable[[int], str] = {
        "many": lambda number: f"127.0.1.{number + 1}",
        "one": lambda _: STRANGER,
        "the hub's own": lambda _: HUB,
    }[flood]
    held = [await served.raw(addresses(number)) for number in range(100)]
    assert await served.works()
    assert len(served.listener._unknown) <= 32
    for _, writer in held:
        writer.close()
    assert await served.works()


async def test_wrong_logins_are_bounded_for_each_address(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_AUTH_FAILURE_DELAY_S", 0)
    async with AsyncExitStack() as stack:
        codes = []
        for number in range(14):
            _, answer = await served.log_in(stack, token=f"guess {number}", address=STRANGER)
            codes.append(answer["code"])
        assert codes[:10] == ["auth_failed"] * 10
        assert set(codes[10:]) == {"busy"}
        # Correct logins from this address are rejected for a while, too, but not those from others.
        _, answer = await served.log_in(stack, address=STRANGER)
        assert answer["code"] == "busy"
    assert await served.works()


def test_wrong_logins_are_forgiven_with_time() -> None:
    now = 0.0
    failures = LoginFailures(lambda: now)
    for _ in range(100):
        if not failures.too_many("a"):
            failures.note("a")
    assert failures.too_many("a")
    assert not failures.too_many("b")
    now = 7.0
    assert not failures.too_many("a")
    failures.note("a")
    assert failures.too_many("a")
    now = 600.0
    assert not failures.too_many("a")
    for number in range(5000):  # it does not grow indefinitely
        failures.note(str(number))
    assert len(failures._until) <= 1024


@pytest.mark.parametrize(
    "token", ["\\ud800", "", None, 5, [SECRET], SECRET + " ", SECRET[:-1], "\u00e4" * 100]
)
async def test_whatever_is_no_token_is_refused(
    served: Served, token: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_AUTH_FAILURE_DELAY_S", 0)
    async with AsyncExitStack() as stack:
        odd = token.encode().decode("unicode_escape") if token == "\\ud800" else token
        _, answer = await served.log_in(stack, token=odd)  # type: ignore[arg-type] # that is meant
        assert answer["code"] in ("auth_failed", "bad_message")
    assert await served.works()


async def test_the_socket_of_this_machine_is_for_its_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listening_socket = unix_socket(tmp_path / "s")
    finally:
        os.umask(before)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    listening_socket.close()
