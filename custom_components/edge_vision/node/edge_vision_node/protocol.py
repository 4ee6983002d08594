"""What a hub and a node say to each other.

This is the only module that both sides import, so it needs nothing but the standard library.

Transport: one websocket. Text frames are JSON objects. Binary frames carry a picture behind a
small JSON header: four bytes of header length (unsigned, big-endian), the header, the picture.

Conversation::

    node → {"type": "hello", "node_id": …, "version": …, "schema_min": 1, "schema_max": 1, …}
    hub  → {"type": "auth", "token": …, "schema": 1}
    node → {"type": "ready"}                       (or an error, and the connection ends)
    hub  → {"id": 7, "type": "info"}               (a command; binary where it brings a picture)
    node → {"id": 7, "type": "result", "result": {…}}      (binary where it brings a picture)
         | {"id": 7, "type": "error", "code": "unknown_model", "message": "…"}
    node → {"type": "event", "seq": 12, "event": {…}}      (pushed after ``subscribe``;
           seq is null where the node cannot write its log)
    node → {"type": "status", "status": {…}}               (pushed when a pipeline changes state)
    node → {"type": "look", "look": {…}}                   (pushed while live video is watched)

Units: confidence is a percentage (0-100, one decimal), boxes are normalised to the full frame
(0-1, origin top left), times are ISO 8601 in UTC, durations are milliseconds.

Everything in a message is a frozen dataclass here. `read` builds one from untrusted JSON and
checks every field; unknown fields are ignored, so that a newer peer may say more.
"""

from __future__ import annotations

import json
import struct
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

SCHEMA_MIN = 1
SCHEMA_MAX = 1

WEBSOCKET_PATH = "/ws"
# A 32 MiB picture is the most a camera may send, with room for its header.
MAX_PICTURE_BYTES = 32 * 1024 * 1024
MAX_MESSAGE_BYTES = MAX_PICTURE_BYTES + 64 * 1024
MAX_HEADER_BYTES = 64 * 1024

_LENGTH = struct.Struct(">I")
_T = typing.TypeVar("_T")


class ErrorCode(StrEnum):
    """Why a command failed; the message beside it says it in words."""

    AUTH_FAILED = "auth_failed"
    BAD_MESSAGE = "bad_message"
    BAD_PICTURE = "bad_picture"
    BUSY = "busy"
    CAMERA_UNAVAILABLE = "camera_unavailable"
    DOWNLOAD_FAILED = "download_failed"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_MISSING = "engine_missing"
    FRAME_GONE = "frame_gone"
    INFERENCE_FAILED = "inference_failed"
    INTERNAL = "internal"
    MODEL_FAILED = "model_failed"
    MODEL_LOADING = "model_loading"
    MODEL_QUARANTINED = "model_quarantined"
    NO_PICTURE = "no_picture"
    SCHEMA_MISMATCH = "schema_mismatch"
    STORAGE_FAILED = "storage_failed"
    SUPERSEDED = "superseded"
    UNKNOWN_ACCELERATOR = "unknown_accelerator"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PIPELINE = "unknown_pipeline"


class Command(StrEnum):
    """What a hub can ask of a node. Those that bring or return a picture are binary."""

    ALLOW_MODEL = "allow_model"
    BENCHMARK = "benchmark"
    CATALOGUE = "catalogue"
    CONFIGURE = "configure"
    DETECT = "detect"
    EVIDENCE = "evidence"
    FORGET = "forget"
    INFO = "info"
    INSPECT_MODEL = "inspect_model"
    INSTALL_MODEL = "install_model"
    LIVE = "live"
    LOOK = "look"
    OUTLINE = "outline"
    PEEK = "peek"
    PICTURE = "picture"
    PING = "ping"
    REMOVE_MODEL = "remove_model"
    RESULTS = "results"
    SCAN = "scan"
    SELF_TEST = "self_test"
    STATUS = "status"
    SUBSCRIBE = "subscribe"
    UPLOAD = "upload"


class ProtocolError(ValueError):
    """A message that does not follow the protocol; the text says where."""


# --- Shapes that several messages share ------------------------------------------------------


