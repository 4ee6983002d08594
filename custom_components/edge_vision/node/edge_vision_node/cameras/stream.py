"""The node's side of a camera: its process, its newest frame, its state, and who watches it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NodeError
from ..processes.child_process import ChildProcess
from ..protocol import Box, SourceState, SourceStatus, read
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
    Source,
    Tune,
    View,
    ViewTuning,
)

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")
_Values = TypeVarTuple("_Values")

_MODULE = f"{__package__}.child"
_START_DEADLINE_S = 30.0
_ANSWER_DEADLINE_S = 10.0
_CLOSE_DEADLINE_S = 2.0
_ALIVE_EVERY_S = 10.0
# After a crash of the process; a source that cannot be read is tried again inside it.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_SOUND_AFTER_S = 30.0
_EITHER = "auto"

# Of a watcher that wants a frame every few seconds.
_MOST_SEEN = 60

# (frame, what has moved since the last one that was told)
FrameListener = Callable[[CameraFrame, Motion], None]
StateListener = Callable[[SourceStatus], None]
# (why it could not be read this time)
FailureListener = Callable[[str], None]


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
    number: int
    source: Source
    view: View
    fps: float
    keep: tuple[Box, ...] = ()
    on_frame: FrameListener | None = None
    on_state: StateListener | None = None
    on_failure: FailureListener | None = None
    closed: bool = False
    due: float = 0.0
    # What the motion gate has said of frames since the last one that was told.
    seen: deque[Motion] = field(default_factory=lambda: deque(maxlen=_MOST_SEEN))

    def tuning(self) -> ViewTuning:
        return ViewTuning(number=self.number, view=self.view, keep=self.keep)

    def motion(self, frame: CameraFrame) -> Motion:
        """Return what moves in this watcher's view of a frame."""
        for motion in frame.motions:
            if motion.view == self.number:
                return motion
        # The process has yet to hear of this watcher.
        return Motion(view=self.number, moving=False, calibrating=True)

    def see(self, frame: CameraFrame) -> None:
        """Note what moves in a frame, whether or not it will be told."""
        self.seen.append(self.motion(frame))

    def moved(self) -> Motion:
        """Return what has moved since this was asked last, in any frame."""
        seen = list(self.seen)
        self.seen.clear()
        return replace(
            seen[-1],
            moving=any(motion.moving for motion in seen),
            calibrating=any(motion.calibrating for motion in seen),
            share=max(motion.share for motion in seen),
            boxes=tuple(dict.fromkeys(box for motion in seen for box in motion.boxes)),
        )

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

    The requests raise `NodeError`: `FrameGoneError` where the frame is not kept any more,
    `WorkerError` where the process crashed or did not answer.
    """

    def __init__(self, camera: Camera, watch: _Watch, close: Callable[[], Awaitable[None]]) -> None:
        """Stand for a registered watch."""
        self.camera = camera
        self._watch = watch
        self._close = close

    def is_in(self, frame: CameraFrame) -> bool:
        """Return whether the process knew of this watcher when it took a frame."""
        return any(motion.view == self._watch.number for motion in frame.motions)

    def tune(self, *, fps: float | None = None, keep: Iterable[Box] | None = None) -> None:
        """Want another frame rate, or say where objects are followed (see `Tune`)."""
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
        order = Picture(view=self._watch.number, frame=frame, max_width=max_width)
        pictured, content = await self.camera.fetch(CameraOrder.PICTURE, order, Pictured)
        return pictured, bytes(content)

    async def motion_view(self, max_width: int | None = None) -> tuple[Pictured, bytes]:
        """Return as JPEG what the motion gate sees: change, ignored areas, boxes."""
        order = Picture(view=self._watch.number, max_width=max_width)
        pictured, content = await self.camera.fetch(CameraOrder.MOTION_VIEW, order, Pictured)
        return pictured, bytes(content)

    async def sharpness(self, frame: int, regions: tuple[Box, ...]) -> tuple[float, ...]:
        """Return how sharp regions of a frame are (see `Sharp`)."""
        question = Sharpness(frame=frame, regions=regions)
        return (await self.camera.fetch(CameraOrder.SHARPNESS, question, Sharp))[0].values

    async def close(self) -> None:
        """Stop watching; the camera's process ends with its last watcher."""
        await self._close()


