"""Pictures on disk: full disks, and files that cannot be deleted."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from edge_vision_node.errors import StorageError
from edge_vision_node.records import Records
from edge_vision_node.storage.evidence import EvidenceStore
from edge_vision_node.storage.pictures import PictureStore

NOW = datetime.now(UTC)
LONG_AGO = (NOW - timedelta(days=40)).timestamp()
IDS = [f"{number:026d}" for number in range(20)]


@asynccontextmanager
async def records(folder: Path) -> AsyncIterator[tuple[Records, list[str | None]]]:
    told: list[str | None] = []
    them = Records(folder, asyncio.create_task, lambda: told.append(them.error))
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
    async with records(tmp_path) as (them, told):
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
    async with records(tmp_path) as (them, told):
        with monkeypatch.context() as patch:
            full(tmp_path / "evidence", 50, patch)
            for _ in range(2):
                with pytest.raises(StorageError, match="No space left"):
                    await them.keep(them.evidence.write, IDS[0], b"c" * 100, b"a" * 100)
            assert list((tmp_path / "evidence").iterdir()) == []
            # That the log can be written all the same does not say that pictures can.
            assert await them.last_seq() == 0
            assert told == ["Pictures cannot be written: No space left on device"]
        await them.keep(them.evidence.write, IDS[0], b"c" * 100, b"a" * 100)
        assert told[1:] == [None]


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
