"""Times the steps of a still picture on this machine."""

from __future__ import annotations

import io
import statistics
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..hardware.discovery import resident_bytes
from ..models.store import SELF_TEST_PICTURE
from .runner import Runner

_LEAST_RUNS = 20
_WARM_UP_RUNS = 3


@dataclass(frozen=True)
class BenchResult:
    """Medians in milliseconds (p95 if the name says so).

    `still_ms`: everything from the bytes of a JPEG to detections, which is decoding, resizing,
    inference and reading the outputs. `overhead_ms`: everything but decoding and inference.
    `ratio`: `still_ms` / `engine_ms`.
    """

    model: str
    engine: str
    engine_version: str
    accelerator: str
    threads: int | None
    picture: str
    runs: int
    load_ms: float
    engine_ms: float
    engine_p95_ms: float
    still_ms: float
    still_p95_ms: float
    decode_ms: float
    overhead_ms: float
    ratio: float
    frames_per_second: float
    memory_mb: float | None


def street_720p() -> bytes:
    """Return a JPEG of 1280x720 with the detail of a camera's picture."""
    with Image.open(SELF_TEST_PICTURE) as image:
        picture = image.convert("RGB").resize((1280, 720), Image.Resampling.LANCZOS)
    # An enlarged picture is smoother than a sensor's, and smooth pictures decode faster.
    noise = np.random.default_rng(0).normal(0, 6, (720, 1280, 3))
    grainy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grainy).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@dataclass(frozen=True)
class Timings:
    """Milliseconds of each run: the engine alone, whole stills, and their steps."""

    engine_ms: list[float]
    still_ms: list[float]
    decode_ms: list[float]
    overhead_ms: list[float]


def time_stills(runner: Runner, data: bytes, seconds: float, least: int = _LEAST_RUNS) -> Timings:
    """Time whole stills and the engine alone in turn, for `seconds` and at least `least` times."""
    still = runner.prepare(data)
    timings = Timings([], [], [], [])
    for _ in range(_WARM_UP_RUNS):
        runner.run(still, 50)
    until = time.perf_counter() + seconds
    while len(timings.still_ms) < least or time.perf_counter() < until:
        started = time.perf_counter()
        runner.engine_alone(still)
        timings.engine_ms.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        prepared = runner.prepare(data)
        result, inference_ms = runner.run(prepared, 50)
        runner.findings(result, 50)
        still_ms = (time.perf_counter() - started) * 1000
        timings.still_ms.append(still_ms)
        timings.decode_ms.append(prepared.decode_ms)
        timings.overhead_ms.append(still_ms - prepared.decode_ms - inference_ms)
    return timings


def bench(runner: Runner, data: bytes, seconds: float, threads: int | None) -> BenchResult:
    """Time whole stills and the engine alone in turn, for `seconds`."""
    with Image.open(io.BytesIO(data)) as image:
        picture = f"{image.format} {image.width}x{image.height}, {len(data) / 1024:.0f} KiB"
    timings = time_stills(runner, data, seconds)
    memory = resident_bytes()
    engine, whole = statistics.median(timings.engine_ms), statistics.median(timings.still_ms)
    return BenchResult(
        model=runner.model.id,
        engine=runner.engine,
        engine_version=runner.engine_version,
        accelerator=runner.accelerator,
        threads=threads,
        picture=picture,
        runs=len(timings.still_ms),
        load_ms=round(runner.load_ms, 1),
        engine_ms=round(engine, 2),
        engine_p95_ms=round(p95(timings.engine_ms), 2),
        still_ms=round(whole, 2),
        still_p95_ms=round(p95(timings.still_ms), 2),
        decode_ms=round(statistics.median(timings.decode_ms), 2),
        overhead_ms=round(statistics.median(timings.overhead_ms), 2),
        ratio=round(whole / engine, 2),
        frames_per_second=round(1000 / whole, 1),
        memory_mb=round(memory / 2**20, 1) if memory else None,
    )


def p95(times: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]
