"""A pipeline: one camera's path from frame to event."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from ulid_transform import ulid_now

from ..errors import NodeError
from ..protocol import (
    NO_ANSWER,
    TASKS_WITH_OBJECTS,
    DetectedObject,
    Kind,
    Look,
    LookRequest,
    NodeEvent,
    Phase,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    ProtocolError,
    Task,
)
from ..rules.answer import NOTHING, Answer, HeldAnswer
from ..rules.objects import Limits
from ..rules.posture import with_postures
from ..rules.presence import Change, Presence
from ..rules.scene import RuleEvent
from ..workers.lane import Place
from ..workers.messages import RunResult


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time in UTC. Raises `ProtocolError`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it has no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise ProtocolError(f"{text!r} is not a time: {err}") from None


@dataclass(frozen=True)
class History:
    """What the result log says of a pipeline: label → count of what was present, last answer."""

    present: dict[str, int]
    answer: NodeEvent | None


class Pipeline:
    """Configuration, loaded model, rules and counters of one pipeline. Used from the event loop."""

    def __init__(self, config: PipelineConfig, picture_at: datetime | None) -> None:
        """Start without a model; `picture_at` is when the last event's picture was taken."""
        self.config = config
        self.limits = Limits(config.confidence, config.limits)
        self.picture_at = picture_at
        self.place: Place | None = None
        self.error: NodeError | None = None
        # While its model is being loaded.
        self.loading: asyncio.Task[None] | None = None
        # Why it does not run where it was wanted, but runs.
        self.fallback_from: str | None = None
        self.class_ids: list[int] = []
        # Looks of one pipeline take their turn here, so that the rules see them in order.
        self.turn = asyncio.Lock()
        self.presence = Presence(config.labels, config.looks_to_clear)
        # Labels of what was followed in live video and goes on in stills; and of what has ended
        # in them, which is still to be told.
        self.inherited: set[str] = set()
        self.outlived: set[str] = set()
        self.held = HeldAnswer(config.looks_to_clear)
        self._last_answer: NodeEvent | None = None
        # What the newest events were about, for each of the two has objects of its own: stills or
        # live video; None where nobody knows.
        self.told_of: Literal["stills", "live"] | None = None
        self.elsewhere = False
        self.looks = 0
        self.failures = 0
        self.dropped = 0
        self.last_detection_at: str | None = None

    def reconfigure(self, config: PipelineConfig) -> bool:
        """Take a new configuration; what is present stays present where it still is of interest.

        Returns whether it is to run elsewhere, or another model.
        """
        before, held = self.presence.state, self.held.answer
        moved = _wanted_place(config) != _wanted_place(self.config)
        same_model = config.model == self.config.model
        posture = self.place is not None and self.place.model.manifest.task == Task.POSE
        # What was seen at another camera ends with the first look at this one.
        self.elsewhere = self.elsewhere or config.camera != self.config.camera
        self.config = config
        self.limits = Limits(config.confidence, config.limits)
        if moved:
            self.place = self.error = self.fallback_from = None
        self.outlived |= {label for label in self.inherited if not self._wants(label)}
        self.inherited -= self.outlived
        self.presence = Presence(config.labels, config.looks_to_clear)
        self._restore_presence(
            {label: item.count for label, item in before.items() if item.present}
        )
        self.held = HeldAnswer(config.looks_to_clear)
        if held is not None and same_model and (posture or self._wants(held.label)):
            self.held.restore(held.label, held.confidence)
        return moved

    def restore(self, history: History) -> None:
        """Take up what held before a restart."""
        self._restore_presence(history.present)
        self._last_answer = history.answer

    def _restore_presence(self, counts: dict[str, int]) -> None:
        self.presence.restore({label: n for label, n in counts.items() if self._wants(label)})

    def _wants(self, label: str) -> bool:
        labels = self.config.labels
        return not labels or label in labels or label == NO_ANSWER

    def use(self, place: Place, fallback_from: str | None = None) -> None:
        """Take a loaded model, in `fallback_from`'s stead where that says what was wanted.

        Raises `ModelError` where it lacks a label of the configuration.
        """
        self.class_ids = place.model.class_ids(self.config.labels)
        self.place, self.error, self.fallback_from = place, None, fallback_from
        last, self._last_answer = self._last_answer, None
        if last is not None and last.model == place.model.id:
            posture = place.model.manifest.task == Task.POSE
            if posture or self._wants(last.label):
                self.held.restore(last.label, last.confidence)

    def fail(self, error: NodeError) -> None:
        """Note that the model cannot be used."""
        self.place, self.error, self.fallback_from = None, error, None

    @property
    def status(self) -> PipelineStatus:
        """Return how the pipeline is doing."""
        place = self.place
        state = PipelineState.READY if place else PipelineState.LOADING
        if self.error is not None:
            state = PipelineState.FAILED
        return PipelineStatus(
            pipeline_id=self.config.pipeline_id,
            state=state,
            error_code=self.error.code if self.error else None,
            error=str(self.error) if self.error else None,
            model=place.model.id if place else None,
            model_version=place.model.manifest.version if place else None,
            engine=place.engine if place else None,
            accelerator=place.accelerator if place else None,
            looks=self.looks,
            failures=self.failures,
            dropped=self.dropped,
            presence=self.presence.state,
            last_detection_at=self.last_detection_at,
            picture_at=self.picture_at.isoformat() if self.picture_at else None,
            fallback_from=self.fallback_from,
        )

    def conclude(self, request: LookRequest, result: RunResult, place: Place) -> list[NodeEvent]:
        """Take in what a look showed; return the events it makes."""
        objects = result.findings.objects
        captured_at = parse_time(request.captured_at)
        seen, best_object = _answer(place, result)
        self.looks += 1
        if objects or (seen is not None and seen.label != NO_ANSWER):
            self.last_detection_at = captured_at.isoformat()

        event = partial(self._event, captured_at, place, result.inference_ms)

        def about_change(change: Change) -> NodeEvent:
            best, label = change.best, change.label
            confidence = best.confidence if best else self.presence.last_confidence(label)
            return event(Kind.OBJECT, change.phase, label, change.count, best, confidence)

        events: list[NodeEvent] = []
        if place.model.manifest.task in TASKS_WITH_OBJECTS:
            for change in self.presence.step(objects):
                if change.label not in self.inherited or change.phase == Phase.UPDATE:
                    events.append(about_change(change))
                elif change.phase == Phase.END:
                    self.inherited.discard(change.label)
                    self.outlived.add(change.label)
        if seen is not None and (news := self.held.step(seen)) is not None:
            count = int(news.label != NO_ANSWER)
            kind, confidence = Kind.CLASSIFICATION, news.confidence
            events.append(event(kind, Phase.INSTANT, news.label, count, best_object, confidence))
        if request.scan:
            events += self.scanned(request, result, place)
        return events

    def scanned(self, request: LookRequest, result: RunResult, place: Place) -> list[NodeEvent]:
        """Return an event for each thing that a look showed, whatever was there before."""
        captured_at = parse_time(request.captured_at)
        event = partial(self._event, captured_at, place, result.inference_ms)
        totals = summarise(result.findings.objects)
        events = [
            event(Kind.SCAN, Phase.INSTANT, item.label, totals[item.label], item, item.confidence)
            for item in result.findings.objects
        ]
        seen, best = _answer(place, result)
        if seen is not None and seen.label != NO_ANSWER:
            events.append(event(Kind.SCAN, Phase.INSTANT, seen.label, 1, best, seen.confidence))
        return events

    def inherit(self, counts: Mapping[str, int]) -> None:
        """Take up what was followed in live video: it is there until stills do not show it."""
        self.inherited = set(counts)
        self.presence.restore(counts)

    def outlive(self) -> None:
        """End with the next look what was followed and goes on."""
        if gone := self.inherited | self.outlived:
            self.forget_presence()
            self.outlived = gone

    def forget_presence(self) -> None:
        """Know nothing of what is there."""
        self.presence = Presence(self.config.labels, self.config.looks_to_clear)
        self.inherited, self.outlived = set(), set()

    def end_presence(
        self, captured_at: datetime, place: Place, besides: Collection[str] = ()
    ) -> list[NodeEvent]:
        """Return the ends of what stills have shown, `besides` what was followed before them."""
        state = self.presence.state
        present = [label for label, item in state.items() if item.present and label not in besides]
        events = [
            self._event(
                captured_at,
                place,
                0.0,
                Kind.OBJECT,
                Phase.END,
                label,
                0,
                None,
                self.presence.last_confidence(label),
            )
            for label in present
        ]
        self.forget_presence()
        return events

    def end_followed(
        self, ended: Iterable[RuleEvent], captured_at: datetime, place: Place
    ) -> list[NodeEvent]:
        """Return the ends of what was followed in live video, now that there are stills."""
        return [
            replace(
                self._event(
                    captured_at,
                    place,
                    0.0,
                    event.kind,
                    event.phase,
                    event.label,
                    event.count,
                    None,
                    event.item.confidence if event.item else 0.0,
                ),
                track_id=event.item.track_id if event.item else None,
                zone=event.zone,
                zones=(event.zone,) if event.zone else (),
            )
            for event in ended
        ]

    def _event(
        self,
        captured_at: datetime,
        place: Place,
        inference_ms: float,
        kind: Kind,
        phase: Phase,
        label: str,
        count: int,
        best: DetectedObject | None,
        confidence: float,
    ) -> NodeEvent:
        return NodeEvent(
            event_id=ulid_now(),
            pipeline_id=self.config.pipeline_id,
            kind=kind,
            phase=phase,
            label=label,
            confidence=confidence,
            count=count,
            box=best.box if best else None,
            model=place.model.id,
            model_version=place.model.manifest.version,
            engine=place.engine,
            accelerator=place.accelerator,
            pattern=self.config.pattern,
            captured_at=captured_at.isoformat(),
            inference_ms=round(inference_ms, 1),
        )

    def look(self, request: LookRequest, result: RunResult, place: Place, node_ms: float) -> Look:
        """Return the answer to a look; `node_ms` is what all of it took."""
        held = self.held.answer
        return Look(
            pipeline_id=self.config.pipeline_id,
            captured_at=parse_time(request.captured_at).isoformat(),
            width=result.width,
            height=result.height,
            objects=result.findings.objects,
            presence=self.presence.state,
            model=place.model.id,
            model_version=place.model.manifest.version,
            engine=place.engine,
            accelerator=place.accelerator,
            decode_ms=result.decode_ms,
            inference_ms=result.inference_ms,
            node_ms=round(node_ms, 2),
            last_detection_at=self.last_detection_at,
            picture_at=self.picture_at.isoformat() if self.picture_at else None,
            task=place.model.manifest.task,
            classes=result.findings.classes,
            answer=held.label if held else None,
        )

    def counted(self, result: RunResult) -> RunResult:
        """Return a result without the objects that are not sure or large enough."""
        return allowed(result, self.limits) if self.config.limits else result


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


def _answer(place: Place, result: RunResult) -> tuple[Answer | None, DetectedObject | None]:
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


def _wanted_place(config: PipelineConfig) -> tuple[object, ...]:
    return config.model, config.engine, config.accelerator, config.allow_fallback


def summarise(objects: Sequence[DetectedObject]) -> dict[str, int]:
    """Return label → how many."""
    totals: dict[str, int] = {}
    for item in objects:
        totals[item.label] = totals.get(item.label, 0) + 1
    return totals
