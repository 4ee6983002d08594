"""Requests to analyze pictures, and their results."""

from __future__ import annotations

from dataclasses import dataclass, field

from .pipelines import ObjectLimits, Video
from .shapes import ClassScore, DetectedObject, LabelPresence, Line, Point, Zone


@dataclass(frozen=True, kw_only=True)
class LookRequest:
    """`look` (binary, with a picture): run one frame of a pipeline.

    `scan` also sends one `scan` event per object, and one for the result of the whole frame, for a
    scan on request.
    """

    pipeline_id: str
    captured_at: str
    scan: bool = False


@dataclass(frozen=True, kw_only=True)
class LineTotal:
    """How often objects of a label have crossed a line in one direction, "in" or "out"."""

    line: str
    label: str
    direction: str
    total: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """The result of one frame. An empty `objects` means "analyzed, and nothing found".

    `answer`: the result for the whole frame according to the frames so far: the label of a
    classification, the posture of a pose, or `NO_ANSWER`; None if the task has no such result.

    For live video, it is the current state: `objects` are the tracked ones, `zones` the presence in
    each zone, `lines` the crossings so far, `frames_per_second` the rate of the newest frames. It
    is pushed as {"type": "look", "look": …} when something has changed.
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
    """`scan`: analyze the newest frame of the live video of a pipeline. Result: `Look`.

    One `scan` event per object is sent, as for a `look` with `scan`; states are not changed.
    """

    pipeline_id: str


@dataclass(frozen=True, kw_only=True)
class LiveRequest:
    """`live`: a frame of the live video of a pipeline, with the detections in this frame.

    It is the last analyzed frame if it shows something, and otherwise the newest one.

    `motion`: return the view of the motion gate instead. The result is `Picture`, binary.
    """

    pipeline_id: str
    max_width: int = 1280
    motion: bool = False


@dataclass(frozen=True, kw_only=True)
class PeekRequest:
    """`peek`: a frame of live video, with or without a pipeline, to check that it can be read.

    Nothing is masked. The result is `Picture`, binary, or an error with the reason.
    """

    video: Video


@dataclass(frozen=True, kw_only=True)
class EvidenceRequest:
    """`evidence`: the picture of an event, with its boxes or `clean`. Result: `Picture`, binary.

    `pipeline_id`: the required pipeline of the event, or None for any.
    """

    event_id: str
    clean: bool = False
    pipeline_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class OutlineRequest:
    """`outline` (binary, with a picture): draw zones, lines and masks on it. Result: `Picture`."""

    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    privacy_masks: tuple[tuple[Point, ...], ...] = ()
    motion_masks: tuple[tuple[Point, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DetectRequest:
    """`detect` (binary, with a picture): analyze it without a pipeline; nothing is stored.

    With `annotate`, the result is binary and contains the picture with boxes as JPEG. Areas in
    `privacy_masks` are neither analyzed nor shown. `mask_aspects` and `limits` (for single labels)
    are as in a pipeline.
    """

    model: str | None = None
    engine: str | None = None
    accelerator: str | None = None
    labels: tuple[str, ...] = ()
    confidence: float = 50.0
    annotate: bool = False
    privacy_masks: tuple[tuple[Point, ...], ...] = ()
    mask_aspects: tuple[float, ...] = ()
    limits: dict[str, ObjectLimits] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Detected:
    """Result of `detect`."""

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
    """`self_test`: run a model on the picture included in the node."""

    model: str | None = None
    engine: str | None = None
    accelerator: str | None = None


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Result of `self_test`: `inference_ms` is the median of `runs` runs after a warm-up."""

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
    """`picture`: the annotated picture of the last event of a pipeline. The result is binary."""

    pipeline_id: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Header of a picture.

    `single_pictures`: for `peek`, see `SourceStatus`. `aspect`: for `outline`, its width by its
    height; see `PipelineConfig.mask_aspects`.
    """

    content_type: str
    at: str
    single_pictures: bool = False
    aspect: float | None = None
