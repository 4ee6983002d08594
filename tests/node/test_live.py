"""Live video through a whole node: a real stream, a real decoder process, a real model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edge_vision_node.cameras.stream import Watcher as CameraWatcher
from edge_vision_node.errors import (
    CameraError,
    NoPictureError,
    StorageError,
    UnknownPipelineError,
    WorkerError,
)
from edge_vision_node.frames.decode import decode
from edge_vision_node.node import Node
from edge_vision_node.pipelines import memory as memory_module
from edge_vision_node.pipelines import preview as preview_module
from edge_vision_node.pipelines.memory import Memory
from edge_vision_node.pipelines.pipeline import Pipeline
from edge_vision_node.pipelines.rate import Rate
from edge_vision_node.protocol import (
    Configure,
    ErrorCode,
    EvidenceRequest,
    Kind,
    Line,
    LiveRequest,
    Look,
    LookRequest,
    NodeEvent,
    OutlineRequest,
    Phase,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    Point,
    ProtocolError,
    SourceState,
    SourceStatus,
    Video,
    Zone,
)
from edge_vision_node.storage.event_log import FILE_NAME, ResultLog
from edge_vision_node.workers.lane import Lane
from PIL import Image

from tests.engines import ENGINE, needs
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
        self.node.teller.listen_events(lambda _seq, event: self.events.append(event))
        self.node.teller.listen_looks(self.looks.append)

    async def watch(self, config: PipelineConfig) -> None:
        await self.node.configure(Configure(pipelines=(config,)))
        await until(lambda: not self.node.loader.busy)

    async def status(self) -> PipelineStatus:
        return (await self.node.status()).pipelines[0]

    async def source(self) -> SourceStatus:
        source = (await self.status()).source
        assert source is not None
        return source

    async def frames(self, count: int) -> None:
        """Wait until so many more frames have been looked at."""
        pipeline = self.node.pipelines.get("porch")
        wanted = pipeline.looks + count
        await until(lambda: pipeline.looks >= wanted)

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


async def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


async def until_source(
    it: Watcher, state: SourceState, seconds: float = 90.0, reason: str = ""
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
        await it.frames(15)  # it goes on standing there, and that is no news but once
        told = it.phases(Kind.OBJECT)
        starts = [item for item in told if item[0] == Phase.START]
        assert len(starts) == len(it.looks[-1].objects)
        assert len(set(told)) == len(told)
        assert {phase for phase, _ in told} <= {Phase.START, Phase.UPDATE}
        first = it.events[0]
        assert first.evidence == first.event_id
        of_first = EvidenceRequest(event_id=first.event_id)
        picture, annotated = await it.node.pictures.evidence(of_first)
        assert picture.content_type == "image/jpeg"
        _, clean = await it.node.pictures.evidence(replace(of_first, clean=True))
        assert decode(annotated).image.size == decode(clean).image.size == SIZE
        assert annotated != clean
        _, view = await it.node.previews.live_view(LiveRequest(pipeline_id="porch", max_width=320))
        assert decode(view).image.width == 320
        _, gate = await it.node.previews.live_view(LiveRequest(pipeline_id="porch", motion=True))
        assert decode(gate).image.width > 64
        assert it.looks[-1].zones["Everywhere"]["person"].present
        scan = await it.node.pipelines.scan("porch")
        assert len(it.phases(Kind.SCAN)) == len(scan.objects) >= 2
        scans = [event for event in it.events if event.kind == Kind.SCAN]
        assert {event.evidence for event in scans} == {scans[0].event_id}
        request = EvidenceRequest(event_id=scans[0].event_id)
        assert decode((await it.node.pictures.evidence(request))[1]).image.size == SIZE
        camera.picture = EMPTY
        # On a busy machine they have stood there for so long that it takes a minute.
        await until(lambda: it.looks[-1].objects == (), 120)
        ends = [event for event in it.events if event.phase == Phase.END]
        assert {event.track_id for event in ends if event.kind == Kind.OBJECT} == {
            number for _, number in starts
        }
        # The story of an object has one picture, that of its beginning.
        assert {event.evidence for event in ends} <= {event.event_id for event in it.events}
        with pytest.raises(NoPictureError):
            await it.node.pictures.evidence(EvidenceRequest(event_id="0" * 26))
        # Whoever names a camera gets its pictures only.
        of_it = EvidenceRequest(event_id=first.event_id, pipeline_id=first.pipeline_id)
        assert (await it.node.pictures.evidence(of_it))[1] == annotated
        with pytest.raises(NoPictureError):
            await it.node.pictures.evidence(replace(of_it, pipeline_id="another"))


async def test_boxes_belong_to_the_frame_they_are_drawn_on(tmp_path: Path) -> None:
    left, right = (_half(side) for side in ("left", "right"))
    async with mjpeg_camera(right) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: len(it.phases(Kind.OBJECT)) >= 2)
        camera.picture = left
        await until(lambda: any(e.box and e.box.x_max < 0.5 for e in it.events))
        # Those on the right are still followed, for they may be hidden, but nobody sees them.
        assert any(item.box.x_min > 0.5 for item in it.looks[-1].objects)
        for _ in range(5):
            _, view = await it.node.previews.live_view(LiveRequest(pipeline_id="porch"))
            assert _is_plain(view, right_half=True)
        event = next(e for e in it.events if e.box and e.box.x_max < 0.5)
        assert event.evidence == event.event_id
        _, drawn = await it.node.pictures.evidence(EvidenceRequest(event_id=event.event_id))
        assert _is_plain(drawn, right_half=True)
        assert not _is_plain(drawn, right_half=False)
        # The newest frame shows nobody, and has no boxes of a look before it.
        camera.picture = EMPTY
        newest = datetime.now(UTC).isoformat()
        await until(lambda: it.looks[-1].captured_at > newest)
        _, view = await it.node.previews.live_view(LiveRequest(pipeline_id="porch"))
        assert it.looks[-1].objects
        assert _is_plain(view, right_half=True)
        assert _is_plain(view, right_half=False)


def _half(side: str) -> bytes:
    """Return the street with people in one half of it, and nothing in the other."""
    street, half = decode(STREET).image.copy(), SIZE[0] // 2
    start = half if side == "left" else 0
    street.paste((96, 128, 96), (start, 0, start + half, SIZE[1]))
    return jpeg(street, quality=95)


def _is_plain(picture: bytes, *, right_half: bool) -> bool:
    """Return whether one half of a picture has nothing but the colour it was painted with."""
    image = decode(picture).image
    half = image.width // 2
    # What is next to the other half is not quite of that colour.
    part = image.crop(
        (half + 16, 0, image.width, image.height) if right_half else (0, 0, half - 16, image.height)
    )
    return all(
        abs(low - value) < 16 and abs(high - value) < 16
        for (low, high), value in zip(part.getextrema(), (96, 128, 96), strict=True)
    )


async def test_a_restart_of_the_node_tells_nothing_twice(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera:
        line = Line(name="Gate", start=Point(x=0, y=0.1), end=Point(x=1, y=0.1))
        async with watcher(tmp_path) as it:
            await it.watch(pipeline(camera, lines=(line,)))
            await until(lambda: it.phases(Kind.OBJECT))
            await it.frames(10)
            before = {number for _, number in it.phases(Kind.OBJECT)}
            # Another setting keeps the camera's process, and what is followed.
            (pid,) = it.node.cameras.pids
            await it.watch(pipeline(camera, lines=(line,), cooldown_s=1.0))
            looks = len(it.looks)
            await until(lambda: len(it.looks) > looks)
            await it.frames(5)
            assert it.node.cameras.pids == [pid]
            assert {number for _, number in it.phases(Kind.OBJECT)} == before
        assert camera.readers == 0 or await _left(camera)
        async with watcher(tmp_path) as it:
            await it.watch(pipeline(camera, lines=(line,), cooldown_s=1.0))
            await until(lambda: it.looks)
            await it.frames(10)
            # That somebody has stood still for a while is news, whenever that was.
            assert {phase for phase, _ in it.phases(Kind.OBJECT)} <= {Phase.UPDATE}
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
            await it.node.pipelines.scan("porch")
        with pytest.raises(CameraError):
            await it.node.previews.live_view(LiveRequest(pipeline_id="porch"))
        camera.refuses = False
        looks = len(it.looks)
        await until_source(it, SourceState.LIVE)
        await until(lambda: len(it.looks) > looks)
        now = (await it.status()).source
        assert now is not None
        assert now.since > since
        # The process that reads it may crash; that is no more than another way to go away.
        (pid,) = it.node.cameras.pids
        os.kill(pid, signal.SIGKILL)
        await until_source(it, SourceState.UNAVAILABLE)
        await until_source(it, SourceState.LIVE)
        assert it.node.cameras.pids != [pid]
        assert it.events == []


async def test_privacy_masks_are_burned_in_before_anything_is_seen(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, privacy_masks=(EVERYWHERE,)))
        await until(lambda: it.looks)
        await it.frames(5)
        assert it.events == []
        _, view = await it.node.previews.live_view(LiveRequest(pipeline_id="porch"))
        assert max(high for _, high in decode(view).image.getextrema()) < 8
        _, moving = await it.node.previews.live_view(LiveRequest(pipeline_id="porch", motion=True))
        assert max(high for _, high in decode(moving).image.getextrema()) < 8
        assert not (await it.node.pipelines.scan("porch")).objects
        outlined, outline = await it.node.previews.outline(
            OutlineRequest(privacy_masks=(LEFT,), zones=(Zone(name="All", points=EVERYWHERE),)),
            memoryview(STREET),
        )
        drawn = decode(outline).image
        assert outlined.aspect == pytest.approx(drawn.width / drawn.height)
        assert sum(drawn.getpixel((drawn.width * 27 // 100, drawn.height * 53 // 100))[:2]) < 60


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
            await it.node.pipelines.scan("porch")
        await until(lambda: camera.readers == 0)


@needs("ncnn", "onnxruntime")
async def test_an_accelerator_that_fails_to_run_a_model_is_left_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    model = add_failing(tmp_path / "models", ENGINE)
    red = jpeg(Image.new("RGB", (64, 64), RED))
    async with mjpeg_camera(red) as camera, watcher(tmp_path) as it:
        config = pipeline(camera, model=model, engine=ENGINE, labels=(), allow_fallback=True)
        await it.watch(config)
        await until(lambda: it.looks, 90)
        assert it.looks[-1].engine != ENGINE
        status = await it.status()
        assert (status.state, status.engine) == (PipelineState.READY, it.looks[-1].engine)
        assert "even after it was reloaded" in (status.fallback_from or "")


async def test_looks_of_which_none_works_are_not_taken_for_an_empty_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    async def fails(_: CameraWatcher, frame: int, *__: object, **___: object) -> None:
        tried.append(frame)
        raise WorkerError("the pixels are gone")

    monkeypatch.setattr(CameraWatcher, "crops", fails)
    # Nothing moves, so that frames between the looks would need none.
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: len(tried) > 6)
        status = await it.status()
        assert (status.state, status.looks, status.presence) == (PipelineState.FAILED, 0, {})
        assert status.failures <= len(tried)
        assert it.looks == it.events == []
        monkeypatch.undo()
        await until(lambda: it.phases(Kind.OBJECT))
        assert (await it.status()).state == PipelineState.READY


async def test_memory_that_is_damaged_costs_only_what_was_in_it(tmp_path: Path) -> None:
    log = ResultLog(tmp_path / FILE_NAME)
    log.append([], ("porch", '{"version": 1, "labels": ['))
    log.close()
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: it.phases(Kind.OBJECT))
    log = ResultLog(tmp_path / FILE_NAME)
    assert json.loads(log.held("porch") or "{}")["tracks"]
    log.close()


async def test_a_log_that_cannot_be_read_for_a_while_loses_and_reuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Line(name="gate", start=Point(x=0.02, y=1.0), end=Point(x=0.02, y=0.0))
    async with mjpeg_camera(STREET) as camera:
        async with watcher(tmp_path) as it:
            await it.watch(pipeline(camera, lines=(gate,)))
            await until(lambda: len(it.phases(Kind.OBJECT)) >= 2)
        log = ResultLog(tmp_path / FILE_NAME)
        before = json.loads(log.held("porch") or "{}")
        crossed = {"line": "gate", "label": "person", "direction": "in", "total": 57}
        before["rules"]["lines"] = [crossed]
        log.append([], ("porch", json.dumps(before)))
        log.close()
        real, broken = ResultLog.held, True

        def held(log: ResultLog, pipeline_id: str) -> str | None:
            if broken:
                raise StorageError("disk I/O error")
            return real(log, pipeline_id)

        monkeypatch.setattr(ResultLog, "held", held)
        monkeypatch.setattr(memory_module, "_READ_AGAIN_EVERY_S", 0.5)
        async with watcher(tmp_path) as it:
            await it.watch(pipeline(camera, lines=(gate,)))
            await until(lambda: it.phases(Kind.OBJECT))
            assert {phase for phase, _ in it.phases(Kind.OBJECT)} == {Phase.START}
            assert all(track_id > before["next_id"] for _, track_id in it.phases(Kind.OBJECT))
            broken = False
            ended = [(Phase.END, item["track_id"]) for item in before["rules"]["objects"]]
            await until(lambda: set(ended) <= set(it.phases(Kind.OBJECT)))
            await until(lambda: [item.total for item in it.looks[-1].lines] == [57])
    log = ResultLog(tmp_path / FILE_NAME)
    assert json.loads(real(log, "porch") or "{}")["rules"]["lines"] == [crossed]
    log.close()


async def test_what_is_told_is_known_after_a_kill_at_that_very_moment(tmp_path: Path) -> None:
    known: list[bool] = []

    def look(_seq: int | None, event: NodeEvent) -> None:
        # Whoever hears of it may end the node now: another reader of the file sees it whole.
        with sqlite3.connect(tmp_path / FILE_NAME) as database:
            (snapshot,) = database.execute("SELECT snapshot FROM followed").fetchone()
        if event.phase == Phase.START:
            ids = {track["id"] for track in json.loads(snapshot)["tracks"]}
            known.append(event.track_id in ids)

    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        it.node.teller.listen_events(look)
        await it.watch(pipeline(camera))
        await until(lambda: len(it.phases(Kind.OBJECT)) >= 2)
    assert known
    assert all(known)


async def test_what_is_told_while_a_pipeline_is_changed_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    async with mjpeg_camera(EMPTY) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: it.looks)
        for number in range(6):
            camera.picture = EMPTY if number % 2 else STREET
            await it.frames(4)
            await it.watch(pipeline(camera, cooldown_s=0.0, looks_to_clear=3 + number))
        await it.frames(5)
    log = ResultLog(tmp_path / FILE_NAME)
    assert it.events
    assert [item.event.event_id for item in log.after(0)] == [item.event_id for item in it.events]
    log.close()


async def test_the_picture_of_an_event_is_there_for_whoever_hears_of_it(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        asked: list[asyncio.Task[object]] = []

        def ask(_seq: int | None, event: NodeEvent) -> None:
            if event.phase == Phase.START:
                request = EvidenceRequest(event_id=event.event_id)
                asked.append(asyncio.ensure_future(it.node.pictures.evidence(request)))

        it.node.teller.listen_events(ask)
        await it.watch(pipeline(camera))
        await until(lambda: asked)
        await asyncio.gather(*asked)


async def test_who_asks_for_a_picture_waits_for_that_one_alone(tmp_path: Path) -> None:
    async with watcher(tmp_path) as it:
        pictures, evidence = it.node.pictures, it.node.archive.evidence
        porch, gate = (
            Pipeline(PipelineConfig(pipeline_id=name, name=name), Memory(name, it.node.archive))
            for name in ("porch", "gate")
        )
        its, other = "A" * 26, "B" * 26
        taken = asyncio.Event()

        async def take(event_id: str) -> None:
            await taken.wait()
            evidence.write(event_id, STREET, STREET)

        pictures.take(porch, (its,), take(its))
        # Nothing is being taken of another event, and there is no picture of it.
        with pytest.raises(NoPictureError):
            await pictures.evidence(EvidenceRequest(event_id=other))
        await pictures.settled(pipeline_id=gate.config.pipeline_id)
        asked = asyncio.create_task(pictures.evidence(EvidenceRequest(event_id=its)))
        await asyncio.sleep(0.1)
        assert not asked.done()
        taken.set()
        assert (await asked)[1] == STREET


async def test_a_look_that_was_under_way_when_the_camera_went_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_crops = Lane.run_crops

    async def slowly(self: Lane, *args: object) -> object:
        result = await run_crops(self, *args)  # type: ignore[arg-type]
        await asyncio.sleep(0.4)
        return result

    monkeypatch.setattr(Lane, "run_crops", slowly)
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: len(it.looks) > 2)
        live = it.node.pipelines.live("porch")
        camera.refuses = True
        camera.hang_up()
        await until(lambda: live.source.state == SourceState.UNAVAILABLE)
        shown = len(it.looks)
        await asyncio.sleep(1.0)
        assert len(it.looks) == shown


async def test_what_is_too_old_is_deleted_whether_or_not_anything_happens(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    old, new = folder / f"{'0' * 26}.jpg", folder / f"{'1' * 26}.jpg"
    unfinished = folder / f"{'2' * 26}.tmp"
    for path in (old, new, unfinished):
        path.write_bytes(STREET)
    for path in (old, unfinished):
        os.utime(path, (0, time.time() - 40 * 24 * 3600))
    async with watcher(tmp_path) as it:
        await it.node.configure(Configure(pipelines=()))
        await until(lambda: not old.exists() and not unfinished.exists())
        assert new.exists()


async def test_settings_that_make_no_sense_fail_their_pipeline_alone(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        other = replace(pipeline(camera), pipeline_id="gate", name="Gate")
        await it.node.configure(Configure(pipelines=(pipeline(camera), other)))
        await until(lambda: it.looks)
        video = Video(url=camera.address, fps=10.0)
        for wrong in (replace(video, sensitivity="wrong"), replace(video, look="hard")):
            bad = pipeline(camera, video=wrong)
            status = await it.node.configure(Configure(pipelines=(bad, other)))
            found = {item.pipeline_id: item for item in status.pipelines}
            assert found["porch"].error_code == ErrorCode.BAD_MESSAGE
            assert found["gate"].error is None
        looks = len(it.looks)
        await until(lambda: len(it.looks) > looks)
        assert {look.pipeline_id for look in it.looks[looks:]} == {"gate"}
        await it.node.configure(Configure(pipelines=(pipeline(camera), other)))
        looks = len(it.looks)
        await until(lambda: "porch" in {look.pipeline_id for look in it.looks[looks:]})


async def test_two_changes_at_once_leave_one_pipeline(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        await asyncio.gather(it.watch(pipeline(camera)), it.watch(pipeline(camera, cooldown_s=1.0)))
        await until(lambda: it.phases(Kind.OBJECT))
        await it.watch(pipeline(camera, video=None))
        await until(lambda: camera.readers == 0)
        starts = it.phases(Kind.OBJECT)
        assert len(set(starts)) == len(starts)


async def test_a_video_can_be_tried_beside_and_before_a_pipeline(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        picture, frame = await it.node.previews.peek(Video(url=camera.address))
        assert picture.content_type == "image/jpeg"
        assert decode(frame).image.size == SIZE
        assert it.node.cameras.pids == []
        # A pipeline that watches the same camera is not disturbed, and nothing is masked for it.
        await it.watch(pipeline(camera, privacy_masks=(EVERYWHERE,)))
        await until(lambda: it.looks)
        asked = camera.requests
        # However else it is to be read: who watches goes on as before.
        other = Video(url=camera.address, transport="udp", key_frames_only=True)
        _, frame = await it.node.previews.peek(other)
        assert decode(frame).image.convert("L").getextrema()[1] > 100
        assert camera.requests == asked
        assert len(it.node.cameras.pids) == 1


async def test_the_last_picture_hides_what_is_hidden_from_now_on(tmp_path: Path) -> None:
    config = PipelineConfig(pipeline_id="porch", name="Porch", labels=("person",))

    async def halves(it: Watcher) -> tuple[int, int]:
        picture, content = await it.node.pipelines.last_picture("porch")
        assert datetime.fromisoformat(picture.at) == taken_at
        grey = decode(content).image.convert("L")
        middle, (width, height) = grey.width // 2, grey.size
        left, right = (0, 0, middle - 8, height), (middle + 8, 0, width, height)
        return grey.crop(left).getextrema()[1], grey.crop(right).getextrema()[1]

    async with watcher(tmp_path) as it:
        await it.watch(config)
        taken_at = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
        it.node.archive.pictures.write("porch", STREET, taken_at)
        await it.watch(replace(config, privacy_masks=(LEFT,)))
        left, right = await halves(it)
        assert left < 16
        assert right > 100
    # Masks that are added while the node is away.
    async with watcher(tmp_path) as it:
        await it.watch(replace(config, privacy_masks=(EVERYWHERE,)))
        assert max(await halves(it)) < 16
        # One that cannot be masked is not shown at all.
        it.node.archive.pictures.write("porch", b"\xff\xd8\xff no picture", taken_at)
        await it.watch(replace(config, privacy_masks=(LEFT,)))
        with pytest.raises(NoPictureError):
            await it.node.pipelines.last_picture("porch")


async def test_why_a_video_cannot_be_read_is_said_without_its_password(tmp_path: Path) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        camera.refuses = True
        with pytest.raises(CameraError, match="rejected the username or the password") as info:
            await it.node.previews.peek(Video(url=camera.address))
        assert camera.credentials.partition(":")[2] not in str(info.value)
        with pytest.raises(CameraError, match="no such file"):
            await it.node.previews.peek(Video(url=str(tmp_path / "missing.mp4")))
        with pytest.raises(CameraError):
            await it.node.previews.peek(Video(url="/dev/video63"))
        assert it.node.cameras.pids == []


async def test_who_tries_a_camera_that_is_away_need_not_wait_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_module, "_PEEK_S", 3600.0)
    async with watcher(tmp_path) as it:
        # Over TCP and over UDP for the same reason.
        with pytest.raises(CameraError, match="refused"):
            async with asyncio.timeout(90):
                await it.node.previews.peek(Video(url="rtsp://127.0.0.1:1/video"))
        assert it.node.cameras.pids == []


async def test_what_is_kept_of_a_camera_that_was_removed_is_deleted(tmp_path: Path) -> None:
    async with mjpeg_camera(EMPTY) as camera, watcher(tmp_path) as it:
        gate = replace(pipeline(camera), pipeline_id="gate", name="Gate")
        await it.node.configure(Configure(pipelines=(pipeline(camera), gate)))
        await until(lambda: {look.pipeline_id for look in it.looks} == {"porch", "gate"})
        camera.picture = STREET
        await until(lambda: {event.pipeline_id for event in it.events} == {"porch", "gate"})
        with pytest.raises(ProtocolError):
            await it.node.pipelines.forget("porch")
        await it.node.configure(Configure(pipelines=(gate,)))
        await it.node.pipelines.forget("porch")
        kept = await it.node.archive.newest_events(None, 1000)
        assert {item.event.pipeline_id for item in kept} == {"gate"}
        pictures = {path.name.partition(".")[0] for path in (tmp_path / "evidence").iterdir()}
        assert pictures <= {item.event.event_id for item in kept}
        assert pictures
        assert [path.name for path in (tmp_path / "pictures").glob("*.jpg")] == ["gate.jpg"]
        # Its number is not given to another event.
        assert (await it.node.archive.position())[1] >= max(item.seq for item in kept)


async def test_a_look_under_way_brings_nothing_back_of_a_camera_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, under_way, go_on = Lane.run, asyncio.Event(), asyncio.Event()

    async def slowly(self: Lane, *args: object) -> object:
        result = await run(self, *args)  # type: ignore[arg-type]
        under_way.set()
        await go_on.wait()
        return result

    monkeypatch.setattr(Lane, "run", slowly)
    async with watcher(tmp_path) as it:
        await it.watch(PipelineConfig(pipeline_id="porch", name="Porch", labels=("person",)))
        request = LookRequest(pipeline_id="porch", captured_at=datetime.now(UTC).isoformat())
        look = asyncio.create_task(it.node.pipelines.look(request, memoryview(STREET)))
        await under_way.wait()
        await it.node.configure(Configure(pipelines=()))
        await it.node.pipelines.forget("porch")
        go_on.set()
        with pytest.raises(UnknownPipelineError):
            await look
    assert not it.events
    assert not list((tmp_path / "pictures").glob("*.jpg"))


async def test_the_rate_of_a_camera_is_known_soon_though_nothing_happens(tmp_path: Path) -> None:
    async with mjpeg_camera(EMPTY) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera))
        await until(lambda: it.looks and it.looks[-1].frames_per_second, seconds=8)


def test_fewer_frames_are_told_until_clearly_fewer_are_left_out() -> None:
    rate = Rate()

    def is_slowed(left_out: int, *, before: bool) -> bool:
        rate.outcomes.clear()
        rate.outcomes.extend([False] * left_out + [True] * (50 - left_out))
        return rate.is_slowed(before=before)

    assert [is_slowed(n, before=False) for n in (0, 5, 10, 11, 50)] == [False] * 3 + [True] * 2
    assert [is_slowed(n, before=True) for n in (0, 5, 6, 10, 11)] == [False] * 2 + [True] * 3
    rate.outcomes.clear()
    assert not rate.is_slowed(before=False)


async def test_a_change_whose_hub_goes_away_leaves_no_camera_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mjpeg_camera(STREET) as camera, watcher(tmp_path) as it:
        config = pipeline(camera)
        await it.watch(config)
        archive, append = it.node.archive, it.node.archive.append
        going = asyncio.Event()

        async def slow(events: list[NodeEvent], held: tuple[str, str] | None = None) -> list[int]:
            going.set()
            await asyncio.sleep(0.2)
            return await append(events, held)

        # What is followed is written while a pipeline is changed, and while it is dropped.
        for wanted in ((replace(config, confidence=60.0),), ()):
            it.looks.clear()
            await until(lambda: it.looks)
            going.clear()
            with monkeypatch.context() as patched:
                patched.setattr(archive, "append", slow)
                task = asyncio.create_task(it.node.configure(Configure(pipelines=wanted)))
                await until(going.is_set)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await until(lambda: not it.node.pipelines.busy)
            assert len(it.node.cameras.pids) == len(wanted)
        await until(lambda: camera.readers == 0)
