"""The configuration and the status of pipelines."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .models import QuarantinedModel
from .shapes import LabelPresence, Line, Point, Zone, check_aspects, check_polygons
from .wire import ProtocolError


class PipelineState(StrEnum):
    """Whether a pipeline can analyze pictures."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Thoroughness(StrEnum):
    """How much work is put into finding small and distant objects in live video."""

    ECONOMICAL = "economical"
    BALANCED = "balanced"
    THOROUGH = "thorough"


class Sensitivity(StrEnum):
    """How little movement in live video triggers an analysis."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True)
class MotionThresholds:
    """Thresholds for changes to count as movement.

    Attributes:
        least_difference: minimum change of a part of the picture in gray levels (of 255).
        noise_factor: minimum change of a part of the picture in multiples of its usual noise.
        least_area: share of the frame (0-1) below which moving objects are not reported.
    """

    least_difference: float = 12.0
    noise_factor: float = 4.5
    least_area: float = 0.0005


SENSITIVITIES = {
    Sensitivity.LOW: MotionThresholds(least_difference=20.0, noise_factor=6.0, least_area=0.0015),
    Sensitivity.MEDIUM: MotionThresholds(),
    Sensitivity.HIGH: MotionThresholds(least_difference=7.0, noise_factor=3.5, least_area=0.0002),
}


MAX_FPS = 120.0
TRANSPORTS = ("auto", "tcp", "udp", "udp_multicast", "http")


@dataclass(frozen=True, kw_only=True)
class Video:
    """Live video that the node reads itself.

    `url`: RTSP, HTTP, a file or a device; it may contain a password and is never published.
    `transport` for RTSP: "tcp", "udp", "udp_multicast", "http"; "auto": tcp, then udp.
    `verify_certificate` for rtsps and https: reject cameras with an untrusted certificate.
    `wallclock`: ignore the timestamps of the stream. `orientation`: rotation that makes pictures
    upright, as a number of Exif; 1 uses the rotation stored in the stream. `fps`: maximum number of
    frames to analyze per second. `key_frames_only`: decode only key frames, for weak hardware;
    `hardware_decoding`: use the GPU if possible. `motion`: numeric thresholds that replace
    `sensitivity`. `motion_masks`: polygons in which movement is ignored.
    """

    url: str
    transport: str = "auto"
    verify_certificate: bool = False
    wallclock: bool = False
    orientation: int = 1
    fps: float = 5.0
    key_frames_only: bool = False
    hardware_decoding: bool = False
    look: str = Thoroughness.BALANCED
    sensitivity: str = Sensitivity.MEDIUM
    motion: MotionThresholds | None = None
    motion_masks: tuple[tuple[Point, ...], ...] = ()

    def check(self) -> None:
        """Raise `ProtocolError` if a value is unknown."""
        if self.transport not in TRANSPORTS:
            raise ProtocolError(f"{self.transport!r} is no transport of RTSP")
        if not 1 <= self.orientation <= 8:
            raise ProtocolError(f"{self.orientation} is no orientation of Exif")
        if self.look not in set(Thoroughness):
            raise ProtocolError(f"{self.look!r} is no thoroughness")
        if not 0 < self.fps <= MAX_FPS:
            raise ProtocolError(f"{self.fps:g} frames per second cannot be looked at")
        check_polygons(self.motion_masks)
        _ = self.thresholds

    @property
    def thresholds(self) -> MotionThresholds:
        """Return the thresholds. Raises `ProtocolError` if the sensitivity is unknown."""
        try:
            return self.motion or SENSITIVITIES[Sensitivity(self.sensitivity)]
        except ValueError:
            raise ProtocolError(f"{self.sensitivity!r} is no sensitivity to motion") from None


@dataclass(frozen=True, kw_only=True)
class ObjectLimits:
    """The limits for objects of one label.

    `confidence`: the minimum in percent, or None for that of the pipeline. `min_area`, `max_area`:
    limits for the share of the frame (0-1) covered by the box.
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

    `camera`: the same for as long as the camera is; of another one, what was there ends. `limits`:
    what is asked of objects of some labels besides. `privacy_masks`: polygons that are
    blackened before anything is looked at, stored or shown.

    `mask_aspects`: width by height of the pictures on which privacy masks were drawn, if known. On
    pictures of another shape, masks cover every place where they may be.

    `video`: None where the hub sends stills. The rest is for video: `zones`, `lines`; `cooldown_s`:
    seconds after a start in which further ones of the same label and rule are suppressed.
    """

    pipeline_id: str
    name: str
    camera: str | None = None
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
    mask_aspects: tuple[float, ...] = ()

    def check(self) -> None:
        """Raise `ProtocolError` if a value is invalid."""
        check_aspects(self.mask_aspects)
        check_polygons((*self.privacy_masks, *(zone.points for zone in self.zones)))
        if self.video is not None:
            self.video.check()


class SourceState(StrEnum):
    """Whether the live video of a pipeline is available."""

    CONNECTING = "connecting"
    LIVE = "live"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, kw_only=True)
class SourceStatus:
    """The status of the live video of a pipeline, `since` when, and the `reason` of a problem.

    `single_pictures`: its address returns a single picture for each request.
    """

    state: str
    since: str
    reason: str | None = None
    single_pictures: bool = False


class SlowedBy(StrEnum):
    """The part that cannot keep up with the frames of live video."""

    MODEL = "model"
    DECODING = "decoding"


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """The status of a pipeline; model, engine and accelerator are those really in use.

    `fallback_from`: a sentence with the requested place and the reason for the fallback, or None.
    `source`: the status of live video, or None if the hub sends stills. `slowed`: fewer frames than
    requested are analyzed because something cannot keep up: `slowed_by`, a `SlowedBy`.
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
    slowed_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Configure:
    """`configure`: all pipelines of the node; others are stopped. Result: `NodeStatus`."""

    pipelines: tuple[PipelineConfig, ...]


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """Result of `status` and `configure`, and pushed as `status`.

    `storage_error`: the reason if events or pictures cannot be saved; with `storage_newer`, the log
    was written by a newer version. `storage_notice`: a problem with the log of events that was
    repaired in this run of the node.
    """

    pipelines: tuple[PipelineStatus, ...]
    uptime_s: float
    memory_bytes: int | None = None
    temperature_c: float | None = None
    storage_error: str | None = None
    storage_newer: bool = False
    storage_notice: str | None = None
    quarantined: tuple[QuarantinedModel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Forget:
    """`forget`: delete the data of a removed pipeline. Result: `Nothing`."""

    pipeline_id: str
