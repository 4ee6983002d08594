"""Still pictures to frames: JPEG, PNG and WebP, upright, whole, and no larger than need be."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import PictureError
from ..protocol import MAX_PICTURE_BYTES
from .checks import bare_jpeg, examine, has_all_rows
from .mending import from_start, has_all_scans, is_complete, mended
from .orientation import exif_orientation, swaps_sides, turned_image

_FORMATS = ("JPEG", "PNG", "WEBP")
# Coded data of a WebP does not end in as many zeros.
_MOST_ZEROS = 64
# 50 megapixels are 150 MB of RGB: more than any camera here sends, less than what hurts.
MAX_PIXELS = 50_000_000
# The limit above holds for every picture before its pixels are decoded, and gives a clearer error.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Frame:
    """A picture, upright.

    Attributes:
        image: RGB; may be smaller than the camera's picture (same shape, fewer pixels).
        width, height: of the camera's picture, upright, in pixels.
    """

    image: Image.Image
    width: int
    height: int


class _BrokenError(PictureError):
    """It cannot be decoded as it is."""


def decode(
    data: bytes | memoryview, least: tuple[int, int] | None = None, *, sound: bool = False
) -> Frame:
    """Decode a picture, also one with something wrong around it (see `mending`).

    Args:
        data: a JPEG, PNG or WebP file.
        least: width and height in pixels that are enough. A JPEG is then decoded at the smallest
            of 1/1, 1/2, 1/4 and 1/8 of its size that still has them, which is several times
            faster (libjpeg's scaled inverse DCT).
        sound: the file has been decoded before, and is not looked at for damage again.

    Raises:
        PictureError: not such a file, damaged, cut short, or too large.
    """
    if len(data) == 0:
        raise PictureError("The picture is empty")
    if len(data) > MAX_PICTURE_BYTES:
        raise PictureError(f"The picture is larger than {MAX_PICTURE_BYTES >> 20} MiB")
    data = examine(from_start(bytes(data))).data
    try:
        return _decode(data, least, sound=sound)
    except _BrokenError:
        if (better := mended(data, MAX_PIXELS)) is None:
            raise
    return _decode(better, least, sound=sound)


def _decode(data: bytes, least: tuple[int, int] | None, *, sound: bool) -> Frame:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"The picture has {width}x{height} pixels; the limit is"
                    f" {MAX_PIXELS // 1_000_000} megapixels"
                )
            if least is not None:
                image.draft("RGB", least)
            image.load()
            if not sound:
                _require_sound(image, data)
            orientation = exif_orientation(image)
            upright = turned_image(_to_rgb(image), orientation)
    except UnidentifiedImageError:
        raise _BrokenError("The picture is not a JPEG, PNG or WebP file") from None
    # Pillow's decoders raise nearly anything on a file made to break them
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError) as err:
        raise _BrokenError(f"The picture is damaged or cut short: {err}") from err
    if swaps_sides(orientation):
        width, height = height, width
    return Frame(upright, width, height)


def get_ready() -> None:
    """Load what decoding needs, so that the first picture does not have to wait for it."""
    Image.init()
    _av()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image, dtype=np.int32) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _require_sound(image: Image.Image, data: bytes) -> None:
    """Raise `PictureError` where parts of a decoded picture are made up.

    Pillow takes what is missing for grey or black, and does not say so.
    """
    if image.format == "JPEG":
        if (damage := _damage(data)) is not None:
            raise PictureError(f"The picture is damaged or cut short: {damage}")
    elif image.format == "PNG":
        last = image.crop((0, image.height - 1, *image.size))
        # What is missing is zero. Passes of an interlaced picture end anywhere.
        doubtful = image.info.get("interlace") or last.getbbox(alpha_only=False) is None
        if doubtful and not has_all_rows(data):
            raise PictureError("The picture is damaged or cut short: rows are missing")
    elif data[: 8 + int.from_bytes(data[4:8], "little")].endswith(bytes(_MOST_ZEROS)):
        raise PictureError("The picture is damaged or cut short: its end is filled with zeros")


def _damage(data: bytes) -> str | None:
    """Return what is wrong with the data of a JPEG; None where nothing is seen to be.

    libjpeg goes on with zeros where data ends or makes no sense, and Pillow hides its warnings.
    FFmpeg's decoder says so; it is asked for an eighth of the size, which costs little more than
    reading the data. Of a kind that it does not know, what is missing is found in another way.
    """
    if not has_all_scans(data):
        return "parts of it are missing"
    if (av := _av()) is None or (bare := bare_jpeg(data)) is None:
        return None if is_complete(data, MAX_PIXELS) else "parts of it are missing"
    for lowres in ("3", "0"):
        codec = av.CodecContext.create("mjpeg", "r")
        codec.thread_count = 1
        codec.options = {"err_detect": "explode", "lowres": lowres}
        try:
            frames = [*codec.decode(av.Packet(bare)), *codec.decode(None)]
        except av.InvalidDataError:
            continue
        except (av.FFmpegError, ValueError):
            return None  # it does not know this kind
        if frames and not frames[0].is_corrupt:
            return None
    return "parts of it are missing or make no sense"


@cache
def _av() -> Any:
    """Return PyAV; None where it is not installed: stills do without."""
    try:
        av = importlib.import_module("av")
        importlib.import_module("av.logging").set_level(None)
    except ImportError:
        return None
    return av
