"""The command `hardware`: print processors, accelerators and engines of this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

from ..engines import describe_engines
from ..hardware.discovery import (
    board_profile,
    describe_hardware,
    find_devices,
    resident_bytes,
    temperature_c,
)
from ..hardware.profiles import PROFILES
from ..protocol import BoardProfile, DeviceInfo, EngineInfo, HardwareInfo, write


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `hardware`."""
    command.add_argument(
        "--profiles", action="store_true", help="list known boards and their figures instead"
    )


def hardware(options: argparse.Namespace) -> int:
    """Print this machine and its accelerators and engines."""
    if options.profiles:
        _print_profiles(PROFILES.values(), as_json=options.json)
        return 0
    machine = describe_hardware()
    engines = describe_engines()
    devices = find_devices(engines)
    profile = board_profile(devices)
    if options.json:
        document = {
            "hardware": write(machine),
            "board_profile": write(profile) if profile else None,
            "devices": [write(device) for device in devices],
            "engines": [write(engine) for engine in engines],
            "temperature_c": temperature_c(),
            "process_memory_bytes": resident_bytes(),
        }
        print(json.dumps(document, indent=2))
        return 0
    _print_machine(machine, profile)
    _print_devices(devices)
    _print_engines(engines)
    return 0


def _print_machine(machine: HardwareInfo, profile: BoardProfile | None) -> None:
    memory_gib = machine.memory_bytes / 2**30 if machine.memory_bytes else None
    rows = [
        ("Processor", f"{machine.cpu}, {machine.cores} cores"),
        ("Memory", f"{memory_gib:.1f} GiB" if memory_gib else "not known"),
        ("Board", machine.board or "not known"),
        ("System", f"{machine.system}, {machine.machine}, {machine.libc}"),
        ("Python", machine.python),
    ]
    if profile is not None:
        rows.append(("Kind", f"{profile.name}: {figures(profile)}"))
        rows.append(("", f"good for {profile.best_for}"))
    for name, value in rows:
        print(f"{name:<11}{value}")


def _print_devices(devices: Iterable[DeviceInfo]) -> None:
    print("Accelerators")
    rows = [
        (
            device.name,
            device.missing or f"ready: {device.engine} on {device.accelerator}",
        )
        for device in devices
    ]
    width = max((len(name) for name, _ in rows), default=0) + 2
    for name, text in rows or [("none found; models run on the processor", "")]:
        print(f"  {name:<{width}}{text}".rstrip())


def _print_engines(engines: Iterable[EngineInfo]) -> None:
    print("Engines")
    rows = [
        (
            engine.name,
            f"not usable: {engine.missing}"
            if engine.version is None
            else f"{engine.version}  on {', '.join(item.name for item in engine.accelerators)}",
        )
        for engine in engines
    ]
    width = max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        print(f"  {name:<{width}}{text}")


def _print_profiles(profiles: Iterable[BoardProfile], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([write(profile) for profile in profiles], indent=2))
        return
    for profile in profiles:
        print(f"{profile.name:<45}{figures(profile)}")
        print(f"  {profile.best_for}")


def figures(profile: BoardProfile) -> str:
    """Return performance, power and price in short."""
    parts = []
    if profile.tops is not None:
        parts.append(f"{profile.tops:g} TOPS")
    if profile.watts_min is not None:
        parts.append(f"{profile.watts_min:g}-{profile.watts_max:g} W")
    if profile.price_min_usd is not None:
        price = f"${profile.price_min_usd}"
        if profile.price_max_usd not in (None, profile.price_min_usd):
            price += f"-{profile.price_max_usd}"
        parts.append(price)
    return ", ".join(parts) or "no figures"