class Task(StrEnum):
    """What a model is for."""

    DETECTION = "detection"
    CLASSIFICATION = "classification"
    POSE = "pose"
    FACE = "face"
    EMBEDDING = "embedding"
    SEGMENTATION = "segmentation"


# Tasks that find objects, of which there are more or fewer.
TASKS_WITH_OBJECTS = (Task.DETECTION, Task.POSE, Task.FACE)

# What a classification says where nothing is certain enough, and a pose where nobody is there.
NO_ANSWER = "none"


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle, normalised to the full frame (0-1, origin top left)."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def area(self) -> float:
        """Return its share of the frame, 0-1."""
        return max(0.0, self.x_max - self.x_min) * max(0.0, self.y_max - self.y_min)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in the frame (0-1, origin top left)."""

    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A part of the frame that an object is in when its bottom centre is.

    `labels`: empty means all. `confidence`: the lowest in this zone, in percent, None for the
    usual. `loitering_s`: how long an object may stay before that is an event; None for ever.
    `counting`: whether the number of objects in it makes events.
    """

    name: str
    points: tuple[Point, ...]
    labels: tuple[str, ...] = ()
    confidence: float | None = None
    loitering_s: float | None = None
    counting: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that objects cross: "in" from its left to its right as seen from start to end."""

    name: str
    start: Point
    end: Point
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Keypoint:
    """A named point of an object, a joint or a feature of a face (0-1, origin top left)."""

    name: str
    x: float
    y: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """One object in one frame; `posture` of a body: standing, sitting, lying or unclear.

    In live video: `track_id` is the same over frames, `zones` names those it stands in, and
    `stationary` tells that it has not moved for a while.
    """

    label: str
    confidence: float
    box: Box
    keypoints: tuple[Keypoint, ...] = ()
    posture: str | None = None
    track_id: int | None = None
    zones: tuple[str, ...] = ()
    stationary: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How sure a model is of one label for the whole frame; `area` is its share of it, 0-1."""

    label: str
    confidence: float
    area: float | None = None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a model found in one frame; which of these it fills depends on its task."""

    objects: tuple[DetectedObject, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelPresence:
    """What the presence rule holds true of one label after a look."""

    present: bool
    count: int
    confidence: float | None = None


# --- Who a node is and what it can do ---------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """The first thing a node says on a connection."""

    node_id: str
    version: str
    schema_min: int
    schema_max: int
    features: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AcceleratorInfo:
    """A place where an engine runs a model, `cpu` for example."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """An inference runtime; `version` is None and `missing` says why where it cannot be used.

    `crashed`: it is there, but ended or hung the process in which it was looked at. `packaged`:
    there is a package of it for this system.
    """

    id: str
    name: str
    version: str | None = None
    missing: str | None = None
    accelerators: tuple[AcceleratorInfo, ...] = ()
    crashed: bool = False
    packaged: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model that the node holds; `engines` are those it has files for.

    `detector`: the model whose findings it looks at; without that one it cannot be used.
    """

    id: str
    version: str
    name: str
    task: str
    labels: tuple[str, ...]
    engines: tuple[str, ...]
    license: str
    source: str
    width: int
    height: int
    size_bytes: int
    detector: str | None = None


@dataclass(frozen=True, kw_only=True)
class HardwareInfo:
    """The device a node runs on. None is "not known here"."""

    machine: str
    system: str
    libc: str
    cpu: str
    cores: int
    python: str
    board: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """An accelerator that is really there, as the operating system shows it.

    `kind` is one of edge_tpu, hailo, gpu, npu. `engine` and `accelerator` say where models run on
    it, None where no engine can use it; `missing` says in one sentence what it takes to use it,
    None where it is ready.
    """

    id: str
    kind: str
    name: str
    engine: str | None = None
    accelerator: str | None = None
    missing: str | None = None


@dataclass(frozen=True, kw_only=True)
class BoardProfile:
    """What a kind of board can do, by its maker's figures, and what it is good for.

    `tops`: peak 8-bit operations in units of 10^12 per second. None where nobody states a figure.
    """

    id: str
    name: str
    tops: float | None
    watts_min: float | None
    watts_max: float | None
    price_min_usd: int | None
    price_max_usd: int | None
    best_for: str


