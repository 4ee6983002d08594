"""A pipeline that watches live video: from the camera's newest frame to events, without the hub."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..cameras.messages import CameraFrame, Motion, Pictured, Source, View
from ..cameras.stream import Cameras
from ..detections import Detections
from ..errors import (
    CameraError,
    FrameGoneError,
    ModelLoadingError,
    NodeError,
    StorageError,
    SupersededError,
)
from ..inference.merge import merge
from ..inference.planner import Planner
from ..protocol import (
    Box,
    ClassScore,
    DetectedObject,
    Findings,
    LabelPresence,
    LineTotal,
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
    write,
)
from ..rules.scene import RuleEvent, SceneObject, SceneState
from ..storage.archive import Archive
from ..tracking.follower import Follower, end_all, labels_in
from ..workers.lane import Lane, Place, PreparedCrops
from ..workers.messages import CropsResult
from .best_picture import BestPictures
from .loading import Loader
from .memory import CAMERA, LEFT, end_presence, read_snapshot, watch_of
from .pictures import Pictures
from .pipeline import Pipeline
from .rate import Rate
from .stills import Stills
from .telling import Moment, Teller, parse_time

_LOGGER = logging.getLogger(__name__)
# Tasks other than detection look at whole pictures, as often as people and their states change.
_PICTURES_PER_S = 2.0
_PICTURE_WIDTH = 1280
# Even if nothing changes, boxes and rates are told so often.
_TELL_EVERY_S, _TELL_IDLE_EVERY_S = 2.0, 30.0
_TUNE_EVERY_S = 0.5
# After so many failures in a row the pipeline says that it cannot look.
_FAILURES_TO_TELL = 3
# Of what moved in frames to which nobody could look; there is no need to know more.
_MOST_MOVED = 60
_PAUSE_AFTER_FAILURE_S = 1.0
_PAUSE_WITHOUT_MODEL_S = 10.0
_READ_AGAIN_EVERY_S = 10.0
# In the live view, a frame with boxes is shown for so long: where nothing moves, the whole frame is
# looked at every few seconds only.
_SHOWN_S = 3.0
_NO_BOXES = np.empty((0, 4))


@dataclass(frozen=True)
class _Looked:
    """A frame that was looked at, and what it shows; its JPEG where that was what was seen."""

    frame: CameraFrame
    objects: tuple[DetectedObject, ...]
    classes: tuple[ClassScore, ...] = ()
    jpeg: bytes | None = None


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
    archive: Archive
    loader: Loader
    stills: Stills
    teller: Teller
    pictures: Pictures
    changed: Callable[[], None]


class LivePipeline:
    """One pipeline's eye on a camera's stream. Used from the event loop.

    `pipeline` holds configuration, model and counters. Objects and totals survive a restart in the
    result log, written with the events about them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        video: Video,
        parts: LiveParts,
    ) -> None:
        """Start to watch. Must be called in the event loop."""
        self.pipeline = pipeline
        self.video = video
        self._archive = parts.archive
        self._loader = parts.loader
        self._stills = parts.stills
        self._teller = parts.teller
        self._changed = parts.changed
        self._best = BestPictures(
            partial(parts.pictures.keep_shot, pipeline), partial(parts.pictures.take, pipeline)
        )
        config = pipeline.config
        self._watch = watch_of(config)
        # Where nobody can tell whether something moves.
        self._unwatched = _array([_around(mask) for mask in video.motion_masks])
        self._follower: Follower | None = None
        # What ended with a change of settings or of the model, and is still to be told.
        self._inherited: list[RuleEvent] = []
        # What stills have shown ends with the first frame.
        self._ended: list[NodeEvent] = []
        # What was followed before could not be read (when it was tried last), and is not to be
        # overwritten.
        self._unread_at: float | None = None
        # Of now: the pipeline's configuration is another one before this has ended.
        self._camera = config.camera
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
        self._look: Look | None = None
        self._told: tuple[object, ...] | None = None
        self._told_at = 0.0
        self._told_new_rate = True
        self._tuned: tuple[Box, ...] = ()
        self._tuned_at = 0.0
        self._picture_at = 0.0
        self._looked: _Looked | None = None
        self._watcher = parts.cameras.watch(
            config.name,
            source_of(video),
            View(
                masks=config.privacy_masks,
                thresholds=video.thresholds,
                motion_masks=video.motion_masks,
            ),
            fps=video.fps,
            on_frame=self._on_frame,
            on_state=self._on_state,
        )
        pipeline.on_picture = self._show_picture
        self._task = asyncio.create_task(self._work())

    # --- What it says about itself ---------------------------------------------------------------

    @property
    def source(self) -> SourceStatus:
        """Return whether there is a picture."""
        return self._watcher.camera.state

    @property
    def presence(self) -> dict[str, LabelPresence]:
        """Return what holds of each label; empty before the first look."""
        if self._follower is None:
            return self.pipeline.presence.state if self._look is not None else {}
        return self._follower.rules.presence

    @property
    def last_look(self) -> Look | None:
        """Return what holds, as it was pushed last; None before the first look."""
        return self._look

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
        self._told = None  # who hears that it is back wants to know what there is to see
        if state.state != SourceState.LIVE:
            self._frame = self._looked = None
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
        self._told = None
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

    async def _look_at(self, frame: CameraFrame, moved: list[Box], *, unsure: bool) -> bool:
        """Look at a frame where there is anything to look for; return whether it was time to."""
        started = time.perf_counter()
        if self.pipeline.place is None:
            self._told = None  # who hears that it can look again wants to know what there is to see
        place = await self._loader.ready(self.pipeline)
        if place.model.manifest.task != Task.DETECTION:
            return await self._look_at_picture(frame)
        follower, planner = await self._prepare(place, frame)
        await self._read_again(follower, frame.captured_monotonic)
        moving = _array(moved)
        plan = planner.plan(frame.captured_monotonic, moving, follower.moving, unsure=unsure)
        detections, place, inference_ms = await self._detect(place, frame, plan.boxes, follower)
        events = follower.step(
            detections,
            frame.captured_monotonic,
            None if plan.whole else plan.boxes,
            np.concatenate((moving, self._unwatched)),
            changed=unsure,
        )
        shown = tuple(
            _shown(item, follower.rules.zones_of(item.track_id)) for item in follower.seen
        )
        if len(plan.boxes):
            self._looked = _Looked(frame, shown)
        events, self._inherited = [*self._inherited, *events], []
        self.pipeline.looks += 1
        self._rate.looked(frame.captured_monotonic)
        moment = Moment(self.pipeline, place, parse_time(frame.captured_at), inference_ms)
        told = [*self._ended, *(self._event(event, moment, shown) for event in events)]
        self._ended = []
        if any(event.phase != Phase.END for event in told):
            self.pipeline.last_detection_at = frame.captured_at
        # The picture is asked for at once, for the camera keeps its frames for a moment only.
        followed = [item.track_id for item in follower.objects]
        self._best.look(self._watcher, frame, followed, told, shown)
        if told:
            await self._teller.tell(told, self._followed(follower))
        node_ms = (time.perf_counter() - started) * 1000
        self._show(self._now(follower, frame, place, inference_ms, node_ms))
        self._tune(follower)
        return True

    async def _prepare(self, place: Place, frame: CameraFrame) -> tuple[Follower, Planner]:
        """Return what follows and what plans, anew where the model is another."""
        manifest, size = place.model.manifest, (frame.width, frame.height)
        if self._follower is None or self._follower.labels != place.model.labels:
            self._follower = Follower(self._watch, place.model.labels)
            try:
                snapshot = await self._archive.followed(self.pipeline.config.pipeline_id)
                self._unread_at = None
            except StorageError:
                self._unread_at, snapshot = frame.captured_monotonic, None
                # A number means one object for ever, and which there were nobody knows.
                first_id = int(time.time())
                self._follower = Follower(self._watch, place.model.labels, first_id)
            before: Mapping[str, object] = {LEFT: True} if self._unread_at is None else {}
            if snapshot is not None:
                before = read_snapshot(snapshot)
            if self.pipeline.told_of != "live":
                if self.pipeline.told_of == "stills" or LEFT in before:
                    moment = Moment(self.pipeline, place, parse_time(frame.captured_at))
                    self._ended = end_presence(moment, besides=labels_in(before))
                self.pipeline.forget_presence()
            self.pipeline.told_of, self.pipeline.elsewhere = "live", False
            if snapshot is not None:
                self._inherited = self._take_up(self._follower, before, frame.captured_monotonic)
            self._planner = None
        model = (manifest.input.width, manifest.input.height)
        if self._planner is None:
            self._planner = Planner(self.video.look, size, model)
        else:
            self._planner.resize(size)
        return self._follower, self._planner

    def _take_up(
        self, follower: Follower, before: Mapping[str, object], at: float
    ) -> list[RuleEvent]:
        """Go on from a snapshot; return what has ended since."""
        if before.get(CAMERA, self._camera) == self._camera:
            self._best.restore(before)
            return follower.restore(before, at)
        # Whoever was there is not here. Numbers go on, for one means one object for ever.
        ended, _ = end_all(self._watch, before, at)
        follower.restore({**before, "tracks": [], "rules": write(SceneState())}, at)
        return ended

    async def _read_again(self, follower: Follower, at: float) -> None:
        """Find out what was followed before, where that was not possible: it has ended."""
        if self._unread_at is None or at - self._unread_at < _READ_AGAIN_EVERY_S:
            return
        self._unread_at = at
        with suppress(StorageError):
            snapshot = await self._archive.followed(self.pipeline.config.pipeline_id)
            self._unread_at = None
            if snapshot is not None:
                before = read_snapshot(snapshot)
                ended, _ = end_all(self._watch, before, at)
                self._inherited += ended
                follower.add_totals(before)

    async def _detect(
        self, place: Place, frame: CameraFrame, parts: np.ndarray, follower: Follower
    ) -> tuple[Detections, Place, float]:
        if not len(parts):
            return Detections.none(), place, 0.0
        spec = place.model.manifest.input
        batch = await self._watcher.crops(
            frame.number,
            tuple(_box(part) for part in parts.tolist()),
            (spec.width, spec.height),
            resize=spec.resize,
            pad=spec.pad,
        )
        placements = tuple(
            (item.scale_x, item.scale_y, item.offset_x, item.offset_y)
            for item in batch.cropped.placements
        )
        crops = PreparedCrops(batch.pixels.data.cast("B"), placements)

        async def work(lane: Lane, place: Place) -> CropsResult:
            return await lane.run_crops(
                self.pipeline.config.pipeline_id,
                place,
                crops,
                follower.confidence,
                self.pipeline.class_ids,
            )

        place, result = await self._loader.run_in(self.pipeline, work)
        found = [
            Detections(
                np.array(item.boxes, dtype=np.float32).reshape(-1, 4),
                np.array(item.scores, dtype=np.float32),
                np.array(item.class_ids, dtype=np.int32),
            )
            for item in result.crops
        ]
        return merge(found, parts), place, result.inference_ms

    async def _look_at_picture(self, frame: CameraFrame) -> bool:
        """Look at a whole frame now and then, for models that do not find objects to follow."""
        if frame.captured_monotonic - self._picture_at < 1 / _PICTURES_PER_S:
            return False
        _, jpeg = await self._watcher.picture(frame.number, _PICTURE_WIDTH)
        request = LookRequest(
            pipeline_id=self.pipeline.config.pipeline_id, captured_at=frame.captured_at
        )
        look = await self._stills.look(self.pipeline, request, memoryview(jpeg))
        self._picture_at = frame.captured_monotonic
        self._looked = _Looked(frame, look.objects, look.classes, jpeg)
        self._rate.looked(frame.captured_monotonic)
        self._show(replace(look, frames_per_second=self._rate.frames_per_second))
        return True

    # --- What is told ----------------------------------------------------------------------------

    def _event(
        self, event: RuleEvent, moment: Moment, shown: tuple[DetectedObject, ...]
    ) -> NodeEvent:
        zones: tuple[str, ...] = ()
        if event.item is not None and self._follower is not None:
            zones = self._follower.rules.zones_of(event.item.track_id)
        told = moment.rule_event(event, zones)
        return replace(told, evidence=self._best.evidence(event, told.event_id, shown))

    @property
    def objects(self) -> tuple[DetectedObject, ...]:
        """Return what is followed and counts, as messages carry it."""
        if self._follower is None:
            return ()
        rules = self._follower.rules
        return tuple(_shown(item, rules.zones_of(item.track_id)) for item in rules.objects)

    def _now(
        self,
        follower: Follower,
        frame: CameraFrame,
        place: Place,
        inference_ms: float,
        node_ms: float,
    ) -> Look:
        pipeline = self.pipeline
        return Look(
            pipeline_id=pipeline.config.pipeline_id,
            captured_at=parse_time(frame.captured_at).isoformat(),
            width=frame.width,
            height=frame.height,
            objects=self.objects,
            presence=follower.rules.presence,
            model=place.model.id,
            model_version=place.model.manifest.version,
            engine=place.engine,
            accelerator=place.accelerator,
            decode_ms=frame.decode_ms,
            inference_ms=inference_ms,
            node_ms=round(node_ms, 2),
            last_detection_at=pipeline.last_detection_at,
            picture_at=pipeline.picture_at.isoformat() if pipeline.picture_at else None,
            zones=follower.rules.zone_presence,
            lines=tuple(
                LineTotal(line=line, label=label, direction=direction, total=total)
                for line, totals in follower.rules.line_totals.items()
                for (label, direction), total in totals.items()
            ),
            frames_per_second=self._rate.frames_per_second,
        )

    def _show(self, look: Look) -> None:
        """Push what holds where it has changed, and now and then."""
        if self.source.state != SourceState.LIVE:
            return  # it was under way when the camera went: what it shows does not hold any more
        self._look = look
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
        every_s = _TELL_EVERY_S if moves or self._told_new_rate else _TELL_IDLE_EVERY_S
        now = time.monotonic()
        if news != self._told or now - self._told_at >= every_s:
            self._told, self._told_at = news, now
            self._told_new_rate = self._rate.new
            self._teller.show(look)

    def _show_picture(self) -> None:
        """Tell that there is a newer picture of an event."""
        if self._look is not None and (at := self.pipeline.picture_at) is not None:
            self._show(replace(self._look, picture_at=at.isoformat()))

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

    async def picture(self, max_width: int) -> tuple[Pictured, bytes]:
        """Return the newest frame as JPEG. Raises `CameraError`."""
        self._expect_live()
        return await self._watcher.picture(max_width=max_width)

    async def view(self, max_width: int) -> tuple[str, bytes, Findings]:
        """Return a frame as JPEG, when it was taken, and what that very frame shows.

        It is the one that was looked at last where that shows something, and the newest one
        otherwise, in which nothing is known of anything. Raises `CameraError`.
        """
        self._expect_live()
        looked, newest = self._looked, self._watcher.camera.frame
        if looked is not None and newest is not None and (looked.objects or looked.classes):
            findings = Findings(objects=looked.objects, classes=looked.classes)
            age_s = newest.captured_monotonic - looked.frame.captured_monotonic
            if looked.jpeg is not None and age_s <= _SHOWN_S:
                return looked.frame.captured_at, looked.jpeg, findings
            if age_s <= _SHOWN_S:
                with suppress(FrameGoneError):
                    pictured, jpeg = await self._watcher.picture(looked.frame.number, max_width)
                    return pictured.captured_at, jpeg, findings
        pictured, jpeg = await self._watcher.picture(max_width=max_width)
        return pictured.captured_at, jpeg, Findings()

    async def motion_view(self, max_width: int) -> tuple[Pictured, bytes]:
        """Return as JPEG what the motion gate sees. Raises `CameraError`."""
        self._expect_live()
        return await self._watcher.motion_view(max_width)

    def _expect_live(self) -> None:
        if self.source.state != SourceState.LIVE:
            raise CameraError(self.source.reason or "The camera's video is not there yet")

    # --- The end ---------------------------------------------------------------------------------

    def _followed(self, follower: Follower) -> tuple[str, str] | None:
        if self._unread_at is not None:
            return None
        snapshot = {**follower.snapshot(), **self._best.snapshot(), CAMERA: self._camera}
        return self.pipeline.config.pipeline_id, json.dumps(snapshot)

    async def stop(self) -> None:
        """Stop looking, and remember what was there."""
        self.pipeline.on_picture = None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._follower is not None:
            await self._teller.tell([], self._followed(self._follower))

    async def release(self) -> None:
        """Let go of the camera; its process ends where nobody else watches."""
        await self._watcher.close()


def _shown(item: SceneObject, zones: tuple[str, ...]) -> DetectedObject:
    return DetectedObject(
        label=item.label,
        confidence=item.confidence,
        box=item.box,
        track_id=item.track_id,
        zones=zones,
        stationary=item.stationary,
    )


def _array(boxes: list[Box]) -> np.ndarray:
    rows = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _around(polygon: Sequence[Point]) -> Box:
    xs, ys = [point.x for point in polygon], [point.y for point in polygon]
    return Box(x_min=min(xs), y_min=min(ys), x_max=max(xs), y_max=max(ys))


def _box(values: list[float]) -> Box:
    return Box(x_min=values[0], y_min=values[1], x_max=values[2], y_max=values[3])
