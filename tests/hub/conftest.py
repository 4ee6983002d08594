"""What the hub's tests share: Home Assistant, cameras with real pictures, the real node.

`custom_components.edge_vision` is imported first: the test helpers bring a package of the name
`custom_components` along, which would hide ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, override

import pytest
from homeassistant.components import file_upload
from homeassistant.components.camera import Camera
from homeassistant.config_entries import ConfigEntryState, ConfigSubentryData
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowManager
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.setup import async_setup_component
from PIL import Image
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    setup_test_component_platform,
)

from custom_components.edge_vision.api.client import NodeCommandError
from custom_components.edge_vision.const import (
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_ENGINE,
    CONF_LABELS,
    CONF_NODE_TYPE,
    CONF_ONLY_ON_REQUEST,
    CONF_SCAN_INTERVAL,
    DOMAIN,
    NODE_TYPE_LOCAL,
    SUBENTRY_PIPELINE,
    PipelineProblem,
)
from custom_components.edge_vision.local_node.requirements import ENGINE_ONNXRUNTIME
from custom_components.edge_vision.local_node.supervisor import LocalNode
from custom_components.edge_vision.node.edge_vision_node.protocol import Command, NodeStatus
from custom_components.edge_vision.runtime import links
from custom_components.edge_vision.runtime.runtime import EntryRuntime
from tests.hub.fake_link import FakeLink
from tests.hub.fake_node import FakeNode
from tests.hub.texts import missing_in_error, missing_in_flow, missing_in_issue
from tests.live_camera import MjpegCamera, mjpeg_camera
from tests.pictures import SELF_TEST_PICTURE, jpeg

STREET = SELF_TEST_PICTURE.read_bytes()
BLANK = jpeg(Image.new("RGB", (640, 480), (96, 128, 96)))

ALL = [{"x": x, "y": y} for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
AREAS: dict[str, Any] = {
    "zones": [{"name": "Porch", "points": ALL, "labels": ["person"]}],
    "lines": [{"name": "Gate", "start": {"x": 0, "y": 0.05}, "end": {"x": 1, "y": 0.05}}],
}


@pytest.fixture(autouse=True)
def _custom_integrations(enable_custom_integrations: None) -> None:
    """Let Home Assistant load ours."""


@pytest.fixture(autouse=True)
def _own_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test process its own upload folder; Home Assistant has one for all."""
    monkeypatch.setattr(file_upload, "TEMP_DIR_NAME", f"{file_upload.TEMP_DIR_NAME}-{os.getpid()}")


@pytest.fixture(autouse=True)
def _fewer_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide OpenVINO and a plug-in from nodes: every set-up would measure them.

    They are tested in tests/node.
    """
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("left_out")))


@pytest.fixture
def all_engines(monkeypatch: pytest.MonkeyPatch, _fewer_engines: None) -> None:
    """Let nodes have all engines that are here."""
    monkeypatch.delenv("PYTHONPATH")


@pytest.fixture
def hass_config_dir(tmp_path: Path) -> str:
    """Give every test a configuration folder of its own: the node keeps its data in there."""
    folder = tmp_path / "config"
    folder.mkdir()
    return str(folder)


class StillCamera(Camera):
    """A camera entity that shows what a test puts before it."""

    def __init__(self, name: str, picture: bytes = BLANK) -> None:
        super().__init__()
        self._attr_name = name
        self._attr_unique_id = name
        self.picture: bytes | Exception | None = picture
        self.stream_address: str | None = None
        self.delay_s = 0.0
        self.asked = 0
        self.failures = 0  # how often it still fails

    @override
    async def async_camera_image(
        self, width: int | None = None, height: int | None = None
    ) -> bytes | None:
        self.asked += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.failures:
            self.failures -= 1
            raise TimeoutError
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture

    @override
    async def stream_source(self) -> str | None:
        return self.stream_address

    def set_available(self, available: bool) -> None:
        self._attr_available = available
        self.async_write_ha_state()


@dataclass
class Cameras:
    """The cameras of a test."""

    porch: StillCamera
    garden: StillCamera


@pytest.fixture
async def cameras(hass: HomeAssistant) -> Cameras:
    """Two cameras, `camera.porch` and `camera.garden`, that show nothing of interest."""
    both = Cameras(StillCamera("Porch"), StillCamera("Garden"))
    setup_test_component_platform(hass, "camera", [both.porch, both.garden])
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, "camera", {"camera": {"platform": "test"}})
    await hass.async_block_till_done()
    return both


def pipeline(name: str = "Front door", camera: str = "camera.porch", **changes: Any) -> Any:
    """Return a subentry as the config flow makes it; looks only when it is told to."""
    data = {
        CONF_CAMERA: camera,
        CONF_LABELS: ["person"],
        CONF_CONFIDENCE: 40.0,
        CONF_ONLY_ON_REQUEST: True,
        CONF_SCAN_INTERVAL: 3600,
        **changes,
    }
    return ConfigSubentryData(
        data=data, subentry_type=SUBENTRY_PIPELINE, title=name, unique_id=None
    )


def live(**changes: Any) -> Any:
    """Return a pipeline that takes the best source there is."""
    return pipeline(**{"source": "auto", "only_on_request": False, "fps": 10, **changes})


@pytest.fixture
async def stream(cameras: Cameras) -> AsyncIterator[MjpegCamera]:
    """The porch camera's stream; it shows nothing of interest yet."""
    async with mjpeg_camera(BLANK) as camera:
        cameras.porch.stream_address = camera.address
        yield camera


