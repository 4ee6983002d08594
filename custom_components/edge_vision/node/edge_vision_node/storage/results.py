"""The local result log: every event of this node in one SQLite file.

This is what makes the Full Edge pattern complete: what happened is kept here, whether or not a
hub was there to hear it. Write-ahead logging with `synchronous=NORMAL`: a killed process loses
nothing that was committed, a power cut at most the last moments, and neither damages the file.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ulid_transform import ulid_to_timestamp

from ..errors import StorageError
from ..protocol import Kind, LoggedEvent, NodeEvent, Phase, encode_text, read, write

_LOGGER = logging.getLogger(__name__)

FILE_NAME = "results.db"
DEFAULT_MAX_AGE = timedelta(days=30)
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
_TRIM_EVERY = 200  # events
# An event is named when it is told, a moment after what it tells of.
_APART = timedelta(hours=1)

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    captured_at TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    phase TEXT NOT NULL,
    label TEXT NOT NULL,
    event TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_pipeline ON events (pipeline_id, kind, label, seq);
CREATE INDEX events_by_time ON events (captured_at);
"""
# What each pipeline follows, so that an event and its being known are kept together or not at all.
_FOLLOWED = """
CREATE TABLE followed (
    pipeline_id TEXT PRIMARY KEY,
    snapshot TEXT NOT NULL
) STRICT;
"""


