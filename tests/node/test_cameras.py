"""A camera's process alone: real streams over HTTP and RTSP, shared, broken, and looked at."""

from __future__ import annotations

import asyncio
import errno
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from edge_vision_node.cameras import process as camera_process
from edge_vision_node.cameras.messages import CameraFrame, Motion, Push, Source, View
from edge_vision_node.cameras.reader import Backlog, Player
from edge_vision_node.cameras.soundness import Soundness
from edge_vision_node.cameras.stream import Cameras, Watcher
from edge_vision_node.errors import FrameGoneError
from edge_vision_node.frames.decode import decode
from edge_vision_node.frames.masks import Masks
from edge_vision_node.protocol import Box, Point, SourceState, SourceStatus, write
from PIL import Image

from tests.hostile_pictures import scan_bomb
from tests.live_camera import mjpeg_camera
from tests.pictures import SELF_TEST_PICTURE, jpeg
from tests.rtsp_camera import rtsp_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

STREET = SELF_TEST_PICTURE.read_bytes()
SIZE = decode(STREET).image.size
WHITE = jpeg(Image.new("RGB", (320, 240), (255, 255, 255)))
WHOLE = Box(x_min=0, y_min=0, x_max=1, y_max=1)
LEFT = Masks((tuple(Point(x=x, y=y) for x, y in ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),))


# Of the first process's pictures, the fifth is decoded for ever.
HANGS = """
import pathlib, sys, threading, time
mark = pathlib.Path(__file__).with_name("hung")
def change():
    while not hasattr(module := sys.modules.get("edge_vision_node.cameras.reader"), "Player"):
        time.sleep(0.005)
    module._HANGS_AFTER_S = 1.0
    real, count = module.Reader._decode, [0]
    def decode(self, packet, at):
        count[0] += 1
        if count[0] == 5 and not mark.exists():
            mark.touch()
            time.sleep(1000)
        return real(self, packet, at)
    module.Reader._decode = decode
threading.Thread(target=change, daemon=True).start()
"""


class Seen:
    """What a watcher is told."""

    def __init__(self) -> None:
        self.frames: list[CameraFrame] = []
        self.motions: list[Motion] = []

    def __call__(self, frame: CameraFrame, motion: Motion) -> None:
        self.frames.append(frame)
        self.motions.append(motion)


@asynccontextmanager
async def cameras() -> AsyncIterator[Cameras]:
    them = Cameras()
    try:
        yield them
    finally:
        await them.close()


async def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


async def brightness(watched: Watcher) -> tuple[float, float]:
    """Return how bright the left and the right half of the newest frame are."""
    _, content = await watched.picture()
    grey = np.asarray(decode(content).image.convert("L"), dtype=float)
    half = grey.shape[1] // 2
    return float(grey[:, : half - 8].mean()), float(grey[:, half + 8 :].mean())


async def test_a_process_hands_out_parts_of_frames_until_its_last_watcher_goes() -> None:
    async with mjpeg_camera(STREET) as camera:
        async with cameras() as them:
            source = Source(url=camera.address)
            first = them.watch("one", source, fps=10)
            second = them.watch("two", source, fps=2)
            assert first.camera is second.camera
            assert camera.address not in repr(source)
            await until(lambda: first.camera.frame)
            frame = first.camera.frame
            assert frame is not None
            assert (frame.width, frame.height) == SIZE
            assert abs(time.monotonic() - frame.captured_monotonic) < 5
            box = Box(x_min=0.25, y_min=0.5, x_max=0.75, y_max=1.0)
            whole = Box(x_min=0, y_min=0, x_max=1, y_max=1)
            batch = await first.crops(frame.number, (whole, box), (64, 48))
            assert batch.pixels.shape == (2, 48, 64, 3)
            expected = decode(STREET).image.crop(
                (SIZE[0] // 4, SIZE[1] // 2, SIZE[0] * 3 // 4, SIZE[1])
            )
            small = expected.resize((64, 48), Image.Resampling.BOX)
            difference = abs(batch.pixels[1].astype(int) - np.asarray(small).astype(int))
            assert difference.mean() < 12
            place = batch.cropped.placements[1]
            assert (place.scale_x, place.offset_x) == (2.0, -0.5)
            (sharp,) = await first.sharpness(frame.number, (box,))
            assert sharp > 0
            with pytest.raises(FrameGoneError):
                await first.picture(10_000)
            await second.close()
            await second.close()
            assert len(them.pids) == 1
            assert camera.readers == 1
            await first.close()
            assert them.pids == []
        await until(lambda: camera.readers == 0)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rtsp://127.0.0.1:1/x", "refused"),
        ("/nowhere.mp4", "no such file"),
        ("ftp://127.0.0.1/x", "Only rtsp"),
        ("FILE", "video"),
    ],
)
async def test_what_cannot_be_read_says_why(tmp_path: Path, url: str, reason: str) -> None:
    if url == "FILE":
        path = tmp_path / "no.mp4"
        path.write_bytes(io.BytesIO(b"nothing at all" * 100).getvalue())
        url = str(path)
    async with cameras() as them:
        watched = them.watch("broken", Source(url=url), fps=5)
        await until(lambda: watched.camera.state.state == SourceState.UNAVAILABLE)
        assert reason in (watched.camera.state.reason or "")


