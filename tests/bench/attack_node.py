"""The effect of hostile messages and kills on a node: whether it survives, and its events.

Usage: python -m tests.bench.attack_node [--messages 100000] [--kills 0]

Two real nodes are used, one on a unix socket and one on TCP. Each has a hub that sends a street and
an empty picture alternately, and checks the results. At the same time, other clients send invalid
messages before and after login: text and binary, truncated, nested, too large, with wrong types,
and valid commands with one error. With `--kills`, the node on the unix socket and its children are
killed in between. The results are whether the nodes survive, wrong responses to the hubs, and
whether every event in the log of a node reached its hub exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import struct
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from edge_vision_node.protocol import Command, decode_binary
from PIL import Image

from tests.pictures import jpeg

_NODE = Path(__file__).parents[2] / "custom_components/edge_vision/node"
_STREET = _NODE / "edge_vision_node/models/bundled/selftest.jpg"
_SECRET = "a token of this run"
_PIPELINE = {"pipeline_id": "door", "name": "Door", "confidence": 40.0, "looks_to_clear": 1}
_BEFORE_LOGIN = 0.1  # of all messages
_AT_ONCE = 16
_BURST = 50  # messages of a connection before a ping
# Commands that take long anyway are not attacks: measuring, installing, testing a model or a
# camera.
_QUICK = [
    command
    for command in Command
    if command not in (Command.BENCHMARK, Command.INSTALL_MODEL, Command.PEEK, Command.SELF_TEST)
    # Nor are changes that a hub is allowed to make: to pipelines or stored data.
    and command not in (Command.CONFIGURE, Command.FORGET, Command.REMOVE_MODEL)
]
_ODD = [
    *("null", "true", "-1", "1e999", "-1e999", "9" * 40, "9" * 5000, "NaN", "Infinity"),
    *('"\\ud800"', '"\\u0000"', '"../../etc/passwd"', '""', '"door"', '"x\\n\\u001b[2J"'),
    *("[]", "{}", "[[[]]]", "[" * 2000 + "]" * 2000, '{"a":' * 900 + "1" + "}" * 900),
    *('"' + "x" * 20000 + '"', "0.1", "[1,2,3]", '{"x": 1e999, "y": null}'),
]
_FIELDS = [
    *("pipeline_id", "captured_at", "labels", "confidence", "after", "log", "limit", "model"),
    *("engine", "accelerator", "scan", "annotate", "before", "with_picture", "event_id", "clean"),
    *("name", "offset", "upload", "file", "corrections", "zones", "privacy_masks", "max_width"),
]


def message(dice: random.Random) -> str | bytes:
    """Return an invalid or nearly valid message."""
    kind = dice.randrange(6)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        return "".join(chr(dice.randrange(32, 0xD7FF)) for _ in range(dice.randrange(60)))
    fields = {dice.choice(_FIELDS): dice.choice(_ODD) for _ in range(dice.randrange(4))}
    fields["type"] = json.dumps(dice.choice([*_QUICK, "format_disk", ""]))
    fields["id"] = dice.choice([str(dice.randrange(10**6)), *_ODD[:8]])
    text = "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}"
    if kind == 2:
        return text[: dice.randrange(len(text))]
    if kind == 3:
        return text
    head = text.encode("utf-8", "replace")
    length = len(head) if kind == 4 else dice.randrange(2**32)
    return struct.pack(">I", length) + head + dice.randbytes(dice.randrange(300))


class AttackedNode:
    """A node process that is restarted after it was killed."""

    def __init__(self, folder: Path, *, tcp: bool) -> None:
        """Use a folder."""
        folder.mkdir()
        self.folder = folder
        self.tcp = tcp
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None
        self.ends = 0
        self.log = (folder / "log").open("ab")
        (folder / "token").write_text(_SECRET)

    async def start(self) -> None:
        """Start the node and wait until it is ready."""
        where = ["--host", "127.0.0.1", "--port", "0"]
        if not self.tcp:
            where = ["--socket", str(self.folder / "s")]
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "edge_vision_node", "serve", "--parent-stdin"),
            *("--data", str(self.folder / "data"), "--token-file", str(self.folder / "token")),
            *where,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": str(_NODE)},
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 120)
        if line:  # if it was killed before it was ready, it is restarted
            self.port = json.loads(line)["ready"].get("port", 0)

    def connector(self, address: str = "127.0.0.1") -> aiohttp.BaseConnector:
        """Return a connector to the node, from an address of this machine."""
        if self.tcp:
            return aiohttp.TCPConnector(local_addr=(address, 0))
        return aiohttp.UnixConnector(str(self.folder / "s"))

    @property
    def url(self) -> str:
        """Return the URL of the node."""
        return f"http://127.0.0.1:{self.port or 80}/ws"

    def events(self) -> list[tuple[int, str]]:
        """Return numbers and IDs of the events in the log."""
        with closing(sqlite3.connect(self.folder / "data" / "results.db")) as db:
            return db.execute(
                "SELECT seq, event ->> 'event_id' FROM events ORDER BY seq"
            ).fetchall()


class Hub:
    """Sends pictures with known results to the node, and receives each event once."""

    def __init__(self, node: AttackedNode, blank: bytes) -> None:
        """Use a node."""
        self.node = node
        self.pictures = (_STREET.read_bytes(), blank)
        self.seq: int | None = None
        self.log: str | None = None
        self.heard: Counter[str] = Counter()
        self.looks = self.wrong = self.restarts = 0
        self.slowest = 0.0
        self.stopping = False

    async def run(self) -> None:
        """Run until stopped, no matter what happens to the node."""
        while not self.stopping:
            with suppress(aiohttp.ClientError, OSError, TimeoutError, TypeError):
                await self._session()
            process = self.node.process
            if not self.stopping and process is not None and process.returncode is not None:
                self.restarts += 1
                await self.node.start()
            await asyncio.sleep(0.05)

    async def _session(self) -> None:
        async with (
            aiohttp.ClientSession(connector=self.node.connector()) as session,
            session.ws_connect(self.node.url, max_msg_size=0) as self.socket,
        ):
            await self.socket.receive(20)
            await self.socket.send_str(json.dumps({"type": "auth", "token": _SECRET, "schema": 1}))
            if json.loads((await self.socket.receive(20)).data) != {"type": "ready"}:
                self.wrong += 1
                return
            await self.ask(1, {"type": "configure", "pipelines": [_PIPELINE]})
            # Request all events after the last known number.
            subscribe = {"type": "subscribe", "after": self.seq or 0, "log": self.log}
            self.log = (await self.ask(2, subscribe))["result"]["log"]
            number = 2
            while not self.stopping:
                number += 1
                await self._look(number)
            await self.ask(number + 1, {"type": "ping"})

    async def _look(self, number: int) -> None:
        street = number % 2
        begun = time.perf_counter()
        answer = await self.ask(
            number,
            {
                "type": "look",
                "pipeline_id": "door",
                "captured_at": "2026-11-01T12:00:00+00:00",
            },
            self.pictures[1 - street],
        )
        self.slowest = max(self.slowest, time.perf_counter() - begun)
        self.looks += 1
        if answer["type"] == "error":
            # These codes are expected if a worker was killed or a model is being loaded.
            self.wrong += answer["code"] not in ("engine_crashed", "model_loading", "superseded")
            return
        found = {item["label"] for item in answer["result"]["objects"]}
        self.wrong += ("person" in found) != bool(street)

    async def ask(
        self, number: int, command: dict[str, Any], picture: bytes | None = None
    ) -> dict[str, Any]:
        """Send a command and return its response; handle events received in the meantime."""
        text = json.dumps({"id": number, **command})
        if picture is None:
            await self.socket.send_str(text)
        else:
            head = text.encode()
            await self.socket.send_bytes(struct.pack(">I", len(head)) + head + picture)
        while True:
            got = await self.socket.receive(60)
            if got.type is aiohttp.WSMsgType.BINARY:
                answer = decode_binary(got.data)[0]
            else:
                answer = json.loads(got.data)  # raises TypeError if the connection was closed
            if answer["type"] == "event":
                if answer["seq"] is not None and answer["seq"] <= (self.seq or 0):
                    self.wrong += 1
                self.seq = answer["seq"] or self.seq
                self.heard[answer["event"]["event_id"]] += 1
            elif answer.get("id") == number:
                return answer


async def strangers(node: AttackedNode, count: int, dice: random.Random) -> Counter[str]:
    """Send messages before login, each on a new connection; return the responses."""
    said: Counter[str] = Counter()
    for _ in range(count):
        connector = node.connector(f"127.0.{dice.randrange(1, 200)}.{dice.randrange(1, 200)}")
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.ws_connect(node.url, max_msg_size=0, timeout=_CLOSE) as socket,
            ):
                await socket.receive(20)
                await _send(socket, message(dice))
                got = await socket.receive(20)
                text = got.type is aiohttp.WSMsgType.TEXT
                said[json.loads(got.data).get("code", "let in") if text else "closed"] += 1
        except aiohttp.ClientError, OSError, TimeoutError:
            said["hung up"] += 1
    return said


_CLOSE = aiohttp.ClientWSTimeout(ws_close=1.0)


async def _send(socket: aiohttp.ClientWebSocketResponse, what: str | bytes) -> None:
    if isinstance(what, str):
        await socket.send_str(what)
    else:
        await socket.send_bytes(what)


async def intruder(node: AttackedNode, count: int, dice: random.Random) -> Counter[str]:
    """Send messages after login; return how often the node still responds."""
    said: Counter[str] = Counter()
    left = count
    while left > 0:
        try:
            async with (
                aiohttp.ClientSession(connector=node.connector()) as session,
                session.ws_connect(node.url, max_msg_size=0, timeout=_CLOSE) as socket,
            ):
                await socket.receive(20)
                await socket.send_str(json.dumps({"type": "auth", "token": _SECRET, "schema": 1}))
                await socket.receive(20)
                while left > 0:
                    for _ in range(min(_BURST, left)):
                        left -= 1
                        await _send(socket, message(dice))
                    await socket.send_str('{"id": 777777777, "type": "ping"}')
                    said[await _pong(socket)] += 1
        except aiohttp.ClientError, OSError, TimeoutError:
            said["hung up"] += 1
            await asyncio.sleep(0.2)
    return said


async def _pong(socket: aiohttp.ClientWebSocketResponse) -> str:
    async with asyncio.timeout(120):
        while True:
            got = await socket.receive()
            if got.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                raise ConnectionResetError
            if got.type is aiohttp.WSMsgType.TEXT and '"id":777777777' in got.data:
                # An error because of too many requests is a response, too.
                return str(json.loads(got.data)["type"])


async def killer(node: AttackedNode, count: int, dice: random.Random) -> Counter[str]:
    """Kill the node or one of its processes from time to time."""
    done: Counter[str] = Counter()
    while sum(done.values()) < count:
        await asyncio.sleep(dice.uniform(1.0, 4.0))
        process = node.process
        if process is None or process.returncode is not None:
            continue
        with suppress(psutil.Error, ProcessLookupError):
            children = psutil.Process(process.pid).children()
            if children and dice.random() < 0.5:
                dice.choice(children).send_signal(signal.SIGKILL)
                done["child"] += 1
            else:
                process.kill()
                done["node"] += 1
    await asyncio.sleep(5)
    return done


async def attack(messages: int, kills: int, blank: bytes) -> dict[str, Any]:
    """Run everything and return the results."""
    dice = random.Random(13)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for tcp in (False, True):
            place = Path(folder, "tcp" if tcp else "unix")
            node = AttackedNode(place, tcp=tcp)
            await node.start()
            hub = Hub(node, blank)
            serving = asyncio.create_task(hub.run())
            half = messages // 2
            before = round(half * _BEFORE_LOGIN)
            begun = time.monotonic()
            work = [strangers(node, before // 4, dice) for _ in range(4)]
            each = (half - 4 * (before // 4)) // _AT_ONCE
            work += [intruder(node, each, dice) for _ in range(_AT_ONCE)]
            if kills and not tcp:
                work.append(killer(node, kills, dice))
            said = await asyncio.gather(*work)
            took = time.monotonic() - begun
            killed = said.pop() if kills and not tcp else Counter()
            await asyncio.sleep(1)
            hub.stopping = True
            await asyncio.wait_for(serving, 120)
            assert node.process is not None
            alive = node.process.returncode is None
            kept = node.events()
            ids = [event_id for _, event_id in kept]
            if alive:
                node.process.terminate()
                await node.process.wait()
            node.log.close()
            lines = (place / "log").read_text(errors="replace").splitlines()
            found["TCP" if tcp else "unix socket"] = {
                "messages": 4 * (before // 4) + _AT_ONCE * each,
                "seconds": round(took),
                "killed": dict(killed),
                "before_login": dict(sum(said[:4], Counter())),
                "after_login_still_served": dict(sum(said[4:], Counter())),
                "alive": alive,
                "ended_by_itself": hub.restarts - killed["node"],
                "looks_of_the_hub": hub.looks,
                "slowest_look_s": round(hub.slowest, 1),
                "wrong_answers": hub.wrong,
                "events_in_log": len(ids),
                "lost": len(set(ids) - hub.heard.keys()),
                "not_in_log": len(hub.heard.keys() - set(ids)),
                "doubled": sum(number > 1 for number in hub.heard.values()),
                "traces_in_log": sum(line.startswith("Traceback") for line in lines),
                "errors": sorted({line[:160] for line in lines if line.startswith("ERROR")})[:8],
            }
    return found


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    blank = jpeg(Image.new("RGB", (640, 480), (30, 30, 30)))
    print(json.dumps(asyncio.run(attack(options.messages, options.kills, blank)), indent=2))


if __name__ == "__main__":
    main()
