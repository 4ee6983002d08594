"""Pictures on disk: full disks, and files that cannot be deleted."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from edge_vision_node.errors import NoPictureError, StorageError
from edge_vision_node.pipelines.background import Background
from edge_vision_node.pipelines.telling import Teller
from edge_vision_node.storage import archive as archive_module
from edge_vision_node.storage.archive import Archive
from edge_vision_node.storage.event_pictures import EvidenceStore
from edge_vision_node.storage.last_pictures import PictureStore

from .test_results import event

JPEG = b"\xff\xd8\xff\xe0 a picture"
NOW = datetime.now(UTC)
LONG_AGO = (NOW - timedelta(days=40)).timestamp()
IDS = [f"{number:026d}" for number in range(20)]


@asynccontextmanager
async def archive(folder: Path) -> AsyncIterator[tuple[Archive, list[str | None]]]:
    told: list[str | None] = []
    them = Archive(folder, lambda: told.append(them.error))
    try:
        yield them, told
    finally:
        await them.close()


def full(folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a folder take no more than so many bytes, as on a full disk."""

    def write(path: Path, content: bytes) -> int:
        used = sum(item.stat().st_size for item in folder.rglob("*.*") if item != path)
        with path.open("wb") as file:
            file.write(content[: max(0, room - used)])
        if used + len(content) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(content)

    monkeypatch.setattr(Path, "write_bytes", write)


async def test_on_a_full_disk_the_oldest_pictures_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with archive(tmp_path) as (them, told):
        for event_id in IDS[:10]:
            await them.keep(them.evidence.write, event_id, b"c" * 100, b"a" * 100)
        full(tmp_path / "evidence", 2000, monkeypatch)
        await them.keep(them.evidence.write, IDS[10], b"c" * 100, b"a" * 100)
        left = sorted({path.name[:26] for path in (tmp_path / "evidence").iterdir()})
        assert left == IDS[1:11]
        assert told == []


async def test_a_disk_that_stays_full_is_told_until_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with archive(tmp_path) as (them, told):
        with monkeypatch.context() as patch:
            full(tmp_path / "evidence", 50, patch)
            for _ in range(2):
                with pytest.raises(StorageError, match="No space left"):
                    await them.keep(them.evidence.write, IDS[0], b"c" * 100, b"a" * 100)
            assert list((tmp_path / "evidence").iterdir()) == []
            # That the log can be written all the same does not say that pictures can.
            assert (await them.position())[1] == 0
            assert told == ["Pictures cannot be written: No space left on device"]
        await them.keep(them.evidence.write, IDS[0], b"c" * 100, b"a" * 100)
        assert told[1:] == [None]


async def test_that_a_log_is_newer_is_said_as_long_as_it_is_what_fails_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_TRY_EVERY_S", 0.01)
    with closing(sqlite3.connect(tmp_path / "results.db")) as db:
        db.execute("PRAGMA user_version=99")
    async with archive(tmp_path) as (them, told):
        await Teller(them, Background(lambda: None)).tell([event()])
        assert them.newer
        full(tmp_path / "evidence", 50, monkeypatch)
        with pytest.raises(StorageError, match="No space left"):
            await them.keep(them.evidence.write, IDS[0], b"c" * 100, b"a" * 100)
        assert them.newer
        assert len(told) == 1
        (tmp_path / "results.db").rename(tmp_path / "results.db.newer")
        assert them._trying is not None
        await them._trying
        assert them.newer is False
        assert told[1:] == ["Pictures cannot be written: No space left on device"]


async def test_that_the_log_can_be_read_does_not_say_that_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_TRY_EVERY_S", 0.01)
    async with archive(tmp_path) as (them, told):
        teller = Teller(them, Background(lambda: None))
        await teller.tell([event()])
        other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert them._log is not None
        them._log._db.execute("PRAGMA busy_timeout=10")
        heard: list[tuple[int | None, str]] = []
        teller.listen_events(lambda seq, item: heard.append((seq, item.label)))
        await teller.tell([event("cat")])
        assert heard == [(None, "cat")]
        for _ in range(3):
            assert [item.seq for item in await them.newest_events(None, 5)] == [1]
            assert "cannot be written: database is locked" in (them.error or "")
        other.execute("ROLLBACK")
        other.close()
        assert them._trying is not None
        await them._trying  # without another event
        assert them.error is None
        assert len(told) == 2
        await teller.tell([event("dog")])
        assert heard[-1] == (2, "dog")


async def test_a_data_folder_that_is_deleted_comes_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with archive(data) as (them, _):
        await them.append([event()])
        await them.keep(them.evidence.write, IDS[0], b"clean", b"annotated")
        shutil.rmtree(data)
        await them.append([event("cat")])
        await them.keep(them.evidence.write, IDS[1], b"clean", b"annotated")
        await them.keep(them.pictures.write, "door", b"annotated", NOW)
        assert [item.event.label for item in await them.events_after(0)] == ["person", "cat"]
        assert IDS[1] in them.evidence.known()
        assert them.evidence.trim(NOW) == 0
        assert "was deleted" in (them.notice or "")
        assert them.error is None


