"""What a node and its workers say to each other, framed as `protocol` frames pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..imaging.messages import Pixels
from ..protocol import EngineInfo, Findings


class Order(StrEnum):
    """What a node can ask of a worker."""

    DESCRIBE = "describe"
    LOAD = "load"
    UNLOAD = "unload"
    RUN = "run"
    RUN_CROPS = "run_crops"
    MEASURE = "measure"
    PROBE = "probe"


@dataclass(frozen=True, kw_only=True)
class Describe:
    """`describe`: what one engine can do here."""

    engine: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """`load`: load a model and run it once.

    `folder` holds its manifest, `detector` that of the model that finds its crops; in `cache`
    engines may keep what they compile.
    """

    key: str
    folder: str
    engine: str
    accelerator: str | None = None
    threads: int | None = None
    cache: str | None = None
    detector: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Answer to `load`: what really runs it."""

    engine_version: str
    accelerator: str
    load_ms: float


@dataclass(frozen=True, kw_only=True)
class Unload:
    """`unload`: give a model's memory back."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """`run` (with a picture): run a model on it, read the outputs.

    `class_ids`: empty keeps all. `pixels`: what comes with it is a picture that is decoded already;
    without, a file that has been decoded before, or is our own.
    """

    key: str
    confidence: float
    class_ids: tuple[int, ...] = ()
    pixels: Pixels | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Answer to `run`; width and height are the camera's picture's."""

    width: int
    height: int
    decode_ms: float
    inference_ms: float
    findings: Findings


@dataclass(frozen=True, kw_only=True)
class RunCrops:
    """`run_crops` (with pixels): run a detector on parts of one frame.

    The pixels are uint8 RGB [N, H, W, 3], H and W as the model wants them. `placements` says for
    each where the frame lies in it: scale_x, scale_y, offset_x, offset_y (`Placement`).
    """

    key: str
    confidence: float
    placements: tuple[tuple[float, ...], ...]
    class_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CropDetections:
    """What was found in one part: boxes in coordinates of the frame, scores 0-1, class ids."""

    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    class_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CropsResult:
    """Answer to `run_crops`, in the order of the parts; `inference_ms` is that of all."""

    inference_ms: float
    crops: tuple[CropDetections, ...]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """`measure` (with a picture): time a model for some seconds, and at least so many times."""

    key: str
    seconds: float
    least: int = 10


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Answer to `measure`: the engine alone, and (median) everything from the picture's bytes."""

    runs: int
    median_ms: float
    p95_ms: float
    still_ms: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """`probe` (with a picture): run a model whose head is not known yet."""

    folder: str
    engine: str
    accelerator: str


@dataclass(frozen=True, kw_only=True)
class ProbedColumn:
    """The least and the largest number of a column, and whether all are whole numbers."""

    low: float
    peak: float
    whole: bool


@dataclass(frozen=True, kw_only=True)
class ProbedOutput:
    """What one output looks like.

    `peaks`: the largest number of each of the first channels, where the output is a table: its
    shorter side has the channels. `lows` the least. `beyond`: what the channels from the sixth on
    add up to, on average. `columns`: least and largest numbers of its last side, whatever is
    shorter, without rows of zeros only. `whole`: whether all are whole numbers.
    """

    shape: tuple[int, ...]
    minimum: float
    maximum: float
    total: float
    finite: bool
    peaks: tuple[float, ...] = ()
    lows: tuple[float, ...] = ()
    beyond: float = 0.0
    columns: tuple[ProbedColumn, ...] = ()
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Answer to `probe`: the outputs in the manifest's order."""

    outputs: tuple[ProbedOutput, ...]


@dataclass(frozen=True, kw_only=True)
class Described:
    """Answer to `describe`."""

    engine: EngineInfo
