"""Pictures with something wrong around them: bytes before, no end, a note that is damaged.

What matters of a picture has to be whole all the same: one that is cut is never taken for a view
in which nothing is to be seen.
"""

from __future__ import annotations

import io
import re
import struct
import zlib

from PIL import Image, ImageChops

from .structure import JPEG_END, JPEG_START, PNG_END, PNG_START, SCAN, START, JpegEnd

# So much may come before a picture.
_MOST_BEFORE = 4096
_LONGEST_START = 12
# Of WebP (RFC 9649, 2.4), too.
_START = re.compile(START.pattern + rb"|RIFF.{4}WEBP", re.DOTALL)
# Coded data of no picture: what is decoded of it is no grey, also where it begins anew eight times.
_NOISE = b"\x5a\x33\xc6\x95\x6d\xb2\x29\xd4" * 32
_FILLER = _NOISE + b"".join(bytes([0xFF, 0xD0 + number]) + _NOISE for number in range(8))
# Baseline, extended and progressive; the last two with arithmetic coding, too.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_PROGRESSIVE = (0xC2, 0xCA)


def from_start(data: bytes) -> bytes:
    """Return a picture without bytes before it; as it is, where no picture is behind them."""
    found = _START.search(data, 0, _MOST_BEFORE + _LONGEST_START)
    return data if found is None else data[found.start() :]


def mended(picture: bytes, most_pixels: int) -> bytes | None:
    """Return a JPEG or PNG without what is wrong at its end; None where that would not help."""
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
    """Return whether every part of every component is in a JPEG that has an end."""
    end = JpegEnd()
    end.step(jpeg)
    return _has_all_scans(jpeg, end.segments)


def is_complete(jpeg: bytes, most_pixels: int) -> bool:
    """Return whether all pixels of a JPEG that has an end are in it, whatever its kind."""
    end = JpegEnd()
    at = end.step(jpeg)
    return not end.whole or _is_complete(jpeg[: (at or len(jpeg)) - len(JPEG_END)], most_pixels)


def _has_all_scans(jpeg: bytes, segments: list[tuple[int, int]]) -> bool:
    """Return whether every part of every component is in a JPEG: it may come in several scans."""
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
        # Where there is but one scan of each, it is whole, and encoders write anything here.
        if not progressive:
            about = b"\0\x3f\0"
        # First and last coefficient, and how many of their bits are still to come.
        if len(about) == 3 and not about[2] & 0x0F:
            for name in names:
                missing.get(name, set()).difference_update(range(about[0], about[1] + 1))
    return bool(missing) and not any(missing.values())


def _is_complete(jpeg: bytes, most_pixels: int) -> bool:
    """Return whether all pixels of a JPEG without an end are in it.

    Where they are, nobody looks at what follows. Where some are missing they are decoded of what
    follows, and are others with noise than with nothing.
    """
    try:
        with (
            Image.open(io.BytesIO(jpeg + JPEG_END), formats=("JPEG",)) as plain,
            Image.open(io.BytesIO(jpeg + _FILLER + JPEG_END), formats=("JPEG",)) as filled,
        ):
            if plain.width * plain.height > most_pixels:
                return False
            return ImageChops.difference(plain, filled).getbbox(alpha_only=False) is None
    # Pillow's decoders raise nearly anything on a file made to break them
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError):
        return False


def _mended_png(png: bytes) -> bytes | None:
    """Return a PNG with an end, and without the notes whose checksum is wrong."""
    kept, at = [PNG_START], len(PNG_START)
    while at + 12 <= len(png):
        (length,), name = struct.unpack_from(">I", png, at), png[at + 4 : at + 8]
        chunk = png[at : at + 12 + length]
        whole = len(chunk) == 12 + length
        right = whole and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if right:
            kept.append(chunk)
        elif name[:1].isupper():
            return None  # pixels, or what they mean
        at += 12 + length
        if name == b"IEND":
            break
    else:
        kept.append(PNG_END)
    return b"".join(kept)
