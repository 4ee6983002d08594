"""Reading of untrusted files: only regular files, and only up to a maximum size."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_plain(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading. Raises `OSError` for everything else.

    A pipe would wait for its writer, and a device may never end. `follow`: whether symbolic links
    are followed.
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
    """Return the content of a regular file of at most `most` bytes. Raises `OSError`."""
    with open_plain(path, follow=follow) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"It has more than {most} bytes", str(path))
    return content
