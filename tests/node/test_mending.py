"""Pictures with invalid data around them are analyzed; truncated ones are rejected."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from edge_vision_node.errors import PictureError
from edge_vision_node.frames.decode import decode
from edge_vision_node.frames.structure import START, JpegEnd, PngEnd, end_of
from PIL import Image

from tests.pictures import SELF_TEST_PICTURE, jpeg

STREET = Image.open(SELF_TEST_PICTURE).convert("RGB")
# Gray areas of missing data would not be visible in this picture.
PLAIN = Image.new("RGB", (320, 240), (128, 128, 128))
KINDS = {
    "baseline": jpeg(STREET, quality=85),
    "progressive": jpeg(STREET, quality=85, progressive=True),
    "restarts": jpeg(STREET, quality=85, restart_marker_rows=1),
    "grey": jpeg(STREET.convert("L"), quality=85),
    "fine": jpeg(STREET, quality=95, subsampling=0),
}


def png(image: Image.Image, *notes: tuple[bytes, bytes, int]) -> bytes:
    """Return a PNG with more chunks: name, content, and the error of the checksum."""
    out = io.BytesIO()
    image.save(out, "PNG")
    data = out.getvalue()
    for name, content, wrong in notes:
        body = name + content
        crc = zlib.crc32(body) ^ wrong
        chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", crc)
        data = data[:33] + chunk + data[33:]
    return data


def same(data: bytes, as_in: bytes) -> bool:
    return np.array_equal(np.asarray(decode(data).image), np.asarray(decode(as_in).image))


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_an_end_is_looked_at(kind: str) -> None:
    whole = KINDS[kind]
    assert whole.endswith(b"\xff\xd9")
    assert same(whole[:-2], whole)
    # The position in a stream, too.
    assert same(whole[:-2] + b"\r\n--frame\r\n", whole)
    assert decode(whole[:-2], (64, 64)).image.size == decode(whole, (64, 64)).image.size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
def test_a_jpeg_that_is_cut_is_refused(kind: str, share: float) -> None:
    whole = KINDS[kind]
    with pytest.raises(PictureError, match="cut short"):
        decode(whole[: int(len(whole) * share)])


def test_every_cut_between_rows_is_noticed() -> None:
    whole = KINDS["restarts"]
    marks = [at for at in range(600, len(whole) - 60) if whole[at : at + 1] == b"\xff"]
    restarts = [at for at in marks if 0xD0 <= whole[at + 1] <= 0xD7]
    assert len(restarts) > 10
    for at in restarts:
        for cut in (at, at + 2):
            with pytest.raises(PictureError):
                decode(whole[:cut])
    # Truncated pictures of a single color are not accepted either.
    plain = jpeg(PLAIN, quality=85)
    with pytest.raises(PictureError):
        decode(plain[: len(plain) * 4 // 5])


@pytest.mark.parametrize("before", [b"\r\n", b"\0", b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"])
@pytest.mark.parametrize("end", [None, -2])
def test_bytes_before_a_picture_are_left_out(before: bytes, end: int | None) -> None:
    whole = KINDS["baseline"]
    assert same(before + whole[:end], whole)
    assert same(before + png(STREET), png(STREET))
    out = io.BytesIO()
    STREET.save(out, "WEBP")
    assert same(before + out.getvalue(), out.getvalue())


def test_what_is_far_behind_other_bytes_is_no_picture() -> None:
    with pytest.raises(PictureError, match="not a JPEG"):
        decode(b"x" * 5000 + KINDS["baseline"])


def test_a_png_is_looked_at_whatever_its_notes_are_worth() -> None:
    whole = png(STREET)
    assert same(png(STREET, (b"tEXt", b"Comment\0hello", 1)), whole)
    assert same(png(STREET, (b"tIME", b"1234567", 7), (b"tEXt", b"Title\0x", 3)), whole)
    assert same(whole[:-12], whole)
    assert same(whole[:-5], whole)
    assert same(whole[:-12] + b"\r\n", whole)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_png_that_is_cut_or_whose_pixels_are_damaged_is_refused(share: float) -> None:
    whole = png(STREET)
    with pytest.raises(PictureError):
        decode(whole[: int(len(whole) * share)])
    at = int(len(whole) * share)
    with pytest.raises(PictureError):
        decode(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_the_end_of_a_picture_is_found_however_it_comes(step: int) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 300  # with end markers inside
    thumbnail = b"\xff\xe2\x00\x0a\xff\xd8\xff\xd9\xff\xd8\xff\xd9"
    for whole in (*KINDS.values(), jpeg(PLAIN, exif=exif.tobytes()), png(PLAIN)):
        data = whole[:2] + thumbnail + whole[2:] if whole[0] == 0xFF else whole
        if step == 1:
            data = data[:3000] if whole[0] == 0xFF else data
        found = START.match(data)
        assert found is not None
        end: JpegEnd | PngEnd = end_of(data, 0)
        at = None
        for upto in range(step, len(data) + step, step):
            if (at := end.step((data + b"more of it")[:upto])) is not None:
                break
        if len(data) == len(whole) + len(thumbnail) or whole[0] != 0xFF:
            assert (at, end.whole) == (len(data), True)
        else:
            assert at is None