class ResultLog:
    """Appends and reads events. Usable from any thread; one at a time gets in.

    Every method raises `StorageError` where the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        max_age: timedelta = DEFAULT_MAX_AGE,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """Open or make the file. A damaged one is put aside, not deleted, and a new one begun."""
        self._path = path
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._since_trim = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as err:
                if not _damaged(err):
                    raise
                self._db = self._open()
        except (OSError, sqlite3.Error) as err:
            raise StorageError(f"The result log {path} cannot be opened: {err}") from err

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=5, check_same_thread=False, isolation_level=None)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > _SCHEMA_VERSION:
                raise sqlite3.OperationalError(f"it was written by a newer version ({version})")
            if version == 0:
                # Both must be set before the first table exists, or they need a VACUUM.
                db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            if version < _SCHEMA_VERSION:
                made = ("" if version else _SCHEMA) + _FOLLOWED
                db.executescript(f"BEGIN;{made}PRAGMA user_version={_SCHEMA_VERSION};COMMIT;")
            db.execute("SELECT max(seq) FROM events").fetchone()
        except BaseException as err:
            if _damaged(err):
                # Before it is closed: SQLite deletes a log that it cannot fold into the file.
                self._put_aside(err)
            db.close()
            raise
        return db

    def _put_aside(self, err: BaseException) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        _LOGGER.error("The result log is damaged (%s); kept as %s, a new one begins", err, aside)
        self._path.rename(aside)
        # The newest events may be in there alone.
        with suppress(FileNotFoundError):
            self._path.with_name(f"{self._path.name}-wal").rename(f"{aside}-wal")
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)

    @contextmanager
    def _using(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as err:
                if self._db.in_transaction:
                    self._db.rollback()
                raise StorageError(f"The result log {self._path} cannot be {what}: {err}") from err

    def append(
        self, events: Iterable[NodeEvent], followed: tuple[str, str] | None = None
    ) -> list[int]:
        """Write events in one transaction; return their sequence numbers.

        `followed`: a pipeline and what it follows now, written with them.
        """
        rows = [
            (e.captured_at, e.pipeline_id, e.kind, e.phase, e.label, encode_text(write(e)))
            for e in events
        ]
        with self._using("written") as db:
            db.execute("BEGIN IMMEDIATE")
            numbers = [
                db.execute(
                    "INSERT INTO events (captured_at, pipeline_id, kind, phase, label, event)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING seq",
                    row,
                ).fetchone()[0]
                for row in rows
            ]
            if followed is not None:
                db.execute("INSERT OR REPLACE INTO followed VALUES (?, ?)", followed)
            db.execute("COMMIT")
            self._since_trim += len(rows)
            if self._since_trim >= _TRIM_EVERY:
                self._since_trim = 0
                try:
                    self._trim(db, datetime.now(UTC))
                except sqlite3.Error as err:  # what was asked for is done all the same
                    _LOGGER.warning("The result log %s cannot be trimmed: %s", self._path, err)
        return numbers

    def trim(self, now: datetime) -> None:
        """Delete what is older than the age limit, then the oldest beyond the size limit."""
        with self._using("trimmed") as db:
            self._trim(db, now)

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
        with self._using("read") as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return int(row[0]) if row else 0

    def after(self, seq: int, limit: int = 1000) -> list[LoggedEvent]:
        """Return the events that follow a number, oldest first."""
        with self._using("read") as db:
            rows = db.execute(
                "SELECT seq, event FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            ).fetchall()
        return _logged(rows)

    def newest(
        self,
        pipeline_id: str | None = None,
        limit: int = 100,
        *,
        before: int | None = None,
        with_picture: bool = False,
    ) -> list[LoggedEvent]:
        """Return the newest events, newest first, of one pipeline or of all.

        `before`: only those with a lower number. `with_picture`: only those with one of their own.
        """
        with self._using("read") as db:
            rows = db.execute(
                "SELECT seq, event FROM events WHERE (?1 IS NULL OR pipeline_id = ?1)"
                " AND (?2 IS NULL OR seq < ?2)"
                " AND (NOT ?3"
                " OR json_extract(event, '$.evidence') = json_extract(event, '$.event_id'))"
                " ORDER BY seq DESC LIMIT ?4",
                (pipeline_id, before, with_picture, limit),
            ).fetchall()
        return _logged(rows)

    def open_presences(self, pipeline_id: str) -> dict[str, int]:
        """Return label → count of what was present when the pipeline last had something to say."""
        with self._using("read") as db:
            rows = db.execute(
                "SELECT event, max(seq) FROM events WHERE pipeline_id = ? AND kind = ?"
                " GROUP BY label",
                (pipeline_id, Kind.OBJECT),
            ).fetchall()
        events = [read(NodeEvent, json.loads(text)) for text, _ in rows]
        return {event.label: event.count for event in events if event.phase != Phase.END}

    def last_answer(self, pipeline_id: str) -> NodeEvent | None:
        """Return the event of the last answer about a pipeline's whole frame."""
        with self._using("read") as db:
            row = db.execute(
                "SELECT event FROM events WHERE pipeline_id = ? AND kind = ?"
                " ORDER BY seq DESC LIMIT 1",
                (pipeline_id, Kind.CLASSIFICATION),
            ).fetchone()
        return read(NodeEvent, json.loads(row[0])) if row else None

    def pipeline_of(self, event_id: str) -> str | None:
        """Return whose event it is; None where it is not known, or not any more."""
        try:
            at = datetime.fromtimestamp(ulid_to_timestamp(event_id) / 1000, UTC)
            since, until = at - _APART, at + _APART
        except (ValueError, OverflowError):
            return None
        with self._using("read") as db:
            row = db.execute(
                "SELECT pipeline_id FROM events WHERE captured_at BETWEEN ? AND ?"
                " AND event ->> 'event_id' = ?",
                (since.isoformat(), until.isoformat(), event_id),
            ).fetchone()
        return str(row[0]) if row else None

    def followed(self, pipeline_id: str) -> str | None:
        """Return what a pipeline followed when that was last written."""
        with self._using("read") as db:
            row = db.execute(
                "SELECT snapshot FROM followed WHERE pipeline_id = ?", (pipeline_id,)
            ).fetchone()
        return str(row[0]) if row else None

    def forget(self, pipeline_id: str) -> None:
        """Forget what a pipeline followed."""
        with self._using("written") as db:
            db.execute("DELETE FROM followed WHERE pipeline_id = ?", (pipeline_id,))

    def delete(self, pipeline_id: str) -> list[str]:
        """Delete the events of a pipeline and what it followed; return the events' ids."""
        with self._using("written") as db:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute(
                "DELETE FROM events WHERE pipeline_id = ? RETURNING event ->> 'event_id'",
                (pipeline_id,),
            ).fetchall()
            db.execute("DELETE FROM followed WHERE pipeline_id = ?", (pipeline_id,))
            db.execute("COMMIT")
        return [str(row[0]) for row in rows]

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        with self._lock:
            self._db.close()


def _damaged(err: BaseException) -> bool:
    # Locked, full or not permitted: the file itself may be sound.
    return isinstance(err, sqlite3.DatabaseError) and not isinstance(err, sqlite3.OperationalError)


def _logged(rows: Iterable[tuple[int, str]]) -> list[LoggedEvent]:
    return [LoggedEvent(seq=seq, event=read(NodeEvent, json.loads(text))) for seq, text in rows]
