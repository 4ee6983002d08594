"""One run of the local node: from the start of its process to the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant

from ..api.link import NodeStartError
from ..const import DATA_DIR
from .node_log import NodeLog

_LOGGER = logging.getLogger(__name__)

NODE_FOLDER = Path(__file__).parents[1] / "node"
READY_TIMEOUT_S = 30.0
# Longer than a slow SD card takes for pending writes.
TERMINATE_TIMEOUT_S = 15.0
_MAX_LINE_BYTES = 16 * 1024
_LINES_AT_ONCE = 20
_QUOTED_CHARS = 200
_LAST_WORDS_TIMEOUT_S = 1.0
# Credentials of Home Assistant that the node does not need.
_WITHHELD = ("SUPERVISOR_TOKEN", "HASSIO_TOKEN")


def data_dir(hass: HomeAssistant) -> Path:
    """Return the local node's data folder."""
    return Path(hass.config.path(DATA_DIR))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Files and environment of a run."""

    folder: Path
    socket: Path
    token_file: Path
    token: str
    environment: dict[str, str]


def _prepare(data_dir: Path, config_dir: Path) -> _Run:
    """Create folders and the token file. Blocking."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # it contains pictures of the home
        data_dir.chmod(0o700)
    # Not in the data folder: the path of a socket is limited to about a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="edge_vision_"))
    try:
        token = secrets.token_urlsafe(32)
        token_file = folder / "token"
        token_file.touch(0o600)
        token_file.write_text(token)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # The node must find the engine where Home Assistant has installed it: in `deps`, if anywhere
    # that its interpreter does not look by itself.
    deps = config_dir / "deps"
    places = [NODE_FOLDER, *([deps] if deps.is_dir() else [])]
    places += [path for entry in sys.path if (path := Path(entry)).is_relative_to(deps)]
    environment = {key: value for key, value in os.environ.items() if key not in _WITHHELD}
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(
        [*dict.fromkeys(map(str, places)), *([inherited] if inherited else [])]
    )
    environment["PYTHONUNBUFFERED"] = "1"
    return _Run(
        folder=folder,
        socket=folder / "node.sock",
        token_file=token_file,
        token=token,
        environment=environment,
    )


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield lines, long ones cut: `StreamReader.readline` gives up on those."""
    pending = b""
    while chunk := await stream.read(_MAX_LINE_BYTES):
        *complete, pending = (pending + chunk).split(b"\n")
        for number, line in enumerate(complete, 1):
            yield line[:_MAX_LINE_BYTES].decode(errors="replace")
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # a node that logs very much must not block the loop
        pending = pending[:_MAX_LINE_BYTES]
    if pending:
        yield pending.decode(errors="replace")


def describe_exit(code: int | None) -> str:
    """Return an exit status in words."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with status {code}"


