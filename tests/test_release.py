"""A release: its versions agree, its files are complete, and it is published at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import build_release
import pytest
import yaml
from build_release import CHANGELOG, LICENSES, MANIFEST, NODE_VERSION, ReleaseError

from tests.pictures import ROOT

VERSION = "1.2.3"


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")
    command = ["git", "-C", root, *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the checkout of a small project with the same files, not yet prepared."""
    root = tmp_path / "project"
    for path in (MANIFEST, NODE_VERSION):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, root / path)
    entries = "## [Unreleased]\n\n### Added\n\n- All of it.\n\n## [0.0.1] - 2020-01-01\n\n- Old.\n"
    (root / CHANGELOG).write_text(f"# Changelog\n\n{entries}")
    git(tmp_path, "init", "--quiet", str(root))
    commit(root)
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "x")


def test_what_was_prepared_can_be_released(project: Path) -> None:
    build_release.prepare(project, VERSION, "2026-12-01")
    commit(project)
    assert build_release.check(project, f"v{VERSION}") == VERSION
    assert json.loads((project / MANIFEST).read_text())["version"] == VERSION
    changelog = (project / CHANGELOG).read_text()
    assert build_release.section(changelog, f"## [{VERSION}]") == "### Added\n\n- All of it."
    assert build_release.section(changelog, "## [Unreleased]") == ""
    with pytest.raises(ReleaseError, match="nothing under"):
        build_release.prepare(project, "1.2.4", "2026-12-01")
    assert f'"{VERSION}"' in (project / NODE_VERSION).read_text()


@pytest.mark.parametrize(
    ("tag", "path", "before", "after", "reason"),
    [
        ("1.2.3", None, "", "", "not a version tag"),
        ("v1.2", None, "", "", "not a version tag"),
        ("v1.2.4", None, "", "", "manifest.json contains 1.2.3"),
        ("v1.2.3", MANIFEST, VERSION, "1.2.2", "manifest.json contains 1.2.2"),
        ("v1.2.3", NODE_VERSION, VERSION, "1.2.2", "__init__.py contains 1.2.2"),
        ("v1.2.3", CHANGELOG, " - 2026-12-01", "", "no dated section for 1.2.3"),
        ("v1.2.3", CHANGELOG, "### Added\n\n- All of it.\n", "", "it is empty"),
        ("v1.2.3", CHANGELOG, "[Unreleased]\n", "[Unreleased]\n\n- More.\n", "still has entries"),
    ],
)
def test_what_does_not_agree_is_not_released(
    project: Path, tag: str, path: Path | None, before: str, after: str, reason: str
) -> None:
    build_release.prepare(project, VERSION, "2026-12-01")
    if path is not None:
        (project / path).write_text((project / path).read_text().replace(before, after))
    commit(project)
    with pytest.raises(ReleaseError, match=reason):
        build_release.check(project, tag)


def test_what_is_not_committed_is_not_released(project: Path) -> None:
    build_release.prepare(project, VERSION, "2026-12-01")
    with pytest.raises(ReleaseError, match="uncommitted"):
        build_release.check(project, f"v{VERSION}")


def test_this_checkout_names_one_version() -> None:
    assert len(set(build_release.versions(ROOT).values())) == 1


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Return the files of a release, built twice."""
    return [build_release.build(ROOT, tmp_path_factory.mktemp("dist")) for _ in range(2)]


def test_the_same_commit_gives_the_same_bytes(built: list[list[Path]]) -> None:
    first, second = ([path.read_bytes() for path in paths] for paths in built)
    assert first == second


def test_the_archive_holds_what_is_tracked_and_the_license(built: list[list[Path]]) -> None:
    archive, wheel = built[0]
    assert archive.name == json.loads((ROOT / "hacs.json").read_text())["filename"]
    folder = "custom_components/edge_vision/"
    tracked = {name for name in git(ROOT, "ls-files", folder).split() if (ROOT / name).exists()}
    licenses = {*LICENSES, *(f"node/{name}" for name in LICENSES)}
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
        assert set(names) == {name.removeprefix(folder) for name in tracked} | licenses
        assert packed.read("manifest.json") == (ROOT / MANIFEST).read_bytes()
        assert packed.testzip() is None
    with zipfile.ZipFile(wheel) as packed:
        assert {Path(name).name for name in packed.namelist()} >= set(LICENSES)


def test_the_workflow_publishes_when_the_files_are_there() -> None:
    workflow: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    steps = [step.get("run", "") for step in workflow["jobs"]["release"]["steps"]]
    builds = next(n for n, step in enumerate(steps) if "scripts/build_release --tag" in step)
    (creates,) = (n for n, step in enumerate(steps) if "gh release" in step)
    assert builds < creates
    assert "gh release create" in steps[creates]
    assert "dist/edge_vision.zip dist/*.whl" in steps[creates]
