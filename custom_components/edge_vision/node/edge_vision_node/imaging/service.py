"""The node's side of the picture processes: which picture goes to which process."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..errors import PictureError, WorkerError
from ..frames.checks import examine
from ..frames.masks import NO_MASKS, Masks
from ..models.manifest import Manifest
from ..processes.child_process import ChildProcess
from ..protocol import (
    MAX_PICTURE_BYTES,
    DetectedObject,
    Findings,
    OutlineRequest,
    write,
)
from .messages import (
    Draw,
    Drawn,
    DrawOutline,
    Hidden,
    Hide,
    Outlined,
    PictureOrder,
    Pixels,
    Prepare,
    Still,
)

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")
_Order = Prepare | Draw | Hide | DrawOutline

_MODULE = f"{__package__}.child"
_CULPRIT = "the picture decoder"
# The signal that ends a process at its limit of processor time.
_TIME_IS_UP = "SIGPROF"
# Seconds of processor time to decode a picture, in a shared process and in one of its own. A large
# picture of a camera takes a tenth of the first.
_SHARED_CPU_S, _OWN_CPU_S = 1.0, 2.0
# Wall-clock limit, for whatever takes no processor time.
_DEADLINE_S = 30.0
# Tries of a picture whose process was ended by other pictures.
_MOST_TRIES = 5
# A picture of more effort than this (see `Examined`) is decoded in a process of its own. One of 4K
# is well below, a progressive one of that size above.
_ORDINARY = 40.0
# Checking the structure of a larger file would block the event loop.
_QUICK_BYTES = 2 * 1024 * 1024
# How long a camera keeps a process of its own after a picture that took too long, and how long an
# unused process is kept.
_SUSPECTED_S, _IDLE_S = 600.0, 30.0
# Processes of single cameras that work at the same time.
_MOST_AT_ONCE = 4
# Pauses before the next picture of a camera whose pictures take too long.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0


@dataclass
class _Suspect:
    """A user whose picture took too long; times of the event loop."""

    until: float
    pause_s: float = 0.0
    again_at: float = 0.0


class Imaging:
    """Decodes, masks and draws pictures. Used from the event loop.

    Methods raise `PictureError` if a picture cannot be decoded or takes too long. `user` says whose
    picture it is: a user whose picture took too long gets a process of its own.
    """

    def __init__(self) -> None:
        """Prepare; nothing is started yet."""
        self._looking = _worker("pictures to look at")
        self._drawing = _worker("pictures to draw on")
        self._own: dict[str, ChildProcess] = {}
        self._idle: dict[str, asyncio.TimerHandle] = {}
        self._in_use: dict[str, int] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._suspects: dict[str, _Suspect] = {}
        self._few = asyncio.Semaphore(_MOST_AT_ONCE)

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that run."""
        workers = (self._looking, self._drawing, *self._own.values())
        return [pid for worker in workers if (pid := worker.pid)]

    async def prepare(
        self,
        user: str,
        picture: bytes | memoryview,
        manifest: Manifest,
        masks: Masks = NO_MASKS,
        *,
        patient: bool = False,
    ) -> Still:
        """Decode a picture for a model.

        `patient`: the caller can wait, so the pictures of a user that take too long are refused
        for a while.
        """
        if patient:
            self._require_turn(user)
        wanted = manifest.input
        order = Prepare(
            width=wanted.width,
            height=wanted.height,
            resize=wanted.resize,
            pad=wanted.pad,
            whole=manifest.crops is not None,
            masks=masks,
        )
        shape, pixels = await self._ask(
            self._looking, user, PictureOrder.PREPARE, order, Pixels, picture
        )
        if (suspect := self._suspects.get(user)) is not None:
            suspect.pause_s = 0.0
        return Still(shape, pixels)

    async def draw(
        self,
        user: str,
        picture: bytes | memoryview,
        findings: Findings,
        subjects: Sequence[DetectedObject] | None = None,
        masks: Masks = NO_MASKS,
        *,
        clean: bool = False,
    ) -> tuple[bytes, bytes]:
        """Return a picture as JPEG: without drawings if `clean`, and with its findings drawn.

        `subjects`: indices of the objects that the picture is about (see `annotate`).
        """
        known = write(Findings(objects=findings.objects, classes=findings.classes[:1]))
        head = json.dumps(known).encode()
        numbers = None
        if subjects is not None:
            numbers = tuple(n for n, item in enumerate(findings.objects) if item in subjects)
        order = Draw(
            findings_bytes=len(head),
            subjects=numbers,
            masks=masks,
            clean=clean,
        )
        drawn, content = await self._ask(
            self._drawing, user, PictureOrder.DRAW, order, Drawn, picture, head
        )
        return bytes(content[: drawn.clean_bytes]), bytes(content[drawn.clean_bytes :])

    async def hide(self, user: str, picture: bytes, masks: Masks) -> bytes | None:
        """Return a picture with areas blackened; None if they are black already."""
        order = Hide(masks=masks)
        hidden, jpeg = await self._ask(
            self._drawing, user, PictureOrder.HIDE, order, Hidden, picture
        )
        return bytes(jpeg) if hidden.changed else None

    async def outline(
        self, user: str, picture: memoryview, request: OutlineRequest
    ) -> tuple[float, bytes]:
        """Return the width of a picture by its height, and it with areas drawn in, as JPEG."""
        order = DrawOutline(request=request)
        outlined, jpeg = await self._ask(
            self._drawing, user, PictureOrder.OUTLINE, order, Outlined, picture
        )
        return outlined.aspect, bytes(jpeg)

    async def close(self) -> None:
        """End all processes."""
        for timer in self._idle.values():
            timer.cancel()
        workers = (self._looking, self._drawing, *self._own.values())
        self._own.clear()
        await asyncio.gather(*(worker.close() for worker in workers), *self._ending)

    # --- Processes of users -----------------------------------------------------------------------

    async def _ask(
        self,
        shared: ChildProcess,
        user: str,
        kind: PictureOrder,
        order: _Order,
        answer: type[_T],
        picture: bytes | memoryview,
        head: bytes = b"",
    ) -> tuple[_T, memoryview]:
        """Execute an order in a shared process, or in the user's own."""
        if len(picture) > MAX_PICTURE_BYTES:
            raise PictureError(f"The picture is larger than {MAX_PICTURE_BYTES >> 20} MiB")
        data = bytes(picture)
        if len(data) <= _QUICK_BYTES:
            examined = examine(data)
        else:
            examined = await asyncio.to_thread(examine, data)
        content = head + examined.data if head else examined.data
        if examined.effort <= _ORDINARY and not self._is_suspect(user):
            try:
                order = replace(order, cpu_s=_SHARED_CPU_S)
                return await _in(shared, kind, order, answer, content)
            except WorkerError as err:
                if not err.begun:
                    raise
                self._suspect(user, err)
        order = replace(order, cpu_s=_OWN_CPU_S)
        async with self._few:
            worker = self._take(user)
            try:
                return await _in(worker, kind, order, answer, content)
            except WorkerError as err:
                if not err.begun:
                    raise
                raise self._refuse(user, err) from err
            finally:
                self._release(user)

    def _take(self, user: str) -> ChildProcess:
        """Return the user's own process."""
        if (timer := self._idle.pop(user, None)) is not None:
            timer.cancel()
        self._in_use[user] = self._in_use.get(user, 0) + 1
        if user not in self._own:
            self._own[user] = _worker("pictures of one camera")
        return self._own[user]

    def _release(self, user: str) -> None:
        """End the user's own process once it has been idle for a while."""
        self._in_use[user] -= 1
        if not self._in_use[user]:
            del self._in_use[user]
            loop = asyncio.get_running_loop()
            self._idle[user] = loop.call_later(_IDLE_S, self._end, user)

    def _end(self, user: str) -> None:
        if (timer := self._idle.pop(user, None)) is not None:
            timer.cancel()
        if (worker := self._own.pop(user, None)) is not None:
            task = asyncio.create_task(worker.close())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    # --- Users whose pictures take too long -------------------------------------------------------

    def _is_suspect(self, user: str) -> bool:
        suspect = self._suspects.get(user)
        return suspect is not None and suspect.until > asyncio.get_running_loop().time()

    def _suspect(self, user: str, err: WorkerError) -> _Suspect:
        """Note that a picture has ended a process."""
        now = asyncio.get_running_loop().time()
        if not self._is_suspect(user):
            _LOGGER.warning("Pictures of %s use a separate process: %s", user, err)
        before = self._suspects.get(user, _Suspect(0.0))
        self._suspects = {name: item for name, item in self._suspects.items() if item.until > now}
        self._suspects[user] = replace(before, until=now + _SUSPECTED_S)
        return self._suspects[user]

    def _refuse(self, user: str, err: WorkerError) -> PictureError:
        """Return the error for a picture that ended the user's own process."""
        suspect = self._suspect(user, err)
        suspect.pause_s = min(max(2 * suspect.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        suspect.again_at = asyncio.get_running_loop().time() + suspect.pause_s
        if err.timed_out or _TIME_IS_UP in err.reason:
            return PictureError(f"The picture takes more than {_OWN_CPU_S:g} s to decode")
        return PictureError(f"The picture cannot be decoded: {err.reason}")

    def _require_turn(self, user: str) -> None:
        """Raise `PictureError` if it is too soon after a picture that took too long."""
        suspect = self._suspects.get(user)
        if suspect is not None and suspect.pause_s:
            wait_s = suspect.again_at - asyncio.get_running_loop().time()
            if wait_s > 0:
                raise PictureError(
                    "The camera's last picture could not be decoded in time; the next one is"
                    f" analyzed in {wait_s:.0f} s"
                )


def _worker(name: str) -> ChildProcess:
    return ChildProcess(name, _MODULE, culprit=_CULPRIT, disposable=True)


async def _in(
    worker: ChildProcess, kind: PictureOrder, order: _Order, answer: type[_T], content: bytes
) -> tuple[_T, memoryview]:
    """Execute an order. Raises `WorkerError`, `begun` if this order ended the process."""
    for tries in range(1, _MOST_TRIES + 1):
        try:
            return await worker.fetch(kind, order, answer, deadline_s=_DEADLINE_S, picture=content)
        except WorkerError as err:
            # Another picture or a lack of memory may have ended the process.
            is_to_blame = err.begun and not err.killed
            if is_to_blame or tries == _MOST_TRIES or worker.closed:
                raise
    raise AssertionError("the last try returns or raises")
