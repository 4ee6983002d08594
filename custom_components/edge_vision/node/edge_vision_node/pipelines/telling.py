"""The one place where events are made, written to the archive, and pushed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from ulid_transform import ulid_now

from ..errors import StorageError
from ..protocol import Box, DetectedObject, Kind, Look, NodeEvent, Phase, ProtocolError
from ..rules.objects import count_labels
from ..rules.scene import RuleEvent
from ..storage.archive import Archive
from ..workers.lane import ModelSite
from .background import Background
from .pipeline import Pipeline

_LOGGER = logging.getLogger(__name__)

_NOT_KEPT = "Events cannot be kept"
_NOT_PUSHED = "Events cannot be pushed"
_NOT_SHOWN = "What is seen cannot be pushed"

# (sequence number or None where the event could not be written, event)
EventListener = Callable[[int | None, NodeEvent], None]
LookListener = Callable[[Look], None]


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
class Moment:
    """One look of a pipeline: what all events that come of it share."""

    pipeline: Pipeline
    place: ModelSite
    captured_at: datetime
    inference_ms: float = 0.0

    def event(
        self,
        kind: str,
        phase: str,
        label: str,
        count: int,
        confidence: float,
        box: Box | None = None,
    ) -> NodeEvent:
        """Return an event about a label."""
        config, place = self.pipeline.config, self.place
        return NodeEvent(
            event_id=ulid_now(),
            pipeline_id=config.pipeline_id,
            kind=kind,
            phase=phase,
            label=label,
            confidence=confidence,
            count=count,
            box=box,
            model=place.model.id,
            model_version=place.model.manifest.version,
            engine=place.engine,
            accelerator=place.accelerator,
            pattern=config.pattern,
            captured_at=self.captured_at.isoformat(),
            inference_ms=round(self.inference_ms, 2),
        )

    def rule_event(self, event: RuleEvent, zones: Iterable[str] = ()) -> NodeEvent:
        """Return what a rule says as an event; `zones` are those that its object is in."""
        item, confidence = event.item, event.confidence
        if confidence is None:
            confidence = item.confidence if item else 0.0
        box = item.box if item else None
        told = self.event(event.kind, event.phase, event.label, event.count, confidence, box)
        return replace(
            told,
            track_id=(item.track_id or None) if item else None,
            zones=tuple(dict.fromkeys((event.zone, *zones) if event.zone else zones)),
            zone=event.zone,
            line=event.line,
            direction=event.direction,
            total=event.total,
        )

    def scan_events(self, objects: Sequence[DetectedObject]) -> list[NodeEvent]:
        """Return an event for each object that a look shows, whatever was there before."""
        totals = count_labels(objects)
        return [
            self.event(
                Kind.SCAN, Phase.INSTANT, item.label, totals[item.label], item.confidence, item.box
            )
            for item in objects
        ]


class Teller:
    """Writes events to the archive, then pushes them; pushes what live video shows."""

    def __init__(self, archive: Archive, background: Background) -> None:
        """Initialize without listeners."""
        self._archive = archive
        self._background = background
        self._event_listeners: set[EventListener] = set()
        self._look_listeners: set[LookListener] = set()

    def listen_events(self, listener: EventListener) -> Callable[[], None]:
        """Call back for every event from now on; returns how to stop that."""
        self._event_listeners.add(listener)
        return partial(self._event_listeners.discard, listener)

    def listen_looks(self, listener: LookListener) -> Callable[[], None]:
        """Call back when what a live pipeline shows has changed; returns how to stop that."""
        self._look_listeners.add(listener)
        return partial(self._look_listeners.discard, listener)

    async def tell(self, events: Sequence[NodeEvent], held: tuple[str, str] | None = None) -> None:
        """Write events to the archive, then push them.

        `held` is a pipeline and what is there now, written in the same transaction. Nothing is
        raised: an archive that fails does not silence the node, and no error here is the look's.
        """
        if events or held is not None:
            # The caller may be cancelled meanwhile: what is written is pushed all the same.
            work = self._tell(events, held)
            await asyncio.wait({self._background.spawn(work, _NOT_KEPT)})

    async def _tell(self, events: Sequence[NodeEvent], held: tuple[str, str] | None) -> None:
        numbers: Sequence[int | None] = [None] * len(events)
        try:
            numbers = await self._archive.append(events, held)
        except StorageError as err:  # the archive shows it in the status
            _LOGGER.error("%s", err)
        finally:
            for seq, event in zip(numbers, events, strict=True):
                self._background.call_all(_NOT_PUSHED, self._event_listeners, seq, event)

    def show(self, look: Look) -> None:
        """Push what a live pipeline shows."""
        self._background.call_all(_NOT_SHOWN, self._look_listeners, look)
