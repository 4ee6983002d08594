"""A pipeline: one camera's path from frame to event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from ulid_transform import ulid_now

from .errors import NodeError
from .protocol import (
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
)
from .rules.presence import Change, Presence
from .workers.messages import RunResult
from .workers.pool import Place


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time in UTC. Raises `ProtocolError`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it has no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise ProtocolError(f"{text!r} is not a time: {err}") from None


class Pipeline:
    """Configuration, loaded model, rule and counters of one pipeline. Used from the event loop."""

    def __init__(self, config: PipelineConfig, picture_at: datetime | None) -> None:
        """Start without a model; `picture_at` is when the last event's picture was taken."""
        self.config = config
        self.picture_at = picture_at
        self.place: Place | None = None
        self.error: NodeError | None = None
        self.class_ids: list[int] = []
        # Looks of one pipeline take their turn here, so that the rule sees them in order.
        self.turn = asyncio.Lock()
        self.presence = Presence(config.labels, config.looks_to_clear)
        self.looks = 0
        self.failures = 0
        self.dropped = 0
        self._last_detection_at: str | None = None

    def reconfigure(self, config: PipelineConfig) -> None:
        """Take a new configuration; what is present stays present where it still is of interest."""
        before = self.presence.state
        self.config = config
        self.presence = Presence(config.labels, config.looks_to_clear)
        self.restore({label: item.count for label, item in before.items() if item.present})

    def restore(self, counts: dict[str, int]) -> None:
        """Take up what was present before a restart."""
        labels = self.config.labels
        self.presence.restore({k: n for k, n in counts.items() if not labels or k in labels})

    def use(self, place: Place) -> None:
        """Take a loaded model. Raises `ModelError` where it lacks a label of the configuration."""
        self.class_ids = place.model.class_ids(self.config.labels)
        self.place, self.error = place, None

    def fail(self, error: NodeError) -> None:
        """Note that the model cannot be used."""
        self.place, self.error = None, error

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
            last_detection_at=self._last_detection_at,
            picture_at=self.picture_at.isoformat() if self.picture_at else None,
        )

    def conclude(self, request: LookRequest, result: RunResult, place: Place) -> list[NodeEvent]:
        """Take in what a look showed; return the events it makes."""
        objects = result.findings.objects
        captured_at = parse_time(request.captured_at)
        self.looks += 1
        if objects:
            self._last_detection_at = captured_at.isoformat()

        def event(
            kind: Kind, phase: Phase, label: str, count: int, best: DetectedObject | None
        ) -> NodeEvent:
            confidence = best.confidence if best else self.presence.last_confidence(label)
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
                inference_ms=round(result.inference_ms, 1),
            )

        changes: list[Change] = self.presence.step(objects)
        events = [event(Kind.OBJECT, c.phase, c.label, c.count, c.best) for c in changes]
        if request.scan:
            totals = summarise(objects)
            events += [
                event(Kind.SCAN, Phase.INSTANT, item.label, totals[item.label], item)
                for item in objects
            ]
        return events

    def look(self, request: LookRequest, result: RunResult, place: Place, node_ms: float) -> Look:
        """Return the answer to a look; `node_ms` is what all of it took."""
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
            last_detection_at=self._last_detection_at,
            picture_at=self.picture_at.isoformat() if self.picture_at else None,
        )


def summarise(objects: Sequence[DetectedObject]) -> dict[str, int]:
    """Return label → how many."""
    totals: dict[str, int] = {}
    for item in objects:
        totals[item.label] = totals.get(item.label, 0) + 1
    return totals