class Camera:
    """One address in a process of its own, started again when that crashes or hangs.

    It is read once, however many watch it, as most of them want it: only key frames where that is
    enough for all, in hardware where anybody wants that. `state` and `frame` are the newest.
    """

    def __init__(self, name: str) -> None:
        """Start nothing yet. `name` is for logs and holds no credentials."""
        self.name = name
        self.state = SourceStatus(state=SourceState.CONNECTING, since=_now())
        self.frame: CameraFrame | None = None
        self._watches: list[_Watch] = []
        self._worker = ChildProcess(
            f"camera {name}",
            _MODULE,
            culprit="the video decoder",
            in_order=False,
            on_push=self._on_push,
        )
        self._opened: Source | None = None
        # The process was told to end, to be started anew and to read in another way.
        self._reopening = False
        self._tuned: Tune | None = None
        self._tuning = asyncio.Event()
        self._told = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        """Return the id of the process while it runs."""
        return self._worker.pid

    async def fetch(
        self, order: CameraOrder, message: object, answer: type[_T]
    ) -> tuple[_T, memoryview]:
        """Ask the process for something. Raises `NodeError`."""
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
            views=tuple(watch.tuning() for watch in self._watches),
        )

    @property
    def source(self) -> Source:
        """Return how the address is to be read."""
        sources = [watch.source for watch in self._watches]
        transports = [item.transport for item in sources if item.transport != _EITHER]
        return replace(
            sources[0],
            transport=transports[0] if transports else _EITHER,
            verify_certificate=any(item.verify_certificate for item in sources),
            wallclock=any(item.wallclock for item in sources),
            key_frames_only=all(item.key_frames_only for item in sources),
            hardware_decoding=any(item.hardware_decoding for item in sources),
        )

    async def _tune_always(self) -> None:
        while True:
            await self._tuning.wait()
            self._tuning.clear()
            if not self._watches:
                continue
            if self._opened not in (None, self.source) and self._worker.pid:
                self._reopening = True
                with suppress(NodeError):
                    await self._worker.ask(
                        CameraOrder.CLOSE, Done(), Done, deadline_s=_CLOSE_DEADLINE_S
                    )
                continue
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
                reason = await self._run()
            except NodeError as err:
                reason = str(err)
            self._opened = self._tuned = None
            if reason is None:
                continue  # at once
            if loop.time() - started > _SOUND_AFTER_S:
                pause = _FIRST_PAUSE_S
            delay = pause * random.uniform(0.75, 1.25)  # noqa: S311 - to spread load
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            _LOGGER.warning("%s; starting it again in %.0f s", reason, delay)
            self._set_state(
                SourceStatus(state=SourceState.UNAVAILABLE, since=_now(), reason=reason)
            )
            await asyncio.sleep(delay)

    async def _run(self) -> str | None:
        """Start the process, stay until it is gone and return why.

        None: it was told to end, to be read in another way. Raises `NodeError`.
        """
        source, wanted = self.source, self._wanted()
        first = self.frame.number + 1 if self.frame else 1
        await self._worker.ask(
            CameraOrder.OPEN,
            Open(source=source, tune=wanted, first=first),
            Done,
            deadline_s=_START_DEADLINE_S,
        )
        self._opened, self._tuned, self._reopening = source, wanted, False
        self.retune()
        ended = asyncio.create_task(self._worker.ended())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_ALIVE_EVERY_S)
                if not ended.done():
                    await self._expect_alive()
            reason = await ended
            return None if self._reopening else f"camera {self.name}: {reason}"
        finally:
            ended.cancel()

    async def _expect_alive(self) -> None:
        """Ask the process whether it goes on, and end it where it does not. Raises `NodeError`."""
        try:
            await self._worker.ask(CameraOrder.ALIVE, Done(), Done, deadline_s=_ANSWER_DEADLINE_S)
        except NodeError as err:
            await self._worker.end(str(err), logging.WARNING)
            raise

    def _on_push(self, message: dict[str, Any]) -> None:
        if message["type"] == Push.SOURCE:
            self._set_state(read(SourceStatus, message.get("message")))
            return
        self.frame = read(CameraFrame, message.get("message"))
        for watch in self._watches:
            watch.see(self.frame)
        # What has come in one go is told as one: an older frame would only cost time.
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self.frame is None or self.frame.number <= self._told:
            return
        self._told = self.frame.number
        for watch in list(self._watches):
            if watch.seen and watch.wants(self.frame) and watch.on_frame is not None:
                _call(watch.on_frame, self.frame, watch.moved())

    def _set_state(self, state: SourceStatus) -> None:
        news = (state.state, state.reason) != (self.state.state, self.state.reason)
        if state.state == self.state.state:
            state = replace(state, since=self.state.since)  # the same trouble, told anew
        else:
            _LOGGER.info("Camera %s: %s %s", self.name, state.state, state.reason or "")
        self.state = state
        for watch in list(self._watches):
            if watch.on_state is not None and news:
                _call(watch.on_state, state)
            if watch.on_failure is not None and state.state == SourceState.UNAVAILABLE:
                _call(watch.on_failure, state.reason or "the camera sends no video")


class Cameras:
    """All cameras of a node, each address read by one process.

    One that is wanted upright and turned, as when two users know different things about it, is read
    twice: what is masked lies elsewhere in each.
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
        """Watch a source; `name` is for logs. Must be called in the event loop.

        `view`: without one, the watcher sees everything. `on_failure` hears of every attempt to
        read it that fails, `on_state` only of what changes.
        """
        key = _key(source)
        camera = self._cameras.get(key)
        if camera is None:
            camera = self._cameras[key] = Camera(name)
        watch = _Watch(
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
            # Out of the register before it ends: who comes meanwhile gets a new one.
            if camera.alone(watch) and self._cameras.get(key) is camera:
                del self._cameras[key]
            await camera.remove(watch)

        return Watcher(camera, watch, close)

    def reading(self, source: Source) -> Source:
        """Return how a source is read at the moment; as it is, where nobody watches it."""
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


def _call(listener: Callable[[*_Values], None], *values: *_Values) -> None:
    try:
        listener(*values)
    except Exception:
        _LOGGER.exception("A listener of a camera failed")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
