"""The node's side of a camera: its process, its newest frame, its state, and who watches it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import NodeError, WorkerError
from ..protocol import Box, SourceState, SourceStatus, read
from ..workers.worker import Worker
from .messages import (
    CameraFrame,
    CameraOrder,
    Cropped,
    Crops,
    Done,
    Open,
    Picture,
    Pictured,
    Push,
    Sharp,
    Sharpness,
    Source,
    Tune,
)

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_MODULE = f"{__package__}.child"
_START_DEADLINE_S = 30.0
_ANSWER_DEADLINE_S = 10.0
_CLOSE_DEADLINE_S = 2.0
_ALIVE_EVERY_S = 10.0
# After a crash of the process; a source that cannot be read is tried again inside it.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_SOUND_AFTER_S = 30.0

FrameListener = Callable[[CameraFrame], None]
StateListener = Callable[[SourceStatus], None]


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops of one frame.

    Attributes:
        pixels: uint8 RGB [n, height, width, 3], read-only.
        cropped: placements, one per crop.
    """

    pixels: NDArray[np.uint8]
    cropped: Cropped


@dataclass(eq=False)
class _Watch:
    fps: float
    keep: tuple[Box, ...] = ()
    on_frame: FrameListener | None = None
    on_state: StateListener | None = None
    closed: bool = False
    due: float = 0.0

    def wants(self, frame: CameraFrame) -> bool:
        """Say whether this frame is due: the camera may keep more than this watcher wants."""
        interval = 1 / self.fps
        at = frame.captured_monotonic
        if at < self.due - interval / 10:
            return False
        self.due = max(self.due, at - interval) + interval
        return True


class Watcher:
    """One user's share of a camera. `Cameras.watch` makes it; `close` ends it.

    Listeners are called in the event loop and must not block; what they raise is logged. Of frames
    that come faster than the loop turns, only the newest is told. The frame rate is at most `fps`
    of the watcher that wants most; a watcher that wants less leaves frames out.
    """

    def __init__(self, camera: Camera, watch: _Watch, close: Callable[[], Awaitable[None]]) -> None:
        """Stand for a registered watch."""
        self.camera = camera
        self._watch = watch
        self._close = close

    def tune(self, *, fps: float | None = None, keep: Iterable[Box] | None = None) -> None:
        """Want another frame rate, or say where objects are followed (see `Tune`)."""
        if fps is not None:
            self._watch.fps = fps
        if keep is not None:
            self._watch.keep = tuple(keep)
        self.camera.retune()

    async def close(self) -> None:
        """Stop watching; the camera's process ends with its last watcher."""
        await self._close()


