"""Installation, update and removal with the Marketplace of Home Assistant 2026.11 and newer."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import build_release
import demo
import pytest
import pytest_asyncio
import pytest_socket
from demo_camera import ClipCamera
from ha_client import HaClient, HaError
from ha_instance import HomeAssistant

from tests.e2e.conftest import NEWEST, environment_of, eventually, next_event
from tests.e2e.fake_github import REPOSITORY_ID, FakeGitHub, Release
from tests.pictures import ROOT, SELF_TEST_PICTURE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("socket_enabled"),
]

INTEGRATION = "custom_components/edge_vision"
OLDER, NEWER = "0.0.9", "99.0.0"
# Home Assistant logs this for every custom integration.
_EXPECTED = re.compile("has not been tested by Home Assistant")


def release(version: str, archive: Path, folder: Path) -> Release:
    """Create a release with another version from a built archive."""
    path = folder / version / archive.name
    path.parent.mkdir()
    contents = {}
    with zipfile.ZipFile(archive) as built:
        for name in built.namelist():
            contents[name] = built.read(name)
    for name in ("manifest.json", "node/edge_vision_node/__init__.py"):
        text = contents[name].decode()
        contents[name] = re.sub(r'(version(?:": |__ = ))"[^"]*"', rf'\1"{version}"', text).encode()
    with zipfile.ZipFile(path, "w") as made:
        for name, data in contents.items():
            made.writestr(name, data)
    files = {name: (ROOT / name).read_bytes() for name in ("README.md", "hacs.json")}
    return Release(
        f"v{version}", {**files, f"{INTEGRATION}/manifest.json": contents["manifest.json"]}, path
    )


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[Release]:
    """Return two releases as built by the workflow, the newer one first."""
    folder = tmp_path_factory.mktemp("releases")
    archive, _ = build_release.build(ROOT, folder)
    return [release(version, archive, folder) for version in (NEWER, OLDER)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def github() -> AsyncIterator[FakeGitHub]:
    """Start a stand-in for GitHub on this machine."""
    pytest_socket.enable_socket()  # to this machine only, see tests/conftest.py
    async with FakeGitHub() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(github: FakeGitHub, releases: list[Release]) -> AsyncIterator[HomeAssistant]:
    """Start a Home Assistant without Edge Vision; only the older release is published."""
    environment = environment_of(NEWEST)
    github.releases = releases[1:]
    program = [str(Path(__file__).with_name("marketplace_program.py"))]
    home = HomeAssistant(
        environment=environment, password="correct horse", integration=None, program=program
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARKETPLACE_AT", github.base)
        async with home:
            yield home


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def camera() -> AsyncIterator[ClipCamera]:
    """Run a camera that plays a street scene."""
    pytest_socket.enable_socket()
    async with ClipCamera(SELF_TEST_PICTURE) as playing:
        yield playing


async def until_running(client: HaClient) -> None:
    """Wait until the Marketplace has read its catalog."""

    async def running() -> bool:
        return (await client.command("marketplace/info"))["stage"] == "running"

    await eventually(running, 60)


def complaints(home: HomeAssistant) -> list[str]:
    """Return the warnings and errors of Edge Vision in the log."""
    log = (home.folder / "home-assistant.log").read_text()
    entries = re.split(r"^(?=\d{4}-\d\d-\d\d )", log, flags=re.MULTILINE)
    bad = [entry for entry in entries if re.search(r" (WARNING|ERROR|CRITICAL) ", entry[:60])]
    return [entry for entry in bad if "edge_vision" in entry and not _EXPECTED.search(entry)]


async def entities(client: HaClient) -> dict[str, str]:
    """Return unique ID → entity ID of the entities of Edge Vision."""
    registry = await client.command("config/entity_registry/list")
    return {
        item["unique_id"]: item["entity_id"]
        for item in registry
        if item["platform"] == "edge_vision"
    }


async def until_it_detects(client: HaClient) -> None:
    async def detects() -> bool:
        states = await client.states()
        return states["binary_sensor.footpath_person"]["state"] == "on"

    await eventually(detects, 60)


def installed_version(home: HomeAssistant) -> str:
    manifest = (home.folder / INTEGRATION / "manifest.json").read_text()
    return str(json.loads(manifest)["version"])


async def test_it_is_installed_updated_and_removed_without_a_trace(
    home: HomeAssistant, github: FakeGitHub, releases: list[Release], camera: ClipCamera
) -> None:
    ours: dict[str, Any] = {"repository": REPOSITORY_ID}
    client = home.client
    await until_running(client)
    await client.command("marketplace/warning/accept")
    await client.command("marketplace/repository/install", **ours)
    with zipfile.ZipFile(releases[1].archive) as archive:
        assert files_in(home.folder / INTEGRATION) == set(archive.namelist())
    assert installed_version(home) == OLDER

    # It can be set up immediately.
    async with client.websocket() as socket:
        await demo.add_camera(client, camera)
        await socket.subscribe(demo.DETECTION)
        entry_id = await demo.add_edge_vision(client)
        assert (await next_event(socket, "object", 60))["label"] == "person"
    before = await entities(client)

    github.releases = releases
    await client.command("marketplace/repository/refresh", **ours)
    update = (await client.states())["update.edge_vision"]
    assert update["attributes"]["latest_version"] == f"v{NEWER}"
    await client.call("update", "install", {"entity_id": "update.edge_vision"})
    assert installed_version(home) == NEWER
    # Until the restart, the old code keeps running with the new files next to it.
    await until_it_detects(client)
    media = await client.command(
        "media_source/browse_media", media_content_id="media-source://edge_vision"
    )
    assert [item["title"] for item in media["children"]] == ["Footpath"]

    await home.stop()
    await home.start()
    client = home.client
    await until_it_detects(client)
    assert await entities(client) == before
    await until_running(client)
    states = await client.states()
    assert states["update.edge_vision"]["attributes"]["installed_version"] == f"v{NEWER}"
    assert complaints(home) == []

    with pytest.raises(HaError):  # it is still set up
        await client.command("marketplace/repository/uninstall", **ours)
    await client.delete(f"/api/config/config_entries/entry/{entry_id}")
    await client.command("marketplace/repository/uninstall", **ours)
    left = [path for path in home.folder.rglob("*edge_vision*") if path.exists()]
    assert left == []
    assert github.unknown == []
    assert complaints(home) == []


def files_in(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
