"""A real Home Assistant with a temporary config folder on localhost, for the demo and the tests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
from ha_client import HaClient, HaError
from ha_requirements import NEED_A_COMPILER

ROOT = Path(__file__).resolve().parent.parent
INTEGRATION = ROOT / "custom_components" / "edge_vision"

USER = "owner"
_START_S = 120.0  # on a slow disk, the first time
_STOP_S = 20.0

_CONFIGURATION = """\
homeassistant:
  name: Edge Vision demo
  latitude: 52.37
  longitude: 4.9
  elevation: 0
  unit_system: metric
  time_zone: UTC
  country: NL
  allowlist_external_dirs: [{media}]
frontend:
config:
history:
logbook:
media_source:
system_health:
# Separate files, as in a new installation: the editors of the UI save to them.
automation: !include automations.yaml
script: !include scripts.yaml
scene: !include scenes.yaml
logger:
  default: info
"""


class HomeAssistant:
    """One instance with its folder, process and owner."""

    def __init__(
        self,
        *,
        environment: Path = Path(sys.prefix),
        port: int | None = None,
        password: str,
        integration: Path | None = INTEGRATION,
        program: Sequence[str] = ("-m", "homeassistant"),
    ) -> None:
        """Prepare an instance that runs in a virtual environment.

        If `port` is None, a free one is used; if `integration` is None, Edge Vision is not added.
        `program` are the arguments for Python.
        """
        self.port = port or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.folder: Path
        self.log: Path
        self.password = password
        self.process: asyncio.subprocess.Process | None = None
        self._environment = environment
        self._integration = integration
        self._program = program
        self._session: aiohttp.ClientSession | None = None
        self._client: HaClient | None = None

    @property
    def client(self) -> HaClient:
        """Return the session of the owner."""
        if self._client is None:
            raise HaError("Home Assistant was not started")
        return self._client

    async def __aenter__(self) -> Self:
        """Start the instance; if this fails, everything is removed."""
        self.folder = Path(tempfile.mkdtemp(prefix="edge-vision-ha-"))
        self.log = self.folder / "home-assistant.out"
        try:
            self._write_config()
            await self.start()
        except BaseException as err:
            self._explain(err)
            await self.close()
            raise
        return self

    async def __aexit__(self, _: object, err: BaseException | None, __: object) -> None:
        """Stop the instance and remove its folder; errors get the end of the log as a note."""
        self._explain(err)
        await self.close()

    async def start(self) -> None:
        """Start the process and wait until Home Assistant is running. Raises `HaError`."""
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "SUPERVISOR")
        }
        environment["PYTHONPATH"] = str(ROOT / "scripts" / "without_voice")
        environment["PATH"] = f"{self._environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        command = [
            str(self._environment / "bin" / "python"),
            *(*self._program, "--config", str(self.folder)),
            *("--skip-pip-packages", ",".join(NEED_A_COMPILER)),
        ]
        with self.log.open("ab") as log:
            # A new session: Ctrl-C only reaches the caller, which then stops this cleanly.
            self.process = await asyncio.create_subprocess_exec(
                *_ends_with_us(),
                *command,
                env=environment,
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_START_S):
                await self._wait_until_running()
        except TimeoutError:
            raise HaError(f"Home Assistant did not start within {_START_S:.0f} s") from None

    async def stop(self) -> None:
        """Stop the process cleanly, or kill it if this takes too long."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self.process.wait()
                return
        await self._kill_group()

    async def kill(self) -> None:
        """Kill Home Assistant itself, but not its child processes."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def close(self) -> None:
        """Stop the instance and remove its files."""
        try:
            await self.stop()
        finally:
            await self._kill_group()
            if self._session is not None:
                await self._session.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _kill_group(self) -> None:
        """Kill everything in its session, if it is still running."""
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    def _explain(self, err: BaseException | None) -> None:
        if isinstance(err, Exception):
            err.add_note(f"The end of Home Assistant's log:\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def _wait_until_running(self) -> None:
        self._session = self._session or aiohttp.ClientSession()
        while self._client is None:
            self._check_alive()
            with suppress(aiohttp.ClientConnectionError):
                async with self._session.get(f"{self.base}/api/onboarding") as answer:
                    if answer.status == 200:
                        self._client = await HaClient.onboard(
                            self._session,
                            self.base,
                            name="Owner",
                            user=USER,
                            password=self.password,
                        )
                        break
            await asyncio.sleep(0.1)
        while True:
            self._check_alive()
            with suppress(aiohttp.ClientConnectionError, HaError):
                if (await self._client.get("/api/config"))["state"] == "RUNNING":
                    return
            await asyncio.sleep(0.1)

    def _check_alive(self) -> None:
        if self.process is not None and self.process.returncode is not None:
            raise HaError(f"Home Assistant ended with exit code {self.process.returncode}")

    def _write_config(self) -> None:
        storage = self.folder / ".storage"
        storage.mkdir()
        media = self.folder / "media"
        media.mkdir()
        (self.folder / "configuration.yaml").write_text(
            _CONFIGURATION.format(media=json.dumps(str(media)))
        )
        for name, empty in (("automations", "[]"), ("scripts", "{}"), ("scenes", "[]")):
            (self.folder / f"{name}.yaml").write_text(f"{empty}\n")
        # Home Assistant only tries http settings from YAML and then restarts without them; its
        # storage contains confirmed settings, and the state of the onboarding.
        http = {
            "stable": {
                "server_host": ["127.0.0.1"],
                "server_port": self.port,
                "cors_allowed_origins": [],
                "login_attempts_threshold": -1,
                "ip_ban_enabled": False,
                "ssl_profile": "modern",
                "use_x_frame_options": True,
                "created_at": "2026-01-01T00:00:00+00:00",
                "error": None,
                "error_message": None,
            },
            "pending": None,
            "yaml_migration_done": True,
        }
        _store(storage / "http", 2, 2, http)
        _store(
            storage / "onboarding",
            *(4, 1),
            {"done": ["core_config", "analytics", "integration"]},
        )
        components = self.folder / "custom_components"
        components.mkdir()
        # Without this file, another package of that name in the environment would be used.
        (components / "__init__.py").touch()
        if self._integration is not None:
            link = components / self._integration.name
            link.symlink_to(self._integration, target_is_directory=True)


def _ends_with_us() -> list[str]:
    """Return a prefix for a command so that Linux ends it even if this process is killed."""
    setpriv = shutil.which("setpriv")
    if (
        setpriv is None or Path(setpriv).resolve().name != "setpriv"
    ):  # the one of busybox lacks options
        return []
    return [setpriv, "--pdeathsig", "TERM"]


def free_port(wanted: int | None = None) -> int:
    """Return a free port on localhost, preferably the wanted one."""
    for port in (wanted, 0):
        if port is None:
            continue
        with socket.socket() as trial, suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", port))
            return int(trial.getsockname()[1])
    raise HaError("There is no free port on 127.0.0.1")


def _store(path: Path, version: int, minor_version: int, data: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(
            {"version": version, "minor_version": minor_version, "key": path.name, "data": data}
        )
    )
