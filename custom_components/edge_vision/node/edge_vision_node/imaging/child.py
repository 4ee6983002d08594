"""The child's side of a picture process: `python -m edge_vision_node.imaging.child FD`."""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ..drawing.boxes import annotate, to_jpeg
from ..drawing.outline import hide, outline
from ..errors import NodeError
from ..frames.decode import decode, get_ready
from ..frames.fit import fit
from ..frames.masks import NO_MASKS, Masks, burn
from ..processes.child import Link, begin
from ..processes.messages import BEGAN, Began
from ..protocol import ErrorCode, Findings, ProtocolError, read
from .messages import (
    CROP_DETAIL,
    Draw,
    Drawn,
    DrawOutline,
    Hidden,
    Hide,
    Outlined,
    PictureOrder,
    Pixels,
    Prepare,
)

_LOGGER = logging.getLogger(__name__)

# More than the largest picture of any format needs while it is decoded and turned upright.
_MEMORY = 3 * 2**29
# Drawing is limited by the number of pixels.
_DRAWING_CPU_S = 10.0


def main() -> None:
    """Serve the node until it closes the connection."""
    link = begin()
    get_ready()  # loading the codecs from a slow card takes as long as a picture may
    _limit_memory()
    serve(link)


def serve(link: Link) -> None:
    """Execute orders, one after the other."""
    for header, content in link.orders():
        link.push(BEGAN, Began(order=header["id"]))
        try:
            answer, out = _execute(header, content)
        except NodeError as err:
            link.refuse(header, err.code, str(err))
        except ProtocolError as err:
            link.refuse(header, ErrorCode.BAD_MESSAGE, str(err))
        except MemoryError:
            text = "The picture needs more memory than allowed"
            link.refuse(header, ErrorCode.BAD_PICTURE, text)
        except Exception as err:
            _LOGGER.exception("Command %s failed", header.get("type"))
            link.refuse(header, ErrorCode.INTERNAL, f"{type(err).__name__}: {err}")
        else:
            link.answer(header, answer, out)


def _execute(header: dict[str, Any], content: memoryview) -> tuple[object, bytes]:
    match PictureOrder(header["type"]):
        case PictureOrder.PREPARE:
            return _prepare(read(Prepare, header), content)
        case PictureOrder.DRAW:
            return _draw(read(Draw, header), content)
        case PictureOrder.HIDE:
            order = read(Hide, header)
            image = _decoded(content, order.cpu_s)
            with _limited(_DRAWING_CPU_S):
                changed = hide(image, order.masks)
                return Hidden(changed=changed), to_jpeg(image)
        case PictureOrder.OUTLINE:
            asked = read(DrawOutline, header)
            image = _decoded(content, asked.cpu_s)
            with _limited(_DRAWING_CPU_S):
                outline(image, asked.request)
                return Outlined(aspect=image.width / image.height), to_jpeg(image)


def _prepare(order: Prepare, content: memoryview) -> tuple[Pixels, bytes]:
    size = (order.width, order.height)
    detail = CROP_DETAIL if order.whole else 1
    with _limited(order.cpu_s):
        started = time.perf_counter()
        frame = decode(content, (size[0] * detail, size[1] * detail))
        decode_ms = (time.perf_counter() - started) * 1000
        burn(frame.image, order.masks)
        image, placement = frame.image, None
        if not order.whole:
            image, placement = fit(
                image, size, letterbox=order.resize == "letterbox", pad=order.pad
            )
        pixels = image.tobytes()
    answer = Pixels(
        width=frame.width,
        height=frame.height,
        columns=image.width,
        rows=image.height,
        placement=placement,
        decode_ms=round(decode_ms, 2),
    )
    return answer, pixels


def _draw(order: Draw, content: memoryview) -> tuple[Drawn, bytes]:
    findings = read(Findings, json.loads(bytes(content[: order.findings_bytes])))
    image = _decoded(content[order.findings_bytes :], order.cpu_s, order.masks)
    subjects = None
    if order.subjects is not None:
        subjects = [findings.objects[number] for number in order.subjects]
    with _limited(_DRAWING_CPU_S):
        clean = to_jpeg(image) if order.clean else b""
        drawn = to_jpeg(annotate(image, findings.objects, findings.classes, subjects))
    return Drawn(clean_bytes=len(clean)), clean + drawn


def _decoded(content: memoryview, cpu_s: float, masks: Masks = NO_MASKS) -> Image.Image:
    with _limited(cpu_s):
        image = decode(content).image
        burn(image, masks)
    return image


@contextmanager
def _limited(cpu_s: float) -> Iterator[None]:
    """Have the kernel end this process after so many seconds of processor time.

    Native code cannot be interrupted in any other way, and processor time does not pass while the
    machine is busy with something else.
    """
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory() -> None:
    """Limit the address space to that of the loaded libraries and `_MEMORY` (Linux only)."""
    if sys.platform == "linux":
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            limit = pages * resource.getpagesize() + _MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