class NodeProcess:
    """A node process that is ready to be connected to. Make one with `start`."""

    def __init__(self, hass: HomeAssistant, run: _Run, log: NodeLog) -> None:
        """Initialize; use `start` instead."""
        self._hass = hass
        self._run = run
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self.ready: dict[str, Any] = {}

    @property
    def socket(self) -> Path:
        """Return the path of the socket."""
        return self._run.socket

    @property
    def token(self) -> str:
        """Return the token, which is new for every run."""
        return self._run.token

    @property
    def pid(self) -> int | None:
        """Return the id of the process."""
        return self._process.pid if self._process else None

    @classmethod
    async def start(cls, hass: HomeAssistant, data_dir: Path, log: NodeLog) -> NodeProcess:
        """Start a node and wait until it can be connected to.

        Raises `NodeStartError`. When it raises, or is cancelled, no process is left.
        """
        try:
            preparing = hass.async_add_executor_job(
                _prepare, data_dir, Path(hass.config.config_dir)
            )
            run = await asyncio.shield(preparing)
        except OSError as err:
            raise NodeStartError(f"its folders cannot be made: {err}") from err
        except asyncio.CancelledError:
            # The folder is created anyway and must be removed.
            preparing.add_done_callback(lambda done: _discard(hass, done))
            raise
        self = cls(hass, run, log)
        try:
            await self._start(data_dir)
        except BaseException:
            await self.stop()
            raise
        return self

    async def _start(self, data_dir: Path) -> None:
        level = "debug" if logging.getLogger(__package__).isEnabledFor(logging.DEBUG) else "info"
        # fmt: off
        command = (
            sys.executable, "-P", "-m", "edge_vision_node", "serve",
            "--socket", str(self._run.socket),
            "--data", str(data_dir),
            "--token-file", str(self._run.token_file),
            "--parent-stdin",
            "--log-level", level,
        )
        # fmt: on
        self._log.begin()
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *command,
                # Never written to: its end tells the node that Home Assistant is gone.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=data_dir,
                env=self._run.environment,
                # Linux shares the processor among sessions first, then among their processes: in
                # one with Home Assistant, what the node uses would count as Home Assistant's, and
                # its event loop wait behind whatever else is busy.
                start_new_session=True,
            )
        except OSError as err:
            raise NodeStartError(f"its process cannot be started: {err}") from err
        assert process.stdout is not None
        assert process.stderr is not None
        ready: asyncio.Future[dict[str, Any]] = self._hass.loop.create_future()
        self._read(process.stdout, lambda line: _take_stdout(line, ready))
        self._read(process.stderr, self._log.add)
        exited: asyncio.Future[Any] = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await asyncio.wait({ready, exited}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as err:
            raise NodeStartError(
                f"it was not ready within {READY_TIMEOUT_S:g} s{self._quote()}"
            ) from err
        finally:
            exited.cancel()
            ready.cancel()
        if not ready.done() or ready.cancelled():
            words = await self.last_words()
            raise NodeStartError(self._log.start_error or words or "it ended before it was ready")
        self.ready = ready.result()

    def _quote(self) -> str:
        lines = [line[:_QUOTED_CHARS] for line in self._log.last_words()]
        return f"; its last words: {' | '.join(lines)}" if lines else ""

    async def last_words(self, timeout_s: float = _LAST_WORDS_TIMEOUT_S) -> str | None:
        """Return how the process ended and its last log lines; None if it still runs.

        A process that dies closes its socket a moment before its exit status is known.
        """
        try:
            async with asyncio.timeout(timeout_s):
                code = await self.wait()
                await asyncio.wait(self._readers)
        except TimeoutError:
            if self._process is None or (code := self._process.returncode) is None:
                return None
        return f"{describe_exit(code)}{self._quote()}"

    def _read(self, stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
        async def read() -> None:
            async for line in _lines(stream):
                take(line)

        self._readers.append(asyncio.create_task(read(), name="Edge Vision node output"))

    async def wait(self) -> int | None:
        """Wait until the process has ended; returns its exit status."""
        return await self._process.wait() if self._process else None

    def kill(self) -> None:
        """Kill a process that does not react. `stop` cleans up after it."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """Terminate the process, kill it if necessary, and remove its files. Safe to repeat.

        Who waits for it may be cancelled; the process is ended all the same.
        """
        if self._ending is None:
            self._ending = self._hass.async_create_task(self._end(), "Edge Vision node stop")
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if (process := self._process) is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            try:
                async with asyncio.timeout(TERMINATE_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                _LOGGER.debug("The node did not stop by itself and was killed")
                self.kill()
                await process.wait()
            if process.stdin is not None:
                process.stdin.close()
        for reader in self._readers:
            reader.cancel()
        if self._readers:
            await asyncio.wait(self._readers)
        # Only now: a process that still ran could put its socket back.
        await self._hass.async_add_executor_job(_remove, self._run.folder)


def _take_stdout(line: str, ready: asyncio.Future[dict[str, Any]]) -> None:
    """Look for the line that reports that the node is ready."""
    if not ready.done():
        with contextlib.suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict) and isinstance(message.get("ready"), dict):
                ready.set_result(message["ready"])
                return
    _LOGGER.debug("The node printed: %s", line[:200])


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _discard(hass: HomeAssistant, done: asyncio.Future[_Run]) -> None:
    if not done.cancelled() and done.exception() is None:
        hass.async_add_executor_job(_remove, done.result().folder)