@dataclass(frozen=True, kw_only=True)
class CameraLoad:
    """How many pictures a second of each of so many cameras a place can look at."""

    cameras: int
    frames_per_second: float


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """How fast a model runs in one place.

    `median_ms` and `p95_ms` are the engine's alone, `still_ms` is a whole picture of 1280x720 from
    its bytes to what is in it, and `frames_per_second` how many of those there can be. `error`
    says why it could not be measured; the figures are None then.
    """

    engine: str
    engine_name: str
    accelerator: str
    accelerator_name: str
    median_ms: float | None = None
    p95_ms: float | None = None
    still_ms: float | None = None
    frames_per_second: float | None = None
    cameras: tuple[CameraLoad, ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Where a model runs best here, and why, in a sentence."""

    engine: str
    accelerator: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How fast a model ran, at a time, on everything that this node can run it on."""

    model: str
    model_name: str
    at: str
    rows: tuple[BenchmarkRow, ...]
    recommendation: Recommendation | None = None


@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest:
    """`benchmark`: measure a model everywhere, so many seconds each. Answer: `Benchmark`.

    Meanwhile `progress` is pushed as for `install_model`, with `BenchmarkProgress`.
    """

    model: str | None = None
    seconds: float = 2.0


@dataclass(frozen=True, kw_only=True)
class BenchmarkProgress:
    """How far a benchmark is: `done` places of `total`, and the one being measured."""

    engine_name: str
    accelerator_name: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class NodeInfo:
    """Answer to `info`."""

    node_id: str
    version: str
    hardware: HardwareInfo
    engines: tuple[EngineInfo, ...]
    models: tuple[ModelInfo, ...]
    default_engine: str | None
    default_model: str
    devices: tuple[DeviceInfo, ...] = ()
    board_profile: BoardProfile | None = None
    benchmarks: tuple[Benchmark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CatalogueModel:
    """A model of the catalogue; `installed` is the version that the node holds, or None.

    `download_bytes`: how much there is to fetch. `unavailable`: why it cannot run on the node's
    device, whatever is installed there.
    """

    id: str
    version: str
    name: str
    task: str
    summary: str
    engines: tuple[str, ...]
    license: str
    source: str
    download_bytes: int
    recommended: bool
    edgetpu: bool = False
    installed: str | None = None
    unavailable: str | None = None


@dataclass(frozen=True, kw_only=True)
class CatalogueAnswer:
    """Answer to `catalogue`; `dropped` are files that wait in the node's folder for new models."""

    models: tuple[CatalogueModel, ...]
    dropped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InstallModel:
    """`install_model`: fetch a model of the catalogue. Answer: `ModelInfo`.

    Meanwhile `progress` is pushed on the connection that asked: {"type": "progress", "command":
    the command's id, "progress": `InstallProgress`}.
    """

    model: str


@dataclass(frozen=True, kw_only=True)
class InstallProgress:
    """How far an installation is."""

    model: str
    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class RemoveModel:
    """`remove_model`: delete a model that was added. Answer: `Nothing`."""

    model: str


@dataclass(frozen=True, kw_only=True)
class UploadChunk:
    """`upload` (binary, with a part of a file): `upload` is None for the first part.

    Parts come in order; `offset` is how many bytes came before. Answer: `Uploaded`.
    """

    name: str
    offset: int
    upload: str | None = None


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """Answer to `upload`: the id for the next part and for `inspect_model`."""

    upload: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InspectModel:
    """`inspect_model`: look at a model of the user's own, try it, perhaps keep it.

    Just one of `upload` (an id), `dropped` (a file's name) and `url` (over HTTPS) says which. An
    upload may have several files; `file` then names the model's. `corrections`: what the proposal
    gets wrong, "head.type", "input.width", "labels" …; with `save_as` (a new id, or with `replace`
    that of another model of the user's own) it is kept. The answer is `Inspection`, binary with a
    JPEG where the model was tried on a picture.
    """

    upload: str | None = None
    dropped: str | None = None
    url: str | None = None
    file: str | None = None
    corrections: dict[str, Any] = field(default_factory=dict)
    confidence: float = 40.0
    save_as: str | None = None
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelTensor:
    """An input or output of a model; a side that is left open is -1."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ModelProposal:
    """How a model would be read: what its manifest would say.

    `confidence` is a percentage, `reasons` say what speaks for it. `manifest` has the fields that
    corrections can change.
    """

    task: str
    family: str
    confidence: float
    reasons: tuple[str, ...]
    labels: tuple[str, ...]
    manifest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Answer to `inspect_model`.

    `problem` says what keeps the model from being used. `proposal` is None where it was not
    recognised, `findings` where it was not tried. `saved` is the model where it was kept. `heads`
    are the families that this node can read, for corrections.
    """

    file: str
    format: str
    size_bytes: int
    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]
    metadata: dict[str, str]
    proposal: ModelProposal | None = None
    problem: str | None = None
    findings: Findings | None = None
    engine: str | None = None
    accelerator: str | None = None
    inference_ms: float | None = None
    saved: ModelInfo | None = None
    heads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AllowModel:
    """`allow_model`: use a model again that crashed its engine; None allows all.

    Answer: `NodeStatus`.
    """

    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class QuarantinedModel:
    """A model that crashed its engine and is not used there any more.

    `strikes`: crashes in a row. `proven`: whether it had run before.
    """

    model: str
    model_version: str
    name: str
    engine: str
    accelerator: str
    strikes: int
    reason: str
    at: str
    proven: bool = True


# --- Pipelines ----------------------------------------------------------------------------------


class PipelineState(StrEnum):
    """Whether a pipeline can look."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Thoroughness(StrEnum):
    """How much work is put into finding small and distant objects in live video."""

    ECONOMICAL = "economical"
    BALANCED = "balanced"
    THOROUGH = "thorough"


class Sensitivity(StrEnum):
    """How little movement in live video is worth a look."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True)
class MotionThresholds:
    """How much has to change for it to be movement.

    Attributes:
        least_difference: grey levels (of 255) by which a part of the picture must change at least.
        noise_factor: by how many times its own usual flicker it must change.
        least_area: of the frame (0-1), below which a moving thing is not told.
    """

    least_difference: float = 12.0
    noise_factor: float = 4.5
    least_area: float = 0.0005


SENSITIVITIES = {
    Sensitivity.LOW: MotionThresholds(least_difference=20.0, noise_factor=6.0, least_area=0.0015),
    Sensitivity.MEDIUM: MotionThresholds(),
    Sensitivity.HIGH: MotionThresholds(least_difference=7.0, noise_factor=3.5, least_area=0.0002),
}


@dataclass(frozen=True, kw_only=True)
class Video:
    """Live video that the node reads itself.

    `url`: RTSP, HTTP, a file or a device; it may hold a password and is never told to anybody.
    `transport` of RTSP: "tcp", "udp" or "auto". `fps`: the most frames a second to look at.
    `key_frames_only`: decode only those, for weak hardware; `hardware_decoding`: use the GPU where
    it can. `motion`: what counts as movement in numbers, in the place of the word `sensitivity`.
    `motion_masks`: polygons in which movement counts for nothing.
    """

    url: str
    transport: str = "auto"
    fps: float = 5.0
    key_frames_only: bool = False
    hardware_decoding: bool = False
    look: str = Thoroughness.BALANCED
    sensitivity: str = Sensitivity.MEDIUM
    motion: MotionThresholds | None = None
    motion_masks: tuple[tuple[Point, ...], ...] = ()

    def check(self) -> None:
        """Raise `ProtocolError` where a word is unknown."""
        if self.look not in set(Thoroughness):
            raise ProtocolError(f"{self.look!r} is no thoroughness")
        _ = self.thresholds

    @property
    def thresholds(self) -> MotionThresholds:
        """Return what counts as movement. Raises `ProtocolError` where the word is unknown."""
        try:
            return self.motion or SENSITIVITIES[Sensitivity(self.sensitivity)]
        except ValueError:
            raise ProtocolError(f"{self.sensitivity!r} is no sensitivity to motion") from None


@dataclass(frozen=True, kw_only=True)
class ObjectLimits:
    """What is asked of objects of one label.

    `confidence`: the lowest, a percentage; None: that of the pipeline. `min_area`, `max_area`: the
    share of the frame (0-1) that the box must have.
    """

    confidence: float | None = None
    min_area: float = 0.0
    max_area: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """One camera's path from frame to event, as the hub wants it.

    `model`, `engine`, `accelerator`: None leaves the choice to the node. `labels`: empty keeps
    every label of the model. `looks_to_clear`: looks in a row without an object after which it
    counts as gone, or that must agree on another answer. `allow_fallback`: run elsewhere where the
    wanted engine or accelerator cannot be used, instead of failing.

    `limits`: what is asked of objects of some labels besides. `privacy_masks`: polygons that are
    blackened before anything is looked at, stored or shown.

    `video`: None where the hub sends stills. The rest is for video: `zones`, `lines`; `cooldown_s`:
    how long after a start no other one of the same label and rule is told.
    """

    pipeline_id: str
    name: str
    model: str | None = None
    engine: str | None = None
    accelerator: str | None = None
    labels: tuple[str, ...] = ()
    confidence: float = 50.0
    looks_to_clear: int = 2
    pattern: str = "full_edge"
    allow_fallback: bool = False
    video: Video | None = None
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    limits: dict[str, ObjectLimits] = field(default_factory=dict)
    cooldown_s: float = 0.0
    privacy_masks: tuple[tuple[Point, ...], ...] = ()


class SourceState(StrEnum):
    """Whether a pipeline's live video is there."""

    CONNECTING = "connecting"
    LIVE = "live"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, kw_only=True)
