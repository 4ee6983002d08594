"""Evidence: for each event the best picture of its object, not the last one."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..cameras.messages import CameraFrame
from ..cameras.stream import Watcher
from ..errors import FrameGoneError, NodeError
from ..protocol import DetectedObject, NodeEvent, Phase
from ..rules.scene import RuleEvent

_LOGGER = logging.getLogger(__name__)

# A picture must be so much better than the one that is kept to take its place.
_BETTER = 1.25
# How often a better one is looked for, and for how long after the beginning.
_EVERY_S, _UNTIL_S = 0.6, 20.0
# What a picture is worth that is not sharp at all, beside one of the same object that is.
_BLURRED = 0.5
# Sharpness that may be nothing but noise.
_FAINT = 20.0
# A box this near to the frame's border is probably cut by it.
_BORDER = 0.01


@dataclass(frozen=True)
class Shot:
    """A frame that is to be kept as an event's picture.

    Attributes:
        event_id: whose picture it is.
        jpeg: the frame.
        captured_at: when it was taken.
        subject: the object that the event is about, as this very frame shows it.
        shown: all objects that this frame shows, that one included.
    """

    event_id: str
    jpeg: bytes
    captured_at: datetime
    subject: DetectedObject
    shown: tuple[DetectedObject, ...]


# Keeps a picture.
Save = Callable[[Shot], Awaitable[None]]
# Runs what takes the picture of some events.
Spawn = Callable[[tuple[str, ...], Coroutine[Any, Any, None]], object]


@dataclass
class _Story:
    """An object's events, which share one picture: how good that promised to be, and is."""

    event_id: str
    began_at: float
    looked_at: float
    promise: float = 0.0
    sharpness: float = 0.0


class _Chance:
    """A frame as a picture of one object."""

    def __init__(self, story: _Story, item: DetectedObject) -> None:
        """Remember how good the picture is that there is."""
        self.story = story
        self.item = item
        self._before = (story.promise, story.sharpness)

    def take(self, sharpness: float) -> bool:
        """Return whether it is to be the object's picture from now on."""
        story, promised = self.story, promise(self.item)
        sharpest = max(sharpness, story.sharpness)
        kept = _quality(story.promise, story.sharpness, sharpest)
        if _quality(promised, sharpness, sharpest) <= kept * _BETTER:
            return False
        self._before = (story.promise, story.sharpness)
        story.promise, story.sharpness = promised, sharpness
        return True

    def miss(self) -> None:
        """Note that nothing came of it: the next frame is as good."""
        self.story.promise, self.story.sharpness = self._before
        self.story.looked_at = -math.inf


class BestPictures:
    """Chooses the pictures of one pipeline. Used from the event loop."""

    def __init__(self, save: Save, spawn: Spawn) -> None:
        """Initialize without pictures; `spawn` runs what takes the picture of some events."""
        self._save = save
        self._spawn = spawn
        self._stories: dict[int, _Story] = {}
        self._saving = asyncio.Lock()

    def evidence(
        self, event: RuleEvent, event_id: str, shown: Iterable[DetectedObject]
    ) -> str | None:
        """Return whose picture shows an event: that of the first one whose frame shows the object.

        None where there is no picture of the object, and `shown`, the objects that the newest frame
        shows, has it not either.
        """
        if event.item is None:
            return None
        story = self._stories.get(event.item.track_id)
        if story is not None:
            return story.event_id
        here = any(item.track_id == event.item.track_id for item in shown)
        return event_id if here and event.phase != Phase.END else None

    def snapshot(self) -> list[Any]:
        """Return as plain data which event's picture shows which object."""
        return [[number, story.event_id] for number, story in self._stories.items()]

    def restore(self, snapshot: Sequence[Any]) -> None:
        """Take up a snapshot: the pictures that there are stay as they are."""
        try:
            self._stories = {
                int(number): _Story(str(event_id), -math.inf, -math.inf, math.inf)
                for number, event_id in snapshot
            }
        except (TypeError, ValueError):
            return

    def look(
        self,
        watcher: Watcher,
        frame: CameraFrame,
        followed: Iterable[int],
        events: Sequence[NodeEvent],
        shown: tuple[DetectedObject, ...],
    ) -> None:
        """Take pictures of what is new, and better ones of what was there.

        Args:
            watcher: the camera.
            frame: the one that was looked at.
            followed: numbers of all objects that are followed.
            events: what there is to tell.
            shown: the objects that this very frame shows, with their boxes in it.
        """
        at = frame.captured_monotonic
        for event in events:
            if event.track_id is not None and event.evidence == event.event_id:
                self._stories[event.track_id] = _Story(event.event_id, at, -math.inf)
        there = set(followed)
        self._stories = {number: item for number, item in self._stories.items() if number in there}
        wanted = []
        for item in shown:
            story = None if item.track_id is None else self._stories.get(item.track_id)
            if story is None or at - story.looked_at < _EVERY_S:
                continue
            if at - story.began_at > _UNTIL_S:
                continue
            if promise(item) <= story.promise * _BLURRED * _BETTER:
                continue
            story.looked_at = at
            wanted.append(_Chance(story, item))
        if wanted:
            event_ids = tuple(chance.story.event_id for chance in wanted)
            self._spawn(event_ids, self._take(watcher, frame, wanted, shown))

    async def _take(
        self,
        watcher: Watcher,
        frame: CameraFrame,
        wanted: Sequence[_Chance],
        shown: tuple[DetectedObject, ...],
    ) -> None:
        """Keep a frame as the picture of those objects of which it is the best so far."""
        first = any(not chance.story.promise for chance in wanted)
        try:
            jpeg: bytes | None = None
            # What has no picture yet gets this one, so it is asked for while it is surely there.
            if first:
                values, (_, jpeg) = await asyncio.gather(
                    self._sharpness(watcher, frame, wanted), watcher.picture(frame.number)
                )
            else:
                values = await self._sharpness(watcher, frame, wanted)
            better = [
                chance
                for chance, sharpness in zip(wanted, values, strict=True)
                if chance.take(sharpness)
            ]
            if better and jpeg is None:
                _, jpeg = await watcher.picture(frame.number)
        except NodeError as err:
            for chance in wanted:
                chance.miss()
            gone = isinstance(err, FrameGoneError)
            level = logging.DEBUG if gone and not first else logging.WARNING
            _LOGGER.log(level, "No picture of an event: %s", err)
            return
        if jpeg is None:
            return
        captured_at = datetime.fromisoformat(frame.captured_at)
        async with self._saving:
            for chance in better:
                shot = Shot(chance.story.event_id, jpeg, captured_at, chance.item, shown)
                await self._save(shot)

    @staticmethod
    async def _sharpness(
        watcher: Watcher, frame: CameraFrame, wanted: Sequence[_Chance]
    ) -> tuple[float, ...]:
        return await watcher.sharpness(frame.number, tuple(item.item.box for item in wanted))


def promise(item: DetectedObject) -> float:
    """Return how good a picture of an object can be at best: confident, large, and whole."""
    box = item.box
    cut = min(box.x_min, box.y_min) < _BORDER or max(box.x_max, box.y_max) > 1 - _BORDER
    return item.confidence / 100 * math.sqrt(box.area) * (0.6 if cut else 1.0)


def _quality(promised: float, sharpness: float, sharpest: float) -> float:
    """Return how good a picture is beside others of its object: the sharpest is the measure."""
    share = (sharpness + _FAINT) / (sharpest + _FAINT)
    return promised * (_BLURRED + (1 - _BLURRED) * share)
