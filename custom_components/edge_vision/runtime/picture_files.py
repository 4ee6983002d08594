"""Read picture files that users name; a pipe or a dead network share blocks nothing else."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from contextlib import suppress
from typing import Final

from homeassistant.core import HomeAssistant

# A disk that wakes up takes some seconds; a share whose server is gone takes for ever.
DEADLINE_S: Final = 10.0
# Reads under way at once. One that hangs keeps its thread until the share is back.
MOST_READS: Final = 4

_reads = threading.BoundedSemaphore(MOST_READS)


class FileNotAllowed(Exception):
    """Home Assistant does not let users read this file."""


async def async_read(hass: HomeAssistant, name: str, most: int) -> bytes:
    """Return what a plain file holds, at most so many bytes.

    Raises `FileNotAllowed`, or `OSError` with a reason: also after a timeout, or while too many
    other reads are pending.
    """
    if not _reads.acquire(blocking=False):
        raise OSError(0, "too many other files are still being read; try again later", name)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def finish(content: bytes | Exception) -> None:
        if answer.done():
            return
        if isinstance(content, Exception):
            answer.set_exception(content)
        else:
            answer.set_result(content)

    def read() -> None:
        content: bytes | Exception
        try:
            content = _read(hass, name, most)
        except (OSError, ValueError, FileNotAllowed) as err:
            content = err
        finally:
            _reads.release()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(finish, content)

    # Not in Home Assistant's executor, which reads that hang would use up; and a daemon, so that
    # Home Assistant can stop.
    threading.Thread(target=read, name="Edge Vision picture file", daemon=True).start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await answer
    except TimeoutError as err:
        raise OSError(0, f"it could not be read within {DEADLINE_S:g} s", name) from err


def _read(hass: HomeAssistant, name: str, most: int) -> bytes:
    if not hass.config.is_allowed_path(name):
        raise FileNotAllowed
    # A pipe is opened without waiting for its writer.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise OSError(0, f"it is {what}, not a file", name)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)
