"""What system this process runs on: kernel, processor, C library."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class System:
    """What decides whether a package can be installed; `libc` is "glibc", "musl" or "".

    `version` is the C library's, empty where it is not known.
    """

    name: str
    machine: str
    libc: str
    version: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """Return it in words."""
        return f"{self.name} {self.machine}{f' with {self.libc}' if self.libc else ''}"


def this_system() -> System:
    """Return the system of this process.

    The C library is the one that it runs on, whatever others are installed beside it.
    """
    libc, version = "", ""
    if sys.platform == "linux":
        try:
            text = os.confstr("CS_GNU_LIBC_VERSION") or ""
        except (OSError, ValueError):  # other C libraries do not know the question
            text = ""
        libc, _, version = text.partition(" ")
        if libc != "glibc":
            libc = "musl"
            known, number = platform.libc_ver()  # newer versions of Python can tell
            version = number if known == libc else ""
    return System(platform.system(), platform.machine(), libc, version)
