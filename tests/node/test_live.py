"""Live video through a whole node: a real stream, a real decoder process, a real model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from edge_vision_node.errors import CameraError, NoPictureError
from edge_vision_node.frames.decode import decode
from edge_vision_node.node import Node
from edge_vision_node.protocol import (
    Configure,
    EvidenceRequest,
    Kind,
    Line,
    LiveRequest,
    Look,
    NodeEvent,
    OutlineRequest,
    Phase,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    Point,
    SourceState,
    SourceStatus,
    Video,
    Zone,
)
from PIL import Image

from tests.live_camera import MjpegCamera, mjpeg_camera
from tests.pictures import SELF_TEST_PICTURE, jpeg
from tests.small_models import RED, add_failing

pytestmark = pytest.mark.usefixtures("socket_enabled")

STREET = SELF_TEST_PICTURE.read_bytes()
SIZE = decode(STREET).image.size
EMPTY = jpeg(Image.new("RGB", SIZE, (96, 128, 96)))
EVERYWHERE = tuple(Point(x=x, y=y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))
LEFT = tuple(Point(x=x, y=y) for x, y in ((0, 0), (0.5, 0), (0.5, 1), (0, 1)))


class Watcher:
    """A node, what it has told, and its one pipeline."""

    def __init__(self, folder: Path) -> None:
        self.node = Node(folder)
        self.events: list[NodeEvent] = []
        self.looks: list[Look] = []
        self.node.listen_events(lambda _seq, event: self.events.append(event))
        self.node.listen_looks(self.looks.append)

    async def watch(self, config: PipelineConfig) -> None:
        await self.node.configure(Configure(pipelines=(config,)))
        await until(lambda: not self.node._loads)

    async def status(self) -> PipelineStatus:
        return (await self.node.status()).pipelines[0]

    async def source(self) -> SourceStatus:
        source = (await self.status()).source
        assert source is not None
        return source

    def phases(self, kind: Kind) -> list[tuple[str, int | None]]:
        return [(event.phase, event.track_id) for event in self.events if event.kind == kind]


@asynccontextmanager
async def watcher(folder: Path) -> AsyncIterator[Watcher]:
    it = Watcher(folder)
    try:
        yield it
    finally:
        await it.node.close()


def pipeline(camera: MjpegCamera, **changes: object) -> PipelineConfig:
    config = PipelineConfig(
        pipeline_id="porch",
        name="Porch",
        labels=("person", "car"),
        video=Video(url=camera.address, fps=10.0),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


async def until_source(
    it: Watcher, state: SourceState, seconds: float = 20.0, reason: str = ""
) -> None:
    deadline = time.monotonic() + seconds
    while (now := await it.source()).state != state or reason not in (now.reason or ""):
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.05)


async def test_who_comes_is_told_once_with_a_picture_and_told_when_gone(tmp_path: Path) -> None:
    zone = Zone(name="Everywhere", points=EVERYWHERE)
    async with mjpeg_camera(EMPTY) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, zones=(zone,)))
        await until(lambda: it.looks)
        assert it.events == []
        assert it.looks[-1].presence["person"].present is False
        camera.picture = STREET
        await until(lambda: it.phases(Kind.OBJECT))
        await until(lambda: it.looks[-1].picture_at)
        await until(lambda: it.phases(Kind.ZONE))
        seen = len(it.looks[-1].objects)
        assert seen >= 2
        await asyncio.sleep(1.5)  # it goes on standing there, and that is no news
        starts = it.phases(Kind.OBJECT)
        assert len(set(starts)) == len(starts) == len(it.looks[-1].objects)
        assert {phase for phase, _ in starts} == {Phase.START}
        first = it.events[0]
        assert first.evidence == first.event_id
        picture, annotated = await it.node.lives.evidence(EvidenceRequest(event_id=first.event_id))
        assert picture.content_type == "image/jpeg"
        _, clean = await it.node.lives.evidence(
            EvidenceRequest(event_id=first.event_id, clean=True)
        )
        assert decode(annotated).image.size == decode(clean).image.size == SIZE
        assert annotated != clean
        _, view = await it.node.lives.picture(LiveRequest(pipeline_id="porch", max_width=320))
        assert decode(view).image.width == 320
        _, gate = await it.node.lives.picture(LiveRequest(pipeline_id="porch", motion=True))
        assert decode(gate).image.width > 64
        assert it.looks[-1].zones["Everywhere"]["person"].present
        scan = await it.node.scan("porch")
        assert len(it.phases(Kind.SCAN)) == len(scan.objects) >= 2
        camera.picture = EMPTY
        await until(lambda: it.looks[-1].objects == (), 30)
        ends = [event for event in it.events if event.phase == Phase.END]
        assert {event.track_id for event in ends if event.kind == Kind.OBJECT} == {
            number for _, number in starts
        }
        # The story of an object has one picture, that of its beginning.
        assert {event.evidence for event in ends} <= {event.event_id for event in it.events}
        with pytest.raises(NoPictureError):
            await it.node.lives.evidence(EvidenceRequest(event_id="0" * 26))


async def test_a_restart_of_the_node_tells_nothing_twice(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera:
        line = Line(name="Gate", start=Point(x=0, y=0.1), end=Point(x=1, y=0.1))
        async with watcher(tmp_path) as it:
            await it.watch(pipeline(camera, lines=(line,)))
            await until(lambda: it.phases(Kind.OBJECT))
            await asyncio.sleep(1.0)
            before = {number for _, number in it.phases(Kind.OBJECT)}
            # Another setting keeps the camera's process, and what is followed.
            (pid,) = it.node.lives.pids
            await it.watch(pipeline(camera, lines=(line,), cooldown_s=1.0))
            looks = len(it.looks)
            await until(lambda: len(it.looks) > looks)
            await asyncio.sleep(0.5)
            assert it.node.lives.pids == [pid]
            assert {number for _, number in it.phases(Kind.OBJECT)} == before
        assert camera.readers == 0 or await _left(camera)
        async with watcher(tmp_path) as it:
            await it.watch(pipeline(camera, lines=(line,), cooldown_s=1.0))
            await until(lambda: it.looks)
            await asyncio.sleep(1.0)
            assert it.phases(Kind.OBJECT) == []
            assert {item.track_id for item in it.looks[-1].objects} == before


async def _left(camera: MjpegCamera) -> bool:
    await until(lambda: camera.readers == 0)
    return True


async def test_a_camera_that_goes_away_is_a_state_and_comes_back(tmp_path: Path) -> None:
    async with mjpeg_camera(EMPTY) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: it.looks)
        camera.refuses = True
        camera.hang_up()
        await until_source(it, SourceState.UNAVAILABLE, reason="password")
        status = await it.status()
        assert status.source is not None
        assert "secret-in-address" not in repr(status)
        since = status.source.since
        with pytest.raises(CameraError, match="password"):
            await it.node.scan("porch")
        with pytest.raises(CameraError):
            await it.node.lives.picture(LiveRequest(pipeline_id="porch"))
        camera.refuses = False
        looks = len(it.looks)
        await until_source(it, SourceState.LIVE, 30)
        await until(lambda: len(it.looks) > looks)
        now = (await it.status()).source
        assert now is not None
        assert now.since > since
        # The process that reads it may crash; that is no more than another way to go away.
        (pid,) = it.node.lives.pids
        os.kill(pid, signal.SIGKILL)
        await until_source(it, SourceState.UNAVAILABLE)
        await until_source(it, SourceState.LIVE, 30)
        assert it.node.lives.pids != [pid]
        assert it.events == []


async def test_privacy_masks_are_burned_in_before_anything_is_seen(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, privacy_masks=(EVERYWHERE,)))
        await until(lambda: it.looks)
        await asyncio.sleep(0.5)
        assert it.events == []
        _, view = await it.node.lives.picture(LiveRequest(pipeline_id="porch"))
        assert max(high for _, high in decode(view).image.getextrema()) < 8
        assert not (await it.node.scan("porch")).objects
        _, outline = await it.node.lives.outline(
            OutlineRequest(privacy_masks=(LEFT,), zones=(Zone(name="All", points=EVERYWHERE),)),
            memoryview(STREET),
        )
        drawn = decode(outline).image
        assert sum(drawn.getpixel((drawn.width // 4, drawn.height // 2))[:2]) < 60


async def test_a_model_that_cannot_be_loaded_is_a_failure_and_no_empty_picture(
    tmp_path: Path,
) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, model="unicorn"))
        await until_source(it, SourceState.LIVE)
        status = await it.status()
        assert status.state == PipelineState.FAILED
        assert "unicorn" in (status.error or "")
        assert it.looks == it.events == []
        # Without live video there is nothing to scan.
        await it.watch(pipeline(camera, video=None))
        with pytest.raises(CameraError):
            await it.node.scan("porch")
        await until(lambda: camera.readers == 0)


async def test_an_accelerator_that_fails_to_run_a_model_is_left_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    model = add_failing(tmp_path / "models")
    red = jpeg(Image.new("RGB", (64, 64), RED))
    async with mjpeg_camera(red) as camera, watcher(tmp_path) as it:
        config = pipeline(camera, model=model, engine="onnxruntime", labels=(), allow_fallback=True)
        await it.watch(config)
        await until(lambda: it.looks, 90)
        assert it.looks[-1].engine == "ncnn"
        status = await it.status()
        assert (status.state, status.engine) == (PipelineState.READY, "ncnn")
        assert "also after it was loaded anew" in (status.fallback_from or "")


async def test_memory_that_is_damaged_costs_only_what_was_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "followed"
    folder.mkdir()
    (folder / "porch.json").write_text('{"version": 1, "labels": [')
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: it.phases(Kind.OBJECT))
    assert json.loads((folder / "porch.json").read_text())["tracks"]
