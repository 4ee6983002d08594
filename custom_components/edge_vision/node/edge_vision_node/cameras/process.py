"""A camera's process: what it was asked to read, its state and its newest frame."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple

from ..errors import NodeError
from ..processes.child_process import ChildProcess
from ..protocol import Box, SourceState, SourceStatus, read
from .messages import (
    CameraFrame,
    CameraOrder,
    Done,
    Motion,
    Open,
    Push,
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
# After a crash of the process. A source that cannot be read is retried inside the process.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_SOUND_AFTER_S = 30.0
_EITHER = "auto"

# Enough for a watcher that wants a frame every few seconds.
_MOST_SEEN = 60

# (frame, what has moved since the listener's last one)
FrameListener = Callable[[CameraFrame, Motion], None]
StateListener = Callable[[SourceStatus], None]
# (why it could not be read this time)
FailureListener = Callable[[str], None]


@dataclass(eq=False)
class Subscription:
    """What one watcher of a camera wants, and the motion since its last frame.

    `due` is a time of `CameraFrame.captured_monotonic`.
    """

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
    # Motion in the frames since the last one that was passed on.
    seen: deque[Motion] = field(default_factory=lambda: deque(maxlen=_MOST_SEEN))

    def tuning(self) -> ViewTuning:
        """Return the part of it that the process needs."""
        return ViewTuning(number=self.number, view=self.view, keep=self.keep)

    def motion(self, frame: CameraFrame) -> Motion:
        """Return what moves in this watcher's view of a frame."""
        for motion in frame.motions:
            if motion.view == self.number:
                return motion
        # The process does not know of this watcher yet.
        return Motion(view=self.number, moving=False, calibrating=True)

    def see(self, frame: CameraFrame) -> None:
        """Note what moves in a frame, whether or not it is passed on."""
        self.seen.append(self.motion(frame))

    def moved(self) -> Motion:
        """Return what has moved in any frame since the last call."""
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
        """Return whether this frame is due: the camera may send more than this watcher wants."""
        interval = 1 / self.fps
        at = frame.captured_monotonic
        if at < self.due - interval / 10:
            return False
        self.due = max(self.due, at - interval) + interval
        return True


class Camera:
    """One address, read by a process of its own that is restarted when it crashes or hangs.

    The address is read once for all watchers: only its key frames if that is enough for all of
    them, decoded in hardware if one of them wants that. `state` and `frame` are the newest.
    """

    def __init__(self, name: str) -> None:
        """Start nothing yet. `name` is for logs and holds no credentials."""
        self.name = name
        self.state = SourceStatus(state=SourceState.CONNECTING, since=_now())
        self.frame: CameraFrame | None = None
        self._watches: list[Subscription] = []
        self._worker = ChildProcess(
            f"camera {name}",
            _MODULE,
            culprit="the video decoder",
            in_order=False,
            on_push=self._on_push,
        )
        self._opened: Source | None = None
        # The process was asked to end, so that a new one reads the source with other options.
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

    def add(self, watch: Subscription) -> None:
        """Add a watcher; the first one starts the process."""
        self._watches.append(watch)
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._supervise()),
                asyncio.create_task(self._tune_always()),
            ]
        self.retune()

    def alone(self, watch: Subscription) -> bool:
        """Return whether nobody else watches."""
        return self._watches == [watch]

    async def remove(self, watch: Subscription) -> None:
        """Remove a watcher; the last one ends the process."""
        with suppress(ValueError):
            self._watches.remove(watch)
        if self._watches:
            self.retune()
        else:
            await self.stop()

    async def stop(self) -> None:
        """End the process, after logging off: cameras limit the number of viewers."""
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
        """Send the process what the watchers want."""
        self._tuning.set()

    def _wanted(self) -> Tune:
        return Tune(
            fps=max((watch.fps for watch in self._watches), default=1.0),
            views=tuple(watch.tuning() for watch in self._watches),
        )

    @property
    def source(self) -> Source:
        """Return the options that suit all watchers."""
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
                with suppress(NodeError):  # `_supervise` sees it, too
                    await self._worker.ask(
                        CameraOrder.TUNE, wanted, Done, deadline_s=_ANSWER_DEADLINE_S
                    )

    async def _supervise(self) -> None:
        """Keep the process running, and end it when it does not answer."""
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
            _LOGGER.warning("%s; restarting it in %.0f s", reason, delay)
            self._set_state(
                SourceStatus(state=SourceState.UNAVAILABLE, since=_now(), reason=reason)
            )
            await asyncio.sleep(delay)

    async def _run(self) -> str | None:
        """Start the process, wait until it has ended and return why.

        None: it was asked to end, to be read with other options. Raises `NodeError`.
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
        """Check that the process answers, and end it if it does not. Raises `NodeError`."""
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
        # Of frames that arrived together, only the newest is passed on.
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
            state = replace(state, since=self.state.since)  # the same state as before
        else:
            _LOGGER.info("Camera %s: %s %s", self.name, state.state, state.reason or "")
        self.state = state
        for watch in list(self._watches):
            if watch.on_state is not None and news:
                _call(watch.on_state, state)
            if watch.on_failure is not None and state.state == SourceState.UNAVAILABLE:
                _call(watch.on_failure, state.reason or "the camera sends no video")


def _call(listener: Callable[[*_Values], None], *values: *_Values) -> None:
    try:
        listener(*values)
    except Exception:
        _LOGGER.exception("A listener of a camera failed")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
