"""Finds the start and end of a JPEG or PNG among other bytes, by its structure.

JPEG: ITU-T T.81, annex B. PNG: W3C, Portable Network Graphics, 5.
"""

from __future__ import annotations

import re
from typing import Protocol

from ..protocol import MAX_PICTURE_BYTES

JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
# With the marker that follows the start, mistakes are less likely.
START = re.compile(rb"\xff\xd8\xff|" + re.escape(PNG_START))
# In coded data: 0xFF that does not start a stuffed byte, a fill byte or a restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
SCAN = 0xDA
_START, _END = 0xD8, 0xD9
_ALONE = (0x01, *range(0xD0, 0xD8))
# Markers that a picture may have: all but the reserved ones.
_LEAST_MARKER = 0xC0
_CHUNK = 12
# A file with more is hostile.
_MOST_SEGMENTS = 4096


class End(Protocol):
    """Searches for the end of a picture in growing data."""

    whole: bool

    def step(self, data: bytes | bytearray) -> int | None:
        """Return where the picture ends in the data so far; None if more is needed.

        `whole`: whether the picture has an end; otherwise something else begins there.
        """


class JpegEnd:
    """The end of a JPEG that begins at a place in data. The data may grow, not change."""

    def __init__(self, start: int = 0) -> None:
        """Start at the first byte of the picture."""
        self.whole = False
        # Whether coded data follows.
        self._coded = False
        # The segments so far: marker, and position of the content.
        self.segments: list[tuple[int, int]] = []
        self._at = start + len(JPEG_START)

    def step(self, data: bytes | bytearray) -> int | None:
        """See `End`."""
        while True:
            marker_at = self._next_marker(data)
            if marker_at is None:
                return None
            at = marker_at
            while at < len(data) and data[at] == 0xFF:
                at += 1
            if at >= len(data):
                self._at = at - 1  # fill bytes are read once
                return None
            marker = data[at]
            if marker == _END:
                self.whole = True
                return at + 1
            if marker == _START:
                return marker_at
            if marker in _ALONE or (self._coded and marker < _LEAST_MARKER):
                self._at = at + 1
                continue
            if at + 3 > len(data):
                return None
            self._at = at + 1 + max(2, int.from_bytes(data[at + 1 : at + 3]))
            self._coded = marker == SCAN
            if len(self.segments) < _MOST_SEGMENTS:
                self.segments.append((marker, at + 3))

    @property
    def has_data(self) -> bool:
        """Return whether there was any coded data."""
        return any(marker == SCAN for marker, _ in self.segments)

    def _next_marker(self, data: bytes | bytearray) -> int | None:
        """Return where the next marker begins; None where more data is needed."""
        if self._at >= len(data):
            return None
        if not self._coded and data[self._at] == 0xFF:
            return self._at
        # Coded data, or a wrong length, after which the picture continues somewhere.
        if (found := _MARKER.search(data, self._at)) is not None:
            return found.start()
        # The last byte may be the first of a marker.
        self._at = len(data) - data.endswith(b"\xff")
        return None


class PngEnd:
    """The end of a PNG that begins at a place in data. The data may grow, not change."""

    def __init__(self, start: int = 0) -> None:
        """Start at the first byte of the picture."""
        self.whole = False
        self._at = start + len(PNG_START)

    def step(self, data: bytes | bytearray) -> int | None:
        """See `End`."""
        while len(data) >= self._at + _CHUNK:
            name = bytes(data[self._at + 4 : self._at + 8])
            length = int.from_bytes(data[self._at : self._at + 4])
            if not name.isalpha() or length > MAX_PICTURE_BYTES:
                return self._at  # something else
            self._at += _CHUNK + length
            if name == b"IEND":
                self.whole = True
                return self._at if len(data) >= self._at else None
        return None


def end_of(data: bytes | bytearray, start: int) -> JpegEnd | PngEnd:
    """Return a search for the end of the picture that begins at a position."""
    return JpegEnd(start) if data[start] == JPEG_START[0] else PngEnd(start)
