"""Access to /sys, /proc and /dev below a root, which can be a recording of another device."""

from __future__ import annotations

import errno
import grp
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ..system import this_system

_LIBRARY_FOLDERS = (
    "lib",
    "lib64",
    "lib/*-linux-gnu",
    "usr/lib",
    "usr/lib64",
    "usr/lib/*",
    "usr/lib/*-linux-gnu/*",
    "usr/lib/wsl/lib",
    "usr/local/lib",
    "usr/local/lib/*-linux-gnu",
)


class Container(StrEnum):
    """The kind of container that separates this process from the hardware."""

    NONE = "none"
    PLAIN = "plain"
    APP = "app"
    HOME_ASSISTANT_OS = "home_assistant_os"


def may_open(path: Path) -> bool:
    """Return whether this process can use a device node.

    The node is also opened, because the device rules of a container do not show in its permissions;
    only for reading, because some drivers claim the device when it is opened for writing.
    """
    if not os.access(path, os.R_OK | os.W_OK):
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as err:
        return err.errno not in (errno.EPERM, errno.EACCES)
    return True


def usable_cores() -> int:
    """Return the number of cores that this process can use, respecting containers and affinity."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Host:
    """A device as shown by its operating system. Paths are absolute and resolved below `root`."""

    root: Path = Path("/")
    system: str = field(default_factory=platform.system)
    machine: str = field(default_factory=platform.machine)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    may_open_path: Callable[[Path], bool] = may_open

    def path(self, name: str) -> Path:
        """Return the real location of an absolute path."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return a small text file without padding, or None if it cannot be read."""
        try:
            return self.path(name).read_text("utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return None

    def read_list(self, name: str) -> tuple[str, ...]:
        """Return a list of strings from a device tree."""
        text = self.read(name)
        return tuple(text.split("\0")) if text else ()

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """Return the names in a folder in natural order (2 before 10)."""
        try:
            found = [path.name for path in self.path(folder).glob(pattern)]
        except OSError:
            return []
        return sorted(found, key=lambda name: (len(name), name))

    def exists(self, name: str) -> bool:
        """Return whether a path exists."""
        return self.path(name).exists()

    def may_open(self, name: str) -> bool:
        """Return whether this process can use a device node."""
        return self.may_open_path(self.path(name))

    def link(self, name: str) -> str | None:
        """Return the name of the target of a symbolic link, which does not have to exist."""
        try:
            return self.path(name).readlink().name
        except OSError:
            return None

    def group_of(self, name: str) -> str:
        """Return the group of a device node."""
        number = self.path(name).stat().st_gid
        try:
            return grp.getgrgid(number).gr_name
        except KeyError:  # the group is unknown inside most containers
            return str(number)

    def has_library(self, pattern: str) -> bool:
        """Return whether a shared library is installed in a folder of the loader."""
        return any(
            next(iter(folder.glob(pattern)), None) is not None
            for parent in _LIBRARY_FOLDERS
            for folder in self.root.glob(parent)
        )

    @property
    def board(self) -> str | None:
        """Return the name of the board or computer."""
        return self.read("/proc/device-tree/model") or self.read("/sys/class/dmi/id/product_name")

    @property
    def compatible(self) -> tuple[str, ...]:
        """Return the names of the board in the device tree, the most specific first."""
        return self.read_list("/proc/device-tree/compatible")

    @property
    def container(self) -> Container:
        """Return the kind of container that this process runs in."""
        if "SUPERVISOR_TOKEN" in self.environment:
            # The image of Home Assistant has its source here; images of apps have no reason to.
            core = self.exists("/usr/src/homeassistant")
            return Container.HOME_ASSISTANT_OS if core else Container.APP
        plain = self.exists("/.dockerenv") or self.exists("/run/.containerenv")
        return Container.PLAIN if plain else Container.NONE

    @property
    def is_musl(self) -> bool:
        """Return whether the C library is musl, for which most engines have no package.

        For this system, this is the library that the process uses; others may be installed, too.
        """
        if self.root == Path("/"):
            return this_system().libc == "musl"
        return any(self.path("/lib").glob("ld-musl-*")) and not self.has_library("libc.so.6")
