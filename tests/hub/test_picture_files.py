"""A picture's file that a user names: what is no file, and what never comes, holds nobody up."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from homeassistant.core import HomeAssistant

from custom_components.edge_vision.runtime import picture_files
from custom_components.edge_vision.runtime.picture_files import (
    MOST_READS,
    FileNotAllowed,
    async_read,
)
from tests.hub.conftest import until


@pytest.fixture
def folder(hass: HomeAssistant, tmp_path: Path) -> Path:
    """A folder that users may read."""
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    return tmp_path


async def test_a_file_is_read_up_to_a_size(hass: HomeAssistant, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(b"12345")
    assert await async_read(hass, str(folder / "a.jpg"), 3) == b"123"
    with pytest.raises(FileNotAllowed):
        await async_read(hass, "/etc/passwd", 3)
    (folder / "out").symlink_to("/etc/passwd")
    with pytest.raises(FileNotAllowed):
        await async_read(hass, str(folder / "out"), 3)
    with pytest.raises((OSError, ValueError)):
        await async_read(hass, str(folder / "a\0b"), 3)


async def test_pipes_and_devices_are_no_pictures(hass: HomeAssistant, folder: Path) -> None:
    """However many are asked for: none of them keeps a thread."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    for _ in range(5 * MOST_READS):
        with pytest.raises(OSError, match="a pipe or a device"):
            await async_read(hass, str(folder / "pipe.jpg"), 3)
    with pytest.raises(OSError, match="a directory"):
        await async_read(hass, str(folder / "folder.jpg"), 3)


async def test_a_share_that_is_dead_keeps_its_few_threads_and_nothing_else(
    hass: HomeAssistant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.jpg").write_bytes(b"12345")
    read, back = picture_files._read, threading.Event()

    def hang(hass: HomeAssistant, name: str, most: int) -> bytes:
        back.wait()
        return read(hass, name, most)

    monkeypatch.setattr(picture_files, "_read", hang)
    monkeypatch.setattr(picture_files, "DEADLINE_S", 0.05)
    name = str(folder / "a.jpg")
    reads = [async_read(hass, name, 9) for _ in range(MOST_READS + 3)]
    answers = await asyncio.gather(*reads, return_exceptions=True)
    reasons = [str(answer) for answer in answers]
    assert sum("could not be read within" in reason for reason in reasons) == MOST_READS
    assert sum("other files are still being read" in reason for reason in reasons) == 3
    # What else Home Assistant does in threads goes on meanwhile.
    assert await hass.async_add_executor_job(os.getpid) == os.getpid()
    back.set()
    monkeypatch.undo()
    hass.config.allowlist_external_dirs = {str(folder)}
    await until(
        lambda: all(item.name != "Edge Vision picture file" for item in threading.enumerate())
    )
    assert await async_read(hass, name, 9) == b"12345"
