"""The child's side of a camera process: `python -m edge_vision_node.cameras.child FD`."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..detections import Placement
from ..errors import FrameGoneError, NodeError, WorkerError
from ..frames.masks import Polygon
from ..frames.motion_gate import MotionGate
from ..processes.child import Link, begin
from ..protocol import Box, ErrorCode, SourceState, SourceStatus, read
from .messages import (
    CameraFrame,
    CameraOrder,
    Cropped,
    Crops,
    Done,
    FramePicture,
    Motion,
    Open,
    Pictured,
    Push,
    Sharp,
    Sharpness,
    Tune,
    View,
)
from .pixels import KeptFrame, brightness
from .reader import Reader
from .source import SourceError

_LOGGER = logging.getLogger(__name__)

# Frames whose pixels are kept: the newest ones, and those that each view used last.
_KEPT, _LOOKED = 4, 2
# Largest first; smaller ones are noise.
_MOST_BOXES = 12
_JPEG_QUALITY = 85


def main() -> None:
    """Serve the node until it closes the connection."""
    CameraChild(begin()).serve()


class _View:
    """What one watcher sees. The reader's thread steps the gate; the other thread draws it."""

    def __init__(self, number: int, view: View) -> None:
        """Start with a new motion gate."""
        self.number = number
        self.masks = view.masks
        self._view = view
        self._shape: tuple[int, ...] = ()
        self.keep = np.empty((0, 4))
        # Frames it used last: a slow engine may ask for their pictures later.
        self.looked: deque[KeptFrame] = deque(maxlen=_LOOKED)
        self._gate = self._new_gate(view.masks.polygons)
        self._lock = threading.Lock()

    def _new_gate(self, masks: Sequence[Polygon]) -> MotionGate:
        ignore, hide = (
            [[(point.x, point.y) for point in polygon] for polygon in polygons]
            for polygons in (self._view.motion_masks, masks)
        )
        return MotionGate(self._view.thresholds, ignore, hide)

    def step(self, grey: NDArray[np.uint8], at: float) -> Motion:
        """Return what moves in a frame."""
        with self._lock:
            if self.masks.aspects and grey.shape != self._shape:
                # Where masks are depends on the shape of the picture.
                self._shape = grey.shape
                self._gate = self._new_gate(self.masks.on(grey.shape[1], grey.shape[0]))
            seen = self._gate.step(grey, at, self.keep)
        boxes = tuple(
            Box(x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3])
            for box in seen.boxes[:_MOST_BOXES].tolist()
        )
        return Motion(
            view=self.number,
            moving=seen.moving,
            calibrating=seen.calibrating,
            share=round(seen.share, 4),
            boxes=boxes,
        )

    def picture(self) -> Image.Image:
        """Return the gate's view, one pixel per cell."""
        with self._lock:
            return Image.fromarray(self._gate.view())


class CameraChild:
    """Reads in the main thread and answers in another one."""

    def __init__(self, link: Link) -> None:
        """Prepare; the node says what to read."""
        self._link = link
        self._opened = threading.Event()
        self._open: Open | None = None
        self._reader: Reader | None = None
        # Replaced, never modified: two threads read it.
        self._views: dict[int, _View] = {}
        self._number = 1
        self._kept: OrderedDict[int, KeptFrame] = OrderedDict()

    def serve(self) -> None:
        """Read and answer until the node closes the connection."""
        threading.Thread(target=self._answer_orders, name="orders", daemon=True).start()
        self._opened.wait()
        assert self._open is not None
        source = self._open.source
        self._number = self._open.first
        try:
            self._reader = Reader(source, self._open.tune.fps, self._take, self._tell)
        except SourceError as err:
            now = datetime.now().astimezone().isoformat()
            self._tell(SourceStatus(state=SourceState.UNAVAILABLE, since=now, reason=str(err)))
            threading.Event().wait()
            return
        self._reader.run()

    def _tell(self, state: SourceStatus) -> None:
        self._link.push(Push.SOURCE, state)

    def _take(self, frame: Any, came: datetime, at: float, decode_ms: float, left_out: int) -> None:
        """Keep a frame and report its motion to the node."""
        started = time.perf_counter()
        grey = brightness(frame)
        motions = tuple(view.step(grey, at) for view in self._views.values())
        motion_ms = (time.perf_counter() - started) * 1000
        number, captured_at = self._number, came.isoformat(timespec="milliseconds")
        self._number += 1
        self._kept[number] = KeptFrame(number, captured_at, frame)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
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
                behind=self._reader is not None and self._reader.behind,
                motions=motions,
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
                _LOGGER.exception("Command %s failed", header.get("type"))
                self._link.refuse(header, ErrorCode.INTERNAL, f"{type(err).__name__}: {err}")
            else:
                self._link.answer(header, answer, content)
                if header["type"] == CameraOrder.CLOSE:
                    break
        # Nobody needs what the other thread is doing.
        os._exit(0)

    def _execute(self, header: dict[str, Any]) -> tuple[object, bytes]:
        match CameraOrder(header["type"]):
            case CameraOrder.OPEN:
                self._open = read(Open, header)
                self._tune(self._open.tune)
                self._opened.set()
            case CameraOrder.ALIVE if self._reader is not None and self._reader.hangs:
                raise WorkerError("reading its pictures hangs")
            case CameraOrder.TUNE:
                self._tune(read(Tune, header))
            case CameraOrder.CROPS:
                return self._crop(read(Crops, header))
            case CameraOrder.PICTURE:
                return self._picture(read(FramePicture, header))
            case CameraOrder.MOTION_VIEW:
                return self._motion_view(read(FramePicture, header))
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
            self._open = replace(self._open, tune=tune)
        views = {}
        for item in tune.views:
            view = self._views.get(item.number) or _View(item.number, item.view)
            boxes = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in item.keep]
            view.keep = np.array(boxes, dtype=np.float64).reshape(-1, 4)
            views[item.number] = view
        self._views = views

    def _view(self, number: int) -> _View:
        try:
            return self._views[number]
        except KeyError:
            raise FrameGoneError("This view of the camera is not in use") from None

    def _frame(self, number: int | None) -> KeptFrame:
        if number is None:
            number = next(reversed(self._kept), None)
        frame = None if number is None else self._kept.get(number)
        if frame is None:
            looked = (item for view in self._views.values() for item in view.looked)
            frame = next((item for item in looked if item.number == number), None)
        if frame is None:
            raise FrameGoneError("The frame of the camera is no longer available")
        return frame

    def _crop(self, order: Crops) -> tuple[Cropped, bytes]:
        started = time.perf_counter()
        view, frame = self._view(order.view), self._frame(order.frame)
        view.looked.append(frame)
        size = (order.width, order.height)
        content: list[memoryview] = []
        placements: list[Placement] = []
        for region in order.regions:
            pixels, placement = frame.crop(
                view.masks, region, size, letterbox=order.resize == "letterbox", pad=order.pad
            )
            content.append(pixels.data)
            placements.append(placement)
        crops_ms = round((time.perf_counter() - started) * 1000, 2)
        return Cropped(placements=tuple(placements), crops_ms=crops_ms), b"".join(content)

    def _picture(self, order: FramePicture) -> tuple[Pictured, bytes]:
        frame = self._frame(order.frame)
        masks = self._view(order.view).masks
        jpeg, (width, height) = frame.jpeg(masks, order.max_width, order.quality)
        return _pictured(frame, width, height), jpeg

    def _motion_view(self, order: FramePicture) -> tuple[Pictured, bytes]:
        frame = self._frame(None)
        view = self._view(order.view).picture()
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
