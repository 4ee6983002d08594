"""The node as a separate package: the wheel for other devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from edge_vision_node import __version__

from tests.pictures import NODE_FOLDER, SELF_TEST_PICTURE


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it, as an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            folder,
            NODE_FOLDER,
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"edge_vision_node-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_file_of_the_package(unpacked: Path) -> None:
    def files(root: Path) -> set[str]:
        return {
            str(path.relative_to(root))
            for path in (root / "edge_vision_node").rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }

    assert files(unpacked) == files(NODE_FOLDER)


def test_the_wheel_offers_the_command(unpacked: Path) -> None:
    (scripts,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "edge-vision-node = edge_vision_node.__main__:main" in scripts.read_text()


def test_the_wheel_detects_with_what_it_brings(unpacked: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "edge_vision_node", "detect", SELF_TEST_PICTURE, "--json"],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=unpacked,
        check=True,
        capture_output=True,
    )
    labels = [found["label"] for found in json.loads(answer.stdout)["objects"]]
    assert labels.count("person") == 3
