"""The file of the result log: opened, checked, and made whole again.

What is on disk is not trusted. Of a damaged file, all that can be read goes on in a new one, and
the file itself is put aside. One that is deleted while it is open is written again. Numbers go on
in either case: one means one event for ever.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ulid_transform import ulid_now

from ..errors import NewerLogError, StorageError
from .recovery import check, check_tables, copy_readable, is_damaged, last_number, log_id

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_MOST_DAMAGED_FILES = 3
# A damaged file that cannot be replaced, on a full disk say, is not tried at each event.
_PAUSE_S = 60.0
# Numbers continue this far ahead if it is not known which were in use.
_NUMBERS_APART = 1_000_000

# Raised only by what an older version cannot live with: tables and indexes may come without.
_SCHEMA_VERSION = 2
# Rows may hold anything, and only CASE keeps JSON functions away from what is no JSON.
EVENT_ID = "CASE WHEN json_valid(event) THEN event ->> 'event_id' END"
HAS_PICTURE = "CASE WHEN json_valid(event) THEN event ->> 'evidence' = event ->> 'event_id' END"
# `followed` is what is there at each pipeline's camera, so that an event and its being known are
# kept together or not at all; the name is that of earlier versions, which can read it. `identity`
# says which log it is, for numbers mean something within one only.
_SCHEMA = {
    "events": """CREATE TABLE IF NOT EXISTS events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        captured_at TEXT NOT NULL,
        pipeline_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        phase TEXT NOT NULL,
        label TEXT NOT NULL,
        event TEXT NOT NULL
    ) STRICT""",
    "events_by_pipeline": """CREATE INDEX IF NOT EXISTS events_by_pipeline
        ON events (pipeline_id, kind, label, seq)""",
    "events_by_time": "CREATE INDEX IF NOT EXISTS events_by_time ON events (captured_at)",
    "events_by_id": f"CREATE INDEX IF NOT EXISTS events_by_id ON events ({EVENT_ID})",
    "pictured_by_pipeline": f"""CREATE INDEX IF NOT EXISTS pictured_by_pipeline
        ON events (pipeline_id, seq) WHERE {HAS_PICTURE}""",
    "pictured": f"CREATE INDEX IF NOT EXISTS pictured ON events (seq) WHERE {HAS_PICTURE}",
    "followed": """CREATE TABLE IF NOT EXISTS followed (
        pipeline_id TEXT PRIMARY KEY,
        snapshot TEXT NOT NULL
    ) STRICT""",
    "identity": "CREATE TABLE IF NOT EXISTS identity (log_id TEXT NOT NULL) STRICT",
}


class LogFile:
    """One writer and one reader, each with a connection of its own.

    So reading does not delay an event. `newest` is the newest event's number; who writes events
    sets it. `notice` says in a sentence what has happened to the file, None where nothing has.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises `StorageError`."""
        self._path = path
        self._new_path = path.with_name(f"{path.name}.new")
        # Who needs both takes the writer's first.
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._id: str | None = None
        self._failure = ""
        self._failed_until = 0.0
        self.newest = 0
        self.notice: str | None = None
        self.db: sqlite3.Connection | None = self._begin()

    @property
    def log_id(self) -> str:
        """Return which log it is."""
        assert self._id is not None  # since it was opened
        return self._id

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do something that changes the file; once more where that shows it to be damaged.

        Raises `StorageError`.
        """
        with self._write_lock:
            try:
                return self._try_to_write(work)
            except sqlite3.Error as err:
                if not is_damaged(err):
                    raise StorageError(f"The event log cannot be written: {err}") from err
                self._recover(self.db, err)
            try:
                return self._try_to_write(work)
            except sqlite3.Error as err:
                raise StorageError(f"The event log cannot be written: {err}") from err

    def _try_to_write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        db = self._in_place()
        try:
            return work(db)
        except BaseException:
            if db.in_transaction:
                db.rollback()
            raise

    def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do something that only reads; once more where that shows the file to be damaged.

        Raises `StorageError`.
        """
        if self.db is None or _file_at(self._path) != self._opened:
            with self._write_lock:
                self._in_place()
        seen = self.db
        try:
            return self._try_to_read(work)
        except sqlite3.Error as err:
            if not is_damaged(err):
                raise StorageError(f"The event log cannot be read: {err}") from err
            with self._write_lock:
                self._recover(seen, err)
        try:
            return self._try_to_read(work)
        except sqlite3.Error as err:
            raise StorageError(f"The event log cannot be read: {err}") from err

    def _try_to_read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._read_lock:
            if self._reader is None:
                self._reader = _connect(self._path)
                self._reader.execute("PRAGMA query_only=ON")
            return work(self._reader)

    def check(self) -> None:
        """Read all of it, and make it whole again where it is damaged. Raises `StorageError`."""
        self.read(check)

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        with self._write_lock:
            self._close()

    # --- With the writer's lock held ------------------------------------------------------

    def _close(self) -> None:
        with self._read_lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = None
        if self.db is not None:
            self.db.close()
        self.db = None

    def _in_place(self) -> sqlite3.Connection:
        """Return the writer's connection, to the file that is in its place by now."""
        if self.db is not None:
            if (there := _file_at(self._path)) == self._opened:
                return self.db
            if there is None:
                self._write_again(self.db)
            self._close()
        self.db = self._begin()
        return self.db

    def _begin(self) -> sqlite3.Connection:
        if time.monotonic() < self._failed_until:
            raise StorageError(self._failure)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._finish_replacing()
            db = _connect(self._path)
            try:
                self._open(db)
            except BaseException as err:
                if not is_damaged(err):
                    db.close()
                    raise
                self._replace(db, err)
                db = _connect(self._path)
                self._open(db)
        except (OSError, sqlite3.Error) as err:
            raise StorageError(f"The event log {self._path} cannot be opened: {err}") from err
        return db

    def _open(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise NewerLogError(
                f"The event log {self._path} was written by a newer version of Edge Vision"
            )
        if version == 0:
            # Both must be set before the first table exists, or they need a VACUUM.
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        check_tables(db, _SCHEMA)
        check(db)
        if not _is_complete(db):
            db.execute("BEGIN IMMEDIATE")
            _make_tables(db, self._id)
            db.execute("COMMIT")
        self._id = log_id(db)
        self.newest = last_number(db) or 0
        self._opened = _file_at(self._path)

    def _recover(self, damaged: sqlite3.Connection | None, err: BaseException) -> None:
        """Replace a file that turned out to be damaged, unless that has been done meanwhile."""
        if damaged is None or self.db is not damaged:
            return
        with self._read_lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = self.db = None
        self._replace(damaged, err)
        self.db = self._begin()

    def _replace(self, damaged: sqlite3.Connection, err: BaseException) -> None:
        """Put a damaged file aside, and a new one with all that can be read in its place."""
        with closing(damaged):
            try:
                kept = self._write_readable(damaged)
                # Before it is closed: SQLite deletes a log that it cannot fold into the file.
                aside = self._put_aside()
                self._new_path.rename(self._path)
            except (OSError, sqlite3.Error) as failure:
                self._failed_until = time.monotonic() + _PAUSE_S
                self._failure = f"The event log is damaged and cannot be created again: {failure}"
                raise StorageError(self._failure) from failure
        self.notice = (
            f"The event log was damaged ({err}). {kept} events could be read and are kept; the"
            f" damaged file is {aside.name}"
        )
        _LOGGER.error("%s", self.notice)
        self._delete_old_damaged()

    def _write_readable(self, damaged: sqlite3.Connection) -> int:
        """Write what can be read of a file into a new one; return how many events that is."""
        if damaged.in_transaction:
            damaged.rollback()
        known = self._id
        given = last_number(damaged)
        self._new_path.unlink(missing_ok=True)
        with closing(_connect(self._new_path)) as whole:
            whole.execute("PRAGMA auto_vacuum=INCREMENTAL")
            whole.execute("BEGIN")
            _make_tables(whole, log_id(damaged) or known)
            kept = copy_readable(damaged, whole)
            newest = max(last_number(whole) or 0, given or 0, self.newest)
            if kept and given is None and known is None:
                newest += _NUMBERS_APART
            whole.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
            whole.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (newest,))
            whole.execute("COMMIT")
        return kept

    def _put_aside(self) -> Path:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
        aside = self._path.with_name(f"{self._path.name}.damaged-{stamp}")
        self._path.rename(aside)
        # The newest events may be in there alone.
        wal = self._path.with_name(f"{self._path.name}-wal")
        with suppress(FileNotFoundError):
            if wal.stat().st_size:
                wal.rename(f"{aside}-wal")
            else:
                wal.unlink()
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        return aside

    def _delete_old_damaged(self) -> None:
        every = self._path.parent.glob(f"{self._path.name}.damaged-*")
        files = sorted(item for item in every if not item.name.endswith(("-wal", "-shm")))
        for item in files[:-_MOST_DAMAGED_FILES]:
            with suppress(OSError):
                item.unlink()
                item.with_name(f"{item.name}-wal").unlink(missing_ok=True)

    def _finish_replacing(self) -> None:
        """Finish what the end of the node cut short: a new file, whole, and not in its place."""
        if self._new_path.exists() and not self._path.exists():
            version = None
            with suppress(sqlite3.Error), closing(_connect(self._new_path)) as db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == _SCHEMA_VERSION:
                self._new_path.rename(self._path)

    def _write_again(self, deleted: sqlite3.Connection) -> None:
        """Write a file that was deleted, from what is open still."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._new_path.unlink(missing_ok=True)
            with closing(_connect(self._new_path)) as copy:
                deleted.backup(copy)
            self._new_path.rename(self._path)
        except (OSError, sqlite3.Error) as err:
            raise StorageError(
                f"The event log {self._path} was deleted and cannot be written again: {err}"
            ) from err
        self.notice = "The event log was deleted while it was in use, and was written again"
        _LOGGER.error("%s", self.notice)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=5, check_same_thread=False, isolation_level=None)
    # A text that is no UTF-8 fails by itself, not with all that are read with it.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _is_complete(db: sqlite3.Connection) -> bool:
    """Return whether nothing has to be made yet."""
    there = {name: _bare(sql) for name, sql in db.execute("SELECT name, sql FROM sqlite_master")}
    indexes = (name for name, statement in _SCHEMA.items() if "INDEX" in statement)
    return (
        there.keys() >= set(_SCHEMA)
        and all(there[name] == _bare(_SCHEMA[name]) for name in indexes)
        and log_id(db) is not None
    )


def _bare(statement: str | None) -> str:
    return " ".join((statement or "").replace("IF NOT EXISTS ", "").split())


def _make_tables(db: sqlite3.Connection, identity: str | None) -> None:
    """Make what is not there yet, within the transaction; `identity` is that of a new log."""
    for name, statement in _SCHEMA.items():
        if "INDEX" in statement:
            db.execute(f"DROP INDEX IF EXISTS {name}")
        db.execute(statement)
    db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
    if log_id(db) is None:
        db.execute("DELETE FROM identity")
        db.execute("INSERT INTO identity VALUES (?)", (identity or ulid_now(),))


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return which file is there; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
