"""A camera's process: `python -m edge_vision_node.cameras.child FD`. Ends when its node ends."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections import OrderedDict
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from ..detections import Placement
from ..errors import FrameGoneError, NodeError
from ..frames.motion import SENSITIVITIES, MotionGate
from ..frames.tensor import fit
from ..protocol import Box, ErrorCode, SourceState, SourceStatus, read
from ..workers.process import Link, begin
from .messages import (
    CameraFrame,
    CameraOrder,
    Cropped,
    Crops,
    Done,
    Motion,
    Open,
    Picture,
    Pictured,
    Push,
    Sharp,
    Sharpness,
    Tune,
)
from .pixels import KeptFrame, brightness
from .reader import Reader, SourceError

_LOGGER = logging.getLogger(__name__)

# Frames whose pixels are kept: the newest, and those that an engine is just looking at.
_KEPT = 4
# Largest first; more would only be noise.
_MOST_BOXES = 12
_JPEG_QUALITY = 85


def main() -> None:
    """Serve the node at the other end of a socket until it hangs up."""
    CameraChild(begin()).serve()


class CameraChild:
    """Reads in the main thread, answers in another."""

    def __init__(self, link: Link) -> None:
        """Wait to be told what to read."""
        self._link = link
        self._opened = threading.Event()
        self._open: Open | None = None
        self._reader: Reader | None = None
        self._gate: MotionGate | None = None
        self._keep = np.empty((0, 4))
        self._number = 1
        self._kept: OrderedDict[int, KeptFrame] = OrderedDict()
        self._gate_lock = threading.Lock()

    def serve(self) -> None:
        """Work until the node hangs up."""
        threading.Thread(target=self._answer_orders, name="orders", daemon=True).start()
        self._opened.wait()
        assert self._open is not None
        source = self._open.source
        self._number = self._open.first
        ignore = [
            [(point.x, point.y) for point in polygon]
            for polygon in (*source.motion_masks, *source.masks)
        ]
        self._gate = MotionGate(SENSITIVITIES[source.sensitivity], ignore)
        try:
            self._reader = Reader(source, self._open.fps, self._take, self._tell)
        except SourceError as err:
            now = datetime.now().astimezone().isoformat()
            self._tell(SourceStatus(state=SourceState.UNAVAILABLE, since=now, reason=str(err)))
            threading.Event().wait()
            return
        self._reader.run()

    def _tell(self, state: SourceStatus) -> None:
        self._link.push(Push.SOURCE, state)

    def _take(self, frame: Any, came: datetime, at: float, decode_ms: float, left_out: int) -> None:
        """Keep a frame and tell the node what moves in it."""
        assert self._open is not None
        assert self._gate is not None
        started = time.perf_counter()
        with self._gate_lock:
            seen = self._gate.step(brightness(frame), at, self._keep)
        motion_ms = (time.perf_counter() - started) * 1000
        number, captured_at = self._number, came.isoformat(timespec="milliseconds")
        self._number += 1
        self._kept[number] = KeptFrame(number, captured_at, frame, self._open.source.masks)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        boxes = tuple(
            Box(x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3])
            for box in seen.boxes[:_MOST_BOXES].tolist()
        )
        self._link.push(
            Push.FRAME,
            CameraFrame(
                number=number,
                captured_at=captured_at,
                captured_monotonic=at,
                width=frame.width,
                height=frame.height,
                decode_ms=round(decode_ms, 2),
                motion_ms=round(motion_ms, 3),
                dropped=left_out,
                motion=Motion(
                    moving=seen.moving,
                    calibrating=seen.calibrating,
                    share=round(seen.share, 4),
                    boxes=boxes,
                ),
            ),
        )

    # --- Orders ----------------------------------------------------------------------------------

    def _answer_orders(self) -> None:
        for header, _ in self._link.orders():
            try:
                answer, content = self._execute(header)
            except NodeError as err:
                self._link.refuse(header, err.code, str(err))
            except Exception as err:
                _LOGGER.exception("Order %s failed", header.get("type"))
                self._link.refuse(header, ErrorCode.INTERNAL, f"{type(err).__name__}: {err}")
            else:
                self._link.answer(header, answer, content)
                if header["type"] == CameraOrder.CLOSE:
                    break
        # Whatever the other thread does, nobody waits for it any more.
        os._exit(0)

    def _execute(self, header: dict[str, Any]) -> tuple[object, bytes]:
        match CameraOrder(header["type"]):
            case CameraOrder.OPEN:
                self._open = read(Open, header)
                self._opened.set()
            case CameraOrder.TUNE:
                self._tune(read(Tune, header))
            case CameraOrder.CROPS:
                return self._crop(read(Crops, header))
            case CameraOrder.PICTURE:
                return self._picture(read(Picture, header))
            case CameraOrder.MOTION_VIEW:
                return self._motion_view(read(Picture, header))
            case CameraOrder.SHARPNESS:
                wanted = read(Sharpness, header)
                frame = self._frame(wanted.frame)
                values = tuple(round(frame.sharpness(box), 1) for box in wanted.regions)
                return Sharp(values=values), b""
        return Done(), b""

    def _tune(self, tune: Tune) -> None:
        if self._reader is not None:
            self._reader.fps = tune.fps
        elif self._open is not None:
            self._open = Open(source=self._open.source, fps=tune.fps, first=self._open.first)
        boxes = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in tune.keep]
        self._keep = np.array(boxes, dtype=np.float64).reshape(-1, 4)

    def _frame(self, number: int | None) -> KeptFrame:
        if number is None:
            number = next(reversed(self._kept), None)
        frame = None if number is None else self._kept.get(number)
        if frame is None:
            raise FrameGoneError("The camera's frame is not there any more")
        return frame

    def _crop(self, order: Crops) -> tuple[Cropped, bytes]:
        started = time.perf_counter()
        image = self._frame(order.frame).image()
        size = (order.width, order.height)
        content: list[bytes] = []
        placements: list[Placement] = []
        for box in order.regions:
            crop, placement = fit(
                image,
                size,
                (box.x_min, box.y_min, box.x_max, box.y_max),
                letterbox=order.resize == "letterbox",
                pad=order.pad,
            )
            content.append(crop.tobytes())
            placements.append(placement)
        crops_ms = round((time.perf_counter() - started) * 1000, 2)
        return Cropped(placements=tuple(placements), crops_ms=crops_ms), b"".join(content)

    def _picture(self, order: Picture) -> tuple[Pictured, bytes]:
        frame = self._frame(order.frame)
        jpeg, (width, height) = frame.jpeg(order.max_width, order.quality)
        return _pictured(frame, width, height), jpeg

    def _motion_view(self, order: Picture) -> tuple[Pictured, bytes]:
        frame = self._frame(None)
        assert self._gate is not None
        with self._gate_lock:
            view = Image.fromarray(self._gate.view())
        width = order.max_width or 640
        height = max(1, round(view.height * width / view.width))
        out = io.BytesIO()
        view.resize((width, height), Image.Resampling.NEAREST).save(
            out, "JPEG", quality=_JPEG_QUALITY
        )
        return _pictured(frame, width, height), out.getvalue()


def _pictured(frame: KeptFrame, width: int, height: int) -> Pictured:
    return Pictured(frame=frame.number, captured_at=frame.captured_at, width=width, height=height)


if __name__ == "__main__":
    main()
