"""Text on pictures, in any script of the first plane of Unicode.

Alphabets are drawn with a subset of DejaVu Sans, everything else with the bitmaps of GNU Unifont,
16 pixels high, which are scaled. A character that neither has is written as its number. Letters are
not joined: Arabic and the scripts of India are legible, but not beautiful.

`unifont.bin` is made by `scripts/build_fonts`, and compressed by zlib: two little-endian 32-bit
numbers, of characters in DejaVu's part and of bitmaps; the characters of either, 16 bits each, in
order; a byte per bitmap, 1 where it is 16 pixels wide, and 0 where it is 8; the bitmaps, a bit per
pixel, row by row.
"""

from __future__ import annotations

import itertools
import struct
import unicodedata
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_FOLDER = Path(__file__).parent / "letters"
_CELL = 16
# Share of a cell above the baseline. Cells are as high as DejaVu's lines.
_ABOVE = 14 / 16
_LINE_HEIGHT = 1.164
# Longer labels of a model would hide the picture.
_MOST_LETTERS = 80
_RIGHT_TO_LEFT = ("R", "AL")
Colour = tuple[int, ...] | str


@dataclass(frozen=True)
class _Letters:
    """The characters of both fonts."""

    outlined: frozenset[int]
    places: dict[int, tuple[int, int]]
    bitmaps: bytes

    def bitmap(self, code: int) -> NDArray[np.uint8]:
        """Return a character's bitmap, uint8 [16, W], 0 or 255."""
        start, columns = self.places[code]
        packed = np.frombuffer(self.bitmaps, np.uint8, columns * _CELL // 8, start)
        result: NDArray[np.uint8] = np.unpackbits(packed).reshape(_CELL, columns) * np.uint8(255)
        return result


@cache
def _letters() -> _Letters:
    data = zlib.decompress((_FOLDER / "unifont.bin").read_bytes())
    outlined, bitmaps = struct.unpack_from("<II", data)
    codes = np.frombuffer(data, "<u2", outlined + bitmaps, 8)
    start = 8 + 2 * len(codes)
    columns = 8 * (1 + np.frombuffer(data, np.uint8, bitmaps, start).astype(int))
    ends = start + bitmaps + np.cumsum(columns * _CELL // 8)
    starts = ends - columns * _CELL // 8
    places = zip(starts.tolist(), columns.tolist(), strict=True)
    return _Letters(
        frozenset(codes[:outlined].tolist()),
        dict(zip(codes[outlined:].tolist(), places, strict=True)),
        data,
    )


@lru_cache(maxsize=8)
def _outlines(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        str(_FOLDER / "DejaVuSans.ttf"), size, layout_engine=ImageFont.Layout.BASIC
    )


@dataclass(frozen=True)
class Text:
    """A line of text in a size; `width` and `height` are in pixels."""

    parts: tuple[str, ...]
    size: int

    @classmethod
    def of(cls, text: str, size: int) -> Text:
        """Return a text in this size."""
        return cls(tuple(_parts(text)), size)

    @property
    def width(self) -> int:
        """Return the width."""
        return round(sum(self._width(part) for part in self.parts))

    @property
    def height(self) -> int:
        """Return the height of a line."""
        return round(self.size * _LINE_HEIGHT)

    def _width(self, part: str) -> float:
        if ord(part[0]) not in _letters().places:
            return float(_outlines(self.size).getlength(part))
        columns = sum(_letters().places[ord(letter)][1] for letter in part)
        return columns * self.height / _CELL

    def draw(
        self,
        draw: ImageDraw.ImageDraw,
        place: tuple[float, float],
        fill: Colour,
        outline: Colour | None = None,
    ) -> None:
        """Draw it; `place` is its top left corner, `outline` the color of two pixels around it."""
        x, y = place
        base = y + self.height * _ABOVE
        for part in self.parts:
            if ord(part[0]) in _letters().places:
                self._draw_bitmaps(draw, (round(x), round(y)), part, fill, outline)
            else:
                draw.text(
                    (x, base),
                    part,
                    fill=fill,
                    font=_outlines(self.size),
                    anchor="ls",
                    stroke_width=2 if outline else 0,
                    stroke_fill=outline,
                )
            x += self._width(part)

    def _draw_bitmaps(
        self,
        draw: ImageDraw.ImageDraw,
        place: tuple[int, int],
        part: str,
        fill: Colour,
        outline: Colour | None,
    ) -> None:
        pixels = np.concatenate([_letters().bitmap(ord(letter)) for letter in part], axis=1)
        size = (max(1, round(self._width(part))), self.height)
        mask = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
        if outline is not None:
            for dx, dy in itertools.product((-2, 0, 2), repeat=2):
                draw.bitmap((place[0] + dx, place[1] + dy), mask, outline)
        draw.bitmap(place, mask, fill)


def _parts(text: str) -> list[str]:
    """Return the parts of a text that are each drawn with one font."""
    letters = _letters()
    known: list[str] = []
    for letter in unicodedata.normalize("NFC", text)[:_MOST_LETTERS]:
        if ord(letter) in letters.outlined or ord(letter) in letters.places:
            known.append(letter)
        elif unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp"):
            known.append(" ")
        else:
            known += f"U+{ord(letter):04X}"
    ordered = _ordered(known) or [" "]
    groups = itertools.groupby(ordered, lambda letter: ord(letter) in letters.places)
    return ["".join(group) for _, group in groups]


def _ordered(letters: list[str]) -> list[str]:
    """Return letters in the order from left to right: Hebrew and Arabic words are reversed."""
    result: list[str] = []
    backwards: list[str] = []
    for letter in letters:
        kind = unicodedata.bidirectional(letter)
        if kind in _RIGHT_TO_LEFT or (backwards and kind in ("NSM", "WS")):
            backwards.append(letter)
            continue
        result += _turned(backwards)
        backwards = []
        result.append(letter)
    return result + _turned(backwards)


def _turned(letters: list[str]) -> list[str]:
    """Return letters reversed; trailing spaces stay at the end."""
    end = len(letters)
    while end and letters[end - 1] == " ":
        end -= 1
    return letters[:end][::-1] + letters[end:]
