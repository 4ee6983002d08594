"""What can still be read of a result log that is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress

_CHUNK = 1000
# Where not even the newest number can be read; to look further takes longer than it is worth.
_MOST_NUMBERS = 10_000_000
_MOST_FAILURES = 50_000
# Numbers of events are well below, and can be counted on for ever.
MOST_NUMBER = 2**53
_LONGEST_ID = 64
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# By number alone, for an index may be what is damaged.
_SELECT = """SELECT seq, captured_at, pipeline_id, kind, phase, label, event
    FROM events NOT INDEXED"""
_SELECT_FOLLOWED = "SELECT pipeline_id, snapshot FROM followed NOT INDEXED"
_INSERT = """INSERT INTO events (seq, captured_at, pipeline_id, kind, phase, label, event)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_Column = tuple[object, ...]


def is_damaged(err: BaseException) -> bool:
    """Return whether an error says that the file is damaged.

    A file that is locked, on a full disk or not permitted may well be sound.
    """
    code = getattr(err, "sqlite_errorcode", None)
    return isinstance(err, sqlite3.Error) and code is not None and code & 0xFF in _DAMAGED


def check(db: sqlite3.Connection) -> None:
    """Raise a `sqlite3.DatabaseError` that `is_damaged` where the file or an index is."""
    (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _damaged(" ".join(str(answer).replace("***", "").split()))


def check_tables(db: sqlite3.Connection, schema: dict[str, str]) -> None:
    """Raise the same where a table is not as it was made, or a number is none of an event.

    Columns may be added to it that need no value.
    """
    with closing(sqlite3.connect(":memory:")) as model:
        for name, statement in schema.items():
            model.execute(statement)
            if (there := _columns(db, name)) and not _is_as_made(there, _columns(model, name)):
                raise _damaged(f"{name} is another one")
    if row := db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchone():
        raise _damaged(f"the trigger {row[0]} is none of its own")
    if _columns(db, "events"):
        (newest,) = db.execute("SELECT max(seq) FROM events").fetchone()
        if (newest or 0) > MOST_NUMBER or last_number(db) is None:
            raise _damaged("a number is none of an event")


def _is_as_made(there: dict[str, _Column], wanted: dict[str, _Column]) -> bool:
    more = there.keys() - wanted.keys()
    return all(there.get(name) == kind for name, kind in wanted.items()) and not any(
        there[name][1] for name in more
    )


def _columns(db: sqlite3.Connection, table: str) -> dict[str, _Column]:
    """Return a table's columns and what it is; nothing where there is none."""
    made = db.execute("SELECT type, sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    if made is None:
        return {}
    columns: dict[str, _Column] = {
        name: (kind, required and default is None, key)
        for name, kind, required, default, key in db.execute(
            'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (table,)
        )
    }
    if made[0] == "index":  # made anew where it is another one
        return {"": (made[0], False)}
    words = str(made[1]).upper()
    columns[""] = (made[0], False, "STRICT" in words, "AUTOINCREMENT" in words)
    return columns


def _damaged(text: str) -> sqlite3.DatabaseError:
    err = sqlite3.DatabaseError(text)
    err.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return err


def copy_readable(damaged: sqlite3.Connection, whole: sqlite3.Connection) -> int:
    """Copy the rows that can be read into the same tables; return how many events.

    Their numbers stay.
    """
    kept = 0
    for row in _events(damaged):
        with suppress(sqlite3.Error):  # columns may hold anything by now
            whole.execute(_INSERT, row)
            kept += 1
    with suppress(sqlite3.Error):
        for row in damaged.execute(_SELECT_FOLLOWED):
            whole.execute("INSERT OR REPLACE INTO followed VALUES (?, ?)", row)
    return kept


def last_number(db: sqlite3.Connection) -> int | None:
    """Return the newest number that a log has given; None where that cannot be read."""
    with suppress(sqlite3.Error, TypeError, ValueError):
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        number = int(row[0]) if row else 0
        return number if 0 <= number <= MOST_NUMBER else None
    return None


def log_id(db: sqlite3.Connection) -> str | None:
    """Return which log it is; None where that is not in it, or cannot be read."""
    with suppress(sqlite3.Error):
        row = db.execute("SELECT log_id FROM identity").fetchone()
        if row and isinstance(row[0], str) and 0 < len(row[0]) <= _LONGEST_ID:
            return row[0]
    return None


def _events(db: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """Yield what can be read, in halves of halves where something cannot."""
    try:
        db.execute(f"{_SELECT} LIMIT 0")
    except sqlite3.Error:
        return  # no such table, or no database at all
    failures = 0
    lowest = _lowest(db)
    # What lies further apart is no log of a node.
    highest = min(_highest(db), lowest + _MOST_NUMBERS)
    chunks = range(lowest, highest + 1, _CHUNK)
    ranges = [(low, min(low + _CHUNK - 1, highest)) for low in reversed(chunks)]
    while ranges and failures < _MOST_FAILURES:
        low, high = ranges.pop()
        try:
            rows = db.execute(f"{_SELECT} WHERE seq BETWEEN ? AND ?", (low, high)).fetchall()
        except sqlite3.Error:
            failures += 1
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
        else:
            yield from (row for row in rows if type(row[0]) is int)


def _lowest(db: sqlite3.Connection) -> int:
    with suppress(sqlite3.Error, TypeError, ValueError):
        return int(
            db.execute("SELECT min(seq) FROM events NOT INDEXED WHERE seq > 0").fetchone()[0]
        )
    return 1


def _highest(db: sqlite3.Connection) -> int:
    given = last_number(db)
    with suppress(sqlite3.Error, TypeError, ValueError):
        (seen,) = db.execute(
            "SELECT max(seq) FROM events NOT INDEXED WHERE seq <= ?", (MOST_NUMBER,)
        ).fetchone()
        return max(int(seen), given or 0)
    return _MOST_NUMBERS if given is None else given
