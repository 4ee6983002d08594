"""What a node keeps of what it has seen: events, their pictures, and what it follows."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from .errors import StorageError
from .pipeline import History
from .protocol import LoggedEvent, NodeEvent, ResultsRequest
from .storage.evidence import EvidenceStore
from .storage.pictures import PictureStore
from .storage.results import FILE_NAME, ResultLog

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_TIDY_EVERY_S = 6 * 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)

# (sequence number or None where the event could not be written, event)
EventListener = Callable[[int | None, NodeEvent], None]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Records:
    """All of it, read and written in one thread. Used from the event loop.

    A node looks and tells even where nothing can be kept.
    """

    def __init__(self, data: Path, spawn: Spawn, changed: Callable[[], None]) -> None:
        """Use a data folder. Raises `OSError` where it cannot be written.

        `spawn` begins what is finished before the node ends; `changed` is called when `error` comes
        or goes.
        """
        self.pictures = PictureStore(data / "pictures")
        self.evidence = EvidenceStore(data / "evidence")
        self._log_error: str | None = None
        self._picture_error: str | None = None
        self._path = data / FILE_NAME
        self._log: ResultLog | None = None
        self._spawn = spawn
        self._changed = changed
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._listeners: set[EventListener] = set()
        self._tidying: asyncio.Task[None] | None = None

    @property
    def error(self) -> str | None:
        """Return why the log cannot be used, or no picture be kept, at the moment."""
        return self._log_error or self._picture_error

    async def on_disk(self, function: Callable[..., _T], *args: object) -> _T:
        """Call a function in the thread for files."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, function, *args)

    # --- Events ---------------------------------------------------------------------------

    def listen(self, listener: EventListener) -> Callable[[], None]:
        """Call back for every event from now on; returns how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def publish(
        self, events: list[NodeEvent], followed: tuple[str, str] | None = None
    ) -> None:
        """Write events to the log, then push them. A log that fails does not silence the node.

        `followed`: a pipeline and what it follows now, written in the same transaction.
        """
        if events or followed is not None:
            # Whoever asked may be told to stop meanwhile: what is written is pushed all the same.
            await asyncio.shield(self._spawn(self._publish(events, followed)))

    async def _publish(self, events: list[NodeEvent], followed: tuple[str, str] | None) -> None:
        numbers: Iterable[int | None]
        try:
            numbers = await self._with_log(ResultLog.append, events, followed)
        except StorageError as err:
            _LOGGER.error("%s", err)
            numbers = [None] * len(events)
        for seq, event in zip(numbers, events, strict=True):
            for listener in tuple(self._listeners):
                listener(seq, event)

    async def events_after(self, seq: int) -> list[LoggedEvent]:
        """Return up to 1000 events that follow a number, oldest first. Raises `StorageError`."""
        return await self._with_log(ResultLog.after, seq)

    async def newest_events(self, pipeline_id: str | None, limit: int) -> list[LoggedEvent]:
        """Return the newest events, newest first. Raises `StorageError`."""
        return await self._with_log(ResultLog.newest, pipeline_id, limit)

    async def pipeline_of(self, event_id: str) -> str | None:
        """Return whose event it is; None where nobody knows."""
        with suppress(StorageError):
            return await self._with_log(ResultLog.pipeline_of, event_id)
        return None

    async def results(self, request: ResultsRequest, limit: int) -> list[LoggedEvent]:
        """Return what is asked for, newest first. Raises `StorageError`."""

        def find(log: ResultLog) -> list[LoggedEvent]:
            found = log.newest(
                request.pipeline_id,
                limit,
                before=request.before,
                with_picture=request.with_picture,
            )
            if not request.with_picture:
                return found
            pictures = self.evidence.known()
            return [item for item in found if item.event.event_id in pictures]

        return await self._with_log(find)

    async def last_seq(self) -> int:
        """Return the newest event's number. Raises `StorageError`."""
        return await self._with_log(ResultLog.last_seq)

    # --- Pipelines ------------------------------------------------------------------------

    async def history(self, pipeline_id: str) -> History | None:
        """Return what a pipeline has told last; None where nobody knows."""
        with suppress(StorageError):
            present = await self._with_log(ResultLog.open_presences, pipeline_id)
            answer = await self._with_log(ResultLog.last_answer, pipeline_id)
            return History(present, answer)
        return None

    async def followed(self, pipeline_id: str) -> str | None:
        """Return what a pipeline followed before; None if nothing. Raises `StorageError`."""
        return await self._with_log(ResultLog.followed, pipeline_id)

    async def unfollow(self, pipeline_id: str) -> None:
        """Forget what a pipeline followed."""
        with suppress(StorageError):
            await self._with_log(ResultLog.forget, pipeline_id)

    async def delete(self, pipeline_id: str) -> None:
        """Delete the events and pictures of a pipeline that its user has removed.

        Raises `StorageError`.
        """
        event_ids = await self._with_log(ResultLog.delete, pipeline_id)
        try:
            await self.on_disk(self.evidence.delete, event_ids)
            await self.on_disk(self.pictures.delete, pipeline_id)
        except OSError as err:
            raise StorageError(f"The pictures cannot be deleted: {err.strerror}") from err

    # --- The log --------------------------------------------------------------------------

    async def _with_log(self, method: Callable[..., _T], *args: object) -> _T:
        """Call a method of the result log, opening it first where need be.

        Raises `StorageError`, after noting it as `error`.
        """

        def call() -> _T:
            if self._log is None:
                self._log = ResultLog(self._path)
            return method(self._log, *args)

        before = self.error
        try:
            result = await self.on_disk(call)
        except StorageError as err:
            self._log_error = str(err)
            raise
        else:
            self._log_error = None
            return result
        finally:
            self._tell_if_new(before)

    def _tell_if_new(self, before: str | None) -> None:
        if (self.error is None) != (before is None):
            self._changed()

    # --- Pictures -------------------------------------------------------------------------

    async def keep(self, write: Callable[..., None], *args: object) -> None:
        """Write a picture; on a full disk the oldest ones of events give way.

        Raises `StorageError`, after noting it as `error`.
        """

        def call() -> None:
            try:
                write(*args)
            except OSError as err:
                if err.errno not in _FULL or not self.evidence.make_room():
                    raise
                write(*args)

        before = self.error
        try:
            await self.on_disk(call)
        except OSError as err:
            self._picture_error = f"Pictures cannot be written: {err.strerror}"
            raise StorageError(self._picture_error) from err
        else:
            self._picture_error = None
        finally:
            self._tell_if_new(before)

    # --- Age ------------------------------------------------------------------------------

    def begin_to_tidy(self, pipeline_ids: Callable[[], set[str]]) -> None:
        """Delete what is too old, now and every few hours.

        Of the pipelines that there are then, the last picture stays, however old.
        """
        if self._tidying is None:
            self._tidying = asyncio.create_task(self._tidy(pipeline_ids))

    async def _tidy(self, pipeline_ids: Callable[[], set[str]]) -> None:
        while True:
            now = datetime.now(UTC)
            try:
                await self.on_disk(self.pictures.delete_old, pipeline_ids(), now)
                await self.on_disk(self.evidence.trim, now)
                await self._with_log(ResultLog.trim, now)
            except (OSError, StorageError) as err:
                _LOGGER.error("What is old cannot be deleted: %s", err)
            await asyncio.sleep(_TIDY_EVERY_S)

    def stop_tidying(self) -> None:
        """Begin nothing more."""
        if self._tidying is not None:
            self._tidying.cancel()

    async def close(self) -> None:
        """Close the log; nothing may be on its way to disk any more."""
        if self._log is not None:
            await self.on_disk(self._log.close)
        await asyncio.to_thread(self._disk.shutdown, cancel_futures=True)
