"""What is on disk is not trusted: rows that make no sense, damaged files, deleted ones."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.errors import StorageError
from edge_vision_node.protocol import NodeEvent, encode_text, write
from edge_vision_node.storage import log_file
from edge_vision_node.storage.event_log import ResultLog
from ulid_transform import ulid_now

from .test_results import event

# As the first version wrote events. Whatever came later has a default.
FIRST_SHAPE: dict[str, Any] = {
    "event_id": "01JDXEXAMPLE0000000000000A",
    "pipeline_id": "door",
    "kind": "object",
    "phase": "start",
    "label": "person",
    "confidence": 91.4,
    "count": 2,
    "box": {"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4},
    "model": "ssd_mobilenet_v2_coco",
    "model_version": "1.0.0",
    "engine": "onnxruntime",
    "accelerator": "cpu",
    "pattern": "full_edge",
    "captured_at": "2026-11-01T12:00:00+00:00",
    "inference_ms": 12.5,
}
SHAPES = {
    "the first": FIRST_SHAPE,
    "with tracks": FIRST_SHAPE | {"source": "edge", "track_id": None, "zones": []},
    "with lines": FIRST_SHAPE
    | {"source": "edge", "track_id": 4, "zones": ["porch"], "line": "gate", "direction": "in"}
    | {"total": 7},
    "with pictures": FIRST_SHAPE
    | {"track_id": 4, "zones": ["porch"], "evidence": "01JDXEXAMPLE0000000000000A"},
    "with zones": FIRST_SHAPE | {"zones": ["porch"], "zone": "porch", "evidence": None},
    "of a newer version": FIRST_SHAPE | {"tomorrow": {"any": ["thing"]}, "zone": "porch"},
}
UNREADABLE = {
    "cut short": '{"event_id": "01JDX',
    "empty": "",
    "no object": "[1, 2]",
    "a field is missing": json.dumps({k: v for k, v in FIRST_SHAPE.items() if k != "count"}),
    "a field is of another type": json.dumps(FIRST_SHAPE | {"count": "many"}),
    "not a number": json.dumps(FIRST_SHAPE | {"confidence": float("nan")}),
    "no box": json.dumps(FIRST_SHAPE | {"box": [1, 2, 3, 4]}),
    "nested without end": "[" * 200_000,
    "no UTF-8": b'{"event_id": "\xff\xfe"}',
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "results.db"


def put(path: Path, text: str | bytes, label: str = "person", phase: str = "start") -> None:
    """Write a row as nobody should."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO events (captured_at, pipeline_id, kind, phase, label, event)"
            " VALUES ('2026-11-01T12:00:00+00:00', 'door', 'object', ?, ?, CAST(? AS TEXT))",
            (phase, label, text),
        )


