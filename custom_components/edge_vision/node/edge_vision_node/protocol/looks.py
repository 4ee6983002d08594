"""Looking: what is asked, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from .pipelines import ObjectLimits, Video
from .shapes import ClassScore, DetectedObject, LabelPresence, Line, Point, Zone


@dataclass(frozen=True, kw_only=True)
class LookRequest:
    """`look` (binary, with a picture): run one frame of a pipeline.

    `scan` also answers with one `scan` event per object, and one for the answer about the frame,
    for somebody who asked.
    """

    pipeline_id: str
    captured_at: str
    scan: bool = False


@dataclass(frozen=True, kw_only=True)
class LineTotal:
    """How often objects of a label have crossed a line, in one direction, "in" or "out"."""

    line: str
    label: str
    direction: str
    total: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one frame showed. An empty `objects` means "looked, and nothing there".

    `answer`: what the looks so far say about the whole frame: the label of a classification, the
    posture of a pose, or `NO_ANSWER`; None where the task has no such answer.

    Of live video it is what holds now: `objects` are those that are followed, `zones` the presence
    in each zone, `lines` the crossings so far, `frames_per_second` the rate of the newest frames.
    It is pushed as {"type": "look", "look": …} when something has changed.
    """

    pipeline_id: str
    captured_at: str
    width: int
    height: int
    objects: tuple[DetectedObject, ...]
    presence: dict[str, LabelPresence]
    model: str
    model_version: str
    engine: str
    accelerator: str
    decode_ms: float
    inference_ms: float
    node_ms: float
    last_detection_at: str | None
    picture_at: str | None
    task: str = "detection"
    classes: tuple[ClassScore, ...] = ()
    answer: str | None = None
    zones: dict[str, dict[str, LabelPresence]] = field(default_factory=dict)
    lines: tuple[LineTotal, ...] = ()
    frames_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """`scan`: look once at the newest frame of a pipeline's live video. Answer: `Look`.

    Tells one `scan` event per object, as a `look` that asks for it; states are left as they are.
    """

    pipeline_id: str


@dataclass(frozen=True, kw_only=True)
class LiveRequest:
    """`live`: a frame of a pipeline's live video, with what that very frame shows drawn in.

    It is the frame that was looked at last, where that shows something, or else the newest one.

    `motion`: what the motion gate sees, instead. The answer is `Picture`, binary.
    """

    pipeline_id: str
    max_width: int = 1280
    motion: bool = False


@dataclass(frozen=True, kw_only=True)
class PeekRequest:
    """`peek`: a frame of live video that need not be any pipeline's, to see that it can be read.

    Nothing is masked in it. The answer is `Picture`, binary; an error says why there is none.
    """

    video: Video


@dataclass(frozen=True, kw_only=True)
class EvidenceRequest:
    """`evidence`: the picture of an event, with its boxes or `clean`. Answer: `Picture`, binary.

    `pipeline_id`: whose event it has to be; None where that does not matter.
    """

    event_id: str
    clean: bool = False
    pipeline_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class OutlineRequest:
    """`outline` (binary, with a picture): draw zones, lines and masks on it. Answer: `Picture`."""

    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    privacy_masks: tuple[tuple[Point, ...], ...] = ()
    motion_masks: tuple[tuple[Point, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DetectRequest:
    """`detect` (binary, with a picture): look once, outside every pipeline; nothing is kept.

    With `annotate` the answer is binary and brings the picture with its boxes, as JPEG. In
    `privacy_masks` nothing is seen or shown. `limits` are those of single labels, as a pipeline
    has them.
    """

    model: str | None = None
    engine: str | None = None
    accelerator: str | None = None
    labels: tuple[str, ...] = ()
    confidence: float = 50.0
    annotate: bool = False
    privacy_masks: tuple[tuple[Point, ...], ...] = ()
    limits: dict[str, ObjectLimits] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Detected:
    """Answer to `detect`."""

    width: int
    height: int
    objects: tuple[DetectedObject, ...]
    model: str
    model_version: str
    engine: str
    accelerator: str
    decode_ms: float
    inference_ms: float
    node_ms: float
    task: str = "detection"
    classes: tuple[ClassScore, ...] = ()
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SelfTestRequest:
    """`self_test`: run a model on the picture that comes with the node."""

    model: str | None = None
    engine: str | None = None
    accelerator: str | None = None


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Answer to `self_test`: `inference_ms` is the median of `runs` runs after a warm-up."""

    model: str
    engine: str
    engine_version: str
    accelerator: str
    load_ms: float
    inference_ms: float
    runs: int
    passed: bool
    expected: str
    objects: tuple[DetectedObject, ...]


@dataclass(frozen=True, kw_only=True)
class PictureRequest:
    """`picture`: the annotated picture of a pipeline's last event. The answer is binary."""

    pipeline_id: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Header of a picture. `single_pictures`: of what is peeked at (see `SourceStatus`)."""

    content_type: str
    at: str
    single_pictures: bool = False
