"""What happens, as it is told and logged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .shapes import Box


class Kind(StrEnum):
    """Which rule speaks in an event."""

    CLASSIFICATION = "classification"
    COUNT = "count"
    LINE = "line"
    LOITERING = "loitering"
    OBJECT = "object"
    SCAN = "scan"
    ZONE = "zone"


class Phase(StrEnum):
    """Where an event stands in time; `instant` has no duration."""

    START = "start"
    UPDATE = "update"
    END = "end"
    INSTANT = "instant"


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """Something a rule has to say about one label.

    `zone`: that which the rule is about, None where it is about none; `zones`: all in which the
    object stands, and that.
    `evidence`: the event whose picture shows it, for `evidence`. There is one then, or it is being
    taken: who asks for it waits for it. None where there will be none.
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

    `log`: the log that `after` is of. Of another one, all events are pushed.
    """

    after: int | None = None
    log: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subscribed:
    """Answer to `subscribe`: `seq` is the newest event's number so far, `log` which log it is.

    -1 and None where the log cannot be read now.
    """

    seq: int
    log: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResultsRequest:
    """`results`: read the local result log, newest first.

    `before`: only events with a lower number. `with_picture`: only those that have a picture of
    their own, and it is still there.
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
    """Answer to `results`."""

    events: tuple[LoggedEvent, ...]
