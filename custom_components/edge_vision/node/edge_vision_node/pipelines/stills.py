"""A single look at a whole picture: for a pipeline, or for none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ulid_transform import ulid_now

from ..errors import SupersededError, UnknownPipelineError
from ..frames.masks import NO_MASKS, Masks
from ..imaging.service import Imaging
from ..models.store import ModelStore
from ..protocol import (
    NO_ANSWER,
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
from ..rules.answer import NOTHING
from ..rules.objects import Limits
from ..rules.posture import with_postures
from ..rules.scene import Answer, Scene, SceneObject
from ..workers.lane import Lane, ModelSite
from ..workers.messages import RunResult
from ..workers.pool import Workers
from .handover import Situation
from .loading import Loader
from .pictures import EventStill, Pictures
from .pipeline import Pipeline
from .telling import Moment, Teller, parse_time

# The name under which pictures are decoded that belong to no pipeline.
_ASKED = "on request"


class Stills:
    """Looks at whole pictures. Used from the event loop."""

    def __init__(
        self,
        loader: Loader,
        imaging: Imaging,
        teller: Teller,
        pictures: Pictures,
    ) -> None:
        """Initialize."""
        self._loader = loader
        self._imaging = imaging
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
        masks = pipeline.masks
        config = pipeline.config
        place, result = await self._find(pipeline, data, masks)
        async with pipeline.turn:
            if still and pipeline.config.video is not None:
                raise SupersededError("Live video is watched by now")
            if not still and pipeline.config is not config:
                raise SupersededError("The settings have changed during the look")
            memory, at = pipeline.memory, time.monotonic()
            await memory.enter(Situation.of(pipeline.config, place.model), at)
            _require(pipeline)
            findings, answer = result.findings, answer_in(place, result)
            pipeline.looks += 1
            if findings.objects or (answer is not None and answer.label != NO_ANSWER):
                pipeline.last_detection_at = captured_at.isoformat()
            moment = Moment(pipeline, place, captured_at, result.inference_ms)
            objects = [scene_item(item) for item in findings.objects]
            scene = Scene(at=at, objects=objects, answer=answer, embedding=findings.embedding)
            told = [*memory.take_ended(), *memory.step(scene)]
            events = [moment.rule_event(event) for event in told]
            if request.scan:
                events += _scan_events(moment, findings.objects, answer)
            shown = [e for e in events if e.phase != Phase.END and e.label != NO_ANSWER]
            if shown and (findings.objects or findings.classes):
                pipeline.picture_at = captured_at
                # One picture shows everything that a look has shown.
                evidence = shown[0].event_id
                events = [replace(e, evidence=evidence) if e in shown else e for e in events]
                subjects = _subjects(shown, findings)
                picture = EventStill(evidence, data, findings, captured_at, masks, subjects)
                self._pictures.take_still(pipeline, picture)
            await self._teller.tell(events, memory.record(events) if told else None)
        return _answer_of(moment, result, (time.perf_counter() - started) * 1000)

    async def scan(self, pipeline: Pipeline, captured_at: str, jpeg: bytes) -> Look:
        """Look once at a frame of live video; states are left as they are. Raises `NodeError`."""
        started = time.perf_counter()
        # In a name of its own, so that no newer frame takes its place.
        place, result = await self._find(pipeline, memoryview(jpeg), user=ulid_now())
        _require(pipeline)
        moment = Moment(pipeline, place, parse_time(captured_at), result.inference_ms)
        objects = result.findings.objects
        events = _scan_events(moment, objects, answer_in(place, result))
        if events:
            evidence = events[0].event_id
            events = [replace(event, evidence=evidence) for event in events]
            data, findings = memoryview(jpeg), result.findings
            picture = EventStill(evidence, data, findings, moment.captured_at)
            self._pictures.take_still(pipeline, picture)
        await self._teller.tell(events)
        return _answer_of(moment, result, (time.perf_counter() - started) * 1000)

    async def _find(
        self, pipeline: Pipeline, data: memoryview, masks: Masks = NO_MASKS, user: str | None = None
    ) -> tuple[ModelSite, RunResult]:
        """Return what a picture shows of interest, with postures."""
        lowest = pipeline.limits.lowest
        place, result = await self.run(pipeline, data, masks, user, lowest=lowest)
        result = understood(place, result)
        return place, allowed(result, pipeline.limits) if pipeline.config.limits else result

    async def run(
        self,
        pipeline: Pipeline,
        data: memoryview,
        masks: Masks = NO_MASKS,
        user: str | None = None,
        *,
        lowest: float,
    ) -> tuple[ModelSite, RunResult]:
        """Run a pipeline's model on a picture; return what is found from a confidence on.

        `user` is in whose name that is done if not the pipeline's. Raises `NodeError`.
        """
        whose = pipeline.config.pipeline_id

        async def work(lane: Lane, place: ModelSite) -> RunResult:
            manifest = place.model.manifest
            # Before it is its turn: no picture waits for another one to be decoded.
            still = await self._imaging.prepare(whose, data, manifest, masks, patient=user is None)
            return await lane.run(user or whose, place, still, lowest, pipeline.class_ids)

        return await self._loader.run_in(pipeline, work)


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
    masks = Masks(request.privacy_masks, request.mask_aspects)
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


def _scan_events(
    moment: Moment, objects: Sequence[DetectedObject], answer: Answer | None
) -> list[NodeEvent]:
    """Return an event for each thing that a look shows, whatever was there before."""
    events = moment.scan_events(objects)
    if answer is not None and answer.label != NO_ANSWER:
        box = answer.item.box if answer.item else None
        scan = moment.event(Kind.SCAN, Phase.INSTANT, answer.label, 1, answer.confidence, box)
        events.append(scan)
    return events


def _answer_of(moment: Moment, result: RunResult, node_ms: float) -> Look:
    """Return the answer to a look; `node_ms` is what all of it took."""
    pipeline, place = moment.pipeline, moment.place
    return Look(
        pipeline_id=pipeline.config.pipeline_id,
        captured_at=moment.captured_at.isoformat(),
        width=result.width,
        height=result.height,
        objects=result.findings.objects,
        presence=pipeline.memory.presence(pipeline.config),
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
        answer=pipeline.memory.answer,
    )


def allowed(result: RunResult, limits: Limits) -> RunResult:
    """Return a result without the objects that limits leave out."""
    objects = tuple(
        item
        for item in result.findings.objects
        if limits.allow(item.label, item.confidence, item.box.area)
    )
    return replace(result, findings=replace(result.findings, objects=objects))


def understood(place: ModelSite, result: RunResult) -> RunResult:
    """Return what a model found with what follows from it alone: the postures of bodies."""
    if place.model.manifest.task != Task.POSE:
        return result
    objects = with_postures(result.findings.objects, result.width, result.height)
    return replace(result, findings=replace(result.findings, objects=objects))


def scene_item(item: DetectedObject) -> SceneObject:
    """Return an object as rules take it."""
    return SceneObject(
        track_id=item.track_id or 0,
        label=item.label,
        confidence=item.confidence,
        box=item.box,
        keypoints=item.keypoints,
    )


def answer_in(place: ModelSite, result: RunResult) -> Answer | None:
    """Return what one look says of the whole picture; None if the task has no such answer."""
    found = result.findings
    match place.model.manifest.task:
        case Task.CLASSIFICATION:
            if not found.classes:
                return NOTHING
            return Answer(found.classes[0].label, found.classes[0].confidence)
        case Task.POSE:
            return posture_answer(found.objects)
    return None


def posture_answer(bodies: Sequence[DetectedObject]) -> Answer:
    """Return the posture of the body that is most certain, best first, as an answer."""
    if not bodies:
        return NOTHING
    best = bodies[0]
    return Answer(best.posture or NO_ANSWER, best.confidence, scene_item(best))


def _subjects(events: Sequence[NodeEvent], findings: Findings) -> list[DetectedObject]:
    """Return the objects that events of one still are about: all of a label that has news."""
    about = {event.label for event in events}
    return [item for item in findings.objects if item.label in about or item.posture in about]
