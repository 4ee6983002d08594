"""Orientation: the effect of Exif, a display matrix and the setting in Home Assistant."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from edge_vision_node.cameras.pixels import upright
from edge_vision_node.frames.decode import decode
from edge_vision_node.frames.orientation import (
    ORIENTATIONS,
    exif_orientation,
    frame_orientation,
    matrix_orientation,
    turned,
    turned_image,
)
from edge_vision_node.frames.video_file import read_video
from PIL import Image, ImageOps

from tests.pictures import jpeg

# ISO/IEC 14496-12: a, b, u, c, d, v, x, y, w.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def corners(width: int = 96, height: int = 64) -> Image.Image:
    """Return a picture with four different corners."""
    grey = np.zeros((height, width), dtype=np.uint8)
    grey[: height // 2, : width // 2] = 250
    grey[: height // 2, width // 2 :] = 160
    grey[height // 2 :, : width // 2] = 80
    return Image.fromarray(grey).convert("RGB")


def with_exif(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image, exif=exif.tobytes(), quality=95)


def matrix(orientation: int, scale: float = 1.0) -> tuple[int, ...]:
    a, b, c, d = (int(value * 65536 * scale) for value in MATRICES[orientation])
    return a, b, 0, c, d, 0, 0, 0, 1 << 30


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turning_is_what_exif_means(orientation: int) -> None:
    with Image.open(io.BytesIO(with_exif(corners(), orientation))) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
        assert exif_orientation(image) == orientation
        plain = np.asarray(image.convert("RGB"))
        assert np.array_equal(turned(plain, orientation), expected)
        assert np.array_equal(np.asarray(turned_image(image, orientation)), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("yuv420p", (96, 64)),
        ("yuvj420p", (95, 63)),
        ("yuvj422p", (96, 64)),
        ("yuv444p", (95, 63)),
        ("nv12", (96, 64)),
        ("gray", (96, 64)),
    ],
)
def test_frames_of_every_format_are_turned(
    orientation: int, kind: str, size: tuple[int, int]
) -> None:
    frame = av.VideoFrame.from_image(corners(*size)).reformat(format=kind)
    expected = turned(frame.to_ndarray(format="rgb24").astype(int), orientation)
    got = upright(frame, orientation).to_ndarray(format="rgb24").astype(int)
    assert got.shape == expected.shape
    # Color has a lower resolution than brightness, so borders may differ slightly.
    assert np.abs(got - expected).mean() < 6


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_display_matrix_is_one_of_eight_turns(orientation: int) -> None:
    assert matrix_orientation(matrix(orientation)) == orientation
    assert matrix_orientation(matrix(orientation, 0.5)) == orientation


def test_a_matrix_that_makes_no_sense_turns_nothing() -> None:
    assert matrix_orientation((0,) * 9) == 1
    assert matrix_orientation((65536, 0, 0, 0, 0, 0, 0, 0, 1)) == 1
    # Slightly rotated is treated as upright.
    assert matrix_orientation((64000, 9000, 0, -9000, 64000, 0, 0, 0, 1)) == 1


@pytest.mark.parametrize("orientation", [2, 6, 8])
def test_a_file_is_looked_at_as_its_matrix_says(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 5)
        out.mux(stream.encode(av.VideoFrame.from_image(corners())))
        out.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    # In the track's header (ISO/IEC 14496-12, 8.3.2), version 0.
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", *matrix(orientation))
    path.write_bytes(data)
    (frame,) = read_video(str(path))
    expected = np.asarray(turned_image(corners(), orientation)).astype(int)
    assert np.abs(np.asarray(frame.image).astype(int) - expected).mean() < 8


def test_a_jpeg_in_a_stream_says_it_by_its_exif() -> None:
    decoder = av.CodecContext.create("mjpeg", "r")
    (frame,) = decoder.decode(av.Packet(with_exif(corners(), 6)))
    assert frame_orientation(frame) == 6


@pytest.mark.parametrize("value", [b"8\0\0\0", struct.pack("<HH", 9, 0), struct.pack("<HH", 0, 0)])
def test_an_orientation_that_is_none_leaves_a_picture_as_it_is(value: bytes) -> None:
    kind = 2 if value.startswith(b"8") else 3  # text, and a number
    entry = struct.pack("<HHHI", 1, 0x0112, kind, 2 if kind == 2 else 1) + value + bytes(4)
    body = b"Exif\0\0II*\0\x08\0\0\0" + entry
    plain = jpeg(corners())
    odd = plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body + plain[2:]
    frame = decode(odd)
    assert (frame.width, frame.height, frame.image.size) == (96, 64, (96, 64))
    assert np.array_equal(np.asarray(frame.image), np.asarray(decode(plain).image))
