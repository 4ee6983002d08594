"""What a node is and has: hardware, engines, models, and how fast they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AcceleratorInfo:
    """A place where an engine runs a model, `cpu` for example.

    `emulated`: a program on the processor that passes for a GPU; neither measured nor offered.
    """

    id: str
    name: str
    emulated: bool = False


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
