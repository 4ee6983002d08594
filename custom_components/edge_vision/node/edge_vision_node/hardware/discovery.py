"""The device: processor, memory, board, temperature, accelerators. None means unknown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from ..protocol import BoardProfile, DeviceInfo, EngineInfo, HardwareInfo
from ..system import this_system
from .devices import Found, find_all
from .host import Host, usable_cores
from .profiles import recognize

_THIS = Host()
# Engines with other packages for other accelerators.
_OTHER_BUILDS = ("onnxruntime",)


def _field(text: str | None, name: str) -> str | None:
    """Return the value of a `name : value` line, as in /proc/cpuinfo and /proc/meminfo."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _libc() -> str:
    system = this_system()
    return f"{system.libc} {system.version}".strip() or platform.system()


def _memory_bytes(host: Host) -> int | None:
    total = _field(host.read("/proc/meminfo"), "MemTotal")
    return int(total.split()[0]) * 1024 if total else None


def describe_hardware(host: Host = _THIS) -> HardwareInfo:
    """Return a description of this device."""
    board = host.board or None
    cpu = _field(host.read("/proc/cpuinfo"), "model name") or platform.processor()
    return HardwareInfo(
        machine=host.machine,
        system=f"{platform.system()} {platform.release()}",
        libc=_libc(),
        cpu=cpu or board or host.machine,
        cores=usable_cores(),
        python=platform.python_version(),
        board=board,
        memory_bytes=_memory_bytes(host),
    )


def find_devices(engines: Iterable[EngineInfo], host: Host = _THIS) -> tuple[DeviceInfo, ...]:
    """Return the accelerators of this device, each with what is missing to use it.

    If an engine offers an accelerator, it is ready, whatever the operating system shows.
    """
    by_id = {engine.id: engine for engine in engines}
    seen: dict[tuple[str, str], int] = {}
    all_found = find_all(host)
    devices: dict[str, DeviceInfo] = {}
    # Engines only number accelerators that they can use, so count those that lack nothing first.
    for found in sorted(all_found, key=lambda item: item.missing is not None):
        devices[found.id] = _conclude(found, by_id, seen, host)
        for place in found.places:
            seen[place] = seen.get(place, 0) + 1
    return tuple(devices[found.id] for found in all_found)


def _conclude(
    found: Found, engines: dict[str, EngineInfo], seen: dict[tuple[str, str], int], host: Host
) -> DeviceInfo:
    """Combine what the operating system shows with what the engines offer."""
    for place in found.places:
        engine_id, start = place
        engine = engines.get(engine_id)
        offered = [item.id for item in engine.accelerators] if engine else []
        fitting = [item for item in offered if item.startswith(start)]
        # The second stick is ready if the engine offers two of its kind.
        if len(fitting) > seen.get(place, 0):
            return DeviceInfo(
                id=found.id,
                kind=found.kind,
                name=found.name,
                engine=engine_id,
                accelerator=fitting[seen.get(place, 0)],
            )
    if not found.places:
        return DeviceInfo(id=found.id, kind=found.kind, name=found.name, missing=found.missing)
    engine_id, start = found.places[0]
    index = seen.get(found.places[0], 0)
    return DeviceInfo(
        id=found.id,
        kind=found.kind,
        name=found.name,
        engine=engine_id,
        accelerator=f"{start}{index}" if start.endswith(":") else start,
        missing=found.missing or _package(found, engines, host),
    )


def _package(found: Found, engines: dict[str, EngineInfo], host: Host) -> str:
    """Return what to do if the operating system is ready, but no engine offers the device."""
    engine_id, _ = found.places[0]
    engine = engines.get(engine_id)
    if engine is None:
        return f"This version of Edge Vision has no engine {engine_id}."
    if engine.version is None and host.is_musl:
        return (
            f"{engine.name} has no package for the C library of this system (musl): it needs Home"
            " Assistant Core on Linux with glibc, such as Debian. Nodes on other devices are"
            " planned."
        )
    if engine.version is not None and engine_id not in _OTHER_BUILDS:
        return (
            f"{engine.name} is installed but did not find it: restart the node (reload Edge Vision"
            " in Home Assistant)."
        )
    return found.package


def board_profile(devices: Iterable[DeviceInfo], host: Host = _THIS) -> BoardProfile | None:
    """Return the profile that describes this device best, or None if there is none."""
    return recognize(host, describe_hardware(host).cpu, devices)


def resident_bytes(pids: Iterable[int] = ()) -> int | None:
    """Return the memory used by this process and others, counting shared pages once.

    This is the sum of their proportional set sizes, or of resident sets if the kernel does not
    report the former.
    """
    sizes = [_process_bytes("self"), *(_process_bytes(str(pid)) for pid in pids)]
    if sizes[0] is None:
        return None
    return sum(size for size in sizes if size is not None)


def _process_bytes(pid: str) -> int | None:
    """Return the memory used by a process, or None if it is gone or there is no /proc."""
    share = _field(_THIS.read(f"/proc/{pid}/smaps_rollup"), "Pss")
    if share is not None:
        return int(share.split()[0]) * 1024
    pages = _THIS.read(f"/proc/{pid}/statm")
    return int(pages.split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages else None


def temperature_c() -> float | None:
    """Return the temperature of the hottest thermal zone in °C."""
    readings = []
    for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        text = _THIS.read(str(zone))
        if text and text.lstrip("-").isdigit():
            readings.append(int(text) / 1000)
    return max(readings, default=None)
