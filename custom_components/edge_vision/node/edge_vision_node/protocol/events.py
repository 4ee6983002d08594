"""Events as they are sent and logged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .shapes import Box


class Kind(StrEnum):
    """The rule that created an event."""

    CLASSIFICATION = "classification"
    COUNT = "count"
    LINE = "line"
    LOITERING = "loitering"
    OBJECT = "object"
    SCAN = "scan"
    ZONE = "zone"


class Phase(StrEnum):
    """The phase of an event; `instant` has no duration."""

    START = "start"
    UPDATE = "update"
    END = "end"
    INSTANT = "instant"


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """An event of a rule about one label.

    `zone`: the zone of the event, or None; `zones`: all zones that the object is in, and that one.
    `evidence`: the event whose picture shows it, for the command `evidence`. The picture exists or
    is being taken; a request waits for it. None if there will be no picture.
    """

    event_id: str
    pipeline_id: str
    kind: str
    phase: str
    label: str
    confidence: float
    count: int
    box: Box | None
    model: str
    model_version: str
    engine: str
    accelerator: str
    pattern: str
    captured_at: str
    inference_ms: float
    source: str = "edge"
    track_id: int | None = None
    zones: tuple[str, ...] = ()
    line: str | None = None
    direction: str | None = None
    total: int | None = None
    evidence: str | None = None
    zone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subscribe:
    """`subscribe`: push events from now on, and first those after `after` (None: only new ones).

    `log`: the log of `after`. If it is another log, all events are pushed.
    """

    after: int | None = None
    log: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subscribed:
    """Result of `subscribe`: the number of the newest event (`seq`) and the log.

    They are -1 and None if the log cannot be read now.
    """

    seq: int
    log: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResultsRequest:
    """`results`: read the local result log, newest first.

    `before`: only events with a lower number. `with_picture`: only events with an existing picture
    of their own.
    """

    pipeline_id: str | None = None
    limit: int = 100
    before: int | None = None
    with_picture: bool = False


@dataclass(frozen=True, kw_only=True)
class LoggedEvent:
    """An event with its number in the result log."""

    seq: int
    event: NodeEvent


@dataclass(frozen=True, kw_only=True)
class Results:
    """Result of `results`."""

    events: tuple[LoggedEvent, ...]