async def test_a_camera_is_decoded_once_for_watchers_with_other_masks() -> None:
    async with mjpeg_camera(WHITE) as camera, cameras() as them:
        source, seen, masked_seen = Source(url=camera.address), Seen(), Seen()
        open_view = them.watch("one", source, fps=10, on_frame=seen)
        masked = them.watch("two", source, View(masks=LEFT), fps=10, on_frame=masked_seen)
        await until(lambda: seen.frames and masked_seen.frames)
        assert len(them.pids) == camera.readers == camera.requests == 1
        assert min(await brightness(open_view)) > 250
        left, right = await brightness(masked)
        assert left < 4
        assert right > 250
        batch = await masked.crops(masked_seen.frames[-1].number, (WHOLE,), (64, 64))
        assert batch.pixels[0, :, :30].max() < 4
        # Each has a motion gate of its own: behind the mask nothing moves.
        await until(lambda: not masked_seen.motions[-1].calibrating)
        await until(lambda: not seen.motions[-1].calibrating)
        begun = len(seen.motions), len(masked_seen.motions)
        moving = Image.new("RGB", (320, 240), (255, 255, 255))
        moving.paste((0, 0, 0), (40, 60, 90, 160))
        camera.show(jpeg(moving))
        await until(lambda: any(motion.moving for motion in seen.motions[begun[0] :]))
        await asyncio.sleep(0.3)
        assert not any(motion.moving for motion in masked_seen.motions[begun[1] :])
        # One that comes later sees nothing that it may not, from its first picture on.
        late = them.watch("three", source, View(masks=LEFT), fps=10)
        seen_late: list[float] = []
        for _ in range(100):
            with suppress(FrameGoneError):
                seen_late.append((await brightness(late))[0])
            await asyncio.sleep(0.02)
        assert seen_late
        assert max(seen_late) < 4
        assert camera.requests == 1


async def test_a_camera_is_read_as_most_of_its_watchers_want_it() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        tcp, seen = Source(url=camera.address, transport="tcp"), Seen()
        first = them.watch("one", tcp, fps=10, on_frame=seen)
        await until(lambda: seen.frames)
        (pid,) = them.pids
        # Another way to read it, as when a setting is changed: the new watcher comes first.
        second = them.watch("two", replace(tcp, transport="udp"), fps=10, on_frame=seen)
        await asyncio.sleep(0.3)
        assert them.pids == [pid]
        await first.close()
        number = seen.frames[-1].number
        await until(lambda: them.pids not in ([], [pid]))
        # The old process may have sent a frame or two after that.
        await until(lambda: camera.readers == 1 and camera.transports[-1] == "udp")
        await until(lambda: seen.frames[-1].number > number)
        assert second.camera.state.state == SourceState.LIVE


