"""Test the node with ncnn only, as on Home Assistant OS.

    python3 scripts/platform_test.py                      on musl, as on Home Assistant OS
    python3 scripts/platform_test.py --on musl-aarch64    on a Raspberry Pi with Home Assistant OS
    python3 scripts/platform_test.py --on glibc-aarch64   on a Raspberry Pi with Raspberry Pi OS
    python3 scripts/platform_test.py --here               with the Python that runs this script

For the first three, a Python is built or unpacked in the cache folder, without a container or root
(scripts/musl_python, scripts/arm64_python). QEMU runs programs for other processors, up to a
hundred times slower.

The script installs the node as a user does, runs its commands on the included pictures and clip,
and compares the detections with those of the environment of the repository (.venv), if it exists.
Then it runs the tests of the node that need no other engine. Use arguments to select tests; under
emulation, only tests that depend on the processor run by default. In a container:

    docker run --rm -v "$PWD:/src" python:3.14-alpine python3 /src/scripts/platform_test.py --here
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "custom_components" / "edge_vision" / "node"
SELF_TEST = NODE / "edge_vision_node" / "models" / "bundled" / "selftest.jpg"
PICTURES = (SELF_TEST, ROOT / "docs" / "images" / "detect.jpg")
CLIP = ROOT / "scripts" / "demo_data" / "footpath.mp4"
ENVIRONMENT = ROOT / ".venv" / "bin" / "python"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-vision"
ALL = ("tests/node",)
# Tests that depend on the processor; under emulation, all tests would take hours.
EMULATED = (
    "tests/node/test_decode.py",
    "tests/node/test_engine_ncnn.py",
    "tests/node/test_heads_plain.py",
    "tests/node/test_motion.py",
    "tests/node/test_pixels.py",
    "tests/node/test_results.py",
    "tests/node/test_tracking.py",
)
AARCH64 = "aarch64"
PLATFORMS = MUSL, MUSL_ARM, GLIBC_ARM = ("musl", "musl-aarch64", "glibc-aarch64")
TOOLS = (
    *("pytest>=9", "pytest-asyncio", "pytest-socket", "pytest-xdist"),
    *("build", "hatchling", "hypothesis"),
)
# Tests that need these are skipped without them.
MORE_TOOLS = ("cryptography",)

# Detections by ncnn in the picture of the self-test, on x86-64 with glibc.
Found = list[tuple[str, float, tuple[float, ...]]]
EXPECTED: Found = [
    ("person", 98.2, (0.1526, 0.1502, 0.2443, 0.4388)),
    ("person", 96.5, (0.7872, 0.2852, 0.8781, 0.6396)),
    ("person", 96.3, (0.8896, 0.2781, 0.9785, 0.613)),
]
PEOPLE_IN_CLIP = 4
# Processors with 16-bit arithmetic differ by up to this much.
CONFIDENCE_WITHIN, BOX_WITHIN = 0.15, 0.001


class PlatformError(Exception):
    """The reason why something does not work on this platform."""


def say(text: str) -> None:
    """Print a progress message immediately."""
    print(f"-- {text}", flush=True)


def environment() -> dict[str, str]:
    """Return an environment where Python imports installed packages, not those in this folder."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run(*command: str | Path, **more: str) -> str:
    """Run a command and return its output. Raises `PlatformError`."""
    done = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),
        env=environment() | more,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise PlatformError(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout.decode()


def python_on(platform: str) -> Path:
    """Return the Python for a platform, creating it if necessary. Raises `PlatformError`."""
    folder = CACHE / platform
    if platform == GLIBC_ARM:
        run(ROOT / "scripts" / "arm64_python", folder)
        return folder / "usr" / "bin" / "python3"
    native: tuple[str | Path, ...] = ()
    if platform == MUSL_ARM:
        python_on(MUSL)
        native = (AARCH64, CACHE / MUSL)
    run(ROOT / "scripts" / "musl_python", folder, *native)
    return folder / "bin" / "python3"


def install(python: Path, folder: Path, platform: str) -> Path:
    """Create an environment with the node and the requirements of its tests; return its Python."""
    run(python, "-m", "venv", folder)
    made = folder / "bin" / "python"
    # Do not compile packages: Home Assistant OS has no compiler either.
    pip: tuple[str | Path, ...] = (made, "-m", "pip", "install", "--quiet")
    pip += ("--only-binary", ":all:")
    if platform == MUSL_ARM:
        # Pip reads the C library from the program itself, which is a script that runs QEMU here.
        (packages,) = folder.glob("lib/python3*/site-packages")
        pip += ("--target", packages, "--platform", f"musllinux_1_2_{AARCH64}")
        pip += ("--platform", f"musllinux_1_1_{AARCH64}")
    run(*pip, f"{NODE}[ncnn]", *TOOLS)
    try:
        run(*pip, *MORE_TOOLS)
    except PlatformError:
        say(f"There is no package for this platform: {', '.join(MORE_TOOLS)}")
    return made


def detect(python: Path, **more: str) -> list[Found]:
    """Return the detections of the node in the pictures, with ncnn."""
    command = (python, "-m", "edge_vision_node", "detect", *PICTURES, "--engine", "ncnn", "--json")
    return [rows(json.loads(line)) for line in run(*command, **more).splitlines()]


def rows(found: dict[str, Any]) -> Found:
    """Return label, confidence and box of each object."""
    sides = ("x_min", "y_min", "x_max", "y_max")
    return [
        (item["label"], item["confidence"], tuple(item["box"][side] for side in sides))
        for item in found["objects"]
    ]


def compare(name: str, found: Found, expected: Found) -> None:
    """Raise `PlatformError` if objects differ."""
    same = len(found) == len(expected) and all(
        label == other
        and abs(confidence - sure) <= CONFIDENCE_WITHIN
        and max(abs(a - b) for a, b in zip(box, wanted, strict=True)) <= BOX_WITHIN
        for (label, confidence, box), (other, sure, wanted) in zip(found, expected, strict=True)
    )
    if not same:
        raise PlatformError(f"Detections in {name} are {found}, expected {expected}")


def try_commands(python: Path) -> None:
    """Run the commands of the node on the included files. Raises `PlatformError`."""
    node = (python, "-m", "edge_vision_node")
    hardware = json.loads(run(*node, "hardware", "--json"))["hardware"]
    say(f"{hardware['cpu']}, {hardware['libc']}, Python {hardware['python']}")
    run(*node, "models", "--json")
    found = detect(python)
    compare(SELF_TEST.name, found[0], EXPECTED)
    say(f"Detections in {SELF_TEST.name} are as expected")
    if ENVIRONMENT.exists():
        expected = detect(ENVIRONMENT, PYTHONPATH=str(NODE))
        for picture, mine, theirs in zip(PICTURES, found, expected, strict=True):
            compare(picture.name, mine, theirs)
        say(f"Detections in {len(PICTURES)} pictures match {ENVIRONMENT.relative_to(ROOT)}")
    lines = run(*node, "track", CLIP, "--labels", "person", "--fps", "2", "--json").splitlines()
    people = {json.loads(line).get("track_id") for line in lines} - {None}
    if len(people) != PEOPLE_IN_CLIP:
        raise PlatformError(
            f"{len(people)} people are tracked in {CLIP.name}, expected {PEOPLE_IN_CLIP}"
        )
    say(f"Tracks in {CLIP.name} are as expected")


def run_tests(python: Path, which: Sequence[str]) -> int:
    """Run tests of the node; tests for other engines are skipped (tests/engines.py)."""
    side_by_side = ("--numprocesses", "auto", "--maxprocesses", "4", "--dist", "worksteal")
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [*side_by_side, *which]
    return subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="platform_test.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--on", choices=PLATFORMS, default=MUSL, help="default: musl")
    where.add_argument("--here", action="store_true", help="use the Python that runs this script")
    parser.add_argument("tests", nargs="*", help="default: see above")
    arguments = parser.parse_args()
    platform = "" if arguments.here else arguments.on
    with tempfile.TemporaryDirectory() as folder:
        try:
            python = Path(sys.executable) if arguments.here else python_on(platform)
            say("Installing the node")
            python = install(python, Path(folder) / "venv", platform)
            try_commands(python)
        except PlatformError as err:
            print(f"platform_test: error: {err}", file=sys.stderr)
            return 1
        return run_tests(
            python, arguments.tests or (EMULATED if platform.endswith(AARCH64) else ALL)
        )


if __name__ == "__main__":
    sys.exit(main())