class SourceStatus:
    """How a pipeline's live video is doing, `since` when, and in `reason` what is wrong with it."""

    state: str
    since: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """How a pipeline is doing; model, engine and accelerator are those that really run.

    `fallback_from`: in a sentence, what was wanted and why it runs elsewhere; None where it does
    not. `source`: of live video, None where the hub sends stills. `slowed`: it looks at fewer
    frames than wanted, because accelerator or processor cannot keep up.
    """

    pipeline_id: str
    state: str
    error_code: str | None = None
    error: str | None = None
    model: str | None = None
    model_version: str | None = None
    engine: str | None = None
    accelerator: str | None = None
    looks: int = 0
    failures: int = 0
    dropped: int = 0
    presence: dict[str, LabelPresence] = field(default_factory=dict)
    last_detection_at: str | None = None
    picture_at: str | None = None
    fallback_from: str | None = None
    source: SourceStatus | None = None
    slowed: bool = False


@dataclass(frozen=True, kw_only=True)
class Configure:
    """`configure`: every pipeline the node shall have; the others end. Answer: `NodeStatus`."""

    pipelines: tuple[PipelineConfig, ...]


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """Answer to `status` and `configure`, and pushed as `status`."""

    pipelines: tuple[PipelineStatus, ...]
    uptime_s: float
    memory_bytes: int | None = None
    temperature_c: float | None = None
    storage_error: str | None = None
    quarantined: tuple[QuarantinedModel, ...] = ()


