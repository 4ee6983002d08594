"""What a node and a camera process say to each other, framed as `protocol` frames pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..detections import Placement
from ..protocol import Box, MotionThresholds, Point


class CameraOrder(StrEnum):
    """What a node can ask of a camera process."""

    OPEN = "open"
    TUNE = "tune"
    CROPS = "crops"
    PICTURE = "picture"
    MOTION_VIEW = "motion_view"
    SHARPNESS = "sharpness"
    ALIVE = "alive"
    CLOSE = "close"


class Push(StrEnum):
    """What a camera process says unasked."""

    FRAME = "frame"
    SOURCE = "source"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A camera and how to read it: once, however many look at it.

    Attributes:
        url: rtsp://, http://, a file, or a device (/dev/video0). May hold a password, so it is in
            no `repr`, and travels over the socket, not on a command line.
        transport: of RTSP: one of `TRANSPORTS`; "auto" tries tcp, then udp.
        verify_certificate: of rtsps and https: refuse one that is not trusted.
        wallclock: the stream's own times are of no use.
        orientation: how its pictures have to be turned to be upright, by the numbers of Exif; with
            1 they are turned as the stream itself says.
        key_frames_only: decode only key frames, one every second or few: for weak hardware.
        hardware_decoding: have the GPU decode where it can.
        stall_s: seconds without a usable frame after which the source counts as unavailable.
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
    """What one watcher may see of a camera, and what counts as movement there.

    Attributes:
        masks: privacy masks; these pixels are never handed out.
        thresholds: of the motion gate.
        motion_masks: areas where nothing counts as motion (a tree, a clock in the picture).
    """

    masks: tuple[tuple[Point, ...], ...] = ()
    thresholds: MotionThresholds = field(default_factory=MotionThresholds)
    motion_masks: tuple[tuple[Point, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ViewTuning:
    """One watcher's view.

    Attributes:
        number: names it in orders and pushes. What it stands for never changes.
        view: what it stands for.
        keep: where objects are followed; the motion gate does not get used to what is there.
    """

    number: int
    view: View
    keep: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tune:
    """`tune`: change while it runs.

    Attributes:
        fps: frames to keep in a second, at most.
        views: of all watchers.
    """

    fps: float
    views: tuple[ViewTuning, ...]


@dataclass(frozen=True, kw_only=True)
class Open:
    """`open`: start to read. `first` is the number of the first frame."""

    source: Source
    tune: Tune
    first: int = 1


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the motion gate of a view says of a frame.

    Attributes:
        view: its number.
        moving: something moves, in `boxes`.
        calibrating: it could not tell (just started, the light or the view has changed at once):
            look at the whole frame. Not the same as nothing moving.
        share: of the frame that has changed (0-1).
        boxes: where, largest first.
    """

    view: int
    moving: bool
    calibrating: bool
    share: float = 0.0
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """Pushed for each kept frame; its pixels can be asked for as long as it is in the ring.

    Attributes:
        number: counts on over reconnections and restarts of the process.
        captured_at: when its data arrived, ISO 8601 in UTC.
        captured_monotonic: the same by `time.monotonic`, which processes of a device share.
        width, height: in pixels.
        decode_ms: from its data to pixels.
        motion_ms: of all views' motion gates.
        dropped: frames since the last one that a newer one took the place of.
        behind: decoding cannot keep up, and only key frames are decoded for now.
        motions: what the motion gate of each view says.
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
    """`crops`: parts of a frame in the size that a model wants.

    Attributes:
        view: whose.
        frame: its number.
        regions: what to cut out; at least one.
        width, height: of each crop in pixels.
        resize: "stretch", or "letterbox" (its own shape, from the top left; the rest is `pad`).
        pad: grey level of the padding.
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
    """`picture` and `motion_view`: a view of a frame (None: the newest) as JPEG."""

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
    """`sharpness`: how sharp parts of a frame are."""

    frame: int
    regions: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class Sharp:
    """Answer to `sharpness`: the variance of the Laplacian of each region's brightness, less noise.

    To be compared between frames of one camera, not between cameras.
    """

    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Done:
    """Question without parameters, or answer without content."""
