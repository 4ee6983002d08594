"""Finds the pictures in an MJPEG stream over HTTP, however it is packed.

MJPEG is a sequence of JPEGs, mostly as parts of a multipart message (RFC 2046, 5.1). Many cameras
and bridges break its rules: boundaries lack dashes or have too many, lengths are missing or wrong,
text lies between pictures, ends are missing. So only the pictures themselves count. Each says where
it ends; one that does not ends where the next part begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..frames.structure import PNG_START, START, JpegEnd, PngEnd, end_of
from ..protocol import MAX_PICTURE_BYTES

# The head of a part, and the bytes before it.
_HEAD = re.compile(rb"([^\r\n]{0,200})\r?\n(?:[A-Za-z][A-Za-z0-9-]*:[^\r\n]*\r?\n)+\r?\n")
_LONGEST_HEAD = 4096
_LEAST_BOUNDARY = 3
# Limit of text between pictures.
MOST_BETWEEN = 1 << 20
# The start of a stream of pictures: the head of a part, or text. Other formats have magic numbers.
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]*")


class PicturesError(ValueError):
    """The stream holds no pictures, or one that is too large."""


class PictureParser:
    """Extracts pictures from a stream, each as soon as its last byte has arrived."""

    def __init__(self) -> None:
        """Start with an empty stream."""
        self._data = bytearray()
        self._end: JpegEnd | PngEnd | None = None
        self._boundary: bytes | None = None
        self._searched = 0

    def step(self, data: bytes) -> Iterator[bytes]:
        """Add data and yield the pictures that are complete.

        Raises `PicturesError`.
        """
        self._data += data
        while (picture := self._next()) is not None:
            yield picture

    def end(self) -> Iterator[bytes]:
        """Yield the rest of a picture without an end, after the last data."""
        if self._end is not None and not self._end.whole and self._has_data:
            yield bytes(self._data)
        self._data.clear()
        self._end = None

    @property
    def _has_data(self) -> bool:
        return not isinstance(self._end, JpegEnd) or self._end.has_data

    def _next(self) -> bytes | None:
        while self._end is not None or self._begin():
            assert self._end is not None
            at = self._end.step(self._data)
            if at is None or not self._end.whole:
                at = self._next_part(at)
            if at is None:
                if len(self._data) > MAX_PICTURE_BYTES:
                    raise PicturesError("The pictures of the camera are too large or endless")
                return None
            has_data, picture = self._has_data, bytes(self._data[:at])
            del self._data[:at]
            self._end, self._searched = None, 0
            if has_data:
                return picture
        return None

    def _begin(self) -> bool:
        """Find the start of a picture and drop what is before it; return whether there is one."""
        found = START.search(self._data, self._searched)
        if found is None:
            # The first byte of a start may be there.
            self._searched = max(0, len(self._data) - len(PNG_START))
            if len(self._data) > MOST_BETWEEN:
                raise PicturesError("The camera sends no pictures")
            return False
        head = bytes(self._data[max(0, found.start() - _LONGEST_HEAD) : found.start()])
        for part in _HEAD.finditer(head):
            if len(boundary := part[1].strip()) >= _LEAST_BOUNDARY:
                self._boundary = boundary
        del self._data[: found.start()]
        self._end, self._searched = end_of(self._data, 0), 0
        return True

    def _next_part(self, before: int | None) -> int | None:
        """Return where the next part begins, if that is before the next picture."""
        if self._boundary is None or not self._has_data:
            return before
        separator = b"\n" + self._boundary
        at = self._data.find(separator, self._searched, before)
        self._searched = max(0, len(self._data) - len(separator))
        return at if at >= 0 else before


def holds_pictures(head: bytes, *, ended: bool) -> bool | None:
    """Return whether a stream that begins like this holds pictures; None if more data is needed."""
    text = _TEXT.match(head)
    assert text is not None
    if START.match(head, text.end()):
        return True
    # A part of text, or an incomplete start of a picture.
    rest = len(head) - text.end()
    if ended or rest >= len(PNG_START) or len(head) > MOST_BETWEEN:
        return False
    return None if not rest or head[text.end()] in b"\xff\x89" else False
