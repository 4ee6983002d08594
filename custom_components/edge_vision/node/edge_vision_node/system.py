"""The system of this process: kernel, processor, C library."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class System:
    """The properties that determine which packages can be installed.

    `libc` is "glibc", "musl" or "". `version` is that of the C library, or empty if unknown.
    """

    name: str
    machine: str
    libc: str
    version: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """Return a description for messages."""
        return f"{self.name} {self.machine}{f' with {self.libc}' if self.libc else ''}"


def this_system() -> System:
    """Return the system of this process.

    The C library is the one used by the process, even if others are installed.
    """
    libc, version = "", ""
    if sys.platform == "linux":
        try:
            text = os.confstr("CS_GNU_LIBC_VERSION") or ""
        except (OSError, ValueError):  # not supported by other C libraries
            text = ""
        libc, _, version = text.partition(" ")
        if libc != "glibc":
            libc = "musl"
            known, number = platform.libc_ver()  # supported by newer versions of Python
            version = number if known == libc else ""
    return System(platform.system(), platform.machine(), libc, version)
