"""What a live pipeline shows, and when it is pushed: when it changes, and now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..cameras.messages import CameraFrame
from ..protocol import DetectedObject, LineTotal, Look, Task
from ..rules.posture import with_postures
from ..rules.scene import SceneObject
from ..tracking.follower import Follower
from .telling import Moment

# Boxes and rates are pushed this often even if nothing changes.
_EVERY_S, _IDLE_EVERY_S = 2.0, 30.0


class LookPusher:
    """Pushes the looks of one live pipeline."""

    def __init__(self, push: Callable[[Look], None]) -> None:
        """Initialize; `push` is called with each look that is worth it."""
        self._push = push
        self.last: Look | None = None
        self._news: tuple[object, ...] | None = None
        self._pushed_at = 0.0
        self._new_rate = True

    def repeat(self) -> None:
        """Push the next look even if nothing has changed since the last one."""
        self._news = None

    def show(self, look: Look, *, new_rate: bool) -> None:
        """Push a look if it has news; `new_rate`: its rate still changes a lot."""
        self.last = look
        news = (
            {(item.label, item.track_id, item.zones, item.stationary) for item in look.objects},
            {label: item.count for label, item in look.presence.items()},
            look.lines,
            look.answer,
            look.picture_at,
            look.model,
            look.accelerator,
        )
        moves = any(not item.stationary for item in look.objects)
        every_s = _EVERY_S if moves or self._new_rate else _IDLE_EVERY_S
        now = time.monotonic()
        if news != self._news or now - self._pushed_at >= every_s:
            self._news, self._pushed_at = news, now
            self._new_rate = new_rate
            self._push(look)


def objects_shown(
    items: Iterable[SceneObject], follower: Follower, task: str, frame: CameraFrame
) -> tuple[DetectedObject, ...]:
    """Return objects that are followed as messages carry them."""
    objects = tuple(
        DetectedObject(
            label=item.label,
            confidence=item.confidence,
            box=item.box,
            keypoints=item.keypoints,
            track_id=item.track_id,
            zones=follower.rules.zones_of(item.track_id),
            stationary=item.stationary,
        )
        for item in items
    )
    return with_postures(objects, frame.width, frame.height) if task == Task.POSE else objects


def look_of(follower: Follower, moment: Moment, frame: CameraFrame, node_ms: float) -> Look:
    """Return what holds after a frame; `node_ms` is what all of it took."""
    pipeline, place, rules = moment.pipeline, moment.place, follower.rules
    task = place.model.manifest.task
    return Look(
        pipeline_id=pipeline.config.pipeline_id,
        captured_at=moment.captured_at.isoformat(),
        width=frame.width,
        height=frame.height,
        objects=objects_shown(follower.objects, follower, task, frame),
        presence=rules.presence,
        model=place.model.id,
        model_version=place.model.manifest.version,
        engine=place.engine,
        accelerator=place.accelerator,
        decode_ms=frame.decode_ms,
        inference_ms=moment.inference_ms,
        node_ms=round(node_ms, 2),
        last_detection_at=pipeline.last_detection_at,
        picture_at=pipeline.picture_at.isoformat() if pipeline.picture_at else None,
        task=task,
        answer=pipeline.memory.answer,
        zones=rules.zone_presence,
        lines=tuple(
            LineTotal(line=line, label=label, direction=direction, total=total)
            for line, totals in rules.line_totals.items()
            for (label, direction), total in totals.items()
        ),
    )
