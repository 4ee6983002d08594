"""The device: processor, memory, board, temperature. Reads /proc and /sys; None is "not known"."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from ..engines import usable_cores
from ..protocol import HardwareInfo


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _field(text: str | None, name: str) -> str | None:
    """Return a `name : value` line's value, as /proc/cpuinfo and /proc/meminfo have them."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _libc() -> str:
    name, version = platform.libc_ver()
    if name:
        return f"{name} {version}"
    if any(Path("/lib").glob("ld-musl-*")):
        return "musl"
    return platform.system()


def _memory_bytes() -> int | None:
    total = _field(_read("/proc/meminfo"), "MemTotal")
    return int(total.split()[0]) * 1024 if total else None


def describe_hardware() -> HardwareInfo:
    """Return what this device is."""
    board = _read("/proc/device-tree/model") or _read("/sys/class/dmi/id/product_name") or None
    cpu = _field(_read("/proc/cpuinfo"), "model name") or platform.processor()
    return HardwareInfo(
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        libc=_libc(),
        cpu=cpu or board or platform.machine(),
        cores=usable_cores(),
        python=platform.python_version(),
        board=board,
        memory_bytes=_memory_bytes(),
    )


def resident_bytes(pids: Iterable[int] = ()) -> int | None:
    """Return the memory that this process and others hold (sum of the resident sets)."""
    texts = [_read(f"/proc/{pid}/statm") for pid in ("self", *pids)]
    if texts[0] is None:
        return None
    return sum(int(text.split()[1]) for text in texts if text) * os.sysconf("SC_PAGE_SIZE")


def temperature_c() -> float | None:
    """Return the hottest thermal zone's temperature in °C."""
    readings = []
    for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        text = _read(str(zone))
        if text and text.lstrip("-").isdigit():
            readings.append(int(text) / 1000)
    return max(readings, default=None)
