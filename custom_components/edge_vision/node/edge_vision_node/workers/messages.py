"""Messages between a node and its workers, framed as `protocol` frames pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ..detections import Detections
from ..imaging.messages import Pixels
from ..protocol import EngineInfo, Findings


class Order(StrEnum):
    """The orders that a worker executes."""

    DESCRIBE = "describe"
    LOAD = "load"
    UNLOAD = "unload"
    RUN = "run"
    RUN_CROPS = "run_crops"
    MEASURE = "measure"
    PROBE = "probe"


@dataclass(frozen=True, kw_only=True)
class Describe:
    """`describe`: return the capabilities of one engine here."""

    engine: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """`load`: load a model and run it once.

    `folder` holds its manifest, `detector` that of the model that finds its crops. Engines keep
    compiled models in `cache`.
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
    """Answer to `load`: the engine and accelerator that run the model."""

    engine_version: str
    accelerator: str
    load_ms: float


@dataclass(frozen=True, kw_only=True)
class Unload:
    """`unload`: free a model's memory."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """`run` (with a picture): run a model on it, read the outputs.

    `class_ids`: empty keeps all. `pixels`: the shape of a decoded picture; without it, a file from
    a trusted source follows.
    """

    key: str
    confidence: float
    class_ids: tuple[int, ...] = ()
    pixels: Pixels | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Answer to `run`; width and height are those of the camera's picture."""

    width: int
    height: int
    decode_ms: float
    inference_ms: float
    findings: Findings


@dataclass(frozen=True, kw_only=True)
class RunCrops:
    """`run_crops` (with pixels): run a detector on parts of one frame.

    The pixels are uint8 RGB [N, H, W, 3], H and W as the model wants them. `placements`: where the
    frame lies in each part, as scale_x, scale_y, offset_x, offset_y (`Placement`).
    """

    key: str
    confidence: float
    placements: tuple[tuple[float, ...], ...]
    class_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CropDetections:
    """Detections of one part: boxes in coordinates of the frame, scores 0-1, class ids.

    `keypoints`: for each box its points with x, y and score; empty for a model that finds none.
    """

    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    class_ids: tuple[int, ...]
    keypoints: tuple[tuple[tuple[float, ...], ...], ...] = ()

    @classmethod
    def of(cls, found: Detections) -> CropDetections:
        """Return detections as a message."""
        points = () if found.keypoints is None else found.keypoints.tolist()
        return cls(
            boxes=tuple(map(tuple, found.boxes.tolist())),
            scores=tuple(found.scores.tolist()),
            class_ids=tuple(found.class_ids.tolist()),
            keypoints=tuple(tuple(map(tuple, item)) for item in points),
        )

    @property
    def detections(self) -> Detections:
        """Return the detections that it says."""
        return Detections(
            np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
            np.array(self.scores, dtype=np.float32),
            np.array(self.class_ids, dtype=np.int32),
            np.array(self.keypoints, dtype=np.float32) if self.keypoints else None,
        )


@dataclass(frozen=True, kw_only=True)
class CropsResult:
    """Answer to `run_crops`, in the order of the parts; `inference_ms` is their sum."""

    inference_ms: float
    crops: tuple[CropDetections, ...]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """`measure` (with a picture): time a model for `seconds`, and at least `least` times."""

    key: str
    seconds: float
    least: int = 10


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Answer to `measure`: the engine alone, and the median of a whole still from its bytes."""

    runs: int
    median_ms: float
    p95_ms: float
    still_ms: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """`probe` (with a picture): run a model without a head."""

    folder: str
    engine: str
    accelerator: str


@dataclass(frozen=True, kw_only=True)
class ProbedColumn:
    """The smallest and largest number of a column, and whether all are whole numbers."""

    low: float
    peak: float
    whole: bool


@dataclass(frozen=True, kw_only=True)
class ProbedOutput:
    """Statistics of one output.

    Attributes:
        peaks: the largest number of each of the first channels, if the output is a table, whose
            shorter side is taken for the channels.
        lows: the smallest ones.
        beyond: the average sum of the channels from the sixth on.
        columns: of the last side, whichever is shorter, without rows that are all zero.
        whole: whether all are whole numbers.
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
