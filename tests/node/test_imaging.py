"""Pictures that take too long only affect their own camera."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from edge_vision_node.errors import PictureError
from edge_vision_node.frames.checks import MAX_SCANS, examine
from edge_vision_node.frames.decode import decode
from edge_vision_node.frames.masks import Masks
from edge_vision_node.imaging import service
from edge_vision_node.imaging.service import Imaging
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import Box, DetectedObject, Findings, Point
from PIL import Image

from tests.hostile_pictures import EXIF, encoded, png, scan_bomb, segment
from tests.pictures import SELF_TEST_PICTURE, jpeg

STREET = SELF_TEST_PICTURE.read_bytes()
MANIFEST = ModelStore([]).get(None).manifest
LEFT = Masks((tuple(Point(x=x, y=y) for x, y in ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),))


@pytest.fixture
async def imaging() -> AsyncIterator[Imaging]:
    """Picture processes."""
    it = Imaging()
    yield it
    await it.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (scan_bomb(800, 2 * MAX_SCANS), "scans"),
        (STREET[:2] + segment(0xDB, bytes(65000)) * 2 + STREET[2:], "tables"),
        (STREET[:2] + b"\xff\xfe\x00\x02" * 5000 + STREET[2:], "damaged"),
        (png(*[(b"tIME", b"")] * 6000), "too many parts"),
    ],
    ids=["scans", "tables", "segments", "chunks"],
)
def test_what_no_camera_makes_is_refused_before_it_is_decoded(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        examine(data)


@pytest.mark.parametrize(
    "data",
    [
        STREET[:2] + EXIF * 400 + STREET[2:],
        STREET[:2] + bytes(1_000_000) + STREET[2:],
        STREET[:2] + b"\xff" * 1_000_000 + STREET[2:],
        # There can be any data after the end, for example a video.
        STREET + scan_bomb(800, 2 * MAX_SCANS),
        png((b"zTXt", b"bomb\0\0" + zlib.compress(bytes(100_000_000)))),
        png(*[(b"tEXt", b"key\0" + bytes(10_000))] * 300),
    ],
    ids=["exif", "stray bytes", "fill bytes", "trailer", "zTXt", "tEXt"],
)
def test_what_is_needless_is_left_out_and_the_picture_looked_at(data: bytes) -> None:
    examined = examine(data)
    with Image.open(io.BytesIO(STREET if data[0] == 0xFF else png())) as image:
        assert decode(data).image.tobytes() == image.convert("RGB").tobytes()
    assert examined.effort < 40
    assert len(examined.data) < 200_000 or data.startswith(STREET)


def test_a_picture_like_those_of_cameras_is_not_copied() -> None:
    assert examine(STREET).data is STREET


async def test_only_who_sends_what_takes_too_long_waits(
    imaging: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Well within the limits checked in advance, like an unknown attack.
    monkeypatch.setattr(service, "_ORDINARY", 1e9)
    monkeypatch.setattr(service, "_SHARED_CPU_S", 0.1)
    monkeypatch.setattr(service, "_OWN_CPU_S", 0.1)
    bomb = scan_bomb(6000, MAX_SCANS - 1)
    await imaging.prepare("good", STREET, MANIFEST)
    (pid,) = imaging.pids
    results = await asyncio.gather(
        imaging.prepare("evil", bomb, MANIFEST, patient=True),
        *(imaging.prepare("good", STREET, MANIFEST) for _ in range(3)),
        return_exceptions=True,
    )
    assert isinstance(results[0], PictureError)
    assert "to decode" in str(results[0])
    assert [type(item).__name__ for item in results[1:]] == ["Still"] * 3
    assert pid not in imaging.pids
    # From now on, it uses a separate process and a pause before the next attempt.
    shared = imaging._looking.pid
    with pytest.raises(PictureError, match=r"analyzed in \d+ s"):
        await imaging.prepare("evil", bomb, MANIFEST, patient=True)
    with pytest.raises(PictureError, match="to decode"):
        await imaging.prepare("evil", bomb, MANIFEST)
    assert imaging._looking.pid == shared
    # A valid picture is analyzed again, in a process that others do not use.
    assert (await imaging.prepare("evil", STREET, MANIFEST)).shape.width == 384
    assert imaging._own["evil"].pid in imaging.pids


async def test_a_picture_that_is_expensive_has_a_process_of_its_own(imaging: Imaging) -> None:
    large = jpeg(Image.new("RGB", (3000, 3000)), progressive=True)
    assert (await imaging.prepare("large", large, MANIFEST)).shape.width == 3000
    assert imaging._looking.pid is None
    assert imaging._own["large"].pid is not None
    imaging._end("large")
    assert imaging._own == {}


async def test_who_waits_for_a_process_that_another_picture_ended_is_served(
    imaging: Imaging,
) -> None:
    await imaging.prepare("good", STREET, MANIFEST)
    pid = imaging._looking.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(imaging.prepare(str(n), STREET, MANIFEST)) for n in range(3)]
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert [still.shape.width for still in await asyncio.gather(*waiting)] == [384] * 3


async def test_masks_are_burned_in_before_anything_leaves_the_process(imaging: Imaging) -> None:
    size = MANIFEST.input.width, MANIFEST.input.height
    still = await imaging.prepare("p", STREET, MANIFEST, LEFT)
    image = Image.frombytes("RGB", size, bytes(still.pixels))
    assert image.crop((0, 0, size[0] // 2 - 1, size[1])).getbbox() is None
    assert image.crop((size[0] // 2 + 1, 0, *size)).getbbox() is not None
    item = DetectedObject(
        label="person", confidence=90.0, box=Box(x_min=0.6, y_min=0.3, x_max=0.8, y_max=0.9)
    )
    clean, drawn = await imaging.draw(
        "p", STREET, Findings(objects=(item,)), (item,), LEFT, clean=True
    )
    for picture in (clean, drawn):
        left = decode(picture).image.crop((0, 0, 184, 288))
        assert max(high for _, high in left.getextrema()) < 16
    assert clean != drawn
    # Black areas are not changed.
    assert await imaging.hide("p", clean, LEFT) is None
    assert await imaging.hide("p", STREET, LEFT) is not None


async def test_findings_of_any_number_can_be_drawn(imaging: Imaging) -> None:
    item = DetectedObject(
        label="person", confidence=90.0, box=Box(x_min=0.6, y_min=0.3, x_max=0.8, y_max=0.9)
    )
    many = tuple(replace(item, label=f"object {number}") for number in range(500))
    _, drawn = await imaging.draw("p", STREET, Findings(objects=many))
    assert decode(drawn).width == 384


def _damaged() -> list[Any]:
    """Return pictures with missing or invalid parts, by the kind of damage."""
    street = decode(STREET).image.resize((640, 480))
    plain = jpeg(street, quality=90)
    kinds = {
        "baseline": plain,
        "grey": jpeg(street.convert("L"), quality=90),
        "progressive": jpeg(street, progressive=True),
        "with restarts": jpeg(street, restart_marker_rows=1),
    }
    cases = [
        pytest.param(data[: int(len(data) * share)] + b"\xff\xd9", id=f"{kind} cut to {share:.0%}")
        for kind, data in kinds.items()
        for share in (0.3, 0.6, 0.9)
    ]
    middle = len(plain) // 2
    cases += [
        pytest.param(plain[:middle] + bytes(4000) + plain[middle + 4000 :], id="zeros"),
        pytest.param(plain[:middle] + plain[middle + 3000 :], id="lost bytes"),
    ]
    progressive = kinds["progressive"]
    second = progressive.find(b"\xff\xda", progressive.find(b"\xff\xda") + 2)
    last = progressive.rfind(b"\xff\xda")
    cmyk = jpeg(street.convert("CMYK"), quality=90)
    webp = encoded(street, "WEBP", quality=80)
    lossless = encoded(street, "WEBP", lossless=True, method=0)
    cases += [
        pytest.param(progressive[:second] + b"\xff\xd9", id="only the first scan"),
        pytest.param(progressive[:last] + b"\xff\xd9", id="all scans but the last"),
        pytest.param(cmyk[: len(cmyk) * 9 // 10] + b"\xff\xd9", id="four colours cut"),
        pytest.param(webp[:9000] + bytes(len(webp) - 9000), id="a WebP filled with zeros"),
        pytest.param(lossless[:9000] + bytes(len(lossless) - 9000), id="a lossless one, too"),
    ]
    cases += [pytest.param(png(rows=rows), id=f"png of {rows} rows") for rows in (31, 16, 1)]
    return cases


@pytest.mark.parametrize("data", _damaged())
def test_a_damaged_picture_is_refused_not_empty(data: bytes) -> None:
    with pytest.raises(PictureError, match="damaged"):
        decode(data, (300, 300))


@pytest.mark.parametrize("size", [(640, 480), (641, 359), (17, 9), (1, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"optimize": True, "quality": 100},
        {"subsampling": 0, "quality": 5},
        {"restart_marker_blocks": 3},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_whole_picture_is_whole(
    size: tuple[int, int], options: dict[str, Any], mode: str
) -> None:
    data = jpeg(decode(STREET).image.resize(size).convert(mode), **options)
    assert (decode(data).width, decode(data).height) == size
    # Black or gray to the end.
    for grey in (0, 128):
        decode(jpeg(Image.new("RGB", size, (grey,) * 3), **options))
    # Some cameras send sequential pictures with wrong coefficient ranges.
    if "progressive" not in options:
        at = data.find(b"\xff\xda") + 5 + 2 * data[data.find(b"\xff\xda") + 4]
        decode(data[:at] + bytes(3) + data[at + 3 :])
    for kind in ("PNG", "WEBP"):
        decode(encoded(Image.new("RGB", size), kind, lossless=True))


def test_the_checks_of_a_large_hostile_file_take_no_time() -> None:
    scans = STREET[: STREET.index(b"\xff\xda")] + b"\xff\xda\x00\x02" * 20
    started = time.process_time()
    for data in (
        STREET[:2] + b"\xff\xfe\x00\x02" * 8_000_000 + STREET[2:],
        STREET[:2] + b"\xff" * 30_000_000 + STREET[2:],
        b"\x89PNG\r\n\x1a\n" + bytes(30_000_000),
        scans + b"\xff\x01" * 15_000_000,
        scans + b"\xff\xc4\x00\x00" * 8_000_000,
    ):
        try:
            examine(data)
        except PictureError:
            continue
    # Iterating over each byte would take a hundred times as long.
    assert time.process_time() - started < 5
