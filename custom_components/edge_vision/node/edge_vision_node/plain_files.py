"""Reading files that anybody may have put there: plain ones only, and no more than was agreed."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_plain(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a plain file to read. Raises `OSError` for everything else.

    A pipe would wait for its writer, a device never ends, and a folder is none. `follow`: whether
    it may lie behind a symbolic link.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except ValueError as err:  # a NUL in its name
        raise OSError(errno.EINVAL, str(err), str(path)) from err
    except OSError as err:
        if err.errno == errno.ELOOP and not follow:
            raise OSError(
                errno.ELOOP, "It is a link, which may lead outside its folder", str(path)
            ) from err
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no plain file", str(path))
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, most: int, *, follow: bool = True) -> bytes:
    """Return the content of a plain file of at most so many bytes. Raises `OSError`."""
    with open_plain(path, follow=follow) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"It has more than {most} bytes", str(path))
    return content
