"""The result log: nothing committed is lost, and it never grows without end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from edge_vision_node.errors import StorageError
from edge_vision_node.protocol import Box, NodeEvent
from edge_vision_node.storage.event_log import ResultLog
from ulid_transform import ulid_now

from .conftest import node_environment

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def event(
    label: str = "person",
    phase: str = "start",
    count: int = 1,
    at: datetime = NOW,
    pipeline_id: str = "door",
    kind: str = "object",
) -> NodeEvent:
    return NodeEvent(
        event_id=ulid_now(),
        pipeline_id=pipeline_id,
        kind=kind,
        phase=phase,
        label=label,
        confidence=91.4,
        count=count,
        box=Box(x_min=0.1, y_min=0.2, x_max=0.3, y_max=0.4),
        model="m",
        model_version="1",
        engine="e",
        accelerator="cpu",
        pattern="full_edge",
        captured_at=at.isoformat(),
        inference_ms=12.5,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "results.db"


def test_events_come_back_as_they_were_in_order_and_numbered(path: Path) -> None:
    log = ResultLog(path)
    first, second, third = event("person"), event("dog"), event("cat", pipeline_id="yard")
    assert log.append([first, second]) == [1, 2]
    assert log.append([third]) == [3]
    assert [item.event for item in log.after(1)] == [second, third]
    assert [item.seq for item in log.newest()] == [3, 2, 1]
    assert [item.event for item in log.newest("door", limit=1)] == [second]
    assert log.last_seq() == 3


def test_events_that_have_a_picture_are_found_page_by_page(path: Path) -> None:
    log = ResultLog(path)
    with_picture = [replace(item, evidence=item.event_id) for item in (event(), event(), event())]
    of_another = replace(event(), evidence=with_picture[0].event_id)
    log.append([with_picture[0], of_another, event(), *with_picture[1:]])
    newest = log.newest("door", 2, with_picture=True)
    assert [item.event for item in newest] == [with_picture[2], with_picture[1]]
    older = log.newest("door", 2, with_picture=True, before=newest[-1].seq)
    assert [item.event for item in older] == [with_picture[0]]
    assert log.newest("door", 2, with_picture=True, before=older[-1].seq) == []


def test_numbers_go_on_after_a_restart_and_after_everything_was_deleted(path: Path) -> None:
    log = ResultLog(path)
    log.append([event(), event()])
    log.trim(NOW + timedelta(days=400))
    log.close()
    log = ResultLog(path)
    assert (log.newest(), log.last_seq()) == ([], 2)
    assert log.append([event()]) == [3]


def test_what_is_old_goes(path: Path) -> None:
    log = ResultLog(path, max_age=timedelta(days=7))
    log.append([event("old", at=NOW - timedelta(days=8)), event("new", at=NOW)])
    log.trim(NOW)
    assert [item.event.label for item in log.newest()] == ["new"]


def test_the_file_stays_within_its_size_and_keeps_the_newest(path: Path) -> None:
    log = ResultLog(path, max_bytes=300_000)
    for _ in range(30):
        log.append([event(at=datetime.now(UTC)) for _ in range(100)])
    log.trim(datetime.now(UTC))
    assert path.stat().st_size < 330_000
    kept = [item.seq for item in log.newest(limit=5000)]
    assert kept[0] == 3000
    assert kept == list(range(3000, 3000 - len(kept), -1))
    assert len(kept) > 100


def test_it_knows_what_was_present_before_a_restart(path: Path) -> None:
    log = ResultLog(path)
    log.append([event("person"), event("dog"), event("car", count=2)])
    log.append([event("dog", "end", 0), event("car", "update", 3)])
    log.append([event("cat", "instant", kind="scan"), event("bird", pipeline_id="yard")])
    assert log.open_presences("door") == {"person": 1, "car": 3}


def test_a_damaged_file_is_put_aside_not_deleted(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    log = ResultLog(path)
    assert log.append([event()]) == [1]
    (aside,) = path.parent.glob("results.db.damaged-*")
    assert aside.read_bytes().startswith(b"this is no database")


def test_the_newest_events_of_a_damaged_file_are_put_aside_with_it(path: Path) -> None:
    first = ResultLog(path)
    first.append([event()])
    first.close()
    log = ResultLog(path)
    log.append([event()])
    wal = path.with_name(f"{path.name}-wal")
    newest = wal.read_bytes()
    assert newest
    # As after a power cut: the log was not folded into the file, and that is damaged.
    log.close()
    wal.write_bytes(newest)
    path.write_bytes(b"this is no database" * 1000)
    ResultLog(path).close()
    (aside,) = path.parent.glob("results.db.damaged-*-wal")
    assert aside.read_bytes() == newest


def test_whose_event_it_is_is_known_as_long_as_it_is_kept(path: Path) -> None:
    log = ResultLog(path)
    mine, other = event(at=datetime.now(UTC)), event(at=datetime.now(UTC), pipeline_id="yard")
    log.append([mine, other])
    assert log.pipeline_of(mine.event_id) == "door"
    assert log.pipeline_of(other.event_id) == "yard"
    assert log.pipeline_of(ulid_now()) is None
    assert log.pipeline_of("no id") is None


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    ResultLog(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StorageError, match="newer version"):
        ResultLog(path)
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot be opened"):
        ResultLog(tmp_path / "data" / "results.db")


def test_a_full_disk_is_an_error_and_what_was_there_stays(path: Path) -> None:
    log = ResultLog(path)
    log.append([event("first")])
    (pages,) = log._db.execute("PRAGMA page_count").fetchone()
    log._db.execute(f"PRAGMA max_page_count={pages}")  # SQLite then fails as on a full disk
    with pytest.raises(StorageError, match="full"):
        log.append([event() for _ in range(500)])
    assert [item.event.label for item in log.newest()] == ["first"]
    log._db.execute("PRAGMA max_page_count=100000")
    assert len(log.append([event("again")])) == 1


_WRITER = """
import sys
from pathlib import Path
from tests.node.test_results import event
from edge_vision_node.storage.event_log import ResultLog
log = ResultLog(Path(sys.argv[1]))
while True:
    print(log.append([event(), event()])[-1], flush=True)
"""


def test_a_writer_killed_at_any_moment_loses_nothing_that_was_committed(path: Path) -> None:
    root = str(Path(__file__).parent.parent.parent)
    environment = node_environment()
    environment["PYTHONPATH"] += os.pathsep + root
    last = 0
    for lines in (3, 40, 111):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, env=environment
        ) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                last = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
            last = int(rest[-1]) if rest else last
        log = ResultLog(path)
        assert log.last_seq() >= last
        kept = log.after(0, limit=100_000)
        assert [item.seq for item in kept] == list(range(1, log.last_seq() + 1))
        assert len(kept) % 2 == 0  # the two events of a transaction come and go together
        log.close()


def test_what_is_written_counts_although_what_is_old_cannot_be_deleted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    log = ResultLog(path)
    monkeypatch.setattr(ResultLog, "_trim", fail)
    assert log.append([event() for _ in range(200)])[-1] == 200
    assert "cannot be trimmed" in caplog.text
    assert log.last_seq() == 200
    log.close()


def test_a_log_of_the_first_version_is_taken_over(path: Path) -> None:
    log = ResultLog(path)
    log.append([event()])
    log.close()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE followed")
        database.execute("PRAGMA user_version=1")
    log = ResultLog(path)
    assert log.last_seq() == 1
    assert log.held("door") is None
    assert log.append([event()], ("door", "{}")) == [2]
    assert log.held("door") == "{}"
    log.forget("door")
    assert log.held("door") is None
    log.close()
