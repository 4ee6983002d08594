"""Files that are whole or not there, and what to do where one cannot be deleted."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..frames.structure import JPEG_START
from ..plain_files import open_plain
from ..protocol import MAX_PICTURE_BYTES

_LOGGER = logging.getLogger(__name__)

UNFINISHED = ".tmp"


def keep_private(folder: Path) -> None:
    """Restrict a folder, and all files that this process creates, to the current user.

    What other programs made there earlier, or an older version, is tightened too.
    """
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    _tighten(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _tighten(Path(parent, name))


def _tighten(path: Path) -> None:
    with suppress(OSError):  # it may be gone, or be another user's
        mode = path.lstat().st_mode
        if mode & 0o077 and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & 0o700)


def make_folder(folder: Path) -> None:
    """Make a folder; what else lies in its place is put aside. Raises `OSError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        aside = folder.with_name(f"{folder.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
        folder.rename(aside)
        _LOGGER.warning("%s was no folder; it was renamed to %s", folder, aside.name)
        folder.mkdir()


def read_jpeg(path: Path) -> tuple[bytes, datetime] | None:
    """Return a JPEG and its file's time; None where there is none.

    Pipes, devices, folders, links and other files, which anybody may have put there, are none.
    Raises `OSError`.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with open_plain(path, follow=False) as file:
            at = os.fstat(file.fileno()).st_mtime
            jpeg = file.read(MAX_PICTURE_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(jpeg) > MAX_PICTURE_BYTES or not jpeg.startswith(JPEG_START):
        return None
    return jpeg, datetime.fromtimestamp(at, UTC)


def _clear(path: Path) -> None:
    """Remove what is no file from where one is to be written. Raises `OSError`."""
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            path.rmdir()
        elif not stat.S_ISREG(mode):
            path.unlink()


def write_whole(path: Path, content: bytes, at: datetime | None = None) -> None:
    """Write a file: a reader or a crash finds the old or the new one, whole. Raises `OSError`.

    `at`: what becomes the file's time.
    """
    temporary = path.with_suffix(UNFINISHED)
    try:
        _clear(temporary)
        _clear(path)
        try:
            temporary.write_bytes(content)
        except FileNotFoundError:  # somebody has deleted the folder
            path.parent.mkdir(parents=True, exist_ok=True)
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
    """Deletes files in the background; one that cannot be deleted is logged once and left."""

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
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:  # somebody has deleted it: there are none
        return []
    for path in paths:
        if path.name.endswith(suffixes):
            with suppress(OSError):
                stat = path.stat()
                found.append((path, stat.st_size, stat.st_mtime))
    return found
