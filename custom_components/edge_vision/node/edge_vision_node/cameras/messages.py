"""Messages between a node and a camera process, framed as `protocol` frames pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..detections import Placement
from ..frames.masks import NO_MASKS, Masks
from ..protocol import Box, MotionThresholds, Point


class CameraOrder(StrEnum):
    """The orders that a camera process executes."""

    OPEN = "open"
    TUNE = "tune"
    CROPS = "crops"
    PICTURE = "picture"
    MOTION_VIEW = "motion_view"
    SHARPNESS = "sharpness"
    ALIVE = "alive"
    CLOSE = "close"


class Push(StrEnum):
    """The messages that a camera process sends unasked."""

    FRAME = "frame"
    SOURCE = "source"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A camera and how to read it. It is read once for all watchers.

    Attributes:
        url: rtsp://, http://, a file, or a device (/dev/video0). It may hold a password, so it is
            excluded from `repr` and sent over the socket, not on a command line.
        transport: of RTSP, one of `TRANSPORTS`; "auto" tries tcp, then udp.
        verify_certificate: refuse untrusted certificates of rtsps and https.
        wallclock: ignore the stream's own times.
        orientation: how to turn its pictures upright, as numbered by Exif; 1 follows the stream's
            own rotation.
        key_frames_only: decode only key frames, one every few seconds, for slow hardware.
        hardware_decoding: decode on the GPU if possible.
        stall_s: seconds without a usable frame until the source is unavailable.
    """

    url: str = field(repr=False)
    transport: str = "auto"
    verify_certificate: bool = False
    wallclock: bool = False
    orientation: int = 1
    key_frames_only: bool = False
    hardware_decoding: bool = False
    stall_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class View:
    """What one watcher may see of a camera, and what counts as motion.

    Attributes:
        masks: privacy masks; these pixels never leave the process.
        thresholds: of the motion gate.
        motion_masks: areas where nothing counts as motion (a tree, a clock in the picture).
    """

    masks: Masks = NO_MASKS
    thresholds: MotionThresholds = field(default_factory=MotionThresholds)
    motion_masks: tuple[tuple[Point, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ViewTuning:
    """One watcher's view.

    Attributes:
        number: identifies the view in messages; it never stands for another one.
        view: the view.
        keep: where objects are followed; the motion gate does not learn these areas.
    """

    number: int
    view: View
    keep: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tune:
    """`tune`: change frame rate and views while reading.

    Attributes:
        fps: the most frames to keep per second.
        views: of all watchers.
    """

    fps: float
    views: tuple[ViewTuning, ...]


@dataclass(frozen=True, kw_only=True)
class Open:
    """`open`: start reading. `first` is the number of the first frame."""

    source: Source
    tune: Tune
    first: int = 1


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The result of a view's motion gate for a frame.

    Attributes:
        view: number of the view.
        moving: whether something moves, in `boxes`.
        calibrating: motion is unknown, because the gate has just started or the light or the view
            has changed: use the whole frame. This is different from no motion.
        share: changed share of the frame (0-1).
        boxes: the changed areas, largest first.
    """

    view: int
    moving: bool
    calibrating: bool
    share: float = 0.0
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """Pushed for each kept frame, whose pixels can be requested while it is kept.

    Attributes:
        number: increases across reconnections and restarts of the process.
        captured_at: when its data arrived, ISO 8601 in UTC.
        captured_monotonic: the same as `time.monotonic`, which is common to all processes.
        width, height: in pixels.
        decode_ms: time from data to pixels.
        motion_ms: time of the motion gates of all views.
        dropped: frames since the last kept one that were replaced by newer ones.
        behind: decoding cannot keep up, so only key frames are decoded for now.
        motions: the result of each view's motion gate.
    """

    number: int
    captured_at: str
    captured_monotonic: float
    width: int
    height: int
    decode_ms: float
    motion_ms: float
    motions: tuple[Motion, ...]
    dropped: int = 0
    behind: bool = False


@dataclass(frozen=True, kw_only=True)
class Crops:
    """`crops`: return parts of a frame in the size of a model's input.

    Attributes:
        view: number of the view.
        frame: number of the frame.
        regions: the parts, at least one.
        width, height: of each crop in pixels.
        resize: "stretch", or "letterbox" (its own shape, from the top left; the rest is `pad`).
        pad: gray level of the padding.
    """

    view: int
    frame: int
    regions: tuple[Box, ...]
    width: int
    height: int
    resize: str = "stretch"
    pad: int = 0


@dataclass(frozen=True, kw_only=True)
class Cropped:
    """Answer to `crops`, before uint8 RGB [n, height, width, 3].

    `placements`: where the *whole frame* lies in each crop, so that `Detections.placed` gives
    coordinates of the frame.
    """

    placements: tuple[Placement, ...]
    crops_ms: float


@dataclass(frozen=True, kw_only=True)
class FramePicture:
    """`picture` and `motion_view`: return a view of a frame (None: the newest) as JPEG."""

    view: int
    frame: int | None = None
    max_width: int | None = None
    quality: int = 85


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """Answer to `picture` and `motion_view`, before the JPEG."""

    frame: int
    captured_at: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """`sharpness`: return how sharp parts of a frame are."""

    frame: int
    regions: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class Sharp:
    """Answer to `sharpness`: variance of the Laplacian of each region's brightness, less noise.

    Comparable between frames of one camera, not between cameras.
    """

    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Done:
    """An order without parameters, or an answer without content."""
