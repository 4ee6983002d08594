"""What a node and its picture processes say to each other; the bytes are a picture's, or pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..detections import Placement
from ..frames.masks import Masks
from ..protocol import OutlineRequest

# A face or body is a part of the picture, which is wanted with so many times the pixels of the
# crop's width and height, where it has them.
CROP_DETAIL = 4


class PictureOrder(StrEnum):
    """What a node can ask of a picture process."""

    PREPARE = "prepare"
    DRAW = "draw"
    HIDE = "hide"
    OUTLINE = "outline"


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """`prepare` (with a picture): decode it for a model, privacy masks burned in.

    Attributes:
        cpu_s: how long that may take, in seconds of processor time.
        width, height: of the model's input, in pixels.
        resize: "stretch", or "letterbox" (its own shape, from the top left; the rest is `pad`).
        pad: grey level of the padding.
        whole: the picture itself is wanted, with several times the model's pixels where it has
            them, because crops will be cut from it.
        masks: what nobody may see.
    """

    width: int
    height: int
    resize: str
    pad: int
    whole: bool = False
    masks: Masks = ()
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Answer to `prepare`, before uint8 RGB [rows, columns, 3].

    Attributes:
        width, height: of the camera's picture in pixels.
        columns, rows: of what comes with it.
        placement: where the picture lies in that; None where it is the picture itself.
        decode_ms: time of decoding.
    """

    width: int
    height: int
    columns: int
    rows: int
    placement: Placement | None
    decode_ms: float


@dataclass(frozen=True, kw_only=True)
class Draw:
    """`draw` (with findings as JSON and a picture): draw in what a picture shows.

    Attributes:
        cpu_s: how long decoding may take, in seconds of processor time.
        findings_bytes: how many of the bytes are the findings'.
        subjects: which of the objects stand out (see `annotate`), by their number; None for all
            alike.
        masks: what nobody may see.
        clean: the picture without anything drawn is wanted, too.
    """

    findings_bytes: int
    subjects: tuple[int, ...] | None = None
    masks: Masks = ()
    clean: bool = False
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Answer to `draw`, before the clean JPEG, if it was wanted, and the one with drawings."""

    clean_bytes: int


@dataclass(frozen=True, kw_only=True)
class Hide:
    """`hide` (with a picture): blacken areas."""

    masks: Masks
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Answer to `hide`, before the JPEG; `changed`: they were not black before."""

    changed: bool


@dataclass(frozen=True, kw_only=True)
class DrawOutline:
    """`outline` (with a picture): draw zones, lines and masks. The answer is `Drawn`."""

    request: OutlineRequest
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Still:
    """A picture that is decoded for a model: uint8 RGB [rows, columns, 3] of `shape`."""

    shape: Pixels
    pixels: bytes | memoryview
