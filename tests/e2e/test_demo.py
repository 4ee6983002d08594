"""The demo, as a user runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from ha_requirements import requirements
from packaging.requirements import Requirement

from tests.pictures import ROOT

pytestmark = pytest.mark.e2e

READY = "Press Ctrl-C to stop"


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the demo with its temporary files in `folder`."""
    process = await asyncio.create_subprocess_exec(
        ROOT / "scripts" / "demo",
        *arguments,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def lines_until(process: asyncio.subprocess.Process, text: str) -> list[str]:
    """Read the output of the demo up to a line that contains the text."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(240):
        while not lines or text not in lines[-1]:
            line = await process.stdout.readline()
            assert line, "\n".join(["the demo ended:", *lines])
            lines.append(line.decode().rstrip())
    return lines


def started_by(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in a folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if str(folder) in " ".join([*(process.info["cmdline"] or ()), process.info["cwd"] or ""])
    ]


def left_by(folder: Path) -> list[Path]:
    """Return the files left by the demo, Home Assistant and the node in their folder."""
    return list(folder.glob("edge*vision*"))


async def test_the_demo_ends_after_as_many_events_as_asked_for(tmp_path: Path) -> None:
    async with demo(tmp_path, "--events", "2", "--timeout", "240") as process:
        output, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0
    lines = output.decode().splitlines()
    ready = next(number for number, line in enumerate(lines) if READY in line)
    events = lines[ready + 1 :]
    assert len(events) == 2
    assert all("Footpath" in line and "person" in line for line in events)
    assert "start" in events[0]
    # The second event depends on the time of the start: a second person, or none anymore.
    assert "start" in events[1] or "end" in events[1]
    assert started_by(tmp_path) == []
    assert left_by(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_all_that_the_demo_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with demo(tmp_path) as process:
        await lines_until(process, "Footpath")
        names = {word for found in started_by(tmp_path) for word in found.cmdline()}
        assert {"homeassistant", "edge_vision_node"} <= names
        process.send_signal(number)
        await asyncio.wait_for(process.wait(), 120)
    assert process.returncode == 128 + number
    assert started_by(tmp_path) == []
    assert left_by(tmp_path) == []


async def test_a_demo_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_text("this is no film")
    process = await asyncio.create_subprocess_exec(
        *(ROOT / "scripts" / "demo", "--clip", clip),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 1
    assert f"demo: error: {clip} cannot be played" in errors.decode().splitlines()[-1]
    assert left_by(tmp_path) == []


def test_home_assistant_finds_all_it_needs_installed() -> None:
    pins = [item.partition("==") for item in requirements()]
    assert {name: version(name) for name, _, _ in pins} == {name: pin for name, _, pin in pins}


def test_the_environment_is_the_one_that_is_pinned() -> None:
    lines = (ROOT / "requirements_test.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    assert {pin.name: f"=={version(pin.name)}" for pin in here} == {
        pin.name: str(pin.specifier) for pin in here
    }


def test_setup_has_nothing_to_do_the_second_time() -> None:
    again = subprocess.run(
        [ROOT / "scripts" / "setup"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "is up to date" in again.stderr
    assert again.stdout == ""
    assert Path(sys.prefix) == ROOT / ".venv"
