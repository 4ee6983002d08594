"""The cost of Edge Vision in a real Home Assistant: event loop lag, memory, and recovery.

Usage: python -m tests.bench.home_assistant_load [--seconds 15] [--busy [--rounds 4]] [--json]

Starts the Home Assistant of this environment, measures it idle, adds Edge Vision with four
pipelines, and scans all four continuously, so that the node is always busy. The lag is the delay of
a 10 ms timer in the event loop of Home Assistant; both figures are from the same run.

With `--busy`, another process computes continuously, and two instances are measured alternately: an
unchanged one, and one whose node shares the session of Home Assistant, and therefore its share of
the processor. These figures can only be compared with each other, because other load affects both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from demo import CAMERA, CLIP, add_camera  # noqa: E402
from demo_camera import ClipCamera  # noqa: E402
from ha_client import HaClient  # noqa: E402
from ha_instance import HomeAssistant  # noqa: E402

PIPELINES = 4
_SETTLE_S = 5

_PROBE = '''
"""Measures the delay of a timer in this event loop; actions start and stop it."""
import asyncio, time

async def async_setup(hass, config):
    state = {"task": None, "late": []}

    async def sample():
        while True:
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            state["late"].append((time.perf_counter() - due) * 1000)

    async def begin(call):
        state["late"] = []
        state["task"] = asyncio.create_task(sample())

    async def end(call):
        state["task"].cancel()
        return {"late_ms": state["late"]}

    from homeassistant.core import SupportsResponse
    hass.services.async_register("loop_lag", "begin", begin)
    hass.services.async_register("loop_lag", "end", end, supports_response=SupportsResponse.ONLY)
    return True
'''


def add_component(folder: Path, domain: str, code: str) -> None:
    """Add a custom component to a configuration folder."""
    component = folder / "custom_components" / domain
    component.mkdir(parents=True)
    (component / "__init__.py").write_text(code)
    manifest = {"domain": domain, "name": domain, "version": "1.0.0", "codeowners": []}
    (component / "manifest.json").write_text(
        json.dumps({**manifest, "documentation": "", "iot_class": "calculated"})
    )
    with (folder / "configuration.yaml").open("a") as file:
        file.write(f"{domain}:\n")


class Measured(HomeAssistant):
    """An instance with the probe."""

    def _write_config(self) -> None:
        super()._write_config()
        add_component(self.folder, "loop_lag", _PROBE)


async def delays(client: HaClient, seconds: float) -> list[float]:
    """Return all delays of the timer during some seconds, in milliseconds."""
    await client.call("loop_lag", "begin", {})
    await asyncio.sleep(seconds)
    late: list[float] = (await client.call("loop_lag", "end", {}, response=True))["late_ms"]
    return late


def distribution(late: list[float]) -> dict[str, float]:
    """Return the quantiles of delays."""
    ordered = sorted(late)
    parts = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99.9_ms": 0.999}
    found = {name: ordered[int(len(ordered) * part)] for name, part in parts.items()}
    return {name: round(value, 2) for name, value in (*found.items(), ("max_ms", ordered[-1]))}


_ONE_SESSION = '''
"""Lets the node share the session of Home Assistant instead of starting a new one."""
import asyncio

async def async_setup(hass, config):
    real = asyncio.create_subprocess_exec

    async def create(*command, start_new_session=False, **more):
        return await real(*command, **more)

    asyncio.create_subprocess_exec = create
    return True
'''


class OneSession(Measured):
    """An instance whose node shares its session."""

    def _write_config(self) -> None:
        super()._write_config()
        add_component(self.folder, "one_session", _ONE_SESSION)


async def compare(seconds: float, rounds: int) -> dict[str, Any]:
    """Return the lag with a busy process, for a node in the same session and in its own."""
    homes: dict[str, HomeAssistant] = {
        "shared session": OneSession(password=secrets.token_urlsafe(9)),
        "own session": Measured(password=secrets.token_urlsafe(9)),
    }
    late: dict[str, dict[str, list[float]]] = {
        name: {"idle": [], "saturated": []} for name in homes
    }
    looks: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        camera = await stack.enter_async_context(ClipCamera(CLIP))
        for home in homes.values():
            await stack.enter_async_context(home)
            await add_camera(home.client, camera)
            await add_pipelines(home.client)
        busy = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "while True: pass", start_new_session=True
        )
        try:
            for number in range(rounds):
                for name in sorted(homes, reverse=bool(number % 2)):
                    client = homes[name].client
                    late[name]["idle"] += await delays(client, seconds)
                    stop = asyncio.Event()
                    entity_ids = sorted(await client.states("image_processing"))
                    asking = asyncio.create_task(saturate(client, entity_ids, stop))
                    await asyncio.sleep(1)
                    late[name]["saturated"] += await delays(client, seconds)
                    stop.set()
                    looks[name] += sum(await asking)
        finally:
            busy.kill()
            await busy.wait()
    return {
        **{
            f"{name}, {what}": distribution(found)
            for name, both in late.items()
            for what, found in both.items()
        },
        "looks": dict(looks),
    }


async def add_pipelines(client: HaClient) -> None:
    """Add Edge Vision with its pipelines, and wait until they have states."""
    entry = (await client.config_flow("edge_vision", {}))["result"]["entry_id"]
    for number in range(1, PIPELINES + 1):
        settings = {
            "camera": CAMERA,
            "name": f"Camera {number}",
            "schedule": {"only_on_request": True},
        }
        await client.subentry_flow(entry, "pipeline", {"settings": settings})
    for number in range(1, PIPELINES + 1):
        await until(client, f"image_processing.camera_{number}", str.isdigit)


async def lag(client: HaClient, seconds: float) -> dict[str, float]:
    """Return the lag during some seconds, in milliseconds."""
    return distribution(await delays(client, seconds))


async def saturate(client: HaClient, entity_ids: list[str], stop: asyncio.Event) -> list[int]:
    """Scan every pipeline continuously; return the number of scans of each."""

    async def ask(entity_id: str) -> int:
        looks = 0
        while not stop.is_set():
            await client.call("image_processing", "scan", {"entity_id": entity_id})
            looks += 1
        return looks

    return await asyncio.gather(*(ask(entity_id) for entity_id in entity_ids))


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def node_of(home_assistant: int) -> psutil.Process:
    """Return the node started by a Home Assistant."""
    (node,) = [
        child
        for child in psutil.Process(home_assistant).children()
        if "edge_vision_node" in " ".join(child.cmdline())
    ]
    return node


def node_memory_mb(home_assistant: int) -> float:
    """Return the memory of the node and its children, counting shared pages once."""
    node = node_of(home_assistant)
    processes = [node, *node.children(recursive=True)]
    return sum(float(process.memory_full_info().pss) for process in processes) / 2**20


async def until(client: HaClient, entity_id: str, wanted: Any) -> float:
    """Return the seconds until a state is as wanted."""
    started = time.monotonic()
    async with asyncio.timeout(180):
        while True:
            states = await client.states("image_processing")
            if entity_id in states and wanted(states[entity_id]["state"]):
                break
            await asyncio.sleep(0.01)
    return time.monotonic() - started


async def measure(seconds: float) -> dict[str, Any]:
    """Run everything and return the figures."""
    result: dict[str, Any] = {}
    home = Measured(password=secrets.token_urlsafe(9))
    camera = ClipCamera(CLIP)
    async with camera, home:
        assert home.process is not None
        pid, client = home.process.pid, home.client
        await add_camera(client, camera)
        await asyncio.sleep(_SETTLE_S)
        result["idle"] = await lag(client, seconds)
        before = memory_mb(pid)

        entry = (await client.config_flow("edge_vision", {}))["result"]["entry_id"]
        for number in range(1, PIPELINES + 1):
            settings = {
                "camera": CAMERA,
                "name": f"Camera {number}",
                "schedule": {"only_on_request": True},
            }
            await client.subentry_flow(entry, "pipeline", {"settings": settings})
            # Adding a camera reloads the entry.
            await until(client, f"image_processing.camera_{number}", str.isdigit)
            if number == 1:
                await asyncio.sleep(_SETTLE_S)
                result["hub_adds_mb"] = round(memory_mb(pid) - before, 1)
                result["node_mb"] = round(node_memory_mb(pid), 1)
        entity_ids = sorted(await client.states("image_processing"))
        assert len(entity_ids) == PIPELINES
        await asyncio.sleep(_SETTLE_S)
        stop = asyncio.Event()
        asking = asyncio.create_task(saturate(client, entity_ids, stop))
        await asyncio.sleep(2)
        began = time.monotonic()
        result["saturated"] = await lag(client, seconds)
        stop.set()
        looks = await asking
        result["looks_per_second"] = round(sum(looks) / (time.monotonic() - began + 2), 1)
        result["p99_added_ms"] = round(result["saturated"]["p99_ms"] - result["idle"]["p99_ms"], 2)
        result["hub_adds_after_load_mb"] = round(memory_mb(pid) - before, 1)
        result["node_after_load_mb"] = round(node_memory_mb(pid), 1)

        node_of(pid).send_signal(signal.SIGKILL)
        entity_id = entity_ids[0]
        result["unavailable_after_s"] = round(
            await until(client, entity_id, lambda state: state == "unavailable"), 2
        )
        result["back_after_s"] = round(
            result["unavailable_after_s"]
            + await until(client, entity_id, lambda state: state != "unavailable"),
            2,
        )
        log = home.log.read_text(errors="replace")
        result["log_errors"] = [line for line in log.splitlines() if " ERROR " in line]
        children = psutil.Process(pid).children(recursive=True)
        os.kill(pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=10)
        result["processes_left"] = [" ".join(process.cmdline()) for process in alive]
    return result


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(
        compare(options.seconds, options.rounds) if options.busy else measure(options.seconds)
    )
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