def test_what_was_added_to_events_has_a_default() -> None:
    needed = {
        item.name
        for item in dataclasses.fields(NodeEvent)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    assert needed == set(FIRST_SHAPE)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_every_version_are_read(path: Path, shape: str) -> None:
    log = ResultLog(path)
    put(path, json.dumps(SHAPES[shape]))
    (logged,) = log.newest("door")
    assert (logged.event.label, logged.event.count) == ("person", 2)
    assert log.open_presences("door") == {"person": 2}
    log.close()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_row_that_makes_no_sense_is_left_out_and_logged(
    path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = ResultLog(path)
    before, after = event("dog"), event("cat")
    log.append([before])
    put(path, UNREADABLE[kind], "person", "start")
    put(path, UNREADABLE[kind], "bird", "end")
    log.append([after])
    assert [item.seq for item in log.after(0)] == [1, 4]
    assert [item.event for item in log.newest("door")] == [after, before]
    assert log.newest("door", with_picture=True) == []
    assert log.last_seq() == 4
    # Something was there, and how much of it is not known.
    assert log.open_presences("door") == {"dog": 1, "cat": 1, "person": 1}
    assert log.last_answer("door") is None
    assert log.pipeline_of(before.event_id) == "door"
    assert caplog.text.count("Event 2 of the log cannot be read") == 1
    log.close()
    log = ResultLog(path)  # nothing of it is damage
    assert log.notice is None
    assert {before.event_id, after.event_id} <= set(log.delete("door"))
    log.close()


def test_pages_are_full_whatever_lies_between(path: Path) -> None:
    log = ResultLog(path)
    log.append([event()])
    for _ in range(5):
        put(path, "{")
    log.append([event(), event()])
    assert [item.seq for item in log.after(0, 2)] == [1, 7]
    assert [item.seq for item in log.newest(limit=3)] == [8, 7, 1]
    log.close()


# --- Damage ---------------------------------------------------------------------------------


def filled(path: Path, events: int = 400) -> ResultLog:
    log = ResultLog(path)
    made = [event(f"label {number % 7}") for number in range(events)]
    log.append(dataclasses.replace(item, evidence=item.event_id) for item in made)
    log.append([], ("door", '{"version": 2}'))
    return log


def damage(path: Path, page: int) -> None:
    """Overwrite a page of a closed file."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xde\xad\xbe\xef" * 1024)


def pages(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        found: dict[str, int] = dict(
            db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0")
        )
        (count,) = db.execute("PRAGMA page_count").fetchone()
        root = found["events"]
        # One that holds rows.
        with path.open("rb") as file:
            for page in range(root + 1, count + 1):
                file.seek((page - 1) * 4096)
                if file.read(1) == b"\x0d" and page not in found.values():
                    found["a page of events"] = page
                    break
    return found


INDEXES = ("events_by_pipeline", "events_by_time", "events_by_id", "pictured")


@pytest.mark.parametrize("what", INDEXES)
def test_a_damaged_index_costs_nothing(path: Path, what: str) -> None:
    log = filled(path)
    kept, name = log.after(0), log.log_id
    log.close()
    damage(path, pages(path)[what])
    log = ResultLog(path)
    assert "was damaged" in (log.notice or "")
    assert log.after(0) == kept
    assert log.held("door") == '{"version": 2}'
    assert log.log_id == name
    assert log.append([event()]) == [401]
    assert len(list(path.parent.glob("results.db.damaged-*"))) == 1
    log.close()
    log = ResultLog(path)
    assert log.notice is None
    log.close()


def test_of_a_damaged_table_what_can_be_read_goes_on(path: Path) -> None:
    log = filled(path)
    kept, name = {item.seq: item for item in log.after(0)}, log.log_id
    log.close()
    damage(path, pages(path)["a page of events"])
    log = ResultLog(path)
    left = {item.seq: item for item in log.after(0)}
    assert 350 < len(left) < 400
    assert left.items() <= kept.items()
    assert f"{len(left)} events could be read" in (log.notice or "")
    assert (log.log_id, log.append([event()])) == (name, [401])
    log.close()


@pytest.mark.parametrize("what", ["events", "sqlite_sequence", "followed"])
def test_whatever_is_damaged_no_number_comes_again(path: Path, what: str) -> None:
    log = filled(path)
    name = log.log_id
    log.close()
    damage(path, pages(path)[what])
    log = ResultLog(path)
    assert log.log_id == name
    assert log.append([event()])[0] > 400
    log.close()


def test_a_file_that_is_no_log_is_another_log(path: Path) -> None:
    log = filled(path)
    name = log.log_id
    log.close()
    damage(path, 1)
    log = ResultLog(path)
    assert log.log_id != name
    assert log.append([event()]) == [1]
    log.close()


def test_tables_that_are_not_ours_are_put_aside(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE events (nonsense)")
        db.execute("PRAGMA user_version=2")
    log = ResultLog(path)
    assert log.append([event()]) == [1]
    assert list(path.parent.glob("results.db.damaged-*"))
    log.close()


COLUMNS = "captured_at, pipeline_id, kind, phase, label, event"
ODD_FILES = {
    "columns of any type": [
        "ALTER TABLE events RENAME TO old",
        f"CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, {COLUMNS})",
        "INSERT INTO events SELECT * FROM old",
        "DROP TABLE old",
        "UPDATE events SET event = 5, label = x'ff' WHERE seq = 1",
        "UPDATE events SET event = NULL WHERE seq = 2",
    ],
    "no key": [
        "CREATE TABLE new AS SELECT * FROM events",
        "DROP TABLE events",
        "ALTER TABLE new RENAME TO events",
    ],
    "a view": ["ALTER TABLE events RENAME TO old", "CREATE VIEW events AS SELECT * FROM old"],
    "followed is a view": [
        "DROP TABLE followed",
        "CREATE VIEW followed AS SELECT 'a' AS pipeline_id, 'b' AS snapshot",
    ],
    "identity of other columns": ["DROP TABLE identity", "CREATE TABLE identity (x)"],
    "no identity": ["DELETE FROM identity"],
    "a very long identity": ["UPDATE identity SET log_id = hex(randomblob(1000000))"],
    "a trigger": ["CREATE TRIGGER t BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'no'); END"],
    "an index that is a table": ["DROP INDEX pictured", "CREATE TABLE pictured (x)"],
    "an index of another column": ["DROP INDEX pictured", "CREATE INDEX pictured ON events (kind)"],
    "a sequence without end": ["UPDATE sqlite_sequence SET seq = 9223372036854775807"],
    "a sequence that is no number": ["UPDATE sqlite_sequence SET seq = 'many'"],
    "an event of the last number": ["UPDATE events SET seq = 9223372036854775807 WHERE seq = 1"],
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_events_are_written_and_read_whatever_was_made_of_the_tables(path: Path, kind: str) -> None:
    log = filled(path, 20)
    log.close()
    with closing(sqlite3.connect(path)) as db, db:
        for statement in ODD_FILES[kind]:
            db.execute(statement)
    log = ResultLog(path)
    (number,) = log.append([dataclasses.replace(it := event(), evidence=it.event_id)], ("a", "b"))
    assert 20 < number < 2**53
    assert log.last_seq() == number
    assert 18 <= len(log.after(0)) <= 21
    assert len(log.newest(with_picture=True)) == len(log.after(0))
    assert log.open_presences("door")
    assert log.held("a") == "b"
    assert len(log.log_id) == 26
    log.touch()
    log.close()


@pytest.mark.parametrize("work", ["write", "read", "check"])
def test_damage_is_found_and_mended_while_the_log_is_in_use(path: Path, work: str) -> None:
    log = filled(path)
    kept, name = log.after(0), log.log_id
    log._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    damage(path, pages(path)["events_by_pipeline"])
    for connection in (log._file.db, log._file._reader):
        assert connection is not None
        connection.execute("PRAGMA shrink_memory")  # or they go on with what they know
    match work:
        case "write":
            log._db.execute("PRAGMA cache_size=0")
            assert log.append([event(f"label {n}") for n in range(20)])[0] == 401
        case "read":
            assert log.open_presences("door")
        case _:
            log.check()
    assert "was damaged" in (log.notice or "")
    assert log.after(0)[:400] == kept
    assert log.log_id == name
    assert log.append([event()])[0] > 400
    log.close()


def test_the_end_of_the_node_in_between_costs_nothing(path: Path) -> None:
    log = filled(path)
    kept = log.after(0)
    log.close()
    # Put aside, and the new file is not in its place yet.
    path.rename(path.with_name("results.db.new"))
    log = ResultLog(path)
    assert log.after(0) == kept
    log.close()
    # The new file is not whole yet.
    path.with_name("results.db.new").write_bytes(path.read_bytes()[:5000])
    log = ResultLog(path)
    assert log.after(0) == kept
    log.close()


def test_a_damaged_file_that_cannot_be_replaced_is_an_error_and_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = filled(path)
    log.close()
    damage(path, pages(path)["events_by_time"])
    damaged = path.read_bytes()

    def full(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(log_file, "copy_readable", full)
    with pytest.raises(StorageError, match="is full"):
        ResultLog(path)
    assert path.read_bytes() == damaged
    monkeypatch.undo()
    log = ResultLog(path)
    assert len(log.after(0)) == 400
    log.close()


def test_the_newest_damaged_files_are_kept(path: Path) -> None:
    for _ in range(5):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no database" * 100)
        ResultLog(path).close()
    assert len(list(path.parent.glob("results.db.damaged-*"))) == 3


# --- Deleted and replaced -------------------------------------------------------------------


@pytest.mark.parametrize("what", ["the folder", "the file"])
@pytest.mark.parametrize("then", ["write", "read"])
def test_what_is_deleted_while_it_is_open_is_written_again(
    path: Path, what: str, then: str
) -> None:
    log = filled(path)
    kept, name = log.after(0), log.log_id
    if what == "the folder":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    if then == "write":
        assert log.append([event()]) == [401]
    assert log.after(0)[:400] == kept
    assert "was deleted" in (log.notice or "")
    log.close()
    log = ResultLog(path)
    assert (log.log_id, log.after(0)[:400]) == (name, kept)
    log.close()


def test_another_file_in_its_place_is_taken(path: Path, tmp_path: Path) -> None:
    other = ResultLog(tmp_path / "other.db")
    other.append([event("of a backup")])
    name = other.log_id
    other.close()
    log = filled(path)
    (tmp_path / "other.db").replace(path)
    assert [item.event.label for item in log.after(0)] == ["of a backup"]
    assert log.log_id == name
    assert log.append([event()]) == [2]
    log.close()


def test_an_older_version_can_go_on_with_the_log_and_this_one_after_it(path: Path) -> None:
    log = filled(path, 3)
    name = log.log_id
    log.close()
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        db.execute(
            "INSERT INTO events (captured_at, pipeline_id, kind, phase, label, event)"
            " VALUES ('2026-11-01', 'door', 'object', 'start', 'person', ?)",
            (encode_text(write(event())),),
        )
    log = ResultLog(path)
    assert (log.log_id, log.last_seq()) == (name, 4)
    log.close()


def test_whoever_reads_does_not_hold_up_who_writes(path: Path) -> None:
    log = filled(path)
    reading, done = threading.Event(), threading.Event()

    def browse(db: sqlite3.Connection) -> None:
        db.execute("BEGIN")
        db.execute("SELECT * FROM events").fetchall()
        reading.set()
        done.wait(10)
        db.execute("ROLLBACK")

    browser = threading.Thread(target=log._file.read, args=(browse,))
    browser.start()
    assert reading.wait(10)
    assert log.append([event()]) == [401]
    done.set()
    browser.join()
    log.close()


@pytest.mark.parametrize(
    "query",
    [
        lambda log: log.newest("door", 50, before=300, with_picture=True),
        lambda log: log.newest(None, 50, before=300, with_picture=True),
        lambda log: log.pipeline_of(ulid_now()),
        lambda log: log.after(300),
    ],
)
def test_no_query_of_a_hub_reads_the_whole_log(
    path: Path, query: Callable[[ResultLog], object]
) -> None:
    log = filled(path)
    log.last_seq()
    asked: list[str] = []
    reader = log._file._reader
    assert reader is not None
    reader.set_trace_callback(asked.append)
    query(log)
    reader.set_trace_callback(None)
    (plan,) = reader.execute(f"EXPLAIN QUERY PLAN {asked[-1]}").fetchall()
    assert plan[3].startswith("SEARCH")
    log.close()
