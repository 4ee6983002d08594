"""Build the fonts for text on pictures: a part of DejaVu Sans, and the bitmaps of Unifont.

See `build_fonts`. The format of the bitmaps is described in the node's `lettering.py`.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

FOLDER = (
    Path(__file__).parents[2]
    / "custom_components/edge_vision/node/edge_vision_node/drawing/letters"
)
# Alphabets that need no shaping: Latin with all its accents, Greek, Cyrillic, Armenian, Georgian,
# and signs.
ALPHABETS = (
    *range(0x20, 0x7F),
    *range(0xA0, 0x590),
    *range(0x10A0, 0x1100),
    *range(0x1D00, 0x2070),
    *range(0x2070, 0x2200),
)
# Unifont provides the rest of the first plane, except for rare ideographs, Braille patterns, and
# private use.
LEFT_OUT = (range(0x2800, 0x2900), range(0x3400, 0x4DC0), range(0xD800, 0xF900))
CELL = 16


def main() -> int:
    """Build the files, and compare them with the existing ones or replace them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dejavu", type=Path, required=True)
    parser.add_argument("--unifont", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    outlines = _outlines(arguments.dejavu)
    known = sorted(TTFont(io.BytesIO(outlines)).getBestCmap())
    made = {
        "DejaVuSans.ttf": outlines,
        "unifont.bin": _bitmaps(arguments.unifont, known),
    }
    same = True
    for name, data in made.items():
        path = FOLDER / name
        if arguments.check:
            same = same and path.read_bytes() == data
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        print(f"{name}: {len(data)} bytes")
    if not same:
        print("The files differ from those built from the packages", file=sys.stderr)
    return 0 if same else 1


def _outlines(path: Path) -> bytes:
    options = subset.Options(hinting=False, layout_features=["mark", "mkmk", "ccmp"])
    options.name_IDs = ["*"]
    options.recalc_timestamp = False
    font = subset.load_font(str(path), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=ALPHABETS)
    subsetter.subset(font)
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


def _bitmaps(path: Path, outlined: list[int]) -> bytes:
    font = ImageFont.truetype(str(path), CELL, layout_engine=ImageFont.Layout.BASIC)
    known = set(outlined)
    codes, wide, rows = [], [], []
    for code in sorted(TTFont(path).getBestCmap()):
        if code < 0x20 or code > 0xFFFF or code in known or any(code in r for r in LEFT_OUT):
            continue
        width = CELL if round(font.getlength(chr(code))) > CELL // 2 else CELL // 2
        image = Image.new("1", (width, CELL))
        draw = ImageDraw.Draw(image)
        draw.fontmode = "1"
        draw.text((0, CELL - 2), chr(code), fill=1, font=font, anchor="ls")
        codes.append(code)
        wide.append(width == CELL)
        rows.append(np.packbits(np.asarray(image), axis=1).tobytes())
    head = struct.pack("<II", len(outlined), len(codes))
    tables = (
        np.array(outlined, "<u2").tobytes(),
        np.array(codes, "<u2").tobytes(),
        np.array(wide, np.uint8).tobytes(),
    )
    return zlib.compress(b"".join((head, *tables, *rows)), 9)


if __name__ == "__main__":
    sys.exit(main())