# --- Looking ------------------------------------------------------------------------------------


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
    """`live`: the newest frame of a pipeline's live video, with what is followed drawn in.

    `motion`: what the motion gate sees, instead. The answer is `Picture`, binary.
    """

    pipeline_id: str
    max_width: int = 1280
    motion: bool = False


@dataclass(frozen=True, kw_only=True)
class Forget:
    """`forget`: delete what is kept of a pipeline that was removed. Answer: `Nothing`."""

    pipeline_id: str


@dataclass(frozen=True, kw_only=True)
class PeekRequest:
    """`peek`: a frame of live video that need not be any pipeline's, to see that it can be read.

    Nothing is masked in it. The answer is `Picture`, binary; an error says why there is none.
    """

    video: Video


@dataclass(frozen=True, kw_only=True)
class EvidenceRequest:
    """`evidence`: the picture of an event, with its boxes or `clean`. Answer: `Picture`, binary."""

    event_id: str
    clean: bool = False


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
    `privacy_masks` nothing is seen or shown.
    """

    model: str | None = None
    engine: str | None = None
    accelerator: str | None = None
    labels: tuple[str, ...] = ()
    confidence: float = 50.0
    annotate: bool = False
    privacy_masks: tuple[tuple[Point, ...], ...] = ()


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
    """Header of the answer to `picture`."""

    content_type: str
    at: str


# --- Events -------------------------------------------------------------------------------------


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
    `evidence`: the event whose picture shows it, for `evidence`; None where there is none.
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
    """`subscribe`: push events from now on, and first those after `after` (None: only new ones)."""

    after: int | None = None


@dataclass(frozen=True, kw_only=True)
class Subscribed:
    """Answer to `subscribe`: `seq` is the newest event's number so far."""

    seq: int