class Camera:
    """One source in a process of its own, started again when that crashes or hangs.

    `state` and `frame` are the newest; the requests raise `NodeError`: `FrameGoneError` where the
    frame is not kept any more, `WorkerError` where the process crashed or did not answer.
    """

    def __init__(self, name: str, source: Source) -> None:
        """Start nothing yet. `name` is for logs and holds no credentials."""
        self.name = name
        self.source = source
        self.state = SourceStatus(state=SourceState.CONNECTING, since=_now())
        self.frame: CameraFrame | None = None
        self._watches: list[_Watch] = []
        self._worker = Worker(
            f"camera {name}",
            module=_MODULE,
            culprit="the video decoder",
            on_push=self._on_push,
        )
        self._tuned: Tune | None = None
        self._tuning = asyncio.Event()
        self._told = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        """Return the id of the process while it runs."""
        return self._worker.pid

    async def crops(self, crops: Crops) -> CropBatch:
        """Return parts of a frame, ready for a model."""
        cropped, content = await self._fetch(CameraOrder.CROPS, crops, Cropped)
        shape = (len(crops.regions), crops.height, crops.width, 3)
        return CropBatch(np.frombuffer(content, dtype=np.uint8).reshape(shape), cropped)

    async def picture(self, picture: Picture) -> tuple[Pictured, bytes]:
        """Return a frame as JPEG, privacy masks burned in."""
        pictured, content = await self._fetch(CameraOrder.PICTURE, picture, Pictured)
        return pictured, bytes(content)

    async def motion_view(self, picture: Picture) -> tuple[Pictured, bytes]:
        """Return as JPEG what the motion gate sees: change, ignored areas, boxes."""
        pictured, content = await self._fetch(CameraOrder.MOTION_VIEW, picture, Pictured)
        return pictured, bytes(content)

    async def sharpness(self, frame: int, regions: tuple[Box, ...]) -> tuple[float, ...]:
        """Return how sharp regions of a frame are (see `Sharp`)."""
        question = Sharpness(frame=frame, regions=regions)
        return (await self._fetch(CameraOrder.SHARPNESS, question, Sharp))[0].values

    async def _fetch(
        self, order: CameraOrder, message: object, answer: type[_T]
    ) -> tuple[_T, memoryview]:
        return await self._worker.fetch(order, message, answer, deadline_s=_ANSWER_DEADLINE_S)

    def add(self, watch: _Watch) -> None:
        """Add a watcher; the first one starts the process."""
        self._watches.append(watch)
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._supervise()),
                asyncio.create_task(self._tune_always()),
            ]
        self.retune()

    def alone(self, watch: _Watch) -> bool:
        """Return whether nobody else watches."""
        return self._watches == [watch]

    async def remove(self, watch: _Watch) -> None:
        """Remove a watcher; the last one ends the process."""
        with suppress(ValueError):
            self._watches.remove(watch)
        if self._watches:
            self.retune()
        else:
            await self.stop()

    async def stop(self) -> None:
        """End the process; cameras are told politely, they count who watches."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._worker.pid:
            with suppress(NodeError):
                await self._worker.ask(
                    CameraOrder.CLOSE, Done(), Done, deadline_s=_CLOSE_DEADLINE_S
                )
        await self._worker.close()

    def retune(self) -> None:
        """Have the process told what the watchers want."""
        self._tuning.set()

    def _wanted(self) -> Tune:
        return Tune(
            fps=max((watch.fps for watch in self._watches), default=1.0),
            keep=tuple(box for watch in self._watches for box in watch.keep),
        )

    async def _tune_always(self) -> None:
        while True:
            await self._tuning.wait()
            self._tuning.clear()
            wanted = self._wanted()
            if wanted != self._tuned and self._worker.pid and self._tuned is not None:
                self._tuned = wanted
                with suppress(NodeError):  # whoever supervises hears of it, too
                    await self._worker.ask(
                        CameraOrder.TUNE, wanted, Done, deadline_s=_ANSWER_DEADLINE_S
                    )

    async def _supervise(self) -> None:
        """Keep the process running, and end one that does not answer."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_S
        while True:
            started = loop.time()
            try:
                await self._run()
            except NodeError as err:
                reason = str(err)
            self._tuned = None
            if loop.time() - started > _SOUND_AFTER_S:
                pause = _FIRST_PAUSE_S
            delay = pause * random.uniform(0.75, 1.25)  # noqa: S311 - to spread load
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            _LOGGER.warning("%s; starting it again in %.0f s", reason, delay)
            self._set_state(
                SourceStatus(state=SourceState.UNAVAILABLE, since=_now(), reason=reason)
            )
            await asyncio.sleep(delay)

    async def _run(self) -> None:
        """Start the process and stay until it is gone; always raises `NodeError`."""
        wanted = self._wanted()
        first = self.frame.number + 1 if self.frame else 1
        await self._worker.ask(
            CameraOrder.OPEN,
            Open(source=self.source, fps=wanted.fps, first=first),
            Done,
            deadline_s=_START_DEADLINE_S,
        )
        self._tuned = Tune(fps=wanted.fps)
        self.retune()
        ended = asyncio.create_task(self._worker.ended())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_ALIVE_EVERY_S)
                if not ended.done():
                    await self._worker.ask(
                        CameraOrder.ALIVE, Done(), Done, deadline_s=_ANSWER_DEADLINE_S
                    )
            raise WorkerError(f"camera {self.name}: {await ended}")
        finally:
            ended.cancel()

    def _on_push(self, message: dict[str, Any]) -> None:
        if message["type"] == Push.SOURCE:
            self._set_state(read(SourceStatus, message["message"]))
            return
        self.frame = read(CameraFrame, message["message"])
        # What has come in one go is told as one: an older frame would only cost time.
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self.frame is None or self.frame.number <= self._told:
            return
        self._told = self.frame.number
        for watch in list(self._watches):
            if watch.wants(self.frame) and watch.on_frame is not None:
                _call(watch.on_frame, self.frame)

    def _set_state(self, state: SourceStatus) -> None:
        if state.state == self.state.state:
            state = replace(state, since=self.state.since)  # the same trouble, told anew
        else:
            _LOGGER.info("Camera %s: %s %s", self.name, state.state, state.reason or "")
        self.state = state
        for watch in list(self._watches):
            if watch.on_state is not None:
                _call(watch.on_state, state)


class Cameras:
    """All cameras of a node: equal sources share one process."""

    def __init__(self) -> None:
        """Start with none."""
        self._cameras: dict[Source, Camera] = {}

    def watch(
        self,
        name: str,
        source: Source,
        *,
        fps: float,
        on_frame: FrameListener | None = None,
        on_state: StateListener | None = None,
    ) -> Watcher:
        """Watch a source; `name` is for logs. Must be called in the event loop."""
        camera = self._cameras.get(source)
        if camera is None:
            camera = self._cameras[source] = Camera(name, source)
        watch = _Watch(fps, on_frame=on_frame, on_state=on_state)
        camera.add(watch)

        async def close() -> None:
            if watch.closed:
                return
            watch.closed = True
            # Out of the register before it ends: who comes meanwhile gets a new one.
            if camera.alone(watch) and self._cameras.get(source) is camera:
                del self._cameras[source]
            await camera.remove(watch)

        return Watcher(camera, watch, close)

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that run."""
        return [pid for camera in self._cameras.values() if (pid := camera.pid)]

    async def close(self) -> None:
        """End all."""
        cameras = list(self._cameras.values())
        self._cameras.clear()
        await asyncio.gather(*(camera.stop() for camera in cameras))


def _call(listener: Callable[[_T], None], value: _T) -> None:
    try:
        listener(value)
    except Exception:
        _LOGGER.exception("A listener of a camera failed")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
