"""The pictures of events: for each the best one, clean and annotated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from ..errors import NoPictureError
from .event_log import DEFAULT_MAX_AGE
from .files import UNFINISHED, Deleter, make_folder, read_jpeg, sizes_and_times, write_whole

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
_EVENT_ID = re.compile(r"[0-9A-Z]{26}")
_CLEAN = ".clean.jpg"
_ANNOTATED = ".jpg"
_UNFINISHED = timedelta(hours=1)
_SUFFIXES = (_CLEAN, _ANNOTATED)
_ROOM = 0.1


class EvidenceStore:
    """Keeps two JPEGs per event, named by its id. Methods raise `OSError`.

    Ids are ULIDs, so names in order are events in order of time. What cannot be read is left
    alone: only age and the size of the whole decide what is deleted.
    """

    def __init__(
        self,
        folder: Path,
        max_age: timedelta = DEFAULT_MAX_AGE,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """Make the folder."""
        make_folder(folder)
        self._folder = folder
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._deleter = Deleter()

    def write(self, event_id: str, clean: bytes, annotated: bytes) -> None:
        """Keep an event's pictures, or replace them by better ones, each whole or not at all."""
        for suffix, jpeg in ((_CLEAN, clean), (_ANNOTATED, annotated)):
            write_whole(self._folder / (event_id + suffix), jpeg)

    def read(self, event_id: str, *, clean: bool = False) -> tuple[bytes, datetime]:
        """Return an event's picture and when it was written. Raises `NoPictureError`."""
        if not _EVENT_ID.fullmatch(event_id):
            raise NoPictureError(f"{event_id!r} is not an event's id")
        found = read_jpeg(self._folder / (event_id + (_CLEAN if clean else _ANNOTATED)))
        if found is None:
            raise NoPictureError("There is no picture of this event, or not any more")
        return found

    def known(self) -> set[str]:
        """Return the ids of the events that there are pictures of."""
        return {path.name.removesuffix(_ANNOTATED) for path in self._folder.glob(f"*{_ANNOTATED}")}

    def delete(self, event_ids: Iterable[str]) -> None:
        """Delete the pictures of events."""
        for event_id in filter(_EVENT_ID.fullmatch, event_ids):
            for suffix in _SUFFIXES:
                (self._folder / (event_id + suffix)).unlink(missing_ok=True)

    def trim(self, now: datetime) -> int:
        """Delete what is too old, then the oldest beyond the size limit; return how many files."""
        for path, _, written_at in sizes_and_times(self._folder, (UNFINISHED,)):
            # What the end of the node cut short.
            if written_at < (now - _UNFINISHED).timestamp():
                self._deleter.delete(path)
        oldest = (now - self._max_age).timestamp()
        files = sizes_and_times(self._folder, _SUFFIXES)
        surplus = sum(size for _, size, _ in files) - self._max_bytes
        deleted = 0
        for path, size, written_at in files:
            if (written_at < oldest or surplus > 0) and self._deleter.delete(path):
                surplus -= size
                deleted += 1
        return deleted

    def make_room(self) -> bool:
        """Delete the oldest pictures, a tenth of them, for newer ones; return whether any."""
        files = sizes_and_times(self._folder, _SUFFIXES)
        surplus = sum(size for _, size, _ in files) * _ROOM
        deleted = False
        for path, size, _ in files:
            if surplus > 0 and self._deleter.delete(path):
                surplus -= size
                deleted = True
        return deleted
