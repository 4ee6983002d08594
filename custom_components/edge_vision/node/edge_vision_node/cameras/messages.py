"""What a node and a camera process say to each other, framed as `protocol` frames pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..detections import Placement
from ..protocol import Box


class CameraOrder(StrEnum):
    """What a node can ask of a camera process."""

    OPEN = "open"
    TUNE = "tune"
    CROPS = "crops"
    PICTURE = "picture"
    MOTION_VIEW = "motion_view"
    SHARPNESS = "sharpness"
    PIN = "pin"
    UNPIN = "unpin"
    ALIVE = "alive"
    CLOSE = "close"


class Push(StrEnum):
    """What a camera process says unasked."""

    FRAME = "frame"
    SOURCE = "source"


class Connection(StrEnum):
    """Whether there is a picture to look at."""

    CONNECTING = "connecting"
    LIVE = "live"
    UNAVAILABLE = "unavailable"


class Reason(StrEnum):
    """Why there is none; the sentence beside it says it in words."""

    CANNOT_CONNECT = "cannot_connect"
    AUTH_REFUSED = "auth_refused"
    NOT_FOUND = "not_found"
    NO_VIDEO = "no_video"
    UNSUPPORTED = "unsupported"
    STALLED = "stalled"
    DAMAGED = "damaged"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    CRASHED = "crashed"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the frame (0-1, origin top left)."""

    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Polygon:
    """An area of the frame; its last point joins its first."""

    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class MotionOptions:
    """How the motion gate looks. Numbers that are None come with `sensitivity`.

    Attributes:
        sensitivity: low, medium or high (`frames.motion.SENSITIVITIES` has the numbers).
        ignore: areas where nothing counts as motion (a tree, a clock in the picture).
        least_difference: grey levels (of 255) by which a spot must change at least.
        noise_factor: by how many times its own usual flicker it must change.
        least_area: of the frame (0-1), below which a moving thing is not told.
    """

    sensitivity: str = "medium"
    ignore: tuple[Polygon, ...] = ()
    least_difference: float | None = None
    noise_factor: float | None = None
    least_area: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """`open`: a camera and how to read it. Equal sources share one process.

    Attributes:
        url: rtsp://, http://, a file, or a device (/dev/video0). May hold a password, so it is in
            no `repr`, and travels over the socket, not on a command line.
        transport: of RTSP: tcp or udp.
        format: of the input where it cannot be guessed ("v4l2" for /dev/video*, "mjpeg").
        key_frames_only: decode only key frames, one every second or few: for weak hardware.
        reduce: decode at 1/2, 1/4 or 1/8 of the size (1, 2, 3) where the codec can (MJPEG, MPEG-2
            and -4; not H.264 or H.265).
        hardware: decode on this kind of device ("vaapi", "cuda", "drm", …); in software where it
            cannot.
        loop: play a file again when it has ended.
        realtime: play a file as fast as a camera would.
        masks: privacy masks; nothing ever sees these pixels.
        motion: how the motion gate looks; None switches it off.
        stall_s: seconds without a usable frame after which the source counts as unavailable.
    """

    url: str = field(repr=False)
    transport: str = "tcp"
    format: str | None = None
    key_frames_only: bool = False
    reduce: int = 0
    hardware: str | None = None
    loop: bool = True
    realtime: bool = True
    masks: tuple[Polygon, ...] = ()
    motion: MotionOptions | None = MotionOptions()
    stall_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Open:
    """`open`: start to read. `first` is the number of the first frame."""

    source: Source
    fps: float
    first: int = 1


@dataclass(frozen=True, kw_only=True)
class Tune:
    """`tune`: change while it runs.

    Attributes:
        fps: frames to keep in a second, at most.
        keep: where objects are followed; the motion gate does not get used to what is there.
    """

    fps: float
    keep: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the motion gate says of a frame.

    Attributes:
        moving: something moves, in `boxes`.
        calibrating: it could not tell (just started, the light or the view has changed at once):
            look at the whole frame. Not the same as nothing moving.
        share: of the frame that has changed (0-1).
        boxes: where, largest first.
    """

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
        decode_ms: processor time is not meant: from data to picture.
        motion_ms: of masks and motion gate together.
        dropped: frames since the last one that a newer one took the place of.
        motion: None where the gate is off.
    """

    number: int
    captured_at: str
    captured_monotonic: float
    width: int
    height: int
    decode_ms: float
    motion_ms: float
    dropped: int = 0
    motion: Motion | None = None


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """Pushed when it changes: whether there is a picture, since when, and why not.

    Attributes:
        state, reason: a `Connection`, a `Reason`.
        since: ISO 8601 in UTC.
        message: None while live, as the reason is; it is for people and holds no credentials.
        retry_s: seconds until the next try, where one will be made.
        codec, decoder, width, height: of a live one.
    """

    state: str
    since: str
    reason: str | None = None
    message: str | None = None
    retry_s: float | None = None
    codec: str | None = None
    decoder: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, kw_only=True)
class Crops:
    """`crops`: parts of a frame in the size that a model wants.

    Attributes:
        frame: its number.
        regions: what to cut out; at least one.
        width, height: of each crop in pixels.
        resize: "stretch", or "letterbox" (its own shape, from the top left; the rest is `pad`).
        pad: grey level of the padding.
        sharpness: say how sharp each region is, too.
    """

    frame: int
    regions: tuple[Box, ...]
    width: int
    height: int
    resize: str = "stretch"
    pad: int = 0
    sharpness: bool = False


@dataclass(frozen=True, kw_only=True)
class Cropped:
    """Answer to `crops`, before uint8 RGB [n, height, width, 3].

    `placements`: where the *whole frame* lies in each crop, so that `Detections.placed` gives
    coordinates of the frame. `sharpness` is empty unless asked for.
    """

    placements: tuple[Placement, ...]
    crops_ms: float
    sharpness: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """`picture` and `motion_view`: a frame (None: the newest) as JPEG."""

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
    """Answer to `sharpness`: the variance of the Laplacian of each region's brightness.

    To be compared between frames of one camera, not between cameras.
    """

    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Pin:
    """`pin` and `unpin`: keep a frame's pixels, or let them go."""

    frame: int


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """Answer to `pin`, `unpin`: the frames that are kept."""

    frames: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Done:
    """Question without parameters, or answer without content."""
