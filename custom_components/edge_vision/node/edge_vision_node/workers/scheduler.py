"""The queue of an accelerator: fair to all users, and without stale frames."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import SupersededError

_T = TypeVar("_T")

# While one frame runs, the next one is transferred and decoded. A third would only get stale.
_UNDER_WAY = 2


@dataclass
class _Job:
    run: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any]


class Scheduler:
    """Passes jobs to an accelerator in turn, two at a time.

    Each user (a pipeline) has one place in the queue. A newer job of the same user takes that
    place, and the older one ends with `SupersededError`: stale frames are dropped, never queued,
    and a busy camera cannot hold up the others.
    """

    def __init__(self) -> None:
        """Start with an empty queue."""
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_UNDER_WAY)
        self._running: dict[asyncio.Task[None], _Job] = {}
        self._closed = False
        self._worker = asyncio.create_task(self._work())

    async def run(self, user: str, job: Callable[[], Awaitable[_T]]) -> _T:
        """Run a job in its turn; return its result or raise its exception."""
        if self._closed:
            raise _not_needed()
        mine = _Job(job, asyncio.get_running_loop().create_future())
        if (older := self._waiting.get(user)) is not None and not older.done.done():
            older.done.set_exception(SupersededError("A newer frame replaced this one"))
        self._waiting[user] = mine
        self._wake.set()
        result: _T = await mine.done
        return result

    async def _work(self) -> None:
        while True:
            while self._waiting:
                await self._slots.acquire()
                _, job = self._waiting.popitem(last=False)
                if job.done.done():  # the caller is gone
                    self._slots.release()
                    continue
                task = asyncio.create_task(self._run(job))
                self._running[task] = job
                task.add_done_callback(self._running.pop)
            self._wake.clear()
            await self._wake.wait()

    async def _run(self, job: _Job) -> None:
        try:
            result = await job.run()
        except asyncio.CancelledError:
            if not job.done.done():
                job.done.set_exception(_not_needed())
            raise
        except Exception as err:  # noqa: BLE001 - handed to the one who waits for it
            if not job.done.done():
                job.done.set_exception(err)
        else:
            if not job.done.done():
                job.done.set_result(result)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Cancel all jobs; their callers get `SupersededError`."""
        self._closed = True
        # A task that is cancelled before its first step does nothing, so its caller must be
        # answered here.
        jobs = [*self._waiting.values(), *self._running.values()]
        self._waiting.clear()
        tasks = (self._worker, *self._running)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.wait(tasks)
        finally:
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(_not_needed())


def _not_needed() -> SupersededError:
    return SupersededError("The model is no longer in use")
