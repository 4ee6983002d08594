"""Write an orientation into a picture without decoding it.

Exif in JPEG (CIPA DC-008, 4.5 and 4.7.2), in PNG (chunk eXIf) and in WebP (RFC 9649, 2.7.1.5).
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

UPRIGHT: Final = 1
_LAST: Final = 8

_JPEG_START: Final = b"\xff\xd8"
_JPEG_EXIF: Final = b"Exif\0\0"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_WEBP_HAS_EXIF: Final = 0x08
_TAG, _SHORT = 0x0112, 3
# Bounds the work on a file that consists of headers only.
_MOST_PARTS: Final = 64


def with_orientation(picture: bytes, orientation: int) -> bytes:
    """Return a JPEG, PNG or WebP with an orientation by the numbers of Exif.

    A picture with an orientation of its own is returned as it is, and so is anything else.
    """
    try:
        return _with(picture, orientation)
    except struct.error, IndexError:
        return picture  # it ends too early


def _with(picture: bytes, orientation: int) -> bytes:
    # A directory of one entry (TIFF 6.0, 2): tag, type, one value.
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, _TAG, _SHORT, 1, orientation, 0)
    if picture.startswith(_JPEG_START):
        if _turns(part[6:] for part in _segments(picture) if part.startswith(_JPEG_EXIF)):
            return picture
        body = _JPEG_EXIF + exif
        head = b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body
        return _JPEG_START + head + picture[len(_JPEG_START) :]
    if picture.startswith(_PNG_START):
        found = list(_chunks(picture, len(_PNG_START), ">I4s", 4))
        if _turns(part for name, part in found if name == b"eXIf"):
            return picture
        body = b"eXIf" + exif
        chunk = struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body))
        # Behind all that comes before the pixels: of several the last one counts.
        before = itertools.takewhile(lambda item: item[0] != b"IDAT", found)
        at = len(_PNG_START) + sum(12 + len(part) for _, part in before)
        return picture[:at] + chunk + picture[at:]
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        own = [part for name, part in _chunks(picture, 12, "<4sI", 0) if name == b"EXIF"]
        if _turns(part.removeprefix(_JPEG_EXIF) for part in own):
            return picture
        return _webp(picture[12:], exif, replace=bool(own))
    return picture


def _turns(parts: Iterable[bytes]) -> bool:
    """Return whether one of the parts that hold Exif has an orientation that turns anything."""
    return any(UPRIGHT < _orientation(part) <= _LAST for part in parts)


def _orientation(exif: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if (tag, kind, values) == (_TAG, _SHORT, 1):
                return int(value)
    except struct.error:
        pass  # it ends too early
    return UPRIGHT


def _segments(picture: bytes) -> Iterator[bytes]:
    """Yield the segments of a JPEG that come before its data."""
    at = len(_JPEG_START)
    for _ in range(_MOST_PARTS):
        if picture[at] != 0xFF or picture[at + 1] == 0xDA:
            return
        length = int.from_bytes(picture[at + 2 : at + 4])
        yield picture[at + 4 : at + 2 + length]
        at += 2 + max(2, length)


def _chunks(picture: bytes, at: int, head: str, behind: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the first chunks of a PNG or WebP."""
    for _ in range(_MOST_PARTS):
        if at + 8 > len(picture):
            return
        parts = struct.unpack_from(head, picture, at)
        length, name = parts if isinstance(parts[0], int) else (parts[1], parts[0])
        yield name, picture[at + 8 : at + 8 + length]
        # WebP's are of even length.
        at += 8 + length + (behind or length % 2)


def _webp(chunks: bytes, exif: bytes, *, replace: bool) -> bytes:
    """Return a WebP file of its chunks and Exif."""
    if chunks[:4] == b"VP8X":
        head = chunks[:8] + bytes([chunks[8] | _WEBP_HAS_EXIF]) + chunks[9:18]
        rest = chunks[18:]
        if replace:
            kept = _chunks(chunks, 18, "<4sI", 0)
            parts = [(name, part) for name, part in kept if name != b"EXIF"]
            rest = b"".join(_webp_chunk(name, part) for name, part in parts)
    else:
        width, height = _webp_size(chunks)
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        head = b"VP8X" + struct.pack("<IB3x", 10, _WEBP_HAS_EXIF) + sides
        rest = chunks
    body = b"WEBP" + head + rest + _webp_chunk(b"EXIF", exif)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _webp_size(chunks: bytes) -> tuple[int, int]:
    """Return the size of a WebP's only picture (RFC 6386, 9.1; RFC 9649, 3.4)."""
    if chunks[:4] == b"VP8L":
        (bits,) = struct.unpack_from("<I", chunks, 9)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", chunks, 14)
    return max(1, width & 0x3FFF), max(1, height & 0x3FFF)
