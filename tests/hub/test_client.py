"""The client against peers that are slow, hostile, or talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custom_components.edge_vision.api.client import (
    NodeAuthError,
    NodeClient,
    NodeCommandError,
    NodeDisconnected,
    NodeProtocolError,
    NodeTimeout,
    NodeVersionMismatch,
)
from custom_components.edge_vision.node.edge_vision_node import protocol
from custom_components.edge_vision.node.edge_vision_node.protocol import (
    Command,
    NodeEvent,
    NodeStatus,
    Nothing,
    Picture,
    PictureRequest,
    Subscribe,
    Subscribed,
)

TOKEN = "a-token"
HELLO = {"type": "hello", "node_id": "n", "version": "9.9.9", "schema_min": 1, "schema_max": 1}
EVENT = {
    "event_id": "01E",
    "pipeline_id": "p",
    "kind": "object",
    "phase": "start",
    "label": "person",
    "confidence": 91.4,
    "count": 1,
    "box": None,
    "model": "m",
    "model_version": "1",
    "engine": "e",
    "accelerator": "cpu",
    "pattern": "full_edge",
    "captured_at": "2026-11-01T12:00:00+00:00",
    "inference_ms": 1.0,
}

type Peer = Callable[[web.WebSocketResponse], Awaitable[None]]


@asynccontextmanager
async def peer(tmp_path: Path, behave: Peer, *, handshake: bool = True) -> AsyncIterator[Path]:
    """Listen on a unix socket and behave badly on it; with `handshake`, only after a proper one."""

    async def connect(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(request)
        with contextlib.suppress(ConnectionError):
            if handshake:
                await socket.send_json(HELLO)
                assert json.loads((await socket.receive()).data)["token"] == TOKEN
                await socket.send_json({"type": "ready"})
            await behave(socket)
        return socket

    app = web.Application()
    app.router.add_get("/ws", connect)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    path = tmp_path / "s"
    await web.UnixSite(runner, str(path)).start()
    try:
        yield path
    finally:
        await runner.cleanup()


async def keep_quiet(socket: web.WebSocketResponse) -> None:
    """Read whatever comes, and never answer."""
    async for _ in socket:
        pass


def answering(*answers: Any) -> Peer:
    """Give one answer per command: text as it is, bytes as they are, the rest as JSON."""

    async def behave(socket: web.WebSocketResponse) -> None:
        for answer in answers:
            await socket.receive()
            if isinstance(answer, str):
                await socket.send_str(answer)
            elif isinstance(answer, bytes):
                await socket.send_bytes(answer)
            else:
                await socket.send_json(answer)
        await keep_quiet(socket)

    return behave


async def ping(client: NodeClient, timeout_s: float = 5.0) -> Nothing:
    return await client.request(Command.PING, None, Nothing, timeout_s=timeout_s)


async def test_the_greeting_says_who_it_is(tmp_path: Path) -> None:
    async with peer(tmp_path, keep_quiet) as path, NodeClient() as client:
        greeting = await client.connect(path, TOKEN)
        assert (greeting.node_id, greeting.version) == ("n", "9.9.9")
        assert client.connected
    assert not client.connected


async def test_requests_find_their_answers_in_any_order(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        numbers = [json.loads((await socket.receive()).data)["id"] for _ in range(20)]
        for number in reversed(numbers):
            await socket.send_json({"id": number, "type": "result", "result": {"seq": number}})
        await keep_quiet(socket)

    async with peer(tmp_path, behave) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        answers = await asyncio.gather(
            *(client.request(Command.SUBSCRIBE, Subscribe(), Subscribed) for _ in range(20))
        )
    assert [answer.seq for answer in answers] == sorted(answer.seq for answer in answers)
    assert len({answer.seq for answer in answers}) == 20


async def test_a_picture_travels_both_ways(tmp_path: Path) -> None:
    picture = bytes(range(256)) * 4000

    async def behave(socket: web.WebSocketResponse) -> None:
        header, body = protocol.decode_binary((await socket.receive()).data)
        answer = {"content_type": "image/jpeg", "at": "now"}
        await socket.send_bytes(
            protocol.encode_binary(
                {"id": header["id"], "type": "result", "result": answer}, bytes(body)
            )
        )
        await keep_quiet(socket)

    async with peer(tmp_path, behave) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        request = PictureRequest(pipeline_id="p")
        header, back = await client.request_picture(
            Command.PICTURE, request, Picture, picture=picture
        )
    assert back == picture
    assert header.content_type == "image/jpeg"


async def test_nobody_listens(tmp_path: Path) -> None:
    client = NodeClient()
    with pytest.raises(NodeDisconnected):
        await client.connect(tmp_path / "nothing", TOKEN)
    with pytest.raises(NodeDisconnected):
        await ping(client)


async def test_a_wrong_token(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await socket.send_json(HELLO)
        await socket.receive()
        await socket.send_json(
            {"id": None, "type": "error", "code": "auth_failed", "message": "The token is wrong"}
        )

    client = NodeClient()
    async with peer(tmp_path, behave, handshake=False) as path:
        with pytest.raises(NodeAuthError, match="token is wrong"):
            await client.connect(path, TOKEN)
    assert not client.connected


@pytest.mark.parametrize(("low", "high"), [(2, 3), (-1, 0)])
async def test_a_peer_of_another_protocol(tmp_path: Path, low: int, high: int) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await socket.send_json({**HELLO, "schema_min": low, "schema_max": high})
        await keep_quiet(socket)

    async with peer(tmp_path, behave, handshake=False) as path:
        with pytest.raises(NodeVersionMismatch, match=r"9\.9\.9"):
            await NodeClient().connect(path, TOKEN)


async def test_a_newer_peer_that_still_speaks_our_protocol(tmp_path: Path) -> None:
    said: dict[str, Any] = {}

    async def behave(socket: web.WebSocketResponse) -> None:
        await socket.send_json({**HELLO, "schema_min": 1, "schema_max": 99, "new": "field"})
        said.update(json.loads((await socket.receive()).data))
        await socket.send_json({"type": "ready"})
        await keep_quiet(socket)

    async with peer(tmp_path, behave, handshake=False) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
    assert said["schema"] == protocol.SCHEMA_MAX


@pytest.mark.parametrize(
    "first",
    ["", "nonsense", "[]", "{}", '{"type": "hello"}', '{"type": "event"}', b"\0\0", "[" * 100_000],
)
async def test_a_peer_that_greets_with_nonsense(tmp_path: Path, first: str | bytes) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await (socket.send_str(first) if isinstance(first, str) else socket.send_bytes(first))
        await keep_quiet(socket)

    client = NodeClient()
    async with peer(tmp_path, behave, handshake=False) as path:
        with pytest.raises(NodeProtocolError):
            await client.connect(path, TOKEN)
    assert not client.connected


async def test_a_peer_that_says_nothing(tmp_path: Path) -> None:
    async with peer(tmp_path, keep_quiet, handshake=False) as path:
        with pytest.raises(NodeTimeout):
            await NodeClient().connect(path, TOKEN, timeout_s=0.1)


async def test_a_peer_that_hangs_up_at_once(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await socket.close()

    async with peer(tmp_path, behave, handshake=False) as path:
        with pytest.raises(NodeDisconnected):
            await NodeClient().connect(path, TOKEN)


async def test_an_answer_that_does_not_come(tmp_path: Path) -> None:
    async with peer(tmp_path, keep_quiet) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeTimeout):
            await ping(client, 0.05)
        assert client.connected
        assert client._pending == {}


async def test_an_answer_that_comes_too_late_is_nobodys(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        first = json.loads((await socket.receive()).data)["id"]
        second = json.loads((await socket.receive()).data)["id"]
        await socket.send_json({"id": first, "type": "result", "result": {"seq": 1}})
        await socket.send_json({"id": second, "type": "result", "result": {"seq": 2}})
        await keep_quiet(socket)

    async with peer(tmp_path, behave) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeTimeout):
            await client.request(Command.SUBSCRIBE, Subscribe(), Subscribed, timeout_s=0.05)
        answer = await client.request(Command.SUBSCRIBE, Subscribe(), Subscribed)
    assert answer.seq == 2


async def test_everything_pending_fails_at_once_when_the_peer_goes(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        for _ in range(5):
            await socket.receive()
        socket._req.transport.abort()  # as a killed process does

    gone: list[bool] = []
    async with peer(tmp_path, behave) as path:
        client = NodeClient(on_disconnect=lambda: gone.append(True))
        await client.connect(path, TOKEN)
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(ping(client, 60) for _ in range(5)), return_exceptions=True
            )
    assert all(isinstance(result, NodeDisconnected) for result in results)
    assert not client.connected
    await client.close()
    assert gone == [True]


async def test_a_request_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    async with peer(tmp_path, keep_quiet) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        task = asyncio.create_task(ping(client))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client._pending == {}


async def test_an_error_is_told_with_its_code(tmp_path: Path) -> None:
    answer = {"id": 1, "type": "error", "code": "unknown_model", "message": "No model 'x'"}
    async with peer(tmp_path, answering(answer)) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeCommandError, match="No model 'x'") as caught:
            await ping(client)
    assert caught.value.code == "unknown_model"


@pytest.mark.parametrize(
    "result", [None, [], "x", {}, {"seq": "1"}, {"seq": True}, {"seq": 1.5}, {"seq": None}]
)
async def test_an_answer_of_the_wrong_shape_fails_its_request_only(
    tmp_path: Path, result: object
) -> None:
    answers = ({"id": 1, "type": "result", "result": result}, {"id": 2, "type": "result"})
    async with peer(tmp_path, answering(*answers)) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeProtocolError):
            await client.request(Command.SUBSCRIBE, Subscribe(), Subscribed)
        with pytest.raises(NodeProtocolError):
            await client.request(Command.SUBSCRIBE, Subscribe(), Subscribed)
        assert client.connected


async def test_an_answer_without_its_picture(tmp_path: Path) -> None:
    result = {"content_type": "image/jpeg", "at": "now"}
    answer = {"id": 1, "type": "result", "result": result}
    async with peer(tmp_path, answering(answer)) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeProtocolError, match="no picture"):
            await client.request_picture(Command.PICTURE, PictureRequest(pipeline_id="p"), Picture)


@pytest.mark.parametrize(
    "frame",
    [
        "not JSON",
        "[1, 2]",
        '{"id": NaN}',
        b"",
        b"\xff\xff\xff\xff",
        struct.pack(">I", 5) + b"{}",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 2) + b"\xff\xff",
        "x" * (5 * 1024 * 1024),
    ],
)
async def test_a_frame_that_is_not_the_protocol_ends_the_connection(
    tmp_path: Path, frame: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    gone: list[bool] = []
    async with peer(tmp_path, answering(frame)) as path:
        client = NodeClient(on_disconnect=lambda: gone.append(True))
        await client.connect(path, TOKEN)
        with pytest.raises(NodeDisconnected):
            await ping(client)
        await client.close()
    assert gone == [True]
    # asyncio warns of tasks that were slow, as they are on a busy machine.
    worst = max(record.levelno for record in caplog.records if record.name != "asyncio")
    assert worst == logging.INFO  # the node is started again, and nobody has to do anything
    assert all(len(record.getMessage()) < 500 for record in caplog.records)


async def test_a_message_that_is_too_large_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_MESSAGE_BYTES", 100_000)
    async with peer(tmp_path, answering(b"\0" * 200_000)) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeDisconnected):
            await ping(client)


async def test_odd_messages_are_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    odd = [
        {},
        {"type": None},
        {"type": "news"},
        {"type": "event"},
        {"type": "event", "seq": "1", "event": EVENT},
        {"type": "event", "seq": True, "event": EVENT},
        {"type": "event", "seq": 1, "event": {**EVENT, "confidence": "high"}},
        {"type": "event", "seq": 2, "event": None},
        {"type": "status"},
        {"type": "status", "status": {"pipelines": [{}], "uptime_s": 1}},
        {"type": "result"},
        {"type": "result", "id": 12345, "result": {}},
        {"type": "result", "id": [1], "result": {}},
        {"type": "error", "id": None, "code": None},
    ]

    async def behave(socket: web.WebSocketResponse) -> None:
        for message in odd:
            await socket.send_json(message)
        await socket.send_json({"type": "event", "seq": 3, "event": EVENT})
        await socket.send_json({"type": "event", "seq": None, "event": EVENT})
        await socket.send_json({"type": "status", "status": {"pipelines": [], "uptime_s": 1}})
        number = json.loads((await socket.receive()).data)["id"]
        await socket.send_json({"id": number, "type": "result", "result": {}})
        await keep_quiet(socket)

    events: list[tuple[int | None, NodeEvent]] = []
    statuses: list[NodeStatus] = []
    async with (
        peer(tmp_path, behave) as path,
        NodeClient(
            on_event=lambda seq, event, _log: events.append((seq, event)), on_status=statuses.append
        ) as client,
    ):
        await client.connect(path, TOKEN)
        await ping(client)
    assert [seq for seq, _ in events] == [3, None]
    assert events[0][1].label == "person"
    assert len(statuses) == 1


async def test_a_receiver_that_fails_does_not_cost_the_connection(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "event", "seq": 1, "event": EVENT})
        number = json.loads((await socket.receive()).data)["id"]
        await socket.send_json({"id": number, "type": "result", "result": {}})
        await keep_quiet(socket)

    def fail(_seq: int | None, _event: NodeEvent, _log: str | None) -> None:
        raise RuntimeError("a mistake of ours")

    async with peer(tmp_path, behave) as path, NodeClient(on_event=fail) as client:
        await client.connect(path, TOKEN)
        await ping(client)
        assert client.connected


async def test_a_peer_that_reads_nothing_does_not_hold_up_the_hub(tmp_path: Path) -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        socket._req.transport.pause_reading()
        await asyncio.sleep(30)

    async with peer(tmp_path, behave) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        with pytest.raises(NodeTimeout):
            await client.request(
                Command.DETECT, None, Nothing, picture=bytes(8_000_000), timeout_s=0.2
            )
        async with asyncio.timeout(20):
            await client.close()


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    frame=st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200),
        st.builds(
            json.dumps,
            st.dictionaries(
                st.sampled_from(["type", "id", "seq", "event", "status", "result", "code"]),
                st.sampled_from(["result", "event", "status", "error", 1, None, {}, [], 1e300]),
            ),
        ),
    )
)
async def test_no_frame_breaks_more_than_the_connection(
    tmp_path_factory: pytest.TempPathFactory, frame: str | bytes
) -> None:
    folder = tmp_path_factory.mktemp("s")
    async with peer(folder, answering(frame)) as path, NodeClient() as client:
        await client.connect(path, TOKEN)
        # By chance, a frame can be a proper answer, too.
        with contextlib.suppress(
            NodeDisconnected, NodeProtocolError, NodeTimeout, NodeCommandError
        ):
            await ping(client, 0.05)
        assert client._pending == {}
