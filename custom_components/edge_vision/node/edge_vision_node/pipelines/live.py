"""A pipeline that watches live video: from the camera's newest frame to events, without the hub."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..cameras.messages import CameraFrame, Motion, Source, View
from ..cameras.stream import Cameras
from ..errors import FrameGoneError, ModelLoadingError, NodeError, SupersededError
from ..inference.planner import WHOLE, Effort, Plan, Planner
from ..protocol import (
    Box,
    DetectedObject,
    LabelPresence,
    Look,
    LookRequest,
    NodeEvent,
    Phase,
    PipelineState,
    PipelineStatus,
    Point,
    SlowedBy,
    SourceState,
    SourceStatus,
    Task,
    Video,
)
from ..rules.scene import RuleEvent, Scene
from ..tracking.follower import Follower
from ..workers.lane import ModelSite
from .best_picture import BestPictures
from .handover import Situation
from .live_detector import PICTURE_WIDTH, LiveDetector
from .live_look import LookPusher, look_of, objects_shown
from .live_view import LiveView, LookedAt
from .loading import Loader
from .pictures import Pictures
from .pipeline import Pipeline
from .rate import Rate
from .stills import Stills, posture_answer
from .telling import Moment, Teller, parse_time

_LOGGER = logging.getLogger(__name__)

# Models that do not say where they find something look at whole pictures, as often as people and
# their states change; so do models that look for faces or bodies with another model first.
_PICTURES_PER_S = 2.0
# Bodies and faces are looked for in whole frames while something moves or is followed.
_WHOLE_FRAMES = Effort(1, 1.0, 2.0, largest=0.0)
_TUNE_EVERY_S = 0.5
# After so many failures in a row the pipeline says that it cannot look.
_FAILURES_TO_TELL = 3
# Of what moved in frames that were not looked at; there is no need to know more.
_MOST_MOVED = 60
_PAUSE_AFTER_FAILURE_S = 1.0
_PAUSE_WITHOUT_MODEL_S = 10.0


def source_of(video: Video) -> Source:
    """Return how a pipeline's live video is to be read."""
    return Source(
        url=video.url,
        transport=video.transport,
        verify_certificate=video.verify_certificate,
        wallclock=video.wallclock,
        orientation=video.orientation,
        key_frames_only=video.key_frames_only,
        hardware_decoding=video.hardware_decoding,
    )


@dataclass(frozen=True)
class LiveParts:
    """What live pipelines share; `changed` is called when one changes state."""

    cameras: Cameras
    loader: Loader
    stills: Stills
    teller: Teller
    pictures: Pictures
    changed: Callable[[], None]