@dataclass(frozen=True, kw_only=True)
class ResultsRequest:
    """`results`: read the local result log, newest first."""

    pipeline_id: str | None = None
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class LoggedEvent:
    """An event with its number in the result log."""

    seq: int
    event: NodeEvent


@dataclass(frozen=True, kw_only=True)
class Results:
    """Answer to `results`."""

    events: tuple[LoggedEvent, ...]


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Parameters or answer of a command that has none."""


# --- Frames on the wire -------------------------------------------------------------------------


def encode_text(message: Mapping[str, Any]) -> str:
    """Return a text frame."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def decode_text(text: str) -> dict[str, Any]:
    """Return the JSON object in a text frame. Raises `ProtocolError`."""
    try:
        message = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise ProtocolError(f"not JSON: {err}") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message


def encode_binary(header: Mapping[str, Any], picture: bytes | memoryview) -> bytes:
    """Return a binary frame."""
    head = encode_text(header).encode()
    return b"".join((_LENGTH.pack(len(head)), head, picture))


def decode_binary(frame: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return header and picture of a binary frame. Raises `ProtocolError`."""
    if len(frame) < _LENGTH.size:
        raise ProtocolError("binary frame shorter than its header length")
    (length,) = _LENGTH.unpack_from(frame)
    end = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or end > len(frame):
        raise ProtocolError("binary frame with a wrong header length")
    view = memoryview(frame)
    try:
        head = str(view[_LENGTH.size : end], "utf-8")
    except UnicodeDecodeError as err:
        raise ProtocolError(f"header is not UTF-8: {err}") from None
    return decode_text(head), view[end:]


# --- Dataclasses from and to JSON -----------------------------------------------------------------


def write(message: Any) -> dict[str, Any]:
    """Return the JSON object of one of this module's dataclasses."""
    return asdict(message)


def read(cls: type[_T], data: object) -> _T:
    """Build `cls`, one of this module's dataclasses, from untrusted JSON.

    Raises `ProtocolError` naming the field that is missing or of the wrong type.
    """
    value: _T = _read(cls, data, cls.__name__)
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(kind: Any, data: object, where: str) -> Any:
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), data, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if data is None and types.NoneType in args:
            return None
        (inner,) = [arg for arg in args if arg is not types.NoneType]
        return _read(inner, data, where)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ProtocolError(f"{where}: a list was expected")
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, dict):
            raise ProtocolError(f"{where}: an object was expected")
        return {str(key): _read(args[1], item, f"{where}.{key}") for key, item in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise ProtocolError(f"{where}: too large a number") from None
    # bool is an int in Python, but `true` is not a number in a message
    if not isinstance(data, kind) or (kind is not bool and isinstance(data, bool)):
        raise ProtocolError(f"{where}: {kind.__name__} was expected")
    return data


def _read_dataclass(cls: type, data: object, where: str) -> Any:
    if not isinstance(data, dict):
        raise ProtocolError(f"{where}: an object was expected")
    hints = _hints(cls)
    values: dict[str, Any] = {}
    for item in fields(cls):
        if item.name in data:
            values[item.name] = _read(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ProtocolError(f"{where}.{item.name} is missing")
    return cls(**values)
