"""Pictures that a hostile or broken camera sends."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image


def segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


EXIF = segment(0xE1, b"Exif\0\0" + bytes(65000))


def scan_bomb(side: int, scans: int) -> bytes:
    """Return a small progressive JPEG whose scans all cover every block of a large picture.

    A code of a few bits means that the next 32767 blocks are empty.
    """
    blocks = (side // 8) ** 2
    runs = -(-blocks // 32767)
    bits = f"{0b011111111111111:015b}" * runs
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\x00")
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, bytes([0, *[1] * 64])),
            segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0])),
            segment(0xC4, bytes([0x00, 1, *[0] * 15, 0x00])),
            segment(0xC4, bytes([0x10, 1, *[0] * 15, 0xE0])),
            segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8)),
            *[segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + data] * scans,
            b"\xff\xd9",
        )
    )


def _chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def png(*chunks: tuple[bytes, bytes], side: int = 32, rows: int | None = None) -> bytes:
    """Return a plain PNG with additional chunks before its pixels, optionally with missing rows."""
    row = b"\0" + bytes([200]) * 3 * side
    return _chunks(
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(row * (side if rows is None else rows))),
        (b"IEND", b""),
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def bombs(street: bytes) -> dict[str, bytes]:
    """Return small files that take long to decode; `street` is a normal JPEG."""
    text = b"bomb\0\0" + zlib.compress(bytes(50_000_000))
    return {
        "8000 scans": scan_bomb(7000, 8000),
        "99 scans of 49 megapixels": scan_bomb(7000, 99),
        "26 MB of Exif": street[:2] + EXIF * 400 + street[2:],
        "8 million comments": street[:2] + b"\xff\xfe\x00\x02" * 7_000_000 + street[2:],
        "tables": street[:2] + segment(0xDB, bytes(65000)) * 300 + street[2:],
        "text in a PNG": png((b"zTXt", text)),
        "chunks in a PNG": png(*[(b"tIME", b"")] * 100_000),
        "900 megapixels": png(side=30, rows=1).replace(
            struct.pack(">II", 30, 30), struct.pack(">II", 30_000, 30_000)
        ),
        "49 megapixels of PNG": encoded(Image.new("RGB", (7000, 7000)), "PNG"),
    }


def damaged(image: Image.Image, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield a picture in several formats with a large part missing or overwritten."""
    kinds = {
        "JPEG": encoded(image, "JPEG", quality=90),
        "progressive JPEG": encoded(image, "JPEG", quality=90, progressive=True),
        "JPEG with restarts": encoded(image, "JPEG", quality=90, restart_marker_rows=1),
        "PNG": encoded(image, "PNG"),
        "WebP": encoded(image, "WEBP", quality=80),
    }
    for kind, data in kinds.items():
        end = b"\xff\xd9" if "JPEG" in kind else b""
        # The end of the last scan of a progressive JPEG makes no visible difference.
        yield f"{kind} cut", data[: int(len(data) * chance.uniform(0.2, 0.85))] + end
    for kind in ("JPEG", "JPEG with restarts", "PNG"):
        data = kinds[kind]
        start = int(len(data) * chance.uniform(0.3, 0.6))
        length = len(data) // 4
        noise = chance.randbytes(length).replace(b"\xff", b"\xfe")
        yield f"{kind} overwritten", data[:start] + noise + data[start + length :]
        yield f"{kind} with zeros", data[:start] + bytes(length) + data[start + length :]
        yield f"{kind} with a gap", data[:start] + data[start + length :]


def flipped(image: Image.Image, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield a picture with some changed bytes, with unknown effect."""
    for kind in ("JPEG", "PNG", "WEBP"):
        data = bytearray(encoded(image, kind))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield f"{kind} with bits flipped", bytes(data)
