"""Evidence: for each event the best picture of its object, not the last one."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .cameras.camera import Watcher
from .cameras.messages import CameraFrame
from .errors import FrameGoneError, NodeError
from .protocol import DetectedObject, NodeEvent, Phase
from .rules.scene import RuleEvent, SceneObject

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


# Keeps a picture: of which event, JPEG, objects to draw, the time of the frame.
Save = Callable[[str, bytes, Sequence[DetectedObject], datetime], Awaitable[None]]


@dataclass
class _Story:
    """An object's events, which share one picture: how good that promised to be, and is."""

    event_id: str
    began_at: float
    looked_at: float
    promise: float = 0.0
    sharpness: float = 0.0


class Keeper:
    """Chooses the pictures of one pipeline. Used from the event loop."""

    def __init__(self, save: Save, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Begin without any; `spawn` runs something that nobody waits for."""
        self._save = save
        self._spawn = spawn
        self._stories: dict[int, _Story] = {}
        self._taking = asyncio.Lock()

    def evidence(self, event: RuleEvent, event_id: str) -> str | None:
        """Return whose picture shows an event: that of the object's first event."""
        if event.item is None:
            return None
        story = self._stories.get(event.item.track_id)
        if story is not None:
            return story.event_id
        return event_id if event.phase != Phase.END else None

    def snapshot(self) -> dict[str, Any]:
        """Return as plain data which event's picture shows which object."""
        return {"pictures": [[number, story.event_id] for number, story in self._stories.items()]}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot: the pictures that there are stay as they are."""
        try:
            self._stories = {
                int(number): _Story(str(event_id), -math.inf, -math.inf, math.inf)
                for number, event_id in snapshot["pictures"]
            }
        except (KeyError, TypeError, ValueError):
            return

    def look(
        self,
        watcher: Watcher,
        frame: CameraFrame,
        objects: Sequence[SceneObject],
        events: Sequence[NodeEvent],
        shown: tuple[DetectedObject, ...],
    ) -> None:
        """Take pictures of what is new, and better ones of what was there."""
        at = frame.captured_monotonic
        for event in events:
            if event.track_id is not None and event.evidence == event.event_id:
                self._stories[event.track_id] = _Story(event.event_id, at, -math.inf)
        there = {item.track_id for item in objects}
        self._stories = {number: item for number, item in self._stories.items() if number in there}
        for item in objects:
            story = self._stories.get(item.track_id)
            if story is None or not item.seen or at - story.looked_at < _EVERY_S:
                continue
            if at - story.began_at > _UNTIL_S:
                continue
            if promise(item) <= story.promise * _BLURRED * _BETTER:
                continue
            story.looked_at = at
            self._spawn(self._take(watcher, frame, item, story, shown))

    async def _take(
        self,
        watcher: Watcher,
        frame: CameraFrame,
        item: SceneObject,
        story: _Story,
        shown: tuple[DetectedObject, ...],
    ) -> None:
        try:
            async with self._taking:
                (sharpness,) = await watcher.sharpness(frame.number, (item.box,))
                sharpest = max(sharpness, story.sharpness)
                kept = _quality(story.promise, story.sharpness, sharpest)
                if _quality(promise(item), sharpness, sharpest) <= kept * _BETTER:
                    return
                _, jpeg = await watcher.picture(frame.number)
                story.promise, story.sharpness = promise(item), sharpness
                at = datetime.fromisoformat(frame.captured_at)
                await self._save(story.event_id, jpeg, shown, at)
        except FrameGoneError:
            level = logging.DEBUG if story.promise else logging.WARNING
            _LOGGER.log(level, "The frame of an event's picture is gone already")
        except NodeError as err:
            _LOGGER.warning("No picture of an event: %s", err)


def promise(item: SceneObject) -> float:
    """Return how good a picture of an object can be at best: confident, large, and whole."""
    box = item.box
    cut = min(box.x_min, box.y_min) < _BORDER or max(box.x_max, box.y_max) > 1 - _BORDER
    return item.confidence / 100 * math.sqrt(box.area) * (0.6 if cut else 1.0)


def _quality(promised: float, sharpness: float, sharpest: float) -> float:
    """Return how good a picture is beside others of its object: the sharpest is the measure."""
    share = (sharpness + _FAINT) / (sharpest + _FAINT)
    return promised * (_BLURRED + (1 - _BLURRED) * share)
