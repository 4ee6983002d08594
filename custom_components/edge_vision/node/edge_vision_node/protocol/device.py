"""The node: its hardware, engines, models, and their speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AcceleratorInfo:
    """An accelerator that an engine runs models on, for example `cpu`.

    `emulated`: a program on the processor that emulates a GPU; it is neither measured nor offered.
    """

    id: str
    name: str
    emulated: bool = False


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """An inference runtime. If it cannot be used, `version` is None and `missing` is the reason.

    `crashed`: it is installed, but its process crashed or hung when it was inspected. `packaged`:
    there is a package for this system.
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
    """A model of the node; `engines` are those that it has files for.

    `detector`: the model whose detections it analyzes; it cannot be used without that model.
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
    """The device of a node. None means unknown."""

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
    """An accelerator of the device, as shown by the operating system.

    `kind` is one of edge_tpu, hailo, gpu, npu. `engine` and `accelerator` run models on it; they
    are None if no engine can use it. `missing` is a sentence about what is needed to use it, or
    None if it is ready.
    """

    id: str
    kind: str
    name: str
    engine: str | None = None
    accelerator: str | None = None
    missing: str | None = None


@dataclass(frozen=True, kw_only=True)
class BoardProfile:
    """A kind of board with the figures of its manufacturer and its recommended use.

    `tops`: peak 8-bit operations in units of 10^12 per second, or None if not stated.
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
    """Pictures per second for each camera, with this number of cameras."""

    cameras: int
    frames_per_second: float


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """The speed of a model with one engine and accelerator.

    `median_ms` and `p95_ms` are the times of the engine alone. `still_ms` is the time for a picture
    of 1280x720 from its bytes to the result, and `frames_per_second` the possible number of those.
    `error` is the reason if it could not be measured; the figures are None then.
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
    """The best engine and accelerator for a model, and the reason in a sentence."""

    engine: str
    accelerator: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The speed of a model at some time, with everything that this node can run it on."""

    model: str
    model_name: str
    at: str
    rows: tuple[BenchmarkRow, ...]
    recommendation: Recommendation | None = None


@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest:
    """`benchmark`: measure a model on everything, for some seconds each. Result: `Benchmark`.

    In the meantime, `progress` is pushed as for `install_model`, with `BenchmarkProgress`.
    """

    model: str | None = None
    seconds: float = 2.0


@dataclass(frozen=True, kw_only=True)
class BenchmarkProgress:
    """The progress of a benchmark: `done` of `total`, and the one being measured."""

    engine_name: str
    accelerator_name: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class NodeInfo:
    """Result of `info`."""

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
