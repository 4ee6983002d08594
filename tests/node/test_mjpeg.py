"""Pictures over HTTP in all kinds of multipart formats, and addresses with single pictures."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import av
import pytest
from edge_vision_node.cameras.messages import Source
from edge_vision_node.cameras.mjpeg import (
    MOST_BETWEEN,
    PictureParser,
    PicturesError,
    holds_pictures,
)
from edge_vision_node.cameras.rhythm import Rhythm
from edge_vision_node.cameras.stream import Cameras, Watcher
from edge_vision_node.frames.decode import decode
from edge_vision_node.protocol import SourceState
from PIL import Image

from tests.live_camera import mjpeg_camera
from tests.pictures import jpeg

COLOURS = [(250, 250, 250), (20, 20, 20), (200, 30, 30), (30, 30, 200)]
SENT = [jpeg(Image.new("RGB", (64, 48), colour)) for colour in COLOURS]


def part(
    picture: bytes,
    *,
    boundary: bytes = b"--frame",
    kind: bytes | None = b"image/jpeg",
    length: int | None = 0,
    more: bytes = b"",
    line: bytes = b"\r\n",
    before: bytes = b"",
    after: bytes = b"\r\n",
) -> bytes:
    """Return a part of a multipart message; `length` is the error of its declared length."""
    lines = [boundary]
    if kind is not None:
        lines.append(b"Content-Type: " + kind)
    if length is not None:
        lines.append(b"Content-Length: %d" % (len(picture) + length))
    lines += [more] if more else []
    return line.join([*lines, b"", b""]) + before + picture + after


TEXT = b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "by the letter": part,
    "without a type": lambda it: part(it, kind=None),
    "without anything": lambda it: part(it, kind=None, length=None),
    "image/jpg": lambda it: part(it, kind=b"image/jpg"),
    "an odd type": lambda it: part(it, kind=b"image/jpeg; charset=UTF-8"),
    "more headers": lambda it: part(it, more=b"X-Timestamp: 12.34\r\nX-Rate: 15"),
    "without a length": lambda it: part(it, length=None),
    "too short a length": lambda it: part(it, length=-100),
    "too long a length": lambda it: part(it, length=100),
    "lines that end in LF": lambda it: part(it, line=b"\n"),
    "no dashes": lambda it: part(it, boundary=b"frame"),
    "four dashes": lambda it: part(it, boundary=b"----frame"),
    "a quoted boundary": lambda it: part(it, boundary=b'--"frame"'),
    "dashes behind": lambda it: part(it, boundary=b"--data-boundary--"),
    "empty lines before": lambda it: b"\r\n\r\n" + part(it),
    "bytes before the picture": lambda it: part(it, before=b"\r\n\0\0"),
    "nothing behind": lambda it: part(it, after=b""),
    "no end of the picture": lambda it: part(it[:-2]),
    "no end, no line": lambda it: part(it[:-2], after=b""),
    "text between": lambda it: TEXT + part(it),
    "nothing but pictures": lambda it: it,
}


def taken(stream: bytes, step: int) -> list[bytes]:
    pictures, found = PictureParser(), list[bytes]()
    for at in range(0, len(stream), step):
        found += pictures.step(stream[at : at + step])
    return found + list(pictures.end())


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("step", [1, 13, 1 << 16])
def test_pictures_are_found_however_they_are_packed(how: str, step: int) -> None:
    found = taken(b"".join(map(PACKED[how], SENT)), step)
    colours = [decode(item).image.getpixel((9, 9)) for item in found]
    assert len(found) == len(SENT)
    assert all(_near(got, sent) for got, sent in zip(colours, COLOURS, strict=True))


def _near(got: object, wanted: tuple[int, ...]) -> bool:
    return isinstance(got, tuple) and all(abs(a - b) < 12 for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("how", [how for how in PACKED if not how.startswith("no end")])
def test_a_picture_is_taken_when_its_last_byte_has_come(how: str) -> None:
    stream = PACKED[how](SENT[0])
    until = stream.index(SENT[0]) + len(SENT[0])
    pictures = PictureParser()
    assert list(pictures.step(stream[: until - 1])) == []
    assert list(pictures.step(stream[until - 1 : until])) == [SENT[0]]


def test_pngs_are_taken_too_with_an_end_and_without() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 99, 9)).save(out, "PNG")
    whole = out.getvalue()
    for sent in (whole, whole[:-12]):
        stream = part(sent, kind=b"image/png") * 3
        assert [len(item) for item in taken(stream, 11)] == pytest.approx([len(sent)] * 3, abs=4)


def test_what_is_no_picture_and_has_no_end_is_given_up() -> None:
    with pytest.raises(PicturesError, match="no pictures"):
        list(PictureParser().step(b"x" * (MOST_BETWEEN + 1)))


@pytest.mark.parametrize(
    ("head", "ended", "expected"),
    [
        (part(SENT[0]), False, True),
        (part(SENT[0])[:60], False, None),
        (part(SENT[0])[: part(SENT[0]).index(b"\xff") + 1], False, None),
        (TEXT, False, None),
        (TEXT, True, False),
        (b"#EXTM3U\n#EXTINF:5,\nhttp://camera/1.ts\n", True, False),
        (b"<html><body>please log in</body></html>", True, False),
        (b"\x47\x40\x00\x10" + SENT[0], False, False),
        (b"\0\0\0\x20ftypisom" + SENT[0], False, False),
        (b"FLV\x01\x05" + SENT[0], False, False),
        (b"", True, False),
        (b"", False, None),
        (SENT[0][:2], False, None),
        (SENT[0], False, True),
        (b"\x89PNG", False, None),
    ],
)
def test_a_stream_of_pictures_is_told_from_others(
    head: bytes, ended: bool, expected: bool | None
) -> None:
    assert holds_pictures(head, ended=ended) is expected


def test_a_silence_is_too_long_by_what_a_camera_usually_does() -> None:
    rhythm = Rhythm(10.0)
    assert rhythm.limit_s == 30  # nothing is known about it
    rhythm.step(0.0)
    assert rhythm.limit_s == 30
    for _ in range(5):
        rhythm.step(12.0)
        assert rhythm.limit_s == pytest.approx(36)
    # It sends everything at once and then nothing for a while.
    for _ in range(20):
        rhythm.step(0.0)
    assert rhythm.limit_s > 24
    for _ in range(200):
        rhythm.step(0.1)
    assert rhythm.limit_s == 10
    rhythm.step(1000.0)
    assert rhythm.limit_s == 120


# --- Over real connections -----------------------------------------------------------------------


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


class OddServer:
    """Responds with the given data for each path, and counts requests."""

    def __init__(self, answers: dict[str, tuple[bytes, Iterable[bytes]]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            head = await stream.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            kind, parts = self.answers[path]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
            for item in parts:
                writer.write(item)
                await writer.drain()
                await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.serving.discard(asyncio.current_task())


@asynccontextmanager
async def odd_server(
    answers: dict[str, tuple[bytes, Iterable[bytes]]],
) -> AsyncIterator[tuple[OddServer, str]]:
    it = OddServer(answers)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    try:
        yield it, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await until(lambda: not it.serving)


@asynccontextmanager
async def watched(*sources: Source, **more: object) -> AsyncIterator[list[Watcher]]:
    cameras = Cameras()
    try:
        yield [cameras.watch("odd", item, fps=10, **more) for item in sources]  # type: ignore[arg-type]
    finally:
        await cameras.close()


@pytest.mark.usefixtures("socket_enabled")
async def test_cameras_that_do_not_keep_to_the_letter_are_read() -> None:
    names = ["without a type", "too short a length", "text between", "no dashes"]
    answers = {
        f"/{number}": (
            b"multipart/x-mixed-replace; boundary=frame",
            [PACKED[name](SENT[0])] * 2000,
        )
        for number, name in enumerate(names)
    }
    async with odd_server(answers) as (server, address):
        async with watched(*(Source(url=address + path) for path in answers)) as watchers:
            for watcher in watchers:
                await until(lambda it=watcher: it.camera.frame and it.camera.frame.number > 2)
        # If the response is understood, there is only one request.
        assert sorted(server.asked) == sorted(answers)


@pytest.mark.usefixtures("socket_enabled")
async def test_an_address_that_gives_one_picture_is_asked_for_one_after_another() -> None:
    async with odd_server({"/snap.jpg": (b"image/jpeg", [SENT[0]])}) as (server, address):
        states: list[str] = []
        async with watched(
            Source(url=f"{address}/snap.jpg"), on_state=lambda item: states.append(item.state)
        ) as (watcher,):
            await until(lambda: watcher.camera.frame and watcher.camera.frame.number > 4)
            assert states == [SourceState.LIVE]
            assert watcher.camera.state.single_pictures
            assert len(server.asked) > 4


@pytest.mark.usefixtures("socket_enabled")
async def test_a_camera_that_seldom_sends_a_picture_is_there_all_the_time() -> None:
    async with mjpeg_camera(SENT[0]) as camera:
        camera.fps = 1 / 2
        states: list[str] = []
        async with watched(
            Source(url=camera.address, stall_s=1.5), on_state=lambda it: states.append(it.state)
        ) as (watcher,):
            await until(lambda: watcher.camera.frame and watcher.camera.frame.number > 3)
            assert states == [SourceState.LIVE]
            assert not watcher.camera.state.single_pictures
            assert camera.requests == 1
            # A camera that really stops is unavailable.
            camera.stalled, camera.fps = True, 10
            await until(lambda: watcher.camera.state.state == SourceState.UNAVAILABLE)
            assert "has sent no data" in (watcher.camera.state.reason or "")
            camera.stalled = False
            await until(lambda: watcher.camera.state.state == SourceState.LIVE)
        await until(lambda: camera.readers == 0)


@pytest.mark.usefixtures("socket_enabled")
async def test_a_server_for_one_reader_at_a_time_is_read_without_a_look_before() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame(96, 64, "yuv420p")))
        container.mux(stream.encode(None))
    asked: list[str] = []

    class OncePerTry(OddServer):
        async def serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append("")
            if len(asked) == 2:
                writer.close()  # the previous picture still counts
                return
            await super().serve(stream, writer)

    it = OncePerTry({"/live": (b"video/mp2t", [out.getvalue()] * 200)})
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    async with watched(
        Source(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/live")
    ) as (watcher,):
        await until(lambda: watcher.camera.frame)
        assert len(asked) == 3
    server.close()
    await until(lambda: not it.serving)


def test_starts_without_pictures_are_left_out_however_many_come() -> None:
    assert list(PictureParser().step(b"\xff\xd8\xff" * 20_000 + SENT[0])) == [SENT[0]]


@pytest.mark.parametrize(
    ("start", "sent"),
    [
        (b"", b"\xff"),
        (b"", b"--b\r\nA: b\r\n\r\n"),
        (b"", b"\xff\xd8\xff"),
        (b"", b"\x89PNG"),
        (b"\xff\xd8", b"\xff"),
    ],
)
def test_what_has_no_picture_is_read_once(start: bytes, sent: bytes) -> None:
    def seconds(length: int) -> float:
        took = []
        for _ in range(3):
            pictures, begun = PictureParser(), time.process_time()
            assert not list(pictures.step(start))
            for _ in range(length // 1000):
                assert not list(pictures.step((sent * 1000)[:1000]))
            took.append(time.process_time() - begun)
        return min(took)

    # Ten times the length takes ten times as long, or a hundred times with a quadratic algorithm.
    assert seconds(800_000) < 40 * max(seconds(80_000), 0.001)
