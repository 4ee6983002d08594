"""Which frame runs when: one lane per accelerator, fair to all who use it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import SupersededError

_T = TypeVar("_T")


@dataclass
class _Job:
    run: Callable[[], Any]
    done: asyncio.Future[Any]


class Lane:
    """Runs jobs for one accelerator, one at a time, in a thread of its own.

    Each user (a pipeline) has one place in the queue. A newer job of the same user takes that
    place, and the older one ends with `SupersededError`: stale frames are dropped, never queued,
    and a busy camera cannot hold up the others.
    """

    def __init__(self, name: str) -> None:
        """Start with nothing to do."""
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lane-{name}")
        self._worker = asyncio.create_task(self._work(), name=f"lane-{name}")

    async def run(self, user: str, job: Callable[[], _T]) -> _T:
        """Run a job in the lane's thread and return what it returns, or raise what it raises."""
        mine = _Job(job, asyncio.get_running_loop().create_future())
        if (older := self._waiting.get(user)) is not None and not older.done.done():
            older.done.set_exception(SupersededError("A newer frame took this one's place"))
        self._waiting[user] = mine
        self._wake.set()
        result: _T = await mine.done
        return result

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._waiting:
                _, job = self._waiting.popitem(last=False)
                if job.done.done():  # nobody waits for it any more
                    continue
                try:
                    result = await loop.run_in_executor(self._thread, job.run)
                except asyncio.CancelledError:
                    job.done.cancel()
                    raise
                except Exception as err:  # noqa: BLE001 - handed to the one who waits for it
                    if not job.done.done():
                        job.done.set_exception(err)
                else:
                    if not job.done.done():
                        job.done.set_result(result)
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        """Stop after the job that runs; those that wait are cancelled."""
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        for job in self._waiting.values():
            job.done.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)
