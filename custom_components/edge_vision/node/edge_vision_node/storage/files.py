"""Files that are whole or not there, and what to do where one cannot be deleted."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

_LOGGER = logging.getLogger(__name__)

UNFINISHED = ".tmp"


def write_whole(path: Path, content: bytes, at: datetime | None = None) -> None:
    """Write a file: a reader or a crash finds the old or the new one, whole. Raises `OSError`.

    `at`: what becomes the file's time.
    """
    temporary = path.with_suffix(UNFINISHED)
    try:
        temporary.write_bytes(content)
        if at is not None:
            os.utime(temporary, (at.timestamp(), at.timestamp()))
        temporary.replace(path)
    except OSError:
        # On a full disk it would be in the way of what comes next.
        with suppress(OSError):
            temporary.unlink()
        raise


class Deleter:
    """Deletes files that nobody waits for: one that cannot be deleted is told once, and left."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: set[Path] = set()

    def delete(self, path: Path) -> bool:
        """Delete a file; return whether it is gone."""
        try:
            path.unlink(missing_ok=True)
        except OSError as err:
            if path not in self._told:
                self._told.add(path)
                _LOGGER.warning("%s cannot be deleted: %s", path, err.strerror)
            return False
        self._told.discard(path)
        return True


def sizes_and_times(folder: Path, suffixes: tuple[str, ...]) -> list[tuple[Path, int, float]]:
    """Return the files of a folder in order of their names: path, bytes, seconds since the epoch.

    Those that are gone meanwhile are left out. Raises `OSError`.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(suffixes):
            with suppress(OSError):
                stat = path.stat()
                found.append((path, stat.st_size, stat.st_mtime))
    return found
