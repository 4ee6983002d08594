"""Checks the structure of picture files before they are decoded.

A small file can keep a decoder busy for minutes: thousands of scans, megabytes of metadata, endless
chunks. Files that no camera or phone produces are refused; needless data is removed.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from ..errors import PictureError
from .structure import JPEG_START, PNG_START

# Encoders write ten scans of a progressive JPEG; the standard allows thousands.
MAX_SCANS = 100
# More metadata than this is removed, such as a phone's depth map or a camera's log.
_MOST_METADATA = 256 * 1024
# Tables of a JPEG have a few hundred bytes each, and there are at most a dozen.
_MOST_TABLES = 64 * 1024
_MOST_SEGMENTS = 2000
# Encoders cut the data of a PNG into chunks of 8 KiB or more.
_MOST_CHUNKS = 5000
# The chunks of a PNG that are decoded.
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column and row of each pass, and its steps.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_EOI, _SOS, _APP0, _APP1, _APP14, _COM = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
_NO_LENGTH = (0x01, *range(0xD0, 0xD9))
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
# After entropy-coded data: the end, or a marker with a length.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
# Before that: two bytes that stand for one.
_ANY_MARKER = re.compile(rb"\xff[^\x00\xff]")
_DAMAGED = "The picture is damaged or cut short"


@dataclass(frozen=True)
class Examined:
    """What to decode, and the effort.

    Attributes:
        data: the file, without needless data if there is too much of it.
        effort: of decoding, roughly megapixels times passes plus megabytes.
    """

    data: bytes
    effort: float


def examine(data: bytes) -> Examined:
    """Check the structure of a file. Raises `PictureError` if it should not be decoded.

    Files other than JPEG, PNG and WebP are returned unchanged.
    """
    if data.startswith(JPEG_START):
        return _examine_jpeg(data)
    if data.startswith(PNG_START):
        return _examine_png(data)
    return Examined(data, len(data) / 1e6)


# --- JPEG ----------------------------------------------------------------------------------------


@dataclass
class _Header:
    """The segments of a JPEG before its first scan."""

    tables: list[slice]
    metadata: dict[int, slice]
    metadata_bytes: int = 0
    table_bytes: int = 0
    segments: int = 0
    stray_bytes: int = 0
    frame: tuple[int, int, int] | None = None
    process: int = 0
    scan: int = 0

    def bare(self, data: bytes, *, metadata: bool) -> bytes:
        """Return the file without metadata, except what is needed to decode it."""
        parts = [slice(0, 2), *(self.metadata.values() if metadata else ()), *self.tables]
        return b"".join([*(data[part] for part in parts), memoryview(data)[self.scan :]])


def _examine_jpeg(data: bytes) -> Examined:
    header = _read_header(data)
    if header.frame is None:
        raise PictureError(_DAMAGED)
    scans = data.count(b"\xff\xda", header.scan)
    if scans > MAX_SCANS // 10:
        scans = _count_scans(data, header.scan)
    if scans > MAX_SCANS:
        raise PictureError(f"The picture has more than {MAX_SCANS} scans, which no camera uses")
    width, height, _ = header.frame
    effort = width * height * max(scans, 1) / 1e6 + len(data) / 1e6
    needless = header.metadata_bytes + header.stray_bytes
    if needless > _MOST_METADATA or header.segments > _MOST_SEGMENTS // 20:
        data = header.bare(data, metadata=True)
    return Examined(data, effort)


def _read_header(data: bytes) -> _Header:
    """Read up to the first scan. Raises `PictureError`."""
    header, at = _Header([], {}), 2
    for _ in range(_MOST_SEGMENTS):
        if (found := _ANY_MARKER.search(data, at)) is None:
            break
        header.stray_bytes += found.start() - at
        marker, at = data[found.end() - 1], found.end()
        if marker == _EOI:
            break
        if marker in _NO_LENGTH:
            continue
        length = int.from_bytes(data[at : at + 2])
        end = at + length
        if length < 2 or end > len(data):
            break
        header.segments += 1
        if marker == _SOS:
            header.scan = at - 2
            return header
        _note(header, marker, slice(at - 2, end), data)
        at = end
    raise PictureError(_DAMAGED)


def _note(header: _Header, marker: int, part: slice, data: bytes) -> None:
    """Note the position of a segment, including its marker."""
    size, content = part.stop - part.start, part.start + 4
    if _APP0 <= marker <= 0xEF or marker == _COM:
        header.metadata_bytes += size
        exif = marker == _APP1 and data.startswith(b"Exif\0\0", content)
        if exif or marker in (_APP0, _APP14):
            header.metadata.setdefault(marker, part)
        return
    header.table_bytes += size
    if header.table_bytes > _MOST_TABLES:
        raise PictureError("The picture is damaged: its tables are too large")
    header.tables.append(part)
    if marker in _FRAMES and size >= 10:
        height, width = struct.unpack_from(">HH", data, content + 1)
        header.frame, header.process = (width, height, data[content + 5]), marker


def _count_scans(data: bytes, at: int) -> int:
    """Return the number of scans from here to the end of the picture.

    More segments than any encoder makes count as too many scans.
    """
    scans = 0
    for _ in range(_MOST_SEGMENTS):
        if scans > MAX_SCANS or (found := _MARKER.search(data, at)) is None:
            return scans
        marker, at = data[found.start() + 1], found.end()
        if marker == _EOI:
            return scans
        scans += marker == _SOS
        at += max(2, int.from_bytes(data[at : at + 2]))
    return MAX_SCANS + 1


def is_scan_bomb(data: bytes) -> bool:
    """Return whether a JPEG has more scans than cameras produce."""
    # Most have one, which takes microseconds.
    return data.count(b"\xff\xda") > MAX_SCANS and _count_scans(data, 2) > MAX_SCANS


def bare_jpeg(data: bytes) -> bytes | None:
    """Return only what is needed to decode a JPEG; None for rare kinds."""
    header = _read_header(data)
    # Baseline, extended and progressive, gray or color.
    if header.process not in (0xC0, 0xC1, 0xC2) or header.frame is None:
        return None
    return header.bare(data, metadata=False) if header.frame[2] in (1, 3) else None


# --- PNG -----------------------------------------------------------------------------------------


def _examine_png(data: bytes) -> Examined:
    kept: list[slice] = []
    left_out = False
    width = height = bits = 0
    for kind, part in _chunks(data):
        if kind == b"IHDR" and part.stop - part.start >= 25:
            width, height, depth, colour = struct.unpack_from(">IIBB", data, part.start + 8)
            bits = depth * _PNG_CHANNELS.get(colour, 4)
        small = kind == b"eXIf" and part.stop - part.start <= _MOST_METADATA
        if kind in _PNG_KEPT or small:
            kept.append(part)
        else:
            left_out = True
    effort = 2 * width * height * max(bits, 24) / 24 / 1e6 + len(data) / 1e6
    if left_out:
        data = b"".join([PNG_START, *(data[part] for part in kept)])
    return Examined(data, effort)


def _chunks(data: bytes) -> list[tuple[bytes, slice]]:
    """Return the chunks of a PNG, up to where it is cut. Raises `PictureError`."""
    found: list[tuple[bytes, slice]] = []
    at = len(PNG_START)
    while at + 8 <= len(data):
        if len(found) == _MOST_CHUNKS:
            raise PictureError("The picture has too many parts")
        end = at + 12 + int.from_bytes(data[at : at + 4])
        found.append((data[at + 4 : at + 8], slice(at, min(end, len(data)))))
        at = end
        if found[-1][0] == b"IEND":
            break
    return found


def has_all_rows(data: bytes) -> bool:
    """Return whether a PNG has all of its pixels."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _PNG_CHANNELS.get(colour, 4)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    missing = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-max(width - x, 0) // step_x), -(-max(height - y, 0) // step_y)
        if columns:
            missing += rows * (1 + -(-columns * bits // 8))
    inflate = zlib.decompressobj()
    try:
        for kind, part in _chunks(data):
            rest = data[part.start + 8 : part.stop - 4] if kind == b"IDAT" else b""
            while rest and missing > 0 and not inflate.eof:
                missing -= len(inflate.decompress(rest, 1 << 20))
                rest = inflate.unconsumed_tail
        missing -= len(inflate.flush())
    except zlib.error:
        return False
    return missing <= 0
