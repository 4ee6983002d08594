"""RTSP by way of the relay: no picture is held back, and all else passes as it is."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest
from edge_vision_node.cameras.messages import Source
from edge_vision_node.cameras.relay import Marking
from edge_vision_node.frames.decode import decode
from PIL import Image

from tests.node.test_cameras import STREET, WHITE, Seen, brightness, cameras, until
from tests.pictures import jpeg
from tests.rtsp_camera import rtsp_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

DESCRIPTION = (
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMU/8000\r\n"
)
DESCRIBED = (
    f"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {len(DESCRIPTION)}\r\n\r\n{DESCRIPTION}"
).encode()
ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n"
DELIMITER = b"\0\0\0\1\x09\xf0"
SLICE, PARAMETERS = b"\x41slice", b"\x67parameters"


def rtp(
    time: int, payload: bytes, *, kind: int = 96, last: bool = True, first: int = 0x80
) -> bytes:
    """Return an RTP packet among RTSP, on channel 0."""
    packet = bytes([first, last << 7 | kind, 0, 0]) + time.to_bytes(4) + b"edge" + payload
    return b"$\0" + len(packet).to_bytes(2) + packet


@pytest.mark.parametrize(
    ("codec", "settings"),
    [
        ("H264", {}),
        ("H264", {"slices": 4}),
        ("H264", {"aggregates": True}),
        ("H265", {}),
        ("H265", {"aggregates": True}),
    ],
)
# Parts of the one are in one packet, of the other in many.
@pytest.mark.parametrize("picture", [WHITE, STREET], ids=["small", "large"])
async def test_the_newest_picture_is_told_though_none_follows(
    codec: str, settings: dict[str, Any], picture: bytes
) -> None:
    async with rtsp_camera(picture) as camera, cameras() as them:
        camera.codec = codec
        for name, value in settings.items():
            setattr(camera, name, value)
        seen = Seen()
        source = Source(url=camera.address, transport="tcp")
        watched = them.watch("one", source, fps=30, on_frame=seen)
        await until(lambda: len(seen.frames) > 5)
        camera.fps = 0.5
        camera.show(jpeg(Image.new("RGB", decode(picture).image.size)))
        await until(lambda: camera.shown_at)
        camera.stalled = True

        def came() -> float:
            return datetime.fromisoformat(seen.frames[-1].captured_at).timestamp()

        await until(lambda: came() > camera.shown_at - 0.001, 5)
        assert max(await brightness(watched)) < 20


async def test_a_camera_whose_marks_say_nothing_is_read_all_the_same() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        camera.slices, camera.marks_all = 4, True
        seen = Seen()
        watched = them.watch("one", Source(url=camera.address), fps=30, on_frame=seen)
        await until(lambda: len(seen.frames) > 15)
        told = seen.frames[-1].number + sum(frame.dropped for frame in seen.frames)
        assert camera.sent - told <= 3, "pictures were broken and left out"
        assert camera.requests == 1
        await watched.close()


async def test_a_camera_that_answers_only_to_its_own_name_is_read_directly() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        camera.picky, camera.udp = True, False
        watched = them.watch("one", Source(url=camera.address, transport="tcp"), fps=5)
        await until(lambda: watched.camera.frame)
        assert camera.requests == 1


@pytest.mark.parametrize("transport", ["auto", "tcp"])
async def test_after_a_reboot_a_camera_is_read_in_the_way_that_worked(transport: str) -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        failures: list[str] = []
        source = Source(url=camera.address, transport=transport)
        watched = them.watch("one", source, fps=5, on_failure=failures.append)
        await until(lambda: watched.camera.frame)
        # It is up, but does not answer as it should yet.
        camera.refuses = True
        camera.hang_up()
        await until(lambda: len(failures) >= 2)
        camera.refuses = False
        await until(lambda: camera.readers)
        first, *_, last = (item for item in camera.asked if item.startswith("SETUP"))
        # By way of the relay, which has another port than the camera.
        assert camera.address.rpartition("@")[2] not in first
        assert camera.address.rpartition("@")[2] not in last
        assert camera.transports[-1] == camera.transports[0] == "tcp"


async def test_sound_is_not_asked_for() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        camera.sound = True
        watched = them.watch("one", Source(url=camera.address), fps=5)
        await until(lambda: watched.camera.frame)
        assert [item for item in camera.asked if item.startswith("SETUP")] != []
        assert not any(item.endswith("/sound") for item in camera.asked)


async def test_a_relay_ends_with_its_reader() -> None:
    async with rtsp_camera(STREET) as camera, cameras() as them:
        watched = them.watch("one", Source(url=camera.address), fps=5)
        await until(lambda: watched.camera.frame)
        await watched.close()
        await until(lambda: camera.readers == 0)


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_only_the_ends_of_pictures_are_marked_however_the_data_comes(step: int) -> None:
    many = b"\x78" + b"".join(len(unit).to_bytes(2) + unit for unit in (PARAMETERS, SLICE))
    begin, middle, end = (bytes([0x7C, flag | 1]) + b"part" for flag in (0x80, 0, 0x40))
    plain = [
        DESCRIBED,
        rtp(1, SLICE),  # not before one mark was right
        ANSWER,
        rtp(2, PARAMETERS),
        rtp(2, SLICE, last=False),
        rtp(2, b"sound", kind=97),
        rtp(2, begin, last=False) + rtp(2, middle, last=False),
    ]
    data = b"".join(plain) + rtp(2, end) + rtp(3, many) + rtp(4, SLICE, first=0xA0) + ANSWER
    expected = b"".join(plain) + rtp(2, end + DELIMITER)
    expected += rtp(3, many + b"\0\2" + DELIMITER[4:]) + rtp(4, SLICE, first=0xA0) + ANSWER
    marking = Marking()
    out = b"".join(marking.step(data[at : at + step]) for at in range(0, len(data), step))
    assert out == expected


def test_marks_within_a_picture_end_the_marking() -> None:
    marking = Marking()
    data = DESCRIBED + rtp(1, SLICE) + rtp(1, SLICE) + rtp(2, SLICE) + rtp(3, SLICE)
    assert marking.step(data) == data
    marking = Marking()
    data = DESCRIBED + rtp(1, SLICE) + rtp(2, SLICE)
    assert marking.step(data) == data[: -len(rtp(2, SLICE))] + rtp(2, SLICE + DELIMITER)
    more = rtp(2, SLICE) + rtp(3, SLICE) + rtp(4, SLICE)
    assert marking.step(more) == more


def test_a_server_may_end_its_lines_as_it_pleases() -> None:
    data = DESCRIBED.replace(b"\r\n", b"\n").replace(b"H264", b"h264")
    data = data.replace(b"Length: %d" % len(DESCRIPTION), b"Length: %d" % (len(DESCRIPTION) - 5))
    marking = Marking()
    assert marking.step(data) == data
    assert marking.step(rtp(1, SLICE) + rtp(2, SLICE)).endswith(DELIMITER)


def test_what_is_not_understood_passes_as_it_is() -> None:
    rng = random.Random(7)
    for _ in range(300):
        marking, data = Marking(), bytearray(DESCRIBED)
        for time in range(rng.randrange(6)):
            data += rtp(0, b"\x41" + rng.randbytes(rng.randrange(40)), last=bool(time % 2), kind=97)
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(DESCRIBED), len(data) + 1) :] = rng.randbytes(rng.randrange(50))
        out, at = bytearray(), 0
        while at < len(data):
            size = rng.randrange(1, 60)
            out += marking.step(bytes(data[at : at + size]))
            at += size
        # What is incomplete may wait.
        assert data.startswith(out)


def test_an_endless_message_does_not_fill_the_memory() -> None:
    marking = Marking()
    passed = sum(len(marking.step(b"RTSP/1.0 200 OK " * 1000)) for _ in range(20))
    assert passed == 20 * 16_000
    marking = Marking()
    head = b"RTSP/1.0 200 OK\r\nContent-Length: 999999999\r\n\r\n"
    assert marking.step(head) == head
