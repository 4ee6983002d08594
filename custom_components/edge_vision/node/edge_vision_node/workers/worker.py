"""The node's side of a worker process."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import WorkerError, error_of
from ..protocol import decode_binary, encode_binary, read, write

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_MODULE = f"{__package__}.child"
_EXIT_STATUS_WAIT_S = 1.0
_PACKAGE_PARENT = Path(__file__).parents[2]


class Worker:
    """One worker process, started when it is first asked for something, and again after a crash.

    Every request has a deadline. A worker that misses it is killed: native code that hangs cannot
    be ended in any other way. Whoever waits for one of its answers gets `WorkerError`, and the
    next request starts a new one, with nothing loaded (`generation` tells).
    """

    def __init__(
        self,
        name: str,
        memory_limit: int = 0,
        *,
        disposable: bool = False,
        module: str = _MODULE,
        culprit: str = "the engine",
        on_push: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Name a worker; `memory_limit` in bytes of address space, 0 for none.

        A `disposable` one is the first that the kernel ends when memory runs out. `module` is what
        it runs, `culprit` what to blame for its crash; `on_push` gets what it says unasked.
        """
        self.name = name
        self.generation = 0
        self.deaths = 0
        self.closed = False
        self._memory_limit = memory_limit
        self._more = ("disposable",) if disposable else ()
        self._module = module
        self._culprit = culprit
        self._on_push = on_push
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], memoryview]]] = {}
        self._reason = ""

    @property
    def pid(self) -> int | None:
        """Return the process's id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def ask(
        self,
        order: str,
        message: object,
        answer: type[_T],
        *,
        deadline_s: float,
        picture: bytes | memoryview = b"",
    ) -> _T:
        """Send an order and return its answer.

        Raises `WorkerError` where the worker crashed or missed the deadline, or the `NodeError`
        that it answered with.
        """
        result, _ = await self.fetch(order, message, answer, deadline_s=deadline_s, picture=picture)
        return result

    async def fetch(
        self,
        order: str,
        message: object,
        answer: type[_T],
        *,
        deadline_s: float,
        picture: bytes | memoryview = b"",
    ) -> tuple[_T, memoryview]:
        """Do as `ask`, and return the bytes that come with the answer, too."""
        await self._ensure_started()
        assert self._writer is not None
        number = next(self._numbers)
        future: asyncio.Future[tuple[dict[str, Any], memoryview]]
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        frame = encode_binary({"id": number, "type": order, **write(message)}, picture)
        try:
            async with asyncio.timeout(deadline_s):
                self._writer.write(len(frame).to_bytes(4) + frame)
                await self._writer.drain()
                result, content = await future
        except TimeoutError:
            reason = f"it did not answer within {deadline_s:g} s"
            await self._kill(reason)
            raise WorkerError(f"{self.name}: {reason}") from None
        except ConnectionError:
            # The reader is about to notice the same, and knows why.
            result, content = await future
        finally:
            self._waiting.pop(number, None)
        if result["type"] == "error":
            raise error_of(result["code"], result["message"])
        return read(answer, result["result"]), content

    async def ended(self) -> str:
        """Wait until the process that runs now has ended; return why. Returns at once if none."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return self._reason

    async def _ensure_started(self) -> None:
        async with self._starting:
            if self.closed:
                raise WorkerError(f"{self.name}: it is not needed any more")
            if self._reading is not None and not self._reading.done():
                return
            ours, theirs = socket.socketpair()
            with theirs:
                environment = {**os.environ, "PYTHONPATH": _python_path()}
                level = logging.getLevelName(_LOGGER.getEffectiveLevel())
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", self._module),
                    *(str(theirs.fileno()), str(self._memory_limit), level, *self._more),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environment,
                )
            reader, self._writer = await asyncio.open_connection(sock=ours)
            self.generation += 1
            self._reason = ""
            self._reading = asyncio.create_task(self._read(reader, self._process))

    async def _read(
        self, reader: asyncio.StreamReader, process: asyncio.subprocess.Process
    ) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(4))
                message, content = decode_binary(await reader.readexactly(length))
                if "id" not in message:
                    if self._on_push is not None:
                        self._on_push(message)
                    continue
                future = self._waiting.get(message["id"])
                if future is not None and not future.done():
                    future.set_result((message, content))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            assert self._writer is not None
            self._writer.close()
            try:
                async with asyncio.timeout(_EXIT_STATUS_WAIT_S):
                    status = await process.wait()
            except TimeoutError:  # it closed its end, and lives on
                self._reason = self._reason or f"{self._culprit} hung up"
                with suppress(ProcessLookupError):
                    process.kill()
                status = await process.wait()
            self.deaths += 1
            self._reason = self._reason or _describe_exit(self._culprit, status)
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(WorkerError(f"{self.name}: {self._reason}"))

    async def _kill(self, reason: str) -> None:
        """End the process and wait until all who waited for it know."""
        if self._process is not None and self._process.returncode is None:
            level = logging.DEBUG if self.closed else logging.WARNING
            _LOGGER.log(level, "The worker %s is ended: %s", self.name, reason)
            self._reason = reason
            with suppress(ProcessLookupError):
                self._process.kill()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def close(self) -> None:
        """End the process; whoever still waits gets `WorkerError`."""
        self.closed = True
        await self._kill("it is not needed any more")


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_PACKAGE_PARENT), *([inherited] if inherited else [])])


def _describe_exit(culprit: str, status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return f"{culprit} crashed ({signal.Signals(-status).name})"
    return f"{culprit} ended by itself (status {status})"
