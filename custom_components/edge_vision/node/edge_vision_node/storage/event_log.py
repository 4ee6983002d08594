"""The local result log: every event of this node in one SQLite file.

This is what makes the Full Edge pattern complete: what happened is kept here, whether or not a
hub was there to hear it. Write-ahead logging with `synchronous=NORMAL`: a killed process loses
nothing that was committed, a power cut at most the last moments, and neither damages the file.
A row that makes no sense is left out and logged: the others are read all the same.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..errors import StorageError
from ..protocol import (
    Kind,
    LoggedEvent,
    NodeEvent,
    Phase,
    ProtocolError,
    decode_text,
    encode_text,
    read,
    write,
)
from .log_file import EVENT_ID, HAS_PICTURE, LogFile
from .recovery import last_number

_LOGGER = logging.getLogger(__name__)

FILE_NAME = "results.db"
DEFAULT_MAX_AGE = timedelta(days=30)
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
_TRIM_EVERY = 200  # events
# Of rows that cannot be read so many are named; more say nothing new.
_MOST_NAMED = 100


class ResultLog:
    """Appends and reads events. Usable from any thread.

    Reading does not delay writing. Every method raises `StorageError` where the file
    cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        max_age: timedelta = DEFAULT_MAX_AGE,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """Open or make the file. Of a damaged one, what can be read is taken over."""
        self._file = LogFile(path)
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._since_trim = 0
        self._unreadable: set[int] = set()

    @property
    def log_id(self) -> str:
        """Return which log it is: numbers of another one mean nothing here."""
        return self._file.log_id

    @property
    def notice(self) -> str | None:
        """Return in a sentence what has happened to the file; None where nothing has."""
        return self._file.notice

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._file.db is not None
        return self._file.db

    def check(self) -> None:
        """Read all of the file, and make it whole again where it is damaged."""
        self._file.check()

    def touch(self) -> None:
        """Write something that changes nothing."""
        self._file.write(lambda db: db.execute("UPDATE identity SET log_id = log_id"))

    def append(self, events: Iterable[NodeEvent], held: tuple[str, str] | None = None) -> list[int]:
        """Write events in one transaction; return their sequence numbers.

        `held` is a pipeline and what is there at its camera now, written with them.
        """
        rows = [
            (e.captured_at, e.pipeline_id, e.kind, e.phase, e.label, encode_text(write(e)))
            for e in events
        ]

        def work(db: sqlite3.Connection) -> list[int]:
            db.execute("BEGIN IMMEDIATE")
            numbers = [
                db.execute(
                    "INSERT INTO events (captured_at, pipeline_id, kind, phase, label, event)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING seq",
                    row,
                ).fetchone()[0]
                for row in rows
            ]
            if held is not None:
                db.execute("INSERT OR REPLACE INTO followed VALUES (?, ?)", held)
            db.execute("COMMIT")
            self._file.newest = max(self._file.newest, *numbers, 0)
            return numbers

        numbers = self._file.write(work)
        self._since_trim += len(rows)
        if self._since_trim >= _TRIM_EVERY:
            self._since_trim = 0
            try:
                self.trim(datetime.now(UTC))
            except StorageError as err:  # what was asked for is done all the same
                _LOGGER.warning("The event log cannot be trimmed: %s", err)
        return numbers

    def trim(self, now: datetime) -> None:
        """Delete what is older than the age limit, then the oldest beyond the size limit."""
        self._file.write(lambda db: self._trim(db, now))

    def _trim(self, db: sqlite3.Connection, now: datetime) -> None:
        db.execute("DELETE FROM events WHERE captured_at < ?", ((now - self._max_age).isoformat(),))
        size, count = self._used_bytes(db), self._count(db)
        if size > self._max_bytes and count:
            # A tenth below the limit, so that not every trim deletes again.
            surplus = count - int(count * 0.9 * self._max_bytes / size)
            db.execute(
                "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)",
                (surplus,),
            )
        db.execute("PRAGMA incremental_vacuum").fetchall()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @staticmethod
    def _used_bytes(db: sqlite3.Connection) -> int:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        (page_size,) = db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * page_size)

    @staticmethod
    def _count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])

    def last_seq(self) -> int:
        """Return the newest event's number; 0 where there never was one."""

        def work(db: sqlite3.Connection) -> int:
            return last_number(db) or 0

        return self._file.read(work)

    def after(self, seq: int, limit: int = 1000) -> list[LoggedEvent]:
        """Return the events that follow a number, oldest first."""
        return self._logged(
            "SELECT seq, event FROM events WHERE seq > ? ORDER BY seq", (seq,), limit
        )

    def newest(
        self,
        pipeline_id: str | None = None,
        limit: int = 100,
        *,
        before: int | None = None,
        with_picture: bool = False,
        among: Collection[str] | None = None,
    ) -> list[LoggedEvent]:
        """Return the newest events, newest first, of one pipeline or of all.

        `before`: only those with a lower number. `with_picture`: only those with one of their own.
        `among`: only those with these ids.
        """
        given = {"seq < ?": before, "pipeline_id = ?": pipeline_id}
        given = {condition: value for condition, value in given.items() if value is not None}
        conditions = ["TRUE", *given, *([HAS_PICTURE] if with_picture else [])]
        index = "pictured" if pipeline_id is None else "pictured_by_pipeline"
        query = "SELECT seq, event FROM events {} WHERE {} ORDER BY seq DESC"
        query = query.format(
            f"INDEXED BY {index}" if with_picture else "", " AND ".join(conditions)
        )
        return self._logged(query, tuple(given.values()), limit, among)

    def _logged(
        self,
        query: str,
        values: tuple[object, ...],
        limit: int,
        among: Collection[str] | None = None,
    ) -> list[LoggedEvent]:
        """Return so many events that a query finds and that can be read."""

        def work(db: sqlite3.Connection) -> list[LoggedEvent]:
            found: list[LoggedEvent] = []
            with closing(db.execute(query, values)) as rows:
                for seq, text in rows:
                    event = self._event(seq, text)
                    if event is not None and (among is None or event.event_id in among):
                        found.append(LoggedEvent(seq=seq, event=event))
                        if len(found) >= limit:
                            break
            return found

        return self._file.read(work)

    def _event(self, seq: int, text: str) -> NodeEvent | None:
        """Return what a row holds; None, and a line in the log, where that makes no sense."""
        try:
            return read(NodeEvent, decode_text(text))
        except ProtocolError as err:
            if seq not in self._unreadable and len(self._unreadable) < _MOST_NAMED:
                self._unreadable.add(seq)
                _LOGGER.warning("Event %d of the log cannot be read and is left out: %s", seq, err)
            return None

    def open_presences(self, pipeline_id: str) -> dict[str, int]:
        """Return label → count of what was present when the pipeline last had something to say."""

        def work(db: sqlite3.Connection) -> list[tuple[int, str, str, str]]:
            return db.execute(
                "SELECT max(seq), label, phase, event FROM events"
                " WHERE pipeline_id = ? AND kind = ? GROUP BY label",
                (pipeline_id, Kind.OBJECT),
            ).fetchall()

        present = {}
        for seq, label, phase, text in self._file.read(work):
            if phase != Phase.END:
                event = self._event(seq, text)
                # It was present; the count is not known.
                present[label] = event.count if event is not None else 1
        return present

    def last_answer(self, pipeline_id: str) -> NodeEvent | None:
        """Return the event of the last answer about a pipeline's whole frame."""
        found = self._logged(
            "SELECT seq, event FROM events WHERE pipeline_id = ? AND kind = ? ORDER BY seq DESC",
            (pipeline_id, Kind.CLASSIFICATION),
            1,
        )
        return found[0].event if found else None

    def pipeline_of(self, event_id: str) -> str | None:
        """Return whose event it is; None where it is not known, or not any more."""

        def work(db: sqlite3.Connection) -> tuple[object] | None:
            row: tuple[object] | None = db.execute(
                f"SELECT pipeline_id FROM events WHERE {EVENT_ID} = ?",  # noqa: S608
                (event_id,),
            ).fetchone()
            return row

        row = self._file.read(work)
        return str(row[0]) if row else None

    def newest_of(self, pipeline_id: str, kinds: Sequence[str]) -> str | None:
        """Return the id of a pipeline's newest event of some kinds."""
        found = self._logged(
            "SELECT seq, event FROM events WHERE pipeline_id = ?"  # noqa: S608
            f" AND kind IN ({', '.join('?' * len(kinds))}) ORDER BY seq DESC",
            (pipeline_id, *kinds),
            1,
        )
        return found[0].event.event_id if found else None

    def held(self, pipeline_id: str) -> str | None:
        """Return what was there at a pipeline's camera when that was last written."""

        def work(db: sqlite3.Connection) -> tuple[object] | None:
            row: tuple[object] | None = db.execute(
                "SELECT snapshot FROM followed WHERE pipeline_id = ?", (pipeline_id,)
            ).fetchone()
            return row

        row = self._file.read(work)
        return str(row[0]) if row else None

    def forget(self, pipeline_id: str) -> None:
        """Forget what was there at a pipeline's camera."""
        self._file.write(
            lambda db: db.execute("DELETE FROM followed WHERE pipeline_id = ?", (pipeline_id,))
        )

    def delete(self, pipeline_id: str) -> list[str]:
        """Delete the events of a pipeline and what was there; return the events' ids."""

        def work(db: sqlite3.Connection) -> list[tuple[object]]:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute(
                f"DELETE FROM events WHERE pipeline_id = ? RETURNING {EVENT_ID}",  # noqa: S608
                (pipeline_id,),
            ).fetchall()
            db.execute("DELETE FROM followed WHERE pipeline_id = ?", (pipeline_id,))
            db.execute("COMMIT")
            return rows

        return [row[0] for row in self._file.write(work) if isinstance(row[0], str)]

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self._file.close()
