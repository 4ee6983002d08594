"""A single look at a whole picture: for a pipeline, or for none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ulid_transform import ulid_now

from ..errors import SupersededError, UnknownPipelineError
from ..frames.masks import Masks
from ..imaging.service import Imaging
from ..models.store import ModelStore
from ..protocol import (
    NO_ANSWER,
    TASKS_WITH_OBJECTS,
    Detected,
    DetectedObject,
    DetectRequest,
    Findings,
    Kind,
    Look,
    LookRequest,
    NodeEvent,
    Phase,
    Task,
)
from ..rules.answer import NOTHING, Answer
from ..rules.objects import Limits
from ..rules.posture import with_postures
from ..storage.archive import Archive
from ..workers.lane import Lane, Place
from ..workers.messages import RunResult
from ..workers.pool import Workers
from .loading import Loader
from .memory import end_outlived, end_presence, leave_live
from .pictures import EventStill, Pictures
from .pipeline import Pipeline
from .telling import Moment, Teller, parse_time

# In whose name pictures are decoded that belong to no pipeline.
_ASKED = "whoever asks"


class Stills:
    """Looks at whole pictures. Used from the event loop."""

    def __init__(
        self,
        loader: Loader,
        imaging: Imaging,
        archive: Archive,
        teller: Teller,
        pictures: Pictures,
    ) -> None:
        """Initialize."""
        self._loader = loader
        self._imaging = imaging
        self._archive = archive
        self._teller = teller
        self._pictures = pictures

    async def look(
        self, pipeline: Pipeline, request: LookRequest, data: memoryview, *, still: bool = False
    ) -> Look:
        """Look at a picture of a pipeline and tell what has changed. Raises `NodeError`.

        A `still` is too late for a pipeline that watches live video by now.
        """
        started = time.perf_counter()
        captured_at = parse_time(request.captured_at)
        masks = pipeline.config.privacy_masks
        place, result = await self._run(pipeline, data, masks)
        async with pipeline.turn:
            if still and pipeline.config.video is not None:
                raise SupersededError("Live video is watched by now")
            moment = Moment(pipeline, place, captured_at, result.inference_ms)
            ended, followed = await leave_live(moment, self._archive)
            _require(pipeline)
            if pipeline.elsewhere:
                pipeline.elsewhere = False
                gone = pipeline.inherited | pipeline.outlived
                ended += end_presence(moment, besides=gone)
                pipeline.outlived |= gone
            if place.model.manifest.task not in TASKS_WITH_OBJECTS:
                pipeline.outlive()  # no look will show that it is gone
            events = ended + _conclude(moment, result)
            if request.scan:
                events += _scan_events(moment, result)
            if pipeline.outlived:
                more, followed = await end_outlived(moment, self._archive, followed)
                events += more
            findings = result.findings
            shown = [e for e in events if e.phase != Phase.END and e.label != NO_ANSWER]
            if shown and (findings.objects or findings.classes):
                pipeline.picture_at = captured_at
                # One picture shows everything that a look has shown.
                evidence = shown[0].event_id
                events = [replace(e, evidence=evidence) if e in shown else e for e in events]
                subjects = _subjects(shown, findings)
                picture = EventStill(evidence, data, findings, captured_at, masks, subjects)
                self._pictures.take_still(pipeline, picture)
            await self._teller.tell(events, followed)
        return _answer_of(moment, result, (time.perf_counter() - started) * 1000)

    async def scan(self, pipeline: Pipeline, captured_at: str, jpeg: bytes) -> Look:
        """Look once at a frame of live video; states are left as they are. Raises `NodeError`."""
        started = time.perf_counter()
        # In a name of its own, so that no newer frame takes its place.
        place, result = await self._run(pipeline, memoryview(jpeg), user=ulid_now())
        _require(pipeline)
        moment = Moment(pipeline, place, parse_time(captured_at), result.inference_ms)
        events = _scan_events(moment, result)
        if events:
            evidence = events[0].event_id
            events = [replace(event, evidence=evidence) for event in events]
            data, findings = memoryview(jpeg), result.findings
            picture = EventStill(evidence, data, findings, moment.captured_at)
            self._pictures.take_still(pipeline, picture)
        await self._teller.tell(events)
        return _answer_of(moment, result, (time.perf_counter() - started) * 1000)

    async def _run(
        self, pipeline: Pipeline, data: memoryview, masks: Masks = (), user: str | None = None
    ) -> tuple[Place, RunResult]:
        whose = pipeline.config.pipeline_id

        async def work(lane: Lane, place: Place) -> RunResult:
            manifest = place.model.manifest
            # Before it is its turn: no picture waits for another one to be decoded.
            still = await self._imaging.prepare(whose, data, manifest, masks, patient=user is None)
            lowest, class_ids = pipeline.limits.lowest, pipeline.class_ids
            return await lane.run(user or whose, place, still, lowest, class_ids)

        place, result = await self._loader.run_in(pipeline, work)
        result = understood(place, result)
        return place, allowed(result, pipeline.limits) if pipeline.config.limits else result


async def detect(
    request: DetectRequest,
    data: memoryview,
    store: ModelStore,
    workers: Workers,
    imaging: Imaging,
) -> tuple[Detected, bytes | None]:
    """Look once, outside every pipeline; nothing is kept.

    Returns the answer, and the annotated picture (JPEG) if it was asked for. Raises `NodeError`.
    """
    started = time.perf_counter()
    model = store.get(request.model)
    place = await workers.choose(model, request.engine, request.accelerator)
    class_ids = place.model.class_ids(request.labels)
    limits = Limits(request.confidence, request.limits)
    masks = request.privacy_masks
    with workers.hold(place) as lane:
        await lane.load(place)
        still = await imaging.prepare(_ASKED, data, place.model.manifest, masks)
        found = await lane.run(ulid_now(), place, still, limits.lowest, class_ids)
    result = understood(place, allowed(found, limits) if request.limits else found)
    picture = None
    if request.annotate:
        _, picture = await imaging.draw(_ASKED, data, result.findings, masks=masks)
    answer = Detected(
        width=result.width,
        height=result.height,
        objects=result.findings.objects,
        model=place.model.id,
        model_version=place.model.manifest.version,
        engine=place.engine,
        accelerator=place.accelerator,
        decode_ms=result.decode_ms,
        inference_ms=result.inference_ms,
        node_ms=round((time.perf_counter() - started) * 1000, 2),
        task=place.model.manifest.task,
        classes=result.findings.classes,
        embedding=result.findings.embedding,
    )
    return answer, picture


def _require(pipeline: Pipeline) -> None:
    """Raise `UnknownPipelineError` if a pipeline has been removed during its look."""
    if pipeline.removed:
        raise UnknownPipelineError(f"{pipeline.config.name} has been removed")


def _conclude(moment: Moment, result: RunResult) -> list[NodeEvent]:
    """Take in what a look showed; return the events that come of it."""
    pipeline, objects = moment.pipeline, result.findings.objects
    seen, best_object = answer_in(moment.place, result)
    pipeline.looks += 1
    if objects or (seen is not None and seen.label != NO_ANSWER):
        pipeline.last_detection_at = moment.captured_at.isoformat()
    events: list[NodeEvent] = []
    if moment.place.model.manifest.task in TASKS_WITH_OBJECTS:
        for change in pipeline.presence.step(objects):
            if change.label not in pipeline.inherited or change.phase == Phase.UPDATE:
                best, label = change.best, change.label
                confidence = best.confidence if best else pipeline.presence.last_confidence(label)
                box = best.box if best else None
                events.append(
                    moment.event(Kind.OBJECT, change.phase, label, change.count, confidence, box)
                )
            elif change.phase == Phase.END:
                pipeline.inherited.discard(change.label)
                pipeline.outlived.add(change.label)
    if seen is not None and (news := pipeline.held.step(seen)) is not None:
        count = int(news.label != NO_ANSWER)
        box = best_object.box if best_object else None
        events.append(
            moment.event(
                Kind.CLASSIFICATION, Phase.INSTANT, news.label, count, news.confidence, box
            )
        )
    return events


def _scan_events(moment: Moment, result: RunResult) -> list[NodeEvent]:
    """Return an event for each thing that a look shows, whatever was there before."""
    events = moment.scan_events(result.findings.objects)
    seen, best = answer_in(moment.place, result)
    if seen is not None and seen.label != NO_ANSWER:
        box = best.box if best else None
        events.append(moment.event(Kind.SCAN, Phase.INSTANT, seen.label, 1, seen.confidence, box))
    return events


def _answer_of(moment: Moment, result: RunResult, node_ms: float) -> Look:
    """Return the answer to a look; `node_ms` is what all of it took."""
    pipeline, place = moment.pipeline, moment.place
    held = pipeline.held.answer
    return Look(
        pipeline_id=pipeline.config.pipeline_id,
        captured_at=moment.captured_at.isoformat(),
        width=result.width,
        height=result.height,
        objects=result.findings.objects,
        presence=pipeline.presence.state,
        model=place.model.id,
        model_version=place.model.manifest.version,
        engine=place.engine,
        accelerator=place.accelerator,
        decode_ms=result.decode_ms,
        inference_ms=result.inference_ms,
        node_ms=round(node_ms, 2),
        last_detection_at=pipeline.last_detection_at,
        picture_at=pipeline.picture_at.isoformat() if pipeline.picture_at else None,
        task=place.model.manifest.task,
        classes=result.findings.classes,
        answer=held.label if held else None,
    )


def allowed(result: RunResult, limits: Limits) -> RunResult:
    """Return a result without the objects that limits leave out."""
    objects = tuple(
        item
        for item in result.findings.objects
        if limits.allow(item.label, item.confidence, item.box.area)
    )
    return replace(result, findings=replace(result.findings, objects=objects))


def understood(place: Place, result: RunResult) -> RunResult:
    """Return what a model found with what follows from it alone: the postures of bodies."""
    if place.model.manifest.task != Task.POSE:
        return result
    objects = with_postures(result.findings.objects, result.width, result.height)
    return replace(result, findings=replace(result.findings, objects=objects))


def answer_in(place: Place, result: RunResult) -> tuple[Answer | None, DetectedObject | None]:
    """Return what one look says of the whole frame, and of which object; None of other tasks."""
    found = result.findings
    match place.model.manifest.task:
        case Task.CLASSIFICATION:
            if not found.classes:
                return NOTHING, None
            return Answer(found.classes[0].label, found.classes[0].confidence), None
        case Task.POSE:
            if not found.objects:
                return NOTHING, None
            best = found.objects[0]
            return Answer(best.posture or NO_ANSWER, best.confidence), best
    return None, None


def _subjects(events: Sequence[NodeEvent], findings: Findings) -> list[DetectedObject]:
    """Return the objects that events of one still are about: all of a label that has news."""
    about = {event.label for event in events}
    return [item for item in findings.objects if item.label in about or item.posture in about]