async def test_who_wants_few_frames_hears_what_moved_in_those_between(tmp_path: Path) -> None:
    async with cameras() as them:
        seen = Seen()
        source = Source(url=str(tmp_path / "none.mp4"))
        watched = them.watch("one", source, fps=1, on_frame=seen)
        box = Box(x_min=0.1, y_min=0.1, x_max=0.2, y_max=0.3)

        def frame(number: int, at: float, *, moving: bool) -> None:
            motion = Motion(
                view=1, moving=moving, calibrating=False, share=0.1, boxes=(box,) if moving else ()
            )
            message = CameraFrame(
                number=number,
                captured_at="2026-11-25T10:00:00.000+00:00",
                captured_monotonic=at,
                width=320,
                height=240,
                decode_ms=1.0,
                motion_ms=1.0,
                motions=(motion,),
            )
            watched.camera._on_push({"type": Push.FRAME, "message": write(message)})

        # Left out as too many, and left out because a newer one has come in the same moment.
        frame(1, 100.0, moving=False)
        await asyncio.sleep(0)
        frame(2, 100.1, moving=False)
        await asyncio.sleep(0)
        frame(3, 100.8, moving=True)
        await asyncio.sleep(0)
        frame(4, 101.0, moving=False)
        await asyncio.sleep(0)
        frame(5, 101.9, moving=True)
        frame(6, 102.0, moving=False)
        await asyncio.sleep(0)
        frame(7, 103.0, moving=False)
        await asyncio.sleep(0)
        assert [item.number for item in seen.frames] == [1, 2, 4, 6, 7]
        assert [item.moving for item in seen.motions] == [False, False, True, True, False]
        assert [item.boxes for item in seen.motions] == [(), (), (box,), (box,), ()]