class LivePipeline:
    """One pipeline's eye on a camera's stream. Used from the event loop.

    `pipeline` holds configuration, model, memory and counters. What is followed is in its memory,
    and is written with the events about it.
    """

    def __init__(self, pipeline: Pipeline, video: Video, parts: LiveParts) -> None:
        """Start to watch. Must be called in the event loop."""
        self.pipeline = pipeline
        self.video = video
        # The pipeline's configuration may be another one before this has ended.
        self._config = pipeline.config
        self._loader = parts.loader
        self._stills = parts.stills
        self._teller = parts.teller
        self._changed = parts.changed
        self._best = BestPictures(
            partial(parts.pictures.keep_shot, pipeline), partial(parts.pictures.take, pipeline)
        )
        self._pusher = LookPusher(parts.teller.show)
        # Where it is not known whether something moves.
        self._unwatched = _array([_around(mask) for mask in video.motion_masks])
        self._follower: Follower | None = None
        self._planner: Planner | None = None
        self._frame: CameraFrame | None = None
        self._moved: list[Box] = []
        self._unsure = False
        self._fresh = asyncio.Event()
        self._rate = Rate()
        # What cannot keep up, so that frames are left out; None while nothing is.
        self.slowed_by: SlowedBy | None = None
        self._failures = 0
        self.trouble: NodeError | None = None
        self._tuned: tuple[Box, ...] = ()
        self._tuned_at = 0.0
        self._picture_at = 0.0
        self._watcher = parts.cameras.watch(
            self._config.name,
            source_of(video),
            View(
                masks=pipeline.masks,
                thresholds=video.thresholds,
                motion_masks=video.motion_masks,
            ),
            fps=video.fps,
            on_frame=self._on_frame,
            on_state=self._on_state,
        )
        self.view = LiveView(self._watcher)
        self._detector = LiveDetector(pipeline, self._watcher, parts.loader, parts.stills)
        pipeline.on_picture = self._show_picture
        self._task = asyncio.create_task(self._work())

    # --- State -----------------------------------------------------------------------------------

    @property
    def source(self) -> SourceStatus:
        """Return whether there is a picture."""
        return self._watcher.camera.state

    @property
    def presence(self) -> dict[str, LabelPresence]:
        """Return what holds of each label; empty before the first look."""
        return self.pipeline.memory.presence(self._config)

    @property
    def last_look(self) -> Look | None:
        """Return what was shown last; None before the first look."""
        return self._pusher.last

    def add_to_status(self, status: PipelineStatus) -> PipelineStatus:
        """Return a pipeline's status with what live video adds to it."""
        status = replace(
            status,
            source=self.source,
            slowed=self.slowed_by is not None,
            slowed_by=self.slowed_by,
            presence=self.presence,
        )
        if self.trouble is None or status.state != PipelineState.READY:
            return status
        return replace(
            status,
            state=PipelineState.FAILED,
            error_code=self.trouble.code,
            error=str(self.trouble),
        )

    # --- Frames ----------------------------------------------------------------------------------

    def _on_frame(self, frame: CameraFrame, motion: Motion) -> None:
        if self._fresh.is_set():
            self._rate.left_out()
            self.pipeline.dropped += 1
        self._frame = frame
        # What moved in a frame that is left out has moved all the same.
        self._moved += motion.boxes
        self._unsure = self._unsure or motion.calibrating
        self._fresh.set()

    def _on_state(self, state: SourceStatus) -> None:
        self._pusher.repeat()  # after "it is back" comes what there is to see
        if state.state != SourceState.LIVE:
            self._frame = self.view.looked = None
        self._changed()

    async def _work(self) -> None:
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            frame, moved, unsure = self._frame, self._moved, self._unsure
            self._moved, self._unsure = [], False
            if frame is None:
                continue
            failure: NodeError | None = None
            try:
                looked = await self._look_at(frame, moved, unsure=unsure)
            except (FrameGoneError, SupersededError, ModelLoadingError):
                self.pipeline.dropped += 1
            except NodeError as err:
                failure = err
            except Exception as err:
                _LOGGER.exception("Pipeline %s: a look failed", self.pipeline.config.name)
                failure = NodeError(f"{type(err).__name__}: {err}")
            else:
                if looked:
                    self._note_success()
                continue
            self._look_again(moved, unsure=unsure)
            if failure is not None:
                await self._note_failure(failure)

    def _look_again(self, moved: list[Box], *, unsure: bool) -> None:
        """Have the next frame looked at where this one was not."""
        self._moved = [*moved, *self._moved][-_MOST_MOVED:]
        self._unsure = self._unsure or unsure
        if self._planner is not None:
            self._planner.undo()

    async def _note_failure(self, err: NodeError) -> None:
        self.pipeline.failures += 1
        self._failures += 1
        self._pusher.repeat()
        tell = self.trouble is None and self.pipeline.error is None
        if self._failures >= _FAILURES_TO_TELL and tell:
            _LOGGER.warning("Pipeline %s cannot look: %s", self.pipeline.config.name, err)
            self.trouble = err
            self._changed()
        if self._failures >= _FAILURES_TO_TELL:
            # A model that cannot be loaded takes longer to become one that can.
            hopeless = self.pipeline.error is not None
            await asyncio.sleep(_PAUSE_WITHOUT_MODEL_S if hopeless else _PAUSE_AFTER_FAILURE_S)

    def _note_success(self) -> None:
        self._failures = 0
        slowed_by = None
        if self._frame is not None and self._frame.behind:
            slowed_by = SlowedBy.DECODING
        elif self._rate.is_slowed(before=self.slowed_by is SlowedBy.MODEL):
            slowed_by = SlowedBy.MODEL
        if self.trouble is not None or slowed_by is not self.slowed_by:
            self.trouble, self.slowed_by = None, slowed_by
            self._changed()

    # --- Looking ---------------------------------------------------------------------------------

    async def _look_at(self, frame: CameraFrame, moved: list[Box], *, unsure: bool) -> bool:
        """Look at a frame if there is anything to look for; return whether it was time to."""
        started = time.perf_counter()
        if self.pipeline.place is None:
            self._pusher.repeat()  # after "it can look again" comes what there is to see
        place = await self._loader.ready(self.pipeline)
        now, at = Situation.of(self._config, place.model), frame.captured_monotonic
        in_pictures = not now.follows or place.model.manifest.crops is not None
        if in_pictures and at - self._picture_at < 1 / _PICTURES_PER_S:
            return False
        if not now.follows:
            return await self._look_at_picture(frame)
        follower, planner = await self._prepare(now, place, frame)
        moving = _array(moved)
        if in_pictures:
            plan = Plan(WHOLE, whole=True)
            detections, place, inference_ms = await self._detector.in_picture(frame, follower)
            self._picture_at = at
        else:
            plan = planner.plan(at, moving, follower.moving, unsure=unsure)
            detections, place, inference_ms = await self._detector.in_parts(
                place, frame, plan, follower
            )
        async with self.pipeline.turn:
            self._expect_same_config()
            events = follower.step(
                detections,
                at,
                None if plan.whole else plan.boxes,
                np.concatenate((moving, self._unwatched)),
                changed=unsure,
            )
            shown = objects_shown(follower.seen, follower, now.task, frame)
            answer = posture_answer(shown) if now.task == Task.POSE else None
            memory = self.pipeline.memory
            if len(plan.boxes):
                self.view.looked = LookedAt(frame, shown)
                events += memory.step(Scene(at=at, objects=follower.objects, answer=answer))
            self.pipeline.looks += 1
            self._rate.looked(at)
            moment = Moment(self.pipeline, place, parse_time(frame.captured_at), inference_ms)
            told = [self._event(item, moment, shown) for item in (*memory.take_ended(), *events)]
            if any(event.phase != Phase.END for event in told):
                self.pipeline.last_detection_at = frame.captured_at
            # The picture is asked for at once, for the camera keeps its frames for a moment only.
            followed = [item.track_id for item in follower.objects]
            self._best.look(self._watcher, frame, followed, told, shown)
            if told:
                await self._teller.tell(told, memory.record(told, self._best.snapshot()))
        node_ms = (time.perf_counter() - started) * 1000
        look = look_of(follower, moment, frame, node_ms)
        self._show(replace(look, frames_per_second=self._rate.frames_per_second))
        self._tune(follower)
        return True

    async def _prepare(
        self, now: Situation, place: ModelSite, frame: CameraFrame
    ) -> tuple[Follower, Planner]:
        """Return what follows and what plans, new ones if something else is looked for."""
        memory = self.pipeline.memory
        async with self.pipeline.turn:
            self._expect_same_config()
            await memory.enter(now, frame.captured_monotonic)
            follower = memory.follower
        assert follower is not None  # by `now.follows`
        size = (frame.width, frame.height)
        if follower is not self._follower or self._planner is None:
            if self._follower is None:
                self._best.restore(memory.pictures)
            spec = place.model.manifest.input
            effort = self.video.look if now.task == Task.DETECTION else _WHOLE_FRAMES
            self._follower = follower
            self._planner = Planner(effort, size, (spec.width, spec.height))
        else:
            self._planner.resize(size)
        return follower, self._planner

    def _expect_same_config(self) -> None:
        """Raise `SupersededError` if the pipeline has been changed meanwhile."""
        if self.pipeline.config is not self._config:
            raise SupersededError("The settings have changed during the look")

    async def _look_at_picture(self, frame: CameraFrame) -> bool:
        """Look at a whole frame, for models that do not find objects to follow."""
        _, jpeg = await self._watcher.picture(frame.number, PICTURE_WIDTH)
        request = LookRequest(
            pipeline_id=self.pipeline.config.pipeline_id, captured_at=frame.captured_at
        )
        self._expect_same_config()
        look = await self._stills.look(self.pipeline, request, memoryview(jpeg))
        self._picture_at = frame.captured_monotonic
        self.view.looked = LookedAt(frame, look.objects, look.classes, jpeg)
        self._rate.looked(frame.captured_monotonic)
        self._show(replace(look, frames_per_second=self._rate.frames_per_second))
        return True

    # --- Events and looks ------------------------------------------------------------------------

    def _event(
        self, event: RuleEvent, moment: Moment, shown: tuple[DetectedObject, ...]
    ) -> NodeEvent:
        zones: tuple[str, ...] = ()
        if event.item is not None and self._follower is not None:
            zones = self._follower.rules.zones_of(event.item.track_id)
        told = moment.rule_event(event, zones)
        return replace(told, evidence=self._best.evidence(event, told.event_id, shown))

    def _show(self, look: Look) -> None:
        """Push what holds if it has changed, and now and then."""
        # If the camera went during the look, what it shows does not hold any more.
        if self.source.state == SourceState.LIVE:
            self._pusher.show(look, new_rate=self._rate.new)

    def _show_picture(self) -> None:
        """Push that there is a newer picture of an event."""
        if (look := self._pusher.last) is not None and (at := self.pipeline.picture_at) is not None:
            self._show(replace(look, picture_at=at.isoformat()))

    def _tune(self, follower: Follower) -> None:
        """Have the motion gate not get used to what is followed."""
        now = time.monotonic()
        # What stands is background: only so is there movement where it stood when it goes.
        boxes = tuple(
            _box(np.round(item.box, 2).tolist()) for item in follower.tracks if not item.stationary
        )
        if boxes != self._tuned and now - self._tuned_at >= _TUNE_EVERY_S:
            self._tuned, self._tuned_at = boxes, now
            self._watcher.tune(keep=boxes)

    # --- The end ---------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Stop looking, and write what is there."""
        self.pipeline.on_picture = None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._follower is not None:
            await self._teller.tell([], self.pipeline.memory.record((), self._best.snapshot()))

    async def release(self) -> None:
        """Release the camera; its process ends if nothing else watches it."""
        await self._watcher.close()


def _array(boxes: list[Box]) -> np.ndarray:
    rows = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _around(polygon: Sequence[Point]) -> Box:
    xs, ys = [point.x for point in polygon], [point.y for point in polygon]
    return Box(x_min=min(xs), y_min=min(ys), x_max=max(xs), y_max=max(ys))


def _box(values: list[float]) -> Box:
    return Box(x_min=values[0], y_min=values[1], x_max=values[2], y_max=values[3])
