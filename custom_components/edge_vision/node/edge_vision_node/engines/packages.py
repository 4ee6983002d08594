"""The systems that each engine has packages for."""

from __future__ import annotations

import re

from ..system import System, this_system

_X86 = System("Linux", "x86_64", "glibc")
_ARM = System("Linux", "aarch64", "glibc")
_APPLE = System("Darwin", "arm64", "")
_ALPINE = (System("Linux", "x86_64", "musl"), System("Linux", "aarch64", "musl"))

# For the versions that Edge Vision installs. HailoRT is not on a package index.
_PACKAGES: dict[str, tuple[System, ...]] = {
    "onnxruntime": (_X86, _ARM, _APPLE),
    "openvino": (_X86, _ARM, _APPLE),
    "litert": (_X86, _ARM, _APPLE),
    "ncnn": (_X86, _ARM, _APPLE, *_ALPINE),
}
# Minimum glibc of packages that need a newer one than the others.
_LEAST_GLIBC = {("openvino", "aarch64"): (2, 35)}


def has_package(engine: str, system: System | None = None) -> bool:
    """Return whether an engine can be installed on this system."""
    system = system or this_system()
    least = _LEAST_GLIBC.get((engine, system.machine))
    if least is not None and system.libc == "glibc":
        numbers = [int(part) for part in re.findall(r"\d+", system.version)[:2]]
        if numbers and tuple(numbers) < least:
            return False
    return system in _PACKAGES.get(engine, ())


def why_missing(engine: str, name: str, system: System | None = None) -> str:
    """Return why the package of an engine is missing; `name` is the name to display."""
    system = system or this_system()
    if engine not in _PACKAGES or has_package(engine, system):
        return f"{name} is not installed"
    return f"{name} cannot be installed on this system ({system.text})"
