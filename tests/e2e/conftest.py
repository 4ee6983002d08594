"""A real Home Assistant with Edge Vision set up through its flows, one for each version."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo
import psutil
import pytest
import pytest_asyncio
import pytest_socket
from demo_camera import ClipCamera
from ha_client import HaClient, HaError, HaSocket
from ha_instance import HomeAssistant
from homeassistant import const

from tests.pictures import ROOT, SELF_TEST_PICTURE

# The version of the test helpers, the newest one, and all others with an environment created by
# `scripts/setup --ha VERSION`.
NEWEST = "2026.11.0"
OTHERS = {
    path.parent.name.removeprefix(".venv-") for path in ROOT.glob(".venv-*/.edge-vision-setup")
}
VERSIONS = [const.__version__, NEWEST, *sorted(OTHERS - {const.__version__, NEWEST})]


@dataclass
class House:
    """A Home Assistant under test."""

    home: HomeAssistant
    camera: ClipCamera
    entry_id: str
    first_detection: dict[str, Any]

    @property
    def client(self) -> HaClient:
        """Return the session of the owner."""
        return self.home.client

    @property
    def process(self) -> psutil.Process:
        """Return the process of Home Assistant."""
        assert self.home.process is not None
        return psutil.Process(self.home.process.pid)

    def nodes(self) -> list[psutil.Process]:
        """Return the nodes started by this Home Assistant, even if they have another parent now."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if "edge_vision_node" in (process.info["cmdline"] or ())
            and any(str(self.home.folder) in word for word in process.info["cmdline"])
        ]

    async def state(self, entity_id: str) -> str:
        """Return the state of an entity, or "" if it does not exist."""
        states = await self.client.states()
        return str(states.get(entity_id, {}).get("state", ""))

    async def entities(self) -> dict[str, str]:
        """Return the states of the enabled entities of Edge Vision."""
        registry = await self.client.command("config/entity_registry/list")
        ours = {
            entity["entity_id"]
            for entity in registry
            if entity["platform"] == "edge_vision" and entity["disabled_by"] is None
        }
        states = await self.client.states()
        return {entity: states[entity]["state"] for entity in sorted(ours) if entity in states}

    async def pipelines(self) -> list[dict[str, Any]]:
        """Return the subentries of the entry."""
        subentries = await self.client.command(
            "config_entries/subentries/list", entry_id=self.entry_id
        )
        return list(subentries)


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 15) -> None:
    """Wait until a check is true; Home Assistant may be unavailable in the meantime."""
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(HaError, OSError):
                if await check():
                    return
            await asyncio.sleep(0.05)


async def next_event(socket: HaSocket, kind: str, timeout_s: float = 15) -> dict[str, Any]:
    """Return the next detection of a kind from an open subscription."""
    async with asyncio.timeout(timeout_s):
        while True:
            event = await socket.events.get()
            assert event is not None, "Home Assistant closed the connection"
            data: dict[str, Any] = event["data"]
            if data["kind"] == kind:
                return data


def environment_of(version: str) -> Path:
    """Return the virtual environment of a version; skip the test if there is none."""
    if version == const.__version__:
        return Path(sys.prefix)
    made = subprocess.run(
        [ROOT / "scripts" / "setup", "--quiet", "--ha", version],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        reason = (made.stderr.strip() or "scripts/setup failed").splitlines()[-1]
        pytest.skip(f"Home Assistant {version} cannot be had: {reason}")
    return ROOT / f".venv-{version}"


@pytest.fixture(scope="module", params=VERSIONS)
def environment(request: pytest.FixtureRequest) -> Path:
    """Return the virtual environment of a version; skip the test if there is none."""
    return environment_of(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(environment: Path) -> AsyncIterator[House]:
    """Start Home Assistant, and add Edge Vision and a camera on a street through their flows."""
    pytest_socket.enable_socket()  # to this machine only, see tests/conftest.py
    home = HomeAssistant(environment=environment, password="correct horse battery")
    async with ClipCamera(SELF_TEST_PICTURE) as camera, home:
        async with home.client.websocket() as socket:
            await demo.add_camera(home.client, camera)
            await socket.subscribe("edge_vision_detection")
            entry_id = await demo.add_edge_vision(home.client)
            first_detection = await next_event(socket, "object")
        yield House(home, camera, entry_id, first_detection)
