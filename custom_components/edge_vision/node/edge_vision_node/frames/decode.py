"""Decodes JPEG, PNG and WebP files: upright, complete, and no larger than needed."""

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
# The data of a WebP file does not end in as many zeros.
_MOST_ZEROS = 64
# 50 megapixels are 150 MB of RGB: more than cameras send, and harmless.
MAX_PIXELS = 50_000_000
# The limit above is checked before decoding, with a clearer error than Pillow's.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Frame:
    """An upright picture.

    Attributes:
        image: RGB; may be smaller than the camera's picture (same shape, fewer pixels).
        width, height: of the camera's picture, upright, in pixels.
    """

    image: Image.Image
    width: int
    height: int


class _BrokenError(PictureError):
    """It cannot be decoded unchanged."""


def decode(
    data: bytes | memoryview, least: tuple[int, int] | None = None, *, sound: bool = False
) -> Frame:
    """Decode a picture, repairing what is wrong around it (see `mending`).

    Args:
        data: a JPEG, PNG or WebP file.
        least: sufficient width and height in pixels. A JPEG is decoded at the smallest
            of 1/1, 1/2, 1/4 and 1/8 of its size that still has them, which is several times
            faster (libjpeg's scaled inverse DCT).
        sound: skip the check for damage, because the file was decoded before.

    Raises:
        PictureError: the file is of another kind, damaged, incomplete or too large.
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
    # Pillow raises nearly anything for a hostile file
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError) as err:
        raise _BrokenError(f"The picture is damaged or cut short: {err}") from err
    if swaps_sides(orientation):
        width, height = height, width
    return Frame(upright, width, height)


def get_ready() -> None:
    """Load the decoders, so that the first picture does not have to wait."""
    Image.init()
    _av()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits per pixel: Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image, dtype=np.int32) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _require_sound(image: Image.Image, data: bytes) -> None:
    """Raise `PictureError` if parts of a decoded picture are missing.

    Pillow fills missing parts with gray or black without an error.
    """
    if image.format == "JPEG":
        if (damage := _damage(data)) is not None:
            raise PictureError(f"The picture is damaged or cut short: {damage}")
    elif image.format == "PNG":
        last = image.crop((0, image.height - 1, *image.size))
        # Missing data is zero. Passes of an interlaced picture end anywhere.
        doubtful = image.info.get("interlace") or last.getbbox(alpha_only=False) is None
        if doubtful and not has_all_rows(data):
            raise PictureError("The picture is damaged or cut short: rows are missing")
    elif data[: 8 + int.from_bytes(data[4:8], "little")].endswith(bytes(_MOST_ZEROS)):
        raise PictureError("The picture is damaged or cut short: its end is filled with zeros")


def _damage(data: bytes) -> str | None:
    """Return what is wrong with the data of a JPEG; None if nothing is found.

    libjpeg continues with zeros after missing or invalid data, and Pillow hides its warnings.
    FFmpeg's decoder reports them. At an eighth of the size, it costs little more than reading the
    data. For kinds that FFmpeg does not know, missing data is detected in another way.
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
            return None  # FFmpeg does not know this kind
        if frames and not frames[0].is_corrupt:
            return None
    return "parts of it are missing or invalid"


@cache
def _av() -> Any:
    """Return PyAV; None if it is not installed, as stills do not need it."""
    try:
        av = importlib.import_module("av")
        importlib.import_module("av.logging").set_level(None)
    except ImportError:
        return None
    return av
