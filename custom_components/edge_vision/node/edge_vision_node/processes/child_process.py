"""The parent's handle of a child process."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import NodeError, WorkerError, error_of
from ..protocol import ProtocolError, decode_binary, encode_binary, read, write
from .messages import BEGAN, Began

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_EXIT_STATUS_WAIT_S = 1.0
# How long an order may wait to begin: starting a process takes time on a busy machine.
_BEGIN_DEADLINE_S = 20.0
# Twice as much as many parts of a frame with all their pixels.
_MOST_FRAME_BYTES = 256 * 1024 * 1024
_PACKAGE_PARENT = Path(__file__).parents[2]


@dataclass
class _Asked:
    """An order without an answer yet; `timer` ends the process after the deadline."""

    answer: asyncio.Future[tuple[dict[str, Any], memoryview]]
    deadline_s: float
    begun: bool = False
    timer: asyncio.TimerHandle | None = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class ChildProcess:
    """A child process, started by the first request and again by the first one after a crash.

    Every request has a deadline. A process that misses it is killed, because native code that
    hangs cannot be ended in any other way. All requests that wait for an answer then raise
    `WorkerError`, and the next request starts a new process with nothing loaded (`generation`
    counts them).

    A process that is `in_order` executes one order after the other and reports when it begins one.
    The deadline of an order counts from there, so that no order pays for the time of another, and
    `WorkerError.begun` tells which order the process died of.
    """

    def __init__(
        self,
        name: str,
        module: str,
        *,
        culprit: str,
        memory_limit: int = 0,
        disposable: bool = False,
        in_order: bool = True,
        on_push: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Prepare a process; nothing is started yet.

        Args:
            name: for logs and errors.
            module: what it runs.
            culprit: what to blame for a crash.
            memory_limit: bytes of address space, 0 for no limit.
            disposable: the kernel ends this process first when memory runs out.
            in_order: see above.
            on_push: called with each message that is no answer.
        """
        self.name = name
        self.generation = 0
        self.deaths = 0
        self.closed = False
        self._memory_limit = memory_limit
        self._more = ("disposable",) if disposable else ()
        self._module = module
        self._culprit = culprit
        self._in_order = in_order
        self._on_push = on_push
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}  # in the order in which they were sent
        self._reason = ""
        self._late: _Asked | None = None
        self._on_purpose = False
        self._misspoke = False
        self._killed = False

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

        Raises `WorkerError` if the process crashed or missed the deadline, or the `NodeError` that
        it answered with.
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
        """Send an order; return its answer and the bytes that came with it. Raises as `ask`."""
        await self._ensure_started()
        assert self._writer is not None
        number = next(self._numbers)
        try:
            frame = encode_binary({"id": number, "type": order, **write(message)}, picture)
        except ProtocolError as err:
            raise NodeError(f"{self.name} cannot execute {order}: {err}") from err
        asked = _Asked(asyncio.get_running_loop().create_future(), deadline_s)
        # It stays there until it is answered, even if the caller is gone: the process executes
        # it all the same, and may hang.
        self._asked[number] = asked
        self._watch()
        try:
            self._writer.write(len(frame).to_bytes(4) + frame)
            # `_read` notices it as well, and knows the reason.
            with suppress(ConnectionError):
                await self._writer.drain()
            result, content = await asked.answer
        finally:
            asked.answer.cancel()
        if result["type"] == "error":
            raise error_of(str(result.get("code")), str(result.get("message")))
        try:
            return read(answer, result.get("result")), content
        except ProtocolError as err:
            raise NodeError(f"{self.name} gave an invalid answer: {err}") from err

    async def ended(self) -> str:
        """Wait until the current process, if any, has ended; return why."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return self._reason

    async def _ensure_started(self) -> None:
        async with self._starting:
            if self.closed:
                raise WorkerError(f"{self.name}: it is no longer needed")
            if self._reading is not None and not self._reading.done():
                return
            try:
                await self._start()
            except OSError as err:
                # Too many processes or files, too little memory.
                reason = f"it cannot be started: {err.strerror}"
                raise WorkerError(f"{self.name}: {reason}", reason=reason) from err

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {**os.environ, "PYTHONPATH": _python_path()}
            environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a node, see __main__
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
        self._reason, self._late = "", None
        self._on_purpose = self._misspoke = False
        self._reading = asyncio.create_task(self._read(reader, self._process))

    async def _read(
        self, reader: asyncio.StreamReader, process: asyncio.subprocess.Process
    ) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(4))
                if length > _MOST_FRAME_BYTES:
                    raise ProtocolError(f"a message of {length >> 20} MiB")
                self._take(*decode_binary(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ProtocolError as err:
            # It is unknown which order this was about, and what else is lost.
            self._misspoke = True
            self._kill(f"it sent an invalid message ({err})")
        finally:
            assert self._writer is not None
            self._writer.close()
            try:
                async with asyncio.timeout(_EXIT_STATUS_WAIT_S):
                    status = await process.wait()
            except TimeoutError:  # it closed the connection but still runs
                self._reason = self._reason or f"{self._culprit} hung up"
                with suppress(ProcessLookupError):
                    process.kill()
                status = await process.wait()
            self.deaths += 1
            self._killed = not self._reason and -status == signal.SIGKILL
            self._reason = self._reason or _describe_exit(self._culprit, status)
            lost, self._asked = self._asked, {}
            for asked in lost.values():
                asked.stop_timer()
                if not asked.answer.done():
                    asked.answer.set_exception(self._error_for(asked))

    def _take(self, message: dict[str, Any], content: memoryview) -> None:
        """Handle a message of the process. Raises `ProtocolError`."""
        kind = message.get("type")
        if kind == BEGAN:
            self._note_begin(read(Began, message.get("message")).order)
        elif "id" not in message:
            if self._on_push is not None:
                self._on_push(message)
        elif kind not in ("result", "error") or not isinstance(message["id"], int):
            raise ProtocolError("an unknown kind of message")
        elif (asked := self._asked.pop(message["id"], None)) is not None:
            asked.stop_timer()
            if not asked.answer.done():
                asked.answer.set_result((message, content))
            self._watch()

    def _error_for(self, asked: _Asked) -> WorkerError:
        """Return the error of an order whose process has ended."""
        return WorkerError(
            f"{self.name}: {self._reason}",
            reason=self._reason,
            begun=asked.begun and not (self._on_purpose or self._misspoke),
            timed_out=asked is self._late,
            killed=self._killed,
        )

    # --- Deadlines -------------------------------------------------------------------------------

    def _note_begin(self, number: int) -> None:
        if (asked := self._asked.get(number)) is not None:
            asked.begun = True
            asked.stop_timer()  # its deadline counts from now
            self._watch()

    def _watch(self) -> None:
        """Start a timer for each order that may be executing."""
        for asked in self._asked.values():
            if asked.timer is None:
                deadline_s = asked.deadline_s
                if self._in_order and not asked.begun:
                    deadline_s = max(deadline_s, _BEGIN_DEADLINE_S)
                loop = asyncio.get_running_loop()
                asked.timer = loop.call_later(deadline_s, self._give_up_on, asked, deadline_s)
            if self._in_order:
                break  # the others wait for their turn

    def _give_up_on(self, asked: _Asked, deadline_s: float) -> None:
        self._late = asked
        self._kill(f"it did not answer within {deadline_s:g} s")

    # --- The end ---------------------------------------------------------------------------------

    def _kill(self, reason: str, level: int = logging.WARNING) -> None:
        """End the process; `_read` then raises the reason in all orders."""
        if self._process is not None and self._process.returncode is None:
            _LOGGER.log(level, "The worker %s is ended: %s", self.name, reason)
            self._reason = reason
            with suppress(ProcessLookupError):
                self._process.kill()

    async def end(self, reason: str, level: int = logging.INFO) -> None:
        """End the process without blaming an order; the next request starts a new one."""
        self._on_purpose = True
        self._kill(reason, level)
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def close(self) -> None:
        """End the process for good; pending orders raise `WorkerError`."""
        self.closed = True
        await self.end("it is no longer needed", logging.DEBUG)


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_PACKAGE_PARENT), *([inherited] if inherited else [])])


def _describe_exit(culprit: str, status: int) -> str:
    if -status == signal.SIGKILL:
        # A crash of native code is another signal.
        return f"{culprit} was ended by the system (SIGKILL), most likely because memory ran out"
    if status < 0:
        with suppress(ValueError):
            return f"{culprit} crashed ({signal.Signals(-status).name})"
    return f"{culprit} ended by itself (status {status})"