async def test_an_event_names_only_a_picture_that_is_there_or_may_still_come(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC).isoformat()
    async with archive(tmp_path) as (them, _):
        await them.keep(them.evidence.write, IDS[0], b"clean", b"annotated")
        await them.append(
            [
                replace(event("kept"), evidence=IDS[0]),
                replace(event("gone"), evidence=IDS[1]),
                replace(event("none"), evidence=None),
                replace(event("coming"), evidence=IDS[1], captured_at=now),
                replace(event("odd"), evidence=IDS[1], captured_at="yesterday"),
            ]
        )
        told = {item.event.label: item.event.evidence for item in await them.events_after(0)}
    assert told == {"kept": IDS[0], "gone": None, "none": None, "coming": IDS[1], "odd": None}


def test_a_file_that_cannot_be_deleted_is_told_once_and_keeps_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, pictures = EvidenceStore(tmp_path / "e"), PictureStore(tmp_path / "p")
    # Not even root can delete a folder as a file.
    for path in (tmp_path / "e" / f"{IDS[0]}.jpg", tmp_path / "p" / "a.jpg"):
        path.mkdir()
        os.utime(path, (LONG_AGO, LONG_AGO))
    for path in (tmp_path / "e" / f"{IDS[1]}.jpg", tmp_path / "p" / "b.jpg"):
        path.write_bytes(b"x")
        os.utime(path, (LONG_AGO, LONG_AGO))
    with caplog.at_level(logging.WARNING):
        assert store.trim(NOW) == 1
        assert store.trim(NOW) == 0
        pictures.delete_old(set(), NOW)
    assert [path.name for path in (tmp_path / "e").iterdir()] == [f"{IDS[0]}.jpg"]
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["a.jpg"]
    assert len(caplog.records) == 2


def test_ids_of_rows_delete_nothing_but_pictures_of_events(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "e")
    (tmp_path / "other.jpg").write_bytes(b"x")
    store.write(IDS[0], b"x", b"x")
    store.delete(["../other", "\0", "", IDS[0]])
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["other.jpg"]


def _replace(path: Path, what: str) -> None:
    """Put something else in the place of a picture."""
    path.unlink(missing_ok=True)
    secret = path.parent.parent / "secret"
    match what:
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a link":
            secret.write_bytes(JPEG)
            path.symlink_to(secret)
        case "a link to a device":
            path.symlink_to("/dev/zero")
        case "a link to itself":
            path.symlink_to(path.name)
        case "a document":
            path.write_bytes(b"<script>alert(1)</script>")
        case "an empty file":
            path.touch()
        case "a very large one":
            path.write_bytes(JPEG)
            os.truncate(path, 1 << 36)


STRANGE = [
    *("a pipe", "a folder", "a link", "a link to a device", "a link to itself", "a document"),
    *("an empty file", "a very large one"),
]


@pytest.mark.parametrize("what", STRANGE)
def test_what_lies_in_a_pictures_place_is_not_handed_out_and_gives_way(
    tmp_path: Path, what: str
) -> None:
    evidence, pictures = EvidenceStore(tmp_path / "e"), PictureStore(tmp_path / "p")
    evidence.write(IDS[0], JPEG, JPEG)
    pictures.write("porch", JPEG, NOW)
    assert evidence.read(IDS[0])[0] == pictures.read("porch")[0] == JPEG
    for path in (
        *(tmp_path / "e" / f"{IDS[0]}{suffix}" for suffix in (".jpg", ".clean.jpg")),
        tmp_path / "p" / "porch.jpg",
    ):
        _replace(path, what)
        _replace(path.with_suffix(".tmp"), what)
    for clean in (False, True):
        with pytest.raises(NoPictureError):
            evidence.read(IDS[0], clean=clean)
    with pytest.raises(NoPictureError):
        pictures.read("porch")
    secret = tmp_path / "secret"
    before = secret.read_bytes() if secret.exists() else b""
    newer = JPEG + b"newer"
    evidence.write(IDS[0], newer, newer)
    pictures.write("porch", newer, NOW)
    assert evidence.read(IDS[0])[0] == pictures.read("porch")[0] == newer
    assert (secret.read_bytes() if secret.exists() else b"") == before


@pytest.mark.parametrize("what", ["a pipe", "a link to itself", "a document"])
def test_what_lies_in_the_place_of_a_folder_is_put_aside(tmp_path: Path, what: str) -> None:
    for name in ("evidence", "pictures"):
        _replace(tmp_path / name, what)
    EvidenceStore(tmp_path / "evidence").write(IDS[0], JPEG, JPEG)
    PictureStore(tmp_path / "pictures").write("porch", JPEG, NOW)
    aside = [path.name for path in tmp_path.iterdir() if ".damaged-" in path.name]
    assert sorted(name.partition(".")[0] for name in aside) == ["evidence", "pictures"]
