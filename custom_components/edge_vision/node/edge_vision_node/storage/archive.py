"""What a node keeps of what it has seen: events, their pictures, and what is there now.

Events are written in one thread, read in another, and everything else about files is done in a
third: browsing pictures does not delay events.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from ..errors import NewerLogError, StorageError
from ..protocol import Kind, LoggedEvent, NodeEvent, ResultsRequest
from .event_log import FILE_NAME, ResultLog
from .event_pictures import EvidenceStore
from .last_pictures import PictureStore

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_TIDY_EVERY_S = 6 * 3600.0
# After what an event tells of; an older one whose picture is not there will have none.
_PICTURE_COMES_WITHIN = timedelta(seconds=60)
_TRY_EVERY_S = 30.0
_WRITE, _READ, _PICTURES = _KINDS = ("write", "read", "pictures")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class History:
    """What the event log says of a pipeline.

    Attributes:
        present: label → count, by the newest event of the label.
        answer: the last answer about the whole picture.
        newest: id of the newest event about objects or the whole picture.
    """

    present: dict[str, int]
    answer: NodeEvent | None
    newest: str | None


@dataclass(frozen=True)
class _Failure:
    """Why something cannot be kept; `newer`: because a newer version has written the log."""

    reason: str
    newer: bool = False


class Archive:
    """All of it. Used from the event loop.

    A node goes on looking and pushing events even if nothing can be kept.
    """

    def __init__(self, data: Path, changed: Callable[[], None]) -> None:
        """Use a data folder. Raises `OSError` if it cannot be written.

        `changed` is called when `error` appears or is gone.
        """
        self.pictures = PictureStore(data / "pictures")
        self.evidence = EvidenceStore(data / "evidence")
        # Why something fails at the moment, by what it is: that the log can be read does not say
        # that it can be written.
        self._errors: dict[str, _Failure] = {}
        self._path = data / FILE_NAME
        self._log: ResultLog | None = None
        self._opening = threading.Lock()
        self._changed = changed
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="log-write")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="log-read")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._tidying: asyncio.Task[None] | None = None
        self._trying: asyncio.Task[None] | None = None

    @property
    def _failure(self) -> _Failure | None:
        return next((self._errors[kind] for kind in _KINDS if kind in self._errors), None)

    @property
    def error(self) -> str | None:
        """Return why the log cannot be used, or no picture be kept, at the moment."""
        return self._failure.reason if self._failure is not None else None

    @property
    def newer(self) -> bool:
        """Return whether `error` is that a newer version has written the log."""
        return self._failure is not None and self._failure.newer

    @property
    def notice(self) -> str | None:
        """Return in a sentence what has happened to the log; None where nothing has."""
        return self._log.notice if self._log is not None else None

    @property
    def log_id(self) -> str | None:
        """Return which log the numbers of events are of; None while it cannot be opened."""
        return self._log.log_id if self._log is not None else None

    async def on_disk(self, function: Callable[..., _T], *args: object) -> _T:
        """Call a function in the thread for files other than the log."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, function, *args)

    # --- Events ---------------------------------------------------------------------------

    async def append(
        self, events: Sequence[NodeEvent], held: tuple[str, str] | None = None
    ) -> list[int]:
        """Write events in one transaction; return their numbers. Raises `StorageError`.

        `held` is a pipeline and what is there at its camera now, written with them.
        """
        return await self._write(ResultLog.append, events, held)

    async def events_after(self, seq: int) -> list[LoggedEvent]:
        """Return up to 1000 events that follow a number, oldest first. Raises `StorageError`.

        Each names the picture that shows it only where there is one, or it may still come.
        """

        def find(log: ResultLog) -> list[LoggedEvent]:
            found = log.after(seq)
            kept = self.evidence.known() if any(item.event.evidence for item in found) else set()
            newest = datetime.now(UTC) - _PICTURE_COMES_WITHIN
            return [_with_picture_or_none(item, kept, newest) for item in found]

        return await self._read(find)

    async def newest_events(self, pipeline_id: str | None, limit: int) -> list[LoggedEvent]:
        """Return the newest events, newest first. Raises `StorageError`."""
        return await self._read(ResultLog.newest, pipeline_id, limit)

    async def pipeline_of(self, event_id: str) -> str | None:
        """Return which pipeline an event is of; None if that is not known."""
        with suppress(StorageError):
            return await self._read(ResultLog.pipeline_of, event_id)
        return None

    async def results(self, request: ResultsRequest, limit: int) -> list[LoggedEvent]:
        """Return what is asked for, newest first. Raises `StorageError`."""

        def find(log: ResultLog) -> list[LoggedEvent]:
            return log.newest(
                request.pipeline_id,
                limit,
                before=request.before,
                with_picture=request.with_picture,
                among=self.evidence.known() if request.with_picture else None,
            )

        return await self._read(find)

    async def position(self) -> tuple[str, int]:
        """Return which log it is and its newest event's number. Raises `StorageError`."""
        return await self._read(lambda log: (log.log_id, log.last_seq()))

    # --- Pipelines ------------------------------------------------------------------------

    async def held(self, pipeline_id: str) -> tuple[str | None, History]:
        """Return what was there at a pipeline's camera, as it was written and as the log tells it.

        Raises `StorageError`.
        """

        def find(log: ResultLog) -> tuple[str | None, History]:
            history = History(
                log.open_presences(pipeline_id),
                log.last_answer(pipeline_id),
                log.newest_of(pipeline_id, (Kind.OBJECT, Kind.CLASSIFICATION)),
            )
            return log.held(pipeline_id), history

        return await self._read(find)

    async def forget(self, pipeline_id: str) -> None:
        """Forget what was there at a pipeline's camera."""
        with suppress(StorageError):
            await self._write(ResultLog.forget, pipeline_id)

    async def delete(self, pipeline_id: str) -> None:
        """Delete the events and pictures of a pipeline that its user has removed.

        Raises `StorageError`.
        """
        event_ids = await self._write(ResultLog.delete, pipeline_id)
        try:
            await self.on_disk(self.evidence.delete, event_ids)
            await self.on_disk(self.pictures.delete, pipeline_id)
        except OSError as err:
            raise StorageError(f"The pictures cannot be deleted: {err.strerror}") from err

    # --- The log --------------------------------------------------------------------------

    async def _write(self, method: Callable[..., _T], *args: object) -> _T:
        """Call a method of the log that changes it. Raises `StorageError`."""
        return await self._with_log(_WRITE, self._writing, method, *args)

    async def _read(self, method: Callable[..., _T], *args: object) -> _T:
        """Call a method of the log that only reads. Raises `StorageError`."""
        return await self._with_log(_READ, self._reading, method, *args)

    async def _with_log(
        self, kind: str, threads: ThreadPoolExecutor, method: Callable[..., _T], *args: object
    ) -> _T:
        """Call a method of the log, opening it first where need be.

        Raises `StorageError`, after noting it as `error`.
        """

        def call() -> _T:
            with self._opening:
                if self._log is None:
                    self._log = ResultLog(self._path)
            return method(self._log, *args)

        before = self._told
        try:
            result = await asyncio.get_running_loop().run_in_executor(threads, call)
        except StorageError as err:
            self._errors[kind] = _Failure(str(err), newer=isinstance(err, NewerLogError))
            if kind == _WRITE and (self._trying is None or self._trying.done()):
                self._trying = asyncio.create_task(self._try_to_write_again())
            raise
        else:
            self._errors.pop(kind, None)
            return result
        finally:
            self._tell_if_new(before)

    async def _try_to_write_again(self) -> None:
        """Find out when the log can be written again, however long no event comes."""
        while _WRITE in self._errors:
            await asyncio.sleep(_TRY_EVERY_S)
            with suppress(StorageError):
                await self._write(ResultLog.touch)

    @property
    def _told(self) -> tuple[bool, bool, str | None]:
        """Return what `changed` is called for when it changes."""
        return self.error is not None, self.newer, self.notice

    def _tell_if_new(self, before: tuple[bool, bool, str | None]) -> None:
        if self._told != before:
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

        before = self._told
        try:
            await self.on_disk(call)
        except OSError as err:
            reason = f"Pictures cannot be written: {err.strerror}"
            self._errors[_PICTURES] = _Failure(reason)
            raise StorageError(reason) from err
        else:
            self._errors.pop(_PICTURES, None)
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
                await self._write(ResultLog.trim, now)
                await self._read(ResultLog.check)
            except (OSError, StorageError) as err:
                _LOGGER.error("What is old cannot be deleted: %s", err)
            await asyncio.sleep(_TIDY_EVERY_S)

    def stop_tidying(self) -> None:
        """Stop background work."""
        for task in (self._tidying, self._trying):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Close the log; nothing may be on its way to disk any more."""
        if self._log is not None:
            await asyncio.to_thread(self._log.close)
        for threads in (self._writing, self._reading, self._disk):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)


def _with_picture_or_none(item: LoggedEvent, kept: set[str], newest: datetime) -> LoggedEvent:
    event = item.event
    if event.evidence is None or event.evidence in kept:
        return item
    try:
        if datetime.fromisoformat(event.captured_at) > newest:
            return item
    except (TypeError, ValueError):
        pass  # no time that anybody knows: not now
    return replace(item, event=replace(event, evidence=None))
