"""The cameras of a node and their watchers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..protocol import Box
from .messages import (
    CameraFrame,
    CameraOrder,
    Cropped,
    Crops,
    FramePicture,
    Pictured,
    Sharp,
    Sharpness,
    Source,
    View,
)
from .process import Camera, FailureListener, FrameListener, StateListener, Subscription


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops of one frame.

    Attributes:
        pixels: uint8 RGB [n, height, width, 3], read-only.
        cropped: placements, one per crop.
    """

    pixels: NDArray[np.uint8]
    cropped: Cropped


class Watcher:
    """One user's view of a camera. `Cameras.watch` creates it, `close` ends it.

    Listeners are called in the event loop and must not block; exceptions are logged. If frames
    arrive faster than the loop turns, only the newest is passed on. The camera delivers the
    highest `fps` of its watchers; the other watchers skip frames.

    Requests raise `NodeError`: `FrameGoneError` if the frame is not kept any more, `WorkerError`
    if the process crashed or did not answer.
    """

    def __init__(
        self, camera: Camera, watch: Subscription, close: Callable[[], Awaitable[None]]
    ) -> None:
        """Wrap a registered watch."""
        self.camera = camera
        self._watch = watch
        self._close = close

    def is_in(self, frame: CameraFrame) -> bool:
        """Return whether the process knew of this watcher when it captured a frame."""
        return any(motion.view == self._watch.number for motion in frame.motions)

    def tune(self, *, fps: float | None = None, keep: Iterable[Box] | None = None) -> None:
        """Change the frame rate, or where objects are followed (see `Tune`)."""
        if fps is not None:
            self._watch.fps = fps
        if keep is not None:
            self._watch.keep = tuple(keep)
        self.camera.retune()

    async def crops(
        self,
        frame: int,
        regions: tuple[Box, ...],
        size: tuple[int, int],
        *,
        resize: str = "stretch",
        pad: int = 0,
    ) -> CropBatch:
        """Return parts of a frame, ready for a model (see `Crops`)."""
        order = Crops(
            view=self._watch.number,
            frame=frame,
            regions=regions,
            width=size[0],
            height=size[1],
            resize=resize,
            pad=pad,
        )
        cropped, content = await self.camera.fetch(CameraOrder.CROPS, order, Cropped)
        shape = (len(regions), size[1], size[0], 3)
        return CropBatch(np.frombuffer(content, dtype=np.uint8).reshape(shape), cropped)

    async def picture(
        self, frame: int | None = None, max_width: int | None = None
    ) -> tuple[Pictured, bytes]:
        """Return a frame (None: the newest) as JPEG, privacy masks burned in."""
        order = FramePicture(view=self._watch.number, frame=frame, max_width=max_width)
        pictured, content = await self.camera.fetch(CameraOrder.PICTURE, order, Pictured)
        return pictured, bytes(content)

    async def motion_view(self, max_width: int | None = None) -> tuple[Pictured, bytes]:
        """Return as JPEG what the motion gate sees: change, ignored areas, boxes."""
        order = FramePicture(view=self._watch.number, max_width=max_width)
        pictured, content = await self.camera.fetch(CameraOrder.MOTION_VIEW, order, Pictured)
        return pictured, bytes(content)

    async def sharpness(self, frame: int, regions: tuple[Box, ...]) -> tuple[float, ...]:
        """Return how sharp regions of a frame are (see `Sharp`)."""
        question = Sharpness(frame=frame, regions=regions)
        return (await self.camera.fetch(CameraOrder.SHARPNESS, question, Sharp))[0].values

    async def close(self) -> None:
        """Stop watching; the camera's process ends with its last watcher."""
        await self._close()


class Cameras:
    """All cameras of a node, each address read by one process.

    An address that is watched with two orientations is read twice, because masks lie elsewhere in
    a rotated picture.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._cameras: dict[tuple[str, int], Camera] = {}
        self._views = itertools.count(1)

    def watch(
        self,
        name: str,
        source: Source,
        view: View | None = None,
        *,
        fps: float,
        on_frame: FrameListener | None = None,
        on_state: StateListener | None = None,
        on_failure: FailureListener | None = None,
    ) -> Watcher:
        """Watch a source. Must be called in the event loop.

        Args:
            name: for logs.
            source: what to read.
            view: without one, the watcher sees the whole picture.
            fps: frames per second that `on_frame` wants.
            on_frame: called with each frame that is due.
            on_state: called when the state changes.
            on_failure: called after every failed attempt to read the source.
        """
        key = _key(source)
        camera = self._cameras.get(key)
        if camera is None:
            camera = self._cameras[key] = Camera(name)
        watch = Subscription(
            next(self._views),
            source,
            view or View(),
            fps,
            on_frame=on_frame,
            on_state=on_state,
            on_failure=on_failure,
        )
        camera.add(watch)

        async def close() -> None:
            if watch.closed:
                return
            watch.closed = True
            # Remove it before it ends: a new viewer gets a new process.
            if camera.alone(watch) and self._cameras.get(key) is camera:
                del self._cameras[key]
            await camera.remove(watch)

        return Watcher(camera, watch, close)

    def reading(self, source: Source) -> Source:
        """Return a source as it is being read; unchanged if nobody watches it."""
        camera = self._cameras.get(_key(source))
        return source if camera is None else camera.source

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that run."""
        return [pid for camera in self._cameras.values() if (pid := camera.pid)]

    async def close(self) -> None:
        """End all."""
        cameras = list(self._cameras.values())
        self._cameras.clear()
        await asyncio.gather(*(camera.stop() for camera in cameras))


def _key(source: Source) -> tuple[str, int]:
    return source.url, source.orientation
