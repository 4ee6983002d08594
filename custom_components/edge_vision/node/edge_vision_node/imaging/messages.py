"""Messages between a node and its picture processes; their content is a picture or pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..detections import Placement
from ..frames.masks import NO_MASKS, Masks
from ..protocol import OutlineRequest

# How many times the width and height of a crop a picture keeps, if it has as many pixels: a face or
# body is only a part of it.
CROP_DETAIL = 4


class PictureOrder(StrEnum):
    """The orders that a picture process executes."""

    PREPARE = "prepare"
    DRAW = "draw"
    HIDE = "hide"
    OUTLINE = "outline"


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """`prepare` (with a picture): decode it for a model, privacy masks burned in.

    Attributes:
        cpu_s: the limit, in seconds of processor time.
        width, height: of the model's input, in pixels.
        resize: "stretch", or "letterbox" (its own shape, from the top left; the rest is `pad`).
        pad: gray level of the padding.
        whole: return the whole picture, with `CROP_DETAIL` times the model's width and height if
            it has as many pixels, because crops will be cut from it.
        masks: privacy masks.
    """

    width: int
    height: int
    resize: str
    pad: int
    whole: bool = False
    masks: Masks = NO_MASKS
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Answer to `prepare`, before uint8 RGB [rows, columns, 3].

    Attributes:
        width, height: of the camera's picture in pixels.
        columns, rows: of the pixels that follow.
        placement: where the picture lies in the pixels; None if they are the whole picture.
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
    """`draw` (with findings as JSON and a picture): draw the findings on the picture.

    Attributes:
        cpu_s: the limit of decoding, in seconds of processor time.
        findings_bytes: length of the findings.
        subjects: indices of the objects that stand out (see `annotate`); None for none.
        masks: privacy masks.
        clean: also return the picture without drawings.
    """

    findings_bytes: int
    subjects: tuple[int, ...] | None = None
    masks: Masks = NO_MASKS
    clean: bool = False
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Answer to `draw`, before the clean JPEG, if requested, and the one with drawings."""

    clean_bytes: int


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """Answer to `outline`, before the JPEG; `aspect` is its width by its height."""

    aspect: float


@dataclass(frozen=True, kw_only=True)
class Hide:
    """`hide` (with a picture): blacken areas."""

    masks: Masks
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Answer to `hide`, before the JPEG; `changed`: whether they were not black before."""

    changed: bool


@dataclass(frozen=True, kw_only=True)
class DrawOutline:
    """`outline` (with a picture): draw zones, lines and masks. The answer is `Outlined`."""

    request: OutlineRequest
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Still:
    """A picture decoded for a model: uint8 RGB [rows, columns, 3] of `shape`."""

    shape: Pixels
    pixels: bytes | memoryview
