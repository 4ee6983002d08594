"""Decoding of stills: correct orientation, minimum size, and hostile files are rejected."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from edge_vision_node.errors import PictureError
from edge_vision_node.frames import decode as decode_module
from edge_vision_node.frames.decode import decode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import jpeg

RED, BLUE = (220, 30, 30), (30, 30, 220)


def two_halves(width: int = 640, height: int = 360) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def is_close(pixel: object, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.array(pixel, int) - colour).max() < 25)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_reads_the_formats_that_cameras_send(kind: str) -> None:
    frame = decode(encoded(two_halves(), kind))
    assert (frame.width, frame.height, frame.image.mode) == (640, 360, "RGB")
    assert is_close(frame.image.getpixel((10, 180)), RED)
    assert is_close(frame.image.getpixel((630, 180)), BLUE)


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (640, 360), (10, 180)),
        (2, (640, 360), (630, 180)),
        (3, (640, 360), (630, 180)),
        (4, (640, 360), (10, 180)),
        (5, (360, 640), (180, 10)),
        (6, (360, 640), (180, 10)),
        (7, (360, 640), (180, 630)),
        (8, (360, 640), (180, 630)),
    ],
)
@pytest.mark.parametrize("least", [None, (90, 90)])
def test_turns_a_picture_upright_as_its_exif_says(
    orientation: int,
    size: tuple[int, int],
    red_at: tuple[int, int],
    least: tuple[int, int] | None,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    frame = decode(jpeg(two_halves(), exif=exif.tobytes()), least)
    assert (frame.width, frame.height) == size
    shrunk = frame.image.width / size[0]
    assert frame.image.height / size[1] == pytest.approx(shrunk)
    assert is_close(frame.image.getpixel((int(red_at[0] * shrunk), int(red_at[1] * shrunk))), RED)


@pytest.mark.parametrize(
    ("size", "least", "decoded"),
    [
        ((1280, 720), (300, 300), (640, 360)),
        ((3840, 2160), (300, 300), (960, 540)),
        ((640, 480), (300, 300), (640, 480)),
        ((4800, 2400), (300, 300), (600, 300)),
        ((100, 80), (300, 300), (100, 80)),
    ],
)
def test_decodes_a_jpeg_no_larger_than_the_model_needs(
    size: tuple[int, int], least: tuple[int, int], decoded: tuple[int, int]
) -> None:
    frame = decode(jpeg(two_halves(*size)), least)
    assert frame.image.size == decoded
    assert (frame.width, frame.height) == size


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        pixels = np.full((40, 40), 200 << 8, np.uint16)
        data = encoded(Image.fromarray(pixels), "PNG")
        assert is_close(decode(data).image.getpixel((5, 5)), (200, 200, 200))
    else:
        image = two_halves(64, 64).convert(mode)
        data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
        assert decode(data).image.mode == "RGB"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes with huge dimensions."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def test_refuses_a_decompression_bomb_before_it_is_decoded() -> None:
    with pytest.raises(PictureError, match="50 megapixels"):
        decode(bomb(30_000, 30_000))


def test_refuses_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "MAX_PICTURE_BYTES", 1000)
    with pytest.raises(PictureError, match="larger than"):
        decode(bytes(1001))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>camera offline</html>", "not a JPEG, PNG or WebP"),
        (encoded(two_halves(64, 64), "GIF"), "not a JPEG, PNG or WebP"),
        (encoded(two_halves(64, 64), "BMP"), "not a JPEG, PNG or WebP"),
        (jpeg(two_halves())[:1500], "damaged or cut short"),
        (encoded(two_halves(), "PNG")[:300], "damaged or cut short"),
        (encoded(two_halves(), "WEBP")[:100], "damaged|not a JPEG"),
    ],
)
def test_says_what_is_wrong_with_a_picture(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        decode(data)


_VALID = {kind: encoded(two_halves(64, 48), kind) for kind in ("JPEG", "PNG", "WEBP")}


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(_VALID)),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=6),
    length=st.floats(0, 1),
)
def test_a_damaged_file_is_decoded_or_refused_but_nothing_else(
    kind: str, cuts: list[tuple[float, bytes]], length: float
) -> None:
    data = bytearray(_VALID[kind])
    for place, patch in cuts:
        start = int(place * len(data))
        data[start : start + len(patch)] = patch
    try:
        frame = decode(bytes(data[: int(length * len(data))]), (16, 16))
    except PictureError:
        return
    assert frame.image.mode == "RGB"
