"""Check and build the files of a release.

    scripts/build_release --prepare 1.2.3      set the version and date the changelog
    scripts/build_release --tag v1.2.3         check, and build into dist/
    scripts/build_release                      only build the working tree

The files are `edge_vision.zip` for the Marketplace and HACS, the wheel of the node, and `notes.md`.
The same commit results in the same bytes. Requires the packages `build` and `hatchling`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTEGRATION = Path("custom_components/edge_vision")
NODE = INTEGRATION / "node"
MANIFEST = INTEGRATION / "manifest.json"
NODE_VERSION = NODE / "edge_vision_node/__init__.py"
CHANGELOG = Path("CHANGELOG.md")
LICENSES = ("LICENSE", "NOTICE")
ARCHIVE = "edge_vision.zip"  # also in hacs.json

# The versions in the files, with what comes before and after them.
_VERSIONS = {
    MANIFEST: re.compile(r'(?<="version": ")[^"]*(?=")'),
    NODE_VERSION: re.compile(r'(?<=^__version__ = ")[^"]*(?="$)', re.MULTILINE),
}
_VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
_UNRELEASED = "## [Unreleased]"


class ReleaseError(Exception):
    """The reason why something cannot be released."""


def versions(root: Path) -> dict[str, str]:
    """Return the version in each file. Raises `ReleaseError`."""
    found = {}
    for path, pattern in _VERSIONS.items():
        if (match := pattern.search((root / path).read_text())) is None:
            raise ReleaseError(f"{path} contains no version")
        found[str(path)] = match.group()
    return found


def section(changelog: str, heading: str) -> str | None:
    """Return the content below the heading that starts with `heading`, or None."""
    match = re.search(
        rf"^{re.escape(heading)}.*?$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    return match.group(1).strip() if match else None


def check(root: Path, tag: str) -> str:
    """Return the version to release for a tag. Raises `ReleaseError`."""
    version = tag.removeprefix("v")
    if not tag.startswith("v") or not _VERSION.fullmatch(version):
        raise ReleaseError(f"{tag} is not a version tag such as v1.2.3 or v1.2.3b1")
    for path, named in versions(root).items():
        if named != version:
            raise ReleaseError(f"The tag is {tag}, but {path} contains {named}")
    changelog = (root / CHANGELOG).read_text()
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, changelog, re.MULTILINE) or not section(changelog, f"## [{version}]"):
        raise ReleaseError(f"{CHANGELOG} has no dated section for {version}, or it is empty")
    if section(changelog, _UNRELEASED):
        raise ReleaseError(f"{CHANGELOG} still has entries under [Unreleased]")
    if changed := _git(root, "status", "--porcelain"):
        raise ReleaseError(f"There are uncommitted changes:\n{changed}")
    return version


def prepare(root: Path, version: str, date: str) -> None:
    """Set the version and date the unreleased section. Raises `ReleaseError`."""
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"{version} is not a version such as 1.2.3 or 1.2.3b1")
    changelog = (root / CHANGELOG).read_text()
    if not section(changelog, _UNRELEASED):
        raise ReleaseError(f"{CHANGELOG} has nothing under [Unreleased] to release")
    if section(changelog, f"## [{version}]") is not None:
        raise ReleaseError(f"{CHANGELOG} already has a section for {version}")
    versions(root)
    for path, pattern in _VERSIONS.items():
        (root / path).write_text(pattern.sub(version, (root / path).read_text(), count=1))
    heading = f"{_UNRELEASED}\n\n## [{version}] - {date}"
    (root / CHANGELOG).write_text(changelog.replace(_UNRELEASED, heading, 1))


def build(root: Path, target: Path) -> list[Path]:
    """Build the archive and the wheel, and return their paths. Raises `ReleaseError`."""
    target.mkdir(parents=True, exist_ok=True)
    committed_at = int(_git(root, "log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as scratch:
        # Copy tracked files only, so that no other files are included and the checkout stays clean.
        copy = Path(scratch) / INTEGRATION.name
        for name in _git(root, "ls-files", "-z", "--", str(INTEGRATION)).split("\0"):
            if name and (root / name).is_file():
                place = copy / Path(name).relative_to(INTEGRATION)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, place)
        for folder in (copy, copy / NODE.relative_to(INTEGRATION)):
            for license_file in LICENSES:
                shutil.copyfile(root / license_file, folder / license_file)
        archive = target / ARCHIVE
        _pack(copy, archive, committed_at)
        wheel = _build_wheel(copy / NODE.relative_to(INTEGRATION), target, committed_at)
    return [archive, wheel]


def _pack(folder: Path, archive: Path, made_at: int) -> None:
    """Write the files of a folder to an archive; its bytes only depend on them and the time."""
    moment = datetime.fromtimestamp(made_at, UTC).timetuple()[:6]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                item = zipfile.ZipInfo(path.relative_to(folder).as_posix(), moment)
                item.compress_type = zipfile.ZIP_DEFLATED
                item.create_system = 3  # Unix, for the file modes below
                item.external_attr = 0o100644 << 16
                packed.writestr(item, path.read_bytes())


def _build_wheel(project: Path, target: Path, made_at: int) -> Path:
    with tempfile.TemporaryDirectory() as built:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built]
        done = subprocess.run(
            [*command, project],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(made_at)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReleaseError(f"The wheel could not be built:\n{done.stdout}{done.stderr}")
        (wheel,) = Path(built).glob("*.whl")
        return Path(shutil.copyfile(wheel, target / wheel.name))


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", root, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/build_release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prepare", metavar="VERSION")
    parser.add_argument("--tag", metavar="TAG")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        if arguments.prepare:
            prepare(ROOT, arguments.prepare, datetime.now(UTC).date().isoformat())
            print(f"Ready. Commit the changes, tag the commit v{arguments.prepare}, and push both.")
            return 0
        version = check(ROOT, arguments.tag) if arguments.tag else None
        for path in build(ROOT, arguments.out):
            print(f"{path.stat().st_size:>10}  {path}")
        if version is not None:
            notes = section((ROOT / CHANGELOG).read_text(), f"## [{version}]")
            (arguments.out / "notes.md").write_text(f"{notes}\n")
    except ReleaseError as err:
        print(f"build_release: error: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