@pytest.mark.parametrize("transport", ["tcp", "udp", "auto"])
async def test_rtsp_is_read_and_survives_damaged_packets_and_another_size(transport: str) -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        seen = Seen()
        watched = them.watch(
            "street", Source(url=camera.address, transport=transport), fps=10, on_frame=seen
        )
        await until(lambda: seen.frames)
        assert (seen.frames[-1].width, seen.frames[-1].height) == (SIZE[0], SIZE[1] // 2 * 2)
        expected = np.asarray(decode(STREET).image.convert("L"), dtype=float)[: SIZE[1] // 2 * 2]
        _, content = await watched.picture()
        got = np.asarray(decode(content).image.convert("L"), dtype=float)
        assert abs(got - expected).mean() < 6
        camera.garbage = True
        await asyncio.sleep(1.5)
        camera.garbage = False
        number = watched.camera.frame.number if watched.camera.frame else 0
        await until(lambda: seen.frames[-1].number > number + 3)
        camera.show(WHITE)
        await until(lambda: seen.frames[-1].width == 320)
        assert min(await brightness(watched)) > 245


def rolling() -> list[bytes]:
    """Return a street that moves to and fro: what is damaged stays so until a key frame."""
    street = np.asarray(decode(STREET).image)[: SIZE[1] // 2 * 2, : SIZE[0] // 2 * 2]
    steps = [*range(20), *range(20, 0, -1)]
    return [jpeg(Image.fromarray(np.roll(street, 4 * step, axis=1)), quality=90) for step in steps]


class Damage:
    """Finds what is not in any of the pictures that a camera shows."""

    def __init__(self, pictures: list[bytes]) -> None:
        self._blocks = np.stack([self._of(picture) for picture in pictures])

    @staticmethod
    def _of(picture: bytes) -> np.ndarray:
        grey = np.asarray(decode(picture).image.convert("L"), dtype=float)
        rows, columns = grey.shape[0] // 16, grey.shape[1] // 16
        part = grey[: rows * 16, : columns * 16]
        return part.reshape(rows, 16, columns, 16).mean((1, 3))

    def share(self, picture: bytes) -> float:
        """Return which share of a picture is unlike the most similar one that was shown."""
        wrong = np.abs(self._blocks - self._of(picture)) > 15
        return float(wrong.mean((1, 2)).min())


async def test_a_damaged_picture_is_never_taken_for_a_sound_one() -> None:
    pictures = rolling()
    damage = Damage(pictures)
    async with rtsp_camera(pictures[0]) as camera, cameras() as them:
        camera.play(pictures)
        seen, states = Seen(), list[SourceStatus]()
        source = Source(url=camera.address, transport="tcp", stall_s=3.0)
        watched = them.watch("street", source, fps=10, on_frame=seen, on_state=states.append)
        await until(lambda: len(seen.frames) > 5)
        camera.garbage = True
        taken: dict[int, float] = {}

        async def look() -> None:
            with suppress(FrameGoneError):
                pictured, content = await watched.picture()
                taken[pictured.frame] = damage.share(content)

        begun = time.monotonic()
        while watched.camera.state.state == SourceState.LIVE:
            await look()
            await asyncio.sleep(0.05)
            assert time.monotonic() - begun < 90
        assert "no picture that can be decoded" in (watched.camera.state.reason or "")
        camera.garbage = False
        number = seen.frames[-1].number
        await until(lambda: len(seen.frames) and seen.frames[-1].number > number + 5)
        await look()
        assert watched.camera.state.state == SourceState.LIVE
        assert max(taken.values()) < 0.02


async def test_a_jpeg_of_which_half_is_damaged_is_not_taken() -> None:
    async with mjpeg_camera(STREET) as camera, cameras() as them:
        damage = Damage([STREET])
        watched = them.watch("street", Source(url=camera.address, stall_s=2.0), fps=10)
        await until(lambda: watched.camera.frame)
        camera.garbage = True
        while watched.camera.state.state == SourceState.LIVE:
            assert damage.share((await watched.picture())[1]) < 0.02
            await asyncio.sleep(0.05)
        assert "no picture that can be decoded" in (watched.camera.state.reason or "")
        camera.garbage = False
        await until(lambda: watched.camera.state.state == SourceState.LIVE)


async def test_a_picture_that_is_made_to_take_minutes_costs_a_moment() -> None:
    async with mjpeg_camera(STREET) as camera, cameras() as them:
        watched = them.watch("street", Source(url=camera.address, stall_s=2.0), fps=10)
        await until(lambda: watched.camera.frame)
        (pid,) = them.pids
        camera.play([scan_bomb(7000, 8000)])
        await until(lambda: watched.camera.state.state == SourceState.UNAVAILABLE)
        assert "no picture that can be decoded" in (watched.camera.state.reason or "")
        camera.show(STREET)
        await until(lambda: watched.camera.state.state == SourceState.LIVE)
        # It has not even cost the process.
        assert them.pids == [pid]


async def test_a_packet_that_is_lost_now_and_then_makes_no_camera_unavailable() -> None:
    pictures = rolling()
    damage = Damage(pictures)
    async with rtsp_camera(pictures[0]) as camera, cameras() as them:
        camera.play(pictures)
        camera.garbage, camera.garbage_share = True, 0.01
        seen, states = Seen(), list[str]()
        watched = them.watch(
            "street",
            Source(url=camera.address, transport="tcp"),
            fps=10,
            on_frame=seen,
            on_state=lambda status: states.append(status.state),
        )
        await until(lambda: seen.frames)
        shares = []
        while len(seen.frames) < 60:
            with suppress(FrameGoneError):
                shares.append(damage.share((await watched.picture())[1]))
            await asyncio.sleep(0.1)
        assert set(states) == {SourceState.LIVE}
        assert max(shares) < 0.02


def test_after_damage_only_a_key_frame_or_a_while_without_any_is_believed() -> None:
    sound = Soundness(10.0)

    def frames(since: float, until: float, *, every: int = 0, key: bool = False) -> list[bool]:
        """Step ten frames a second, of which each `every`-th is damaged."""
        numbers = range(round(since * 10), round(until * 10))
        return [
            sound.step(number / 10, damaged=bool(every and number % every == 0), key=key)
            for number in numbers
        ]

    assert all(frames(0, 5))
    assert not sound.step(5.0, damaged=True, key=True)
    assert not any(frames(5.1, 6))
    assert sound.step(6.0, damaged=False, key=True)
    assert all(frames(6.1, 7))
    # No key frame ever, as where a camera refreshes the picture bit by bit.
    assert not sound.step(7.0, damaged=True, key=False)
    told = frames(7.1, 14)
    assert not any(told[:45])
    assert all(told[55:])
    # One in ten is no reason to give up; three in four are, once they have been for long enough.
    frames(14, 40, every=10)
    assert not sound.mostly_damaged
    for number in range(400, 600):
        sound.step(number / 10, damaged=number % 4 > 0, key=False)
    assert sound.mostly_damaged
    # Not even a key frame is believed then, until there is proof.
    sound.give_up()
    sound.begin()
    assert not sound.mostly_damaged
    told = frames(60, 65, key=True)
    assert not any(told[:20])
    assert all(told[30:])


async def test_a_large_picture_is_decoded_at_a_part_of_its_size_where_the_codec_can(
    tmp_path: Path,
) -> None:
    path = tmp_path / "large.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 10)
        picture = decode(STREET).image.resize((3840, 2160))
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    async with cameras() as them:
        seen = Seen()
        watched = them.watch("large", Source(url=str(path)), fps=10, on_frame=seen)
        await until(lambda: seen.frames)
        assert (seen.frames[-1].width, seen.frames[-1].height) == (1920, 1080)
        _, content = await watched.picture()
        assert decode(content).image.size == (1920, 1080)


async def test_a_stalled_or_refusing_camera_says_so_without_its_password() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        source = Source(url=camera.address, transport="tcp", stall_s=1.0)
        watched = them.watch("street", source, fps=10)
        state = lambda: watched.camera.state  # noqa: E731
        await until(lambda: state().state == SourceState.LIVE)
        camera.stalled = True
        await until(lambda: "no data for 1 s" in (state().reason or ""))
        camera.stalled, camera.refuses = False, True
        camera.hang_up()
        await until(lambda: "password" in (state().reason or ""))
        assert "secret-in-address" not in repr(state())
        camera.refuses = False
        await until(lambda: state().state == SourceState.LIVE)


async def test_a_stall_is_noticed_at_once_and_what_was_held_back_is_not_of_now() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        seen = Seen()
        source = Source(url=camera.address, transport="tcp", stall_s=3.0)
        watched = them.watch("street", source, fps=10, on_frame=seen)
        await until(lambda: len(seen.frames) > 5)
        camera.stalled = True
        await until(lambda: watched.camera.state.state == SourceState.UNAVAILABLE)
        assert "no data for 3 s" in (watched.camera.state.reason or "")
        since = datetime.fromisoformat(watched.camera.state.since)
        last = datetime.fromisoformat(seen.frames[-1].captured_at)
        # FFmpeg itself would have noticed after ten seconds.
        assert 2.9 < (since - last).total_seconds() < 9


# A single picture is played for a second.
@pytest.mark.parametrize(
    ("name", "a_second"), [("street.jpg", 1), ("short.avi", 5), ("raw.h264", 5)]
)
async def test_a_short_file_is_played_no_faster_than_wanted(
    tmp_path: Path, name: str, a_second: int
) -> None:
    path = tmp_path / name
    if name == "street.jpg":
        path.write_bytes(STREET)
    else:
        with av.open(str(path), "w") as container:
            kind = "mjpeg" if name == "short.avi" else "libx264"
            stream = container.add_stream(kind, rate=25)
            stream.width, stream.height = 320, 240
            stream.pix_fmt = "yuvj420p" if kind == "mjpeg" else "yuv420p"
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_image(decode(WHITE).image)))
            container.mux(stream.encode(None))
    async with cameras() as them:
        seen = Seen()
        them.watch("short", Source(url=str(path)), fps=5, on_frame=seen)
        await until(lambda: seen.frames and seen.frames[-1].number > 4)
        first, last = seen.frames[0], seen.frames[-1]
        seconds = last.captured_monotonic - first.captured_monotonic
        # What it took to open the file the first time was not played.
        assert last.number - first.number <= a_second * (seconds + 1)


def test_a_file_is_played_by_its_times_unless_they_jump() -> None:
    player = Player(10)
    at, waits = 100.0, []
    for time_s in (3600.0, 3600.2, 3600.4, 7200.0, 7200.2, 0.0, 0.2, None):
        waits.append(player.step(time_s, at, 5))
        at += waits[-1]
    assert waits == pytest.approx([0, 0.2, 0.2, 0, 0.2, 0, 0.2, 1.2])


async def test_a_decoder_that_hangs_is_ended_and_another_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the camera's process; what runs there cannot be changed from here.
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(camera_process, "_ALIVE_EVERY_S", 0.5)
    async with mjpeg_camera(WHITE) as camera, cameras() as them:
        states: list[SourceStatus] = []
        source = Source(url=camera.address, stall_s=1)
        watched = them.watch("one", source, fps=10, on_state=states.append)
        await until(lambda: watched.camera.pid)
        first = watched.camera.pid
        await until(lambda: any("hangs" in (state.reason or "") for state in states))
        await until(lambda: watched.camera.pid not in (None, first))
        await until(lambda: states[-1].state == SourceState.LIVE)


async def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, tried = asyncio.create_subprocess_exec, 0

    async def starts(*args: Any, **more: Any) -> asyncio.subprocess.Process:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return await real(*args, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", starts)
    async with mjpeg_camera(WHITE) as camera, cameras() as them:
        states: list[SourceStatus] = []
        them.watch("one", Source(url=camera.address), fps=10, on_state=states.append)
        await until(lambda: states and states[-1].state == SourceState.LIVE)
        assert "temporarily unavailable" in (states[0].reason or "")


async def test_pictures_that_are_too_large_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 8000, 7000, "yuv420p"
        out.mux(stream.encode(av.VideoFrame(8000, 7000, "yuv420p")))
        out.mux(stream.encode())
    async with cameras() as them:
        watched = them.watch("huge", Source(url=str(path)), fps=5)
        await until(lambda: watched.camera.state.state == SourceState.UNAVAILABLE)
        assert "million pixels" in (watched.camera.state.reason or "")
        assert watched.camera.frame is None


def test_who_never_waits_for_data_is_behind_until_data_has_to_be_waited_for() -> None:
    backlog, at = Backlog(0.0), 0.0

    def frames(seconds: float, decoding_s: float, waiting_s: float) -> list[bool]:
        nonlocal at
        told = []
        until = at + seconds
        while at < until:
            at += waiting_s
            told.append(backlog.step(at, waiting_s))
            at += decoding_s
        return told

    # A camera at 10 frames a second, whatever times it makes up, that is decoded in time.
    assert not any(frames(10, 0.05, 0.05))
    # What was looked at beforehand is there at once, and that is soon over.
    assert not any(frames(0.5, 0.01, 0.0))
    assert not any(frames(5, 0.09, 0.01))
    # Decoding takes longer than frames take to come: there is always one more.
    told = frames(5, 0.15, 0.0)
    assert told[-1]
    assert not told[0]
    # Only key frames are decoded now; the backlog is read, and then there is nothing to read.
    assert all(frames(1, 0.001, 0.0))
    assert not any(frames(3, 0.01, 0.09))


async def test_what_was_looked_at_can_be_pictured_once_a_slow_engine_has_an_answer() -> None:
    async with mjpeg_camera(STREET) as camera, cameras() as them:
        seen = Seen()
        watched = them.watch("street", Source(url=camera.address), fps=10, on_frame=seen)
        await until(lambda: seen.frames)
        number = seen.frames[-1].number
        await watched.crops(number, (WHOLE,), (32, 32))
        await until(lambda: seen.frames[-1].number > number + 8)
        pictured, _ = await watched.picture(number)
        assert pictured.frame == number
        assert await watched.sharpness(number, (WHOLE,))
        with pytest.raises(FrameGoneError):
            await watched.picture(number + 1)


async def test_key_frames_that_are_far_apart_are_no_stall() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        states: list[str] = []
        seen = Seen()
        source = Source(url=camera.address, transport="tcp", key_frames_only=True, stall_s=0.8)
        them.watch(
            "street",
            source,
            fps=10,
            on_frame=seen,
            on_state=lambda status: states.append(status.state),
        )
        await until(lambda: len(seen.frames) >= 3)  # one every two seconds
        assert states == [SourceState.LIVE]
