"""For which systems the makers of the engines publish packages."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from . import ENGINES, is_installed


@dataclass(frozen=True)
class System:
    """What decides whether a package can be installed; `libc` is "glibc", "musl" or ""."""

    name: str
    machine: str
    libc: str

    @property
    def text(self) -> str:
        """Return it in words."""
        return f"{self.name} {self.machine}{f' with {self.libc}' if self.libc else ''}"


_X86 = System("Linux", "x86_64", "glibc")
_ARM = System("Linux", "aarch64", "glibc")
_APPLE = System("Darwin", "arm64", "")
_ALPINE = (System("Linux", "x86_64", "musl"), System("Linux", "aarch64", "musl"))

# As of the versions that Edge Vision installs. HailoRT is on no package index.
_PACKAGES: dict[str, tuple[System, ...]] = {
    "onnxruntime": (_X86, _ARM, _APPLE),
    "openvino": (_X86, _APPLE),
    "litert": (_X86, _ARM, _APPLE),
    "ncnn": (_X86, _ARM, _APPLE, *_ALPINE),
}


def this_system() -> System:
    """Return the system of this process."""
    libc = ""
    if sys.platform == "linux":
        try:
            version = os.confstr("CS_GNU_LIBC_VERSION") or ""
        except (OSError, ValueError):  # other C libraries do not know the question
            version = ""
        libc = "glibc" if version.startswith("glibc") else "musl"
    return System(platform.system(), platform.machine(), libc)


def has_package(engine: str, system: System | None = None) -> bool:
    """Return whether an engine that is not here yet could be installed here."""
    return (system or this_system()) in _PACKAGES.get(engine, ())


def why_unavailable(engines: Iterable[str], system: System | None = None) -> str | None:
    """Return why none of these engines can be had here; None where one is here, or could be."""
    system = system or this_system()
    wanted = list(engines)
    if any(is_installed(engine) or has_package(engine, system) for engine in wanted):
        return None
    names = " or ".join(ENGINES[engine].name for engine in wanted)
    return f"it needs {names}, which cannot be installed on this system ({system.text})"
