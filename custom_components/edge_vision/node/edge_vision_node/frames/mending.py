"""Repairs pictures with bytes before them, without an end, or with damaged metadata.

The pixels must be complete all the same: an incomplete picture is never mistaken for an empty
scene.
"""

from __future__ import annotations

import io
import re
import struct
import zlib

from PIL import Image, ImageChops

from .structure import JPEG_END, JPEG_START, PNG_END, PNG_START, SCAN, START, JpegEnd

# The most bytes before a picture.
_MOST_BEFORE = 4096
_LONGEST_START = 12
# WebP as well (RFC 9649, 2.4).
_START = re.compile(START.pattern + rb"|RIFF.{4}WEBP", re.DOTALL)
# Random coded data: it decodes to noise, also after eight restarts.
_NOISE = b"\x5a\x33\xc6\x95\x6d\xb2\x29\xd4" * 32
_FILLER = _NOISE + b"".join(bytes([0xFF, 0xD0 + number]) + _NOISE for number in range(8))
# Baseline, extended and progressive; the last two also with arithmetic coding.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_PROGRESSIVE = (0xC2, 0xCA)


def from_start(data: bytes) -> bytes:
    """Return a picture without the bytes before it; unchanged if no picture follows."""
    found = _START.search(data, 0, _MOST_BEFORE + _LONGEST_START)
    return data if found is None else data[found.start() :]


def mended(picture: bytes, most_pixels: int) -> bytes | None:
    """Return a JPEG or PNG with its end repaired; None if that would not help."""
    if picture.startswith(PNG_START):
        better = _mended_png(picture)
        return better if better != picture else None
    if not picture.startswith(JPEG_START):
        return None
    end = JpegEnd()
    end.step(picture)
    if end.whole:
        return None
    if not _has_all_scans(picture, end.segments) or not _is_complete(picture, most_pixels):
        return None
    return picture + JPEG_END


def has_all_scans(jpeg: bytes) -> bool:
    """Return whether a JPEG with an end has all scans of all components."""
    end = JpegEnd()
    end.step(jpeg)
    return _has_all_scans(jpeg, end.segments)


def is_complete(jpeg: bytes, most_pixels: int) -> bool:
    """Return whether a JPEG with an end has all of its pixels, whatever its kind."""
    end = JpegEnd()
    at = end.step(jpeg)
    return not end.whole or _is_complete(jpeg[: (at or len(jpeg)) - len(JPEG_END)], most_pixels)


def _has_all_scans(jpeg: bytes, segments: list[tuple[int, int]]) -> bool:
    """Return whether a JPEG has all scans of all components."""
    missing: dict[int, set[int]] = {}
    progressive = False
    for marker, at in segments:
        count_at = at if marker == SCAN else at + 5
        if marker not in _FRAMES and marker != SCAN:
            continue
        if count_at >= len(jpeg):
            return False
        count, step = jpeg[count_at], 2 if marker == SCAN else 3
        names = jpeg[count_at + 1 : count_at + 1 + step * count : step]
        if marker in _FRAMES:
            missing |= {name: set(range(64)) for name in names}
            progressive = marker in _PROGRESSIVE
            continue
        about = jpeg[at + 1 + 2 * count : at + 4 + 2 * count]
        # A single scan per component is complete, and encoders write anything here.
        if not progressive:
            about = b"\0\x3f\0"
        # First and last coefficient, and how many of their bits are missing.
        if len(about) == 3 and not about[2] & 0x0F:
            for name in names:
                missing.get(name, set()).difference_update(range(about[0], about[1] + 1))
    return bool(missing) and not any(missing.values())


def _is_complete(jpeg: bytes, most_pixels: int) -> bool:
    """Return whether a JPEG without an end has all of its pixels.

    If it has, the decoder ignores what follows. If pixels are missing, they are decoded from what
    follows, so noise gives another picture than nothing.
    """
    try:
        with (
            Image.open(io.BytesIO(jpeg + JPEG_END), formats=("JPEG",)) as plain,
            Image.open(io.BytesIO(jpeg + _FILLER + JPEG_END), formats=("JPEG",)) as filled,
        ):
            if plain.width * plain.height > most_pixels:
                return False
            return ImageChops.difference(plain, filled).getbbox(alpha_only=False) is None
    # Pillow raises nearly anything for a hostile file
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError):
        return False


def _mended_png(png: bytes) -> bytes | None:
    """Return a PNG with an end, and without metadata whose checksum is wrong."""
    kept, at = [PNG_START], len(PNG_START)
    while at + 12 <= len(png):
        (length,), name = struct.unpack_from(">I", png, at), png[at + 4 : at + 8]
        chunk = png[at : at + 12 + length]
        whole = len(chunk) == 12 + length
        right = whole and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if right:
            kept.append(chunk)
        elif name[:1].isupper():
            return None  # pixels, or how to read them
        at += 12 + length
        if name == b"IEND":
            break
    else:
        kept.append(PNG_END)
    return b"".join(kept)
