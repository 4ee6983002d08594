"""Fixtures for tests of the node: real pictures, the node as a process, and a client."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from edge_vision_node import protocol
from edge_vision_node.library.inspection.inspector import Inspector
from edge_vision_node.library.install import Installer
from edge_vision_node.models.store import ModelStore
from edge_vision_node.models.trust import Trust
from edge_vision_node.workers.lane import Lane
from edge_vision_node.workers.pool import Workers
from PIL import Image

from tests.pictures import NODE_FOLDER, SELF_TEST_PICTURE, jpeg

from .inspection import Bench

SECRET = "a-token-for-tests"


@pytest.fixture
def blank() -> bytes:
    """A picture with nothing in it."""
    return jpeg(Image.new("RGB", (640, 480), (96, 128, 96)))


@pytest.fixture
def street() -> bytes:
    """A picture with people in it."""
    return SELF_TEST_PICTURE.read_bytes()


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.01)


async def until_executing(lane: Lane) -> None:
    """Wait until the worker of a lane has started to execute something."""
    await until(lambda: any(asked.begun for asked in lane.worker._asked.values()))


def node_environment() -> dict[str, str]:
    """Return an environment for `python -m edge_vision_node`."""
    return {**os.environ, "PYTHONPATH": str(NODE_FOLDER)}


@dataclass
class Connection:
    """The hub's side of a connection, as simple as possible."""

    socket: aiohttp.ClientWebSocketResponse
    hello: dict[str, Any]
    pushed: list[dict[str, Any]] = field(default_factory=list)
    _last_id: int = 0

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        message = await self.socket.receive(120)  # for busy machines
        if message.type is aiohttp.WSMsgType.BINARY:
            header, picture = protocol.decode_binary(message.data)
            return header, bytes(picture)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data), b""

    async def send(self, message: dict[str, Any], picture: bytes | None = None) -> int:
        self._last_id += 1
        message = {"id": self._last_id, **message}
        if picture is None:
            await self.socket.send_str(json.dumps(message))
        else:
            await self.socket.send_bytes(protocol.encode_binary(message, picture))
        return self._last_id

    async def answer_to(self, number: int | None) -> tuple[dict[str, Any], bytes]:
        while True:
            message, picture = await self.receive()
            if message.get("type") in ("event", "status"):
                self.pushed.append(message)
            elif message.get("id") == number:
                return message, picture

    async def ask(
        self, kind: str, picture: bytes | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Send a command and return its result or its error message."""
        number = await self.send({"type": kind, **arguments}, picture)
        message, picture_out = await self.answer_to(number)
        if message["type"] == "error":
            return message
        return {**message["result"], "picture": picture_out} if picture_out else message["result"]

    async def configured(self, *pipelines: dict[str, Any]) -> dict[str, Any]:
        """Configure pipelines and return the status when all models are loaded."""
        return await self.loaded(await self.ask("configure", pipelines=list(pipelines)))

    async def loaded(self, status: dict[str, Any]) -> dict[str, Any]:
        """Return the status when all models are loaded."""
        while any(item["state"] == "loading" for item in status["pipelines"]):
            await asyncio.sleep(0.02)
            status = await self.ask("status")
        return status

    async def last_picture(self, pipeline_id: str) -> dict[str, Any]:
        """Return the picture of the last event of a pipeline, when it has been drawn."""
        while (answer := await self.ask("picture", pipeline_id=pipeline_id)).get(
            "code"
        ) is not None:
            assert answer["code"] == "no_picture", answer
            await asyncio.sleep(0.02)
        return answer

    async def look(self, pipeline_id: str, picture: bytes, **more: Any) -> dict[str, Any]:
        return await self.ask(
            "look",
            picture,
            pipeline_id=pipeline_id,
            captured_at=more.pop("captured_at", "2026-11-01T12:00:00+00:00"),
            **more,
        )

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` pushed events."""
        while len(events := [m for m in self.pushed if m["type"] == "event"]) < count:
            message, _ = await self.receive()
            self.pushed.append(message)
        return events


@dataclass
class NodeProcess:
    """A real node."""

    process: asyncio.subprocess.Process
    socket: Path
    data: Path
    ready: dict[str, Any]

    @asynccontextmanager
    async def connect(self, token: str = SECRET, schema: int = 1) -> AsyncIterator[Connection]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as session,
            session.ws_connect("http://node/ws", max_msg_size=0) as socket,
        ):
            connection = Connection(socket, json.loads((await socket.receive(10)).data))
            await socket.send_str(json.dumps({"type": "auth", "token": token, "schema": schema}))
            answer = json.loads((await socket.receive(10)).data)
            assert answer == {"type": "ready"}, answer
            yield connection


StartNode = Callable[..., Any]


async def _start(folder: Path, *extra: str) -> NodeProcess:
    (folder / "token").write_text(SECRET)
    socket, data = folder / "node.sock", folder / "data"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "edge_vision_node", "serve", "--parent-stdin", "--log-level", "info"),
        *("--socket", str(socket), "--data", str(data), "--token-file", str(folder / "token")),
        *extra,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=None,
        env=node_environment(),
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line, "the node ended before it was ready"
    return NodeProcess(process, socket, data, json.loads(line)["ready"])


@pytest.fixture
async def start_node(tmp_path: Path) -> AsyncIterator[StartNode]:
    """Start nodes that share a data folder; those still running are stopped afterwards."""
    started: list[NodeProcess] = []

    async def start(*extra: str) -> NodeProcess:
        node = await _start(tmp_path, *extra)
        started.append(node)
        return node

    yield start
    for node in started:
        with suppress(ProcessLookupError):
            node.process.kill()
        await node.process.wait()


@pytest.fixture
async def node(start_node: StartNode) -> NodeProcess:
    """A running node."""
    running: NodeProcess = await start_node()
    return running


# Describing every engine takes a process each; once is enough for all tests.
_described: list[tuple[protocol.EngineInfo, ...]] = []


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """An inspector for models of the user."""
    workers = Workers(trust=Trust(tmp_path))
    if not _described:
        _described.append(await workers.engines())
    workers._engines = _described[0]
    store = ModelStore([tmp_path / "models"])
    installer = Installer(store, tmp_path / "models")
    yield Bench(tmp_path, store, workers, Inspector(workers, installer))
    await workers.close()
