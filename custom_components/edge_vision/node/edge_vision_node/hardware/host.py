"""Where hardware is read from: /sys, /proc and /dev below a root, so that a recording will do."""

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
    """What keeps this process apart from the device's hardware."""

    NONE = "none"
    PLAIN = "plain"
    APP = "app"
    HOME_ASSISTANT_OS = "home_assistant_os"


def may_open(path: Path) -> bool:
    """Return whether this process may use a device node.

    It is also opened, for reading only (some drivers hand the device to whoever opens it for
    writing): a container's device rules show in no permission bit.
    """
    if not os.access(path, os.R_OK | os.W_OK):
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as err:
        return err.errno not in (errno.EPERM, errno.EACCES)
    return True


def usable_cores() -> int:
    """Return how many cores this process may use (containers and affinity included)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Host:
    """A device as its operating system shows it. Paths are absolute, and looked up below `root`."""

    root: Path = Path("/")
    system: str = field(default_factory=platform.system)
    machine: str = field(default_factory=platform.machine)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    may_open_path: Callable[[Path], bool] = may_open

    def path(self, name: str) -> Path:
        """Return where an absolute path really lies."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return a small text file without its padding, None where it cannot be read."""
        try:
            return self.path(name).read_text("utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return None

    def read_list(self, name: str) -> tuple[str, ...]:
        """Return a list of strings as device trees hold them."""
        text = self.read(name)
        return tuple(text.split("\0")) if text else ()

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """Return what lies in a folder, in the order in which a person would count it."""
        try:
            found = [path.name for path in self.path(folder).glob(pattern)]
        except OSError:
            return []
        return sorted(found, key=lambda name: (len(name), name))

    def exists(self, name: str) -> bool:
        """Return whether something is there."""
        return self.path(name).exists()

    def may_open(self, name: str) -> bool:
        """Return whether this process may use a device node."""
        return self.may_open_path(self.path(name))

    def link(self, name: str) -> str | None:
        """Return the last part of what a symbolic link points at; it need not exist."""
        try:
            return self.path(name).readlink().name
        except OSError:
            return None

    def group_of(self, name: str) -> str:
        """Return the group that a device node belongs to."""
        number = self.path(name).stat().st_gid
        try:
            return grp.getgrgid(number).gr_name
        except KeyError:  # the device's group is unknown inside most containers
            return str(number)

    def has_library(self, pattern: str) -> bool:
        """Return whether a shared library is installed where the loader looks."""
        return any(
            next(iter(folder.glob(pattern)), None) is not None
            for parent in _LIBRARY_FOLDERS
            for folder in self.root.glob(parent)
        )

    @property
    def board(self) -> str | None:
        """Return the board's or computer's name."""
        return self.read("/proc/device-tree/model") or self.read("/sys/class/dmi/id/product_name")

    @property
    def compatible(self) -> tuple[str, ...]:
        """Return what the device tree says the board is, the most exact name first."""
        return self.read_list("/proc/device-tree/compatible")

    @property
    def container(self) -> Container:
        """Return what kind of container this process is in."""
        if "SUPERVISOR_TOKEN" in self.environment:
            # Home Assistant's own image keeps its source here; an app's has no reason to.
            core = self.exists("/usr/src/homeassistant")
            return Container.HOME_ASSISTANT_OS if core else Container.APP
        plain = self.exists("/.dockerenv") or self.exists("/run/.containerenv")
        return Container.PLAIN if plain else Container.NONE

    @property
    def is_musl(self) -> bool:
        """Return whether the C library is musl, for which most engines have no package.

        Of this system, the library that this process runs on; a package may have brought another.
        """
        if self.root == Path("/"):
            return this_system().libc == "musl"
        return any(self.path("/lib").glob("ld-musl-*")) and not self.has_library("libc.so.6")
