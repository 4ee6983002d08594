"""A long run in a short time: cameras fail, the node is killed, the entry is reloaded.

Usage: python -m tests.bench.soak [--minutes 10 | --kills 60] [--cameras 2] [--source rtsp|mjpeg]

In a real Home Assistant, cameras play the clip of the demo live. Every few seconds, something
happens: a camera disconnects, stalls, sends garbage or refuses connections; the process of a
camera, the worker of an engine, the node or Home Assistant itself is killed; the entry is reloaded.
The results are memory over time, whether every event in the log of the node was sent on the bus of
Home Assistant exactly once, whether any object started twice, and the processes left running.

A component in Home Assistant records the events of the bus, because events during its start cannot
be received from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import signal
import sqlite3
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil

from tests.bench.home_assistant_load import (
    Measured,
    add_component,
    memory_mb,
    node_memory_mb,
    node_of,
)
from tests.bench.live_video import SOURCES, Camera, add_camera, clip_pictures

_FPS = 10
_EVERY_S = 6.0
_LAST_CALM_S = 45.0
_FIRED = "fired.jsonl"

_WITNESS = f'''
"""Writes every event of Edge Vision to a file immediately, so that none is lost by a kill."""
import json, os
from homeassistant.core import callback

async def async_setup(hass, config):
    file = os.open(hass.config.path("{_FIRED}"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @callback
    def note(event):
        data = {{key: event.data[key] for key in ("event_id", "replayed")}}
        os.write(file, (json.dumps(data) + "\\n").encode())

    hass.bus.async_listen("edge_vision_detection", note)
    return True
'''


class Witnessed(Measured):
    """An instance that records the events of its bus."""

    def _write_config(self) -> None:
        super()._write_config()
        add_component(self.folder, "witness", _WITNESS)

    def fired(self) -> list[dict[str, Any]]:
        """Return all events since the first start of Home Assistant."""
        return [json.loads(line) for line in (self.folder / _FIRED).read_text().splitlines()]


async def kill_hub(home: Witnessed) -> list[str]:
    """Kill and restart Home Assistant; return the child processes left after 10 s."""
    assert home.process is not None
    children = psutil.Process(home.process.pid).children(recursive=True)
    await home.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=10)
    await home.start()
    return [" ".join(process.cmdline()) for process in alive]


async def upset(kind: str, pid: int, client: Any, entry: str, camera: Camera) -> None:
    """Cause a failure."""
    if kind == "hangs up":
        camera.hang_up()
    elif kind == "stalls":
        camera.stalled = True
        await asyncio.sleep(13)
        camera.stalled = False
    elif kind == "refuses":
        camera.refuses = True
        camera.hang_up()
        await asyncio.sleep(3)
        camera.refuses = False
    elif kind == "garbage":
        camera.garbage = True
        await asyncio.sleep(2)
        camera.garbage = False
    elif kind == "reload":
        await client.post(f"/api/config/config_entries/entry/{entry}/reload")
    else:
        node = node_of(pid)
        module = {"kill camera": "cameras.child", "kill worker": "workers.child"}.get(kind)
        if module is None:
            node.send_signal(signal.SIGKILL)
            return
        found = [child for child in node.children() if module in " ".join(child.cmdline())]
        if found:
            random.choice(found).send_signal(signal.SIGKILL)


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return every event in the log of the node."""
    with sqlite3.connect(f"file:{folder}/edge_vision/results.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT event FROM events ORDER BY seq").fetchall()
    return [json.loads(row[0]) for row in rows]


async def soak(
    source: str, minutes: float, cameras: int, kills: int | None = None
) -> dict[str, Any]:
    """Run for some minutes, or for a number of kills; return the results."""
    pictures = await asyncio.to_thread(clip_pictures)
    home = Witnessed(password=secrets.token_urlsafe(9))
    done: Counter[str] = Counter()
    memory: list[tuple[float, int, int]] = []
    orphans: list[str] = []
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(SOURCES[source](pictures[0])) for _ in range(cameras)
        ]
        await stack.enter_async_context(home)
        client = home.client
        for number, stream in enumerate(streams, 1):
            stream.fps = _FPS
            stream.play(pictures)
            await add_camera(client, stream, number, 5)
        (entry,) = await client.get("/api/config/config_entries/entry?domain=edge_vision")
        kinds = ["kill camera", "kill worker", "kill node", "kill hub"]
        if kills is None:
            kinds += ["hangs up", "stalls", "refuses", "garbage", "reload"]
        began, until = time.monotonic(), time.monotonic() + 60 * minutes - _LAST_CALM_S
        while time.monotonic() < until if kills is None else sum(done.values()) < kills:
            await asyncio.sleep(_EVERY_S)
            kind = random.choice(kinds)
            assert home.process is not None
            pid = home.process.pid
            try:
                if kind == "kill hub":
                    orphans += await kill_hub(home)
                else:
                    await upset(kind, pid, client, entry["entry_id"], random.choice(streams))
            except psutil.Error, ValueError:
                continue  # the node is being restarted
            done[kind] += 1
            with_node = sum(done.values()) % 5 == 0
            if with_node:
                await asyncio.sleep(8)
                pid = home.process.pid
                try:
                    hub_mb, node_mb = round(memory_mb(pid)), round(node_memory_mb(pid))
                except psutil.Error, ValueError:
                    continue
                memory.append((round(time.monotonic() - began), hub_mb, node_mb))
        await asyncio.sleep(_LAST_CALM_S)
        fired = home.fired()
        kept = logged(home.folder)
        states = await client.states("sensor")
        status = [state["state"] for name, state in states.items() if name.endswith("_status")]
        lines = home.log.read_text(errors="replace").splitlines()
        children = psutil.Process(home.process.pid).children(recursive=True)
        await home.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=10)
        orphans += [" ".join(process.cmdline()) for process in alive]
    # Events up to a quarter of a second before a kill are sent again, marked as replayed.
    again = sum(data["replayed"] for data in fired)
    ids = Counter(data["event_id"] for data in fired)
    unmarked = Counter(data["event_id"] for data in fired if not data["replayed"])
    in_log = {event["event_id"] for event in kept}
    begun = Counter(
        (event["pipeline_id"], event["track_id"])
        for event in kept
        if event["kind"] == "object" and event["phase"] == "start"
    )
    return {
        "upsets": dict(done),
        "memory_s_hub_mb_node_mb": memory,
        "events_in_log": len(in_log),
        "events_on_bus": len(ids),
        "lost": len(in_log - ids.keys()),
        "marked_as_told_later": again,
        "doubled": sum(count > 1 for count in unmarked.values()),
        "told_again_after_a_kill": sum(count > 1 for count in ids.values()),
        "begun_twice": sum(count > 1 for count in begun.values()),
        "status_at_the_end": status,
        "errors_in_log": [line for line in lines if " ERROR " in line][:10],
        "processes_left": orphans,
    }


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, help="only kill processes, this many times")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--source", choices=SOURCES, default="rtsp")
    options = parser.parse_args()
    found = asyncio.run(soak(options.source, options.minutes, options.cameras, options.kills))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