def entry_with(*pipelines: Any) -> MockConfigEntry:
    """Return an entry for the local node."""
    return MockConfigEntry(
        domain=DOMAIN,
        title="This device",
        unique_id="01NODE",
        data={CONF_NODE_TYPE: NODE_TYPE_LOCAL, CONF_ENGINE: ENGINE_ONNXRUNTIME},
        subentries_data=pipelines,
    )


async def until(condition: Callable[[], Any], timeout_s: float = 120.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


@dataclass
class Home:
    """A Home Assistant with the integration, and what a test asks of it."""

    hass: HomeAssistant
    # None where the test is with the real node.
    fake: FakeNode | None = None
    entries: list[MockConfigEntry] = field(default_factory=list)

    async def add(self, *pipelines: Any, expect: ConfigEntryState = ConfigEntryState.LOADED) -> Any:
        entry = entry_with(*pipelines)
        entry.add_to_hass(self.hass)
        self.entries.append(entry)
        await self.hass.config_entries.async_setup(entry.entry_id)
        await self.hass.async_block_till_done()
        assert entry.state is expect, entry.reason
        return entry

    @property
    def entry(self) -> MockConfigEntry:
        return self.entries[0]

    @property
    def runtime(self) -> EntryRuntime:
        runtime: EntryRuntime = self.entry.runtime_data
        return runtime

    @property
    def local_node(self) -> LocalNode:
        link = self.runtime.node.link
        assert isinstance(link, LocalNode)
        return link

    @property
    def pipeline(self) -> Any:
        """Return the first pipeline."""
        return next(iter(self.runtime.pipelines.values()))

    def state(self, entity_id: str) -> str:
        state = self.hass.states.get(entity_id)
        assert state is not None, f"no {entity_id} in {sorted(self.hass.states.async_entity_ids())}"
        return state.state

    def attribute(self, entity_id: str, name: str) -> Any:
        state = self.hass.states.get(entity_id)
        assert state is not None
        return state.attributes.get(name)

    async def until_state(self, entity_id: str, wanted: str, timeout_s: float = 120.0) -> None:
        def reached() -> bool:
            state = self.hass.states.get(entity_id)
            return state is not None and state.state == wanted

        try:
            await until(reached, timeout_s)
        except AssertionError:
            raise AssertionError(f"{entity_id} is {self.state(entity_id)}, not {wanted}") from None

    def states_of(self, entity_id: str) -> list[str]:
        """Return a list that every new state of an entity is added to, in their order."""
        seen: list[str] = []

        @callback
        def note(event: Event[EventStateChangedData]) -> None:
            if event.data["new_state"] is not None:
                seen.append(event.data["new_state"].state)

        async_track_state_change_event(self.hass, entity_id, note)
        return seen

    async def scan(self, entity_id: str = "image_processing.front_door") -> None:
        # Home Assistant leaves out entities that are unavailable.
        loading = PipelineProblem.MODEL_LOADING
        pipelines = self.runtime.pipelines.values()
        await until(lambda: all(item.problem is not loading for item in pipelines))
        await self.hass.services.async_call(
            "image_processing", "scan", {"entity_id": entity_id}, blocking=True
        )
        await self.hass.async_block_till_done()

    async def frames(self, count: int = 5) -> None:
        """Wait until the node has looked at more frames of each pipeline's live video."""
        before = await self._looked_at()
        while True:
            now = await self._looked_at()
            if all(now[key] >= looks + count for key, looks in before.items()):
                break
            await asyncio.sleep(0.05)
        await self.hass.async_block_till_done()

    async def _looked_at(self) -> dict[str, int]:
        try:
            status = await self.runtime.node.async_request(Command.STATUS, None, NodeStatus)
        except NodeCommandError:  # a busy node refuses more than so many requests at once
            assert self.runtime.node.status is not None
            status = self.runtime.node.status
        live = {key for key, item in self.runtime.pipelines.items() if item.stream is not None}
        looks = {item.pipeline_id: item.looks for item in status.pipelines}
        return {key: looks[key] for key in live}

    async def call(self, domain: str, service: str, entity_id: str, **data: Any) -> None:
        await self.hass.services.async_call(
            domain, service, {"entity_id": entity_id, **data}, blocking=True
        )
        await self.hass.async_block_till_done()

    async def reloaded(self, before: EntryRuntime) -> None:
        """Wait until the entry has been set up anew."""

        def anew() -> bool:
            loaded = self.entry.state is ConfigEntryState.LOADED
            return loaded and self.entry.runtime_data is not before

        await until(anew)
        await self.hass.async_block_till_done()

    @property
    def data_folder(self) -> Path:
        return Path(self.hass.config.path("edge_vision"))

    def has_data(self) -> bool:
        return self.data_folder.exists()

    def occupy(self, *names: str) -> Path:
        """Make the node's data folder, and folders in it where the node wants files."""
        self.data_folder.mkdir()
        for name in names:
            (self.data_folder / name).mkdir()
        return self.data_folder

    def lose_result_log(self) -> None:
        for file in self.data_folder.glob("results.db*"):
            file.unlink()

    def node_environment(self) -> bytes:
        return Path(f"/proc/{self.local_node.pid}/environ").read_bytes()

    @property
    def node(self) -> FakeNode:
        """Return the fake node, which says what is seen."""
        assert self.fake is not None, "this test is with the real node"
        return self.fake

    @property
    def fake_link(self) -> FakeLink:
        link = self.runtime.node.link
        assert isinstance(link, FakeLink)
        return link

    def kill_node(self) -> int:
        if self.fake is not None:
            self.fake_link.drop()
            return 0
        pid = self.local_node.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def entity_ids(self) -> set[str]:
        registry = er.async_get(self.hass)
        entries = er.async_entries_for_config_entry(registry, self.entry.entry_id)
        return {entry.entity_id for entry in entries}


def processes_of(folder: Path) -> list[int]:
    """Return the processes that have a folder on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what has been logged as a warning or worse; a slow machine is no matter here."""

    def read() -> list[str]:
        return [
            f"{record.levelname} {record.name}: {record.getMessage()}"
            for record in caplog.records
            if record.levelno >= logging.WARNING and record.name != "asyncio"
        ]

    return read


@pytest.fixture
async def fake_node(request: pytest.FixtureRequest) -> AsyncIterator[FakeNode | None]:
    """Let entries have a fake node; None in tests that are marked `real_node`."""
    if request.node.get_closest_marker("real_node") is not None:
        yield None
        return
    node = FakeNode()
    # Not the test's own: it would go when a test undoes what it has patched.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "make_link", lambda _hass, _entry: FakeLink(node))
        yield node


@pytest.fixture
async def home(
    hass: HomeAssistant, cameras: Cameras, fake_node: FakeNode | None
) -> AsyncIterator[Home]:
    """A Home Assistant to add entries to. In the end, nothing of the node may be left."""
    home = Home(hass, fake_node)
    yield home
    await hass.async_block_till_done()
    for entry in home.entries:
        if entry.state is ConfigEntryState.LOADED and hass.is_running:
            assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    assert processes_of(Path(hass.config.config_dir)) == []


@pytest.fixture
def run_folders(tmp_path: Path) -> Iterator[Path]:
    """Where the runs of a node keep their sockets; empty again in the end."""
    folder = tmp_path / "r"
    folder.mkdir()
    # Not the test's own: it would go when a test undoes what it has patched.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def _every_text_exists(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check everything that we show, on whatever way, against the translations."""
    wrong: list[str] = []
    handle_step = FlowManager._async_handle_step
    make_issue = ir.IssueRegistry.async_get_or_create
    make_error = HomeAssistantError.__init__

    async def checked_step(self: Any, flow: Any, *arguments: Any) -> Any:
        result = await handle_step(self, flow, *arguments)
        wrong.extend(missing_in_flow(self.hass, self, flow, result))
        return result

    def checked_issue(*arguments: Any, **more: Any) -> Any:
        issue = make_issue(*arguments, **more)
        wrong.extend(missing_in_issue(issue))
        return issue

    def checked_error(self: Any, *arguments: Any, **more: Any) -> None:
        make_error(self, *arguments, **more)
        wrong.extend(missing_in_error(self))

    monkeypatch.setattr(FlowManager, "_async_handle_step", checked_step)
    monkeypatch.setattr(ir.IssueRegistry, "async_get_or_create", checked_issue)
    monkeypatch.setattr(HomeAssistantError, "__init__", checked_error)
    yield
    assert wrong == []
