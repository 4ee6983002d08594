"""The speed of a model with every engine and accelerator, and a recommendation."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from .errors import BusyError, NodeError
from .inference.timing import street_720p
from .models.manifest import Model
from .protocol import (
    Benchmark,
    BenchmarkProgress,
    BenchmarkRow,
    CameraLoad,
    ProtocolError,
    Recommendation,
    read,
    write,
)
from .workers.lane import ModelSite
from .workers.messages import Measured
from .workers.pool import Workers

_LOGGER = logging.getLogger(__name__)

FILE_NAME = "benchmarks.json"
_CAMERAS = (1, 2, 4, 8)
# Share of the capacity that can be used permanently; the rest is for peaks, heat and other
# programs.
_SAFE_SHARE = 0.7
# An accelerator that is slower by this factor is still better, because the processor stays free.
_WORTH_ITS_FREEDOM = 0.8
_LONGEST_S = 30.0
# Some places need a second per picture, so limit the number of runs that the user waits for.
_LEAST_RUNS = 3

ProgressListener = Callable[[BenchmarkProgress], None]


class Benchmarks:
    """Runs benchmarks one at a time, and stores the newest of each model in a file."""

    def __init__(self, data: Path, workers: Workers) -> None:
        """Read earlier results; a damaged file is ignored."""
        self._path = data / FILE_NAME
        self._workers = workers
        self._running = asyncio.Lock()
        self._kept = _read_kept(self._path)

    @property
    def kept(self) -> tuple[Benchmark, ...]:
        """Return the newest result of each model."""
        return tuple(self._kept.values())

    async def run(self, model: Model, seconds: float, listener: ProgressListener) -> Benchmark:
        """Measure a model in every place for this number of seconds.

        Raises `BusyError` while another benchmark is running, and `NodeError` without any place.
        """
        if self._running.locked():
            raise BusyError("A benchmark is already running")
        async with self._running:
            places = await self._workers.places(model)
            if not places:
                await self._workers.choose(model, None, None)  # raises an error with the reason
            rows = [await self._describe(place) for place in places]
            picture = await asyncio.to_thread(street_720p)
            for number, place in enumerate(places):
                row = rows[number]
                listener(
                    BenchmarkProgress(
                        engine_name=row.engine_name,
                        accelerator_name=row.accelerator_name,
                        done=number,
                        total=len(places),
                    )
                )
                rows[number] = await self._measure(place, row, picture, min(seconds, _LONGEST_S))
            result = Benchmark(
                model=model.id,
                model_name=model.manifest.name,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                rows=tuple(rows),
                recommendation=recommend(rows),
            )
            self._kept[model.id] = result
            await asyncio.to_thread(self._write)
            return result

    async def _describe(self, place: ModelSite) -> BenchmarkRow:
        (engine,) = [info for info in await self._workers.engines() if info.id == place.engine]
        names = {item.id: item.name for item in engine.accelerators}
        return BenchmarkRow(
            engine=engine.id,
            engine_name=engine.name,
            accelerator=place.accelerator,
            accelerator_name=names.get(place.accelerator, place.accelerator),
        )

    async def _measure(
        self, place: ModelSite, row: BenchmarkRow, picture: bytes, seconds: float
    ) -> BenchmarkRow:
        try:
            with self._workers.hold(place) as lane:
                measured = await lane.measure(place, picture, seconds, _LEAST_RUNS)
        except NodeError as err:
            _LOGGER.warning("%s cannot be measured: %s", place.key, err)
            return replace(row, error=str(err))
        return with_figures(row, measured)

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps([write(item) for item in self.kept]), "utf-8")
            temporary.replace(self._path)
        except OSError as err:
            _LOGGER.warning("The benchmark cannot be saved: %s", err)


def with_figures(row: BenchmarkRow, measured: Measured) -> BenchmarkRow:
    """Return a row with the measured figures and the resulting rates for cameras.

    Cameras share 70 % of the possible pictures; the rest is for peaks, heat and other programs.
    """
    rate = 1000 / max(measured.still_ms, 0.01)
    return replace(
        row,
        median_ms=measured.median_ms,
        p95_ms=measured.p95_ms,
        still_ms=measured.still_ms,
        frames_per_second=round(rate, 1),
        cameras=tuple(
            CameraLoad(cameras=count, frames_per_second=round(rate * _SAFE_SHARE / count, 1))
            for count in _CAMERAS
        ),
    )


def recommend(rows: Sequence[BenchmarkRow]) -> Recommendation | None:
    """Return the best place: the fastest, or an accelerator that is nearly as fast as a CPU."""
    measured = [row for row in rows if row.frames_per_second is not None]
    if not measured:
        return None

    def rate(row: BenchmarkRow) -> float:
        return row.frames_per_second or 0.0

    best = max(measured, key=rate)
    others = [row for row in measured if row.accelerator != "cpu"]
    if best.accelerator == "cpu" and others:
        other = max(others, key=rate)
        if rate(other) >= _WORTH_ITS_FREEDOM * rate(best):
            return Recommendation(
                engine=other.engine,
                accelerator=other.accelerator,
                reason=f"{_name(other)} is nearly as fast as {_name(best)} and leaves the processor"
                " free.",
            )
    if len(measured) == 1:
        reason = f"{_name(best)} is the only one that can run it here."
    else:
        reason = f"{_name(best)} is the fastest here: {rate(best):.0f} pictures per second."
    return Recommendation(engine=best.engine, accelerator=best.accelerator, reason=reason)


def _name(row: BenchmarkRow) -> str:
    return f"{row.engine_name} on {row.accelerator_name}"


def _read_kept(path: Path) -> dict[str, Benchmark]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as err:
        _LOGGER.warning("Earlier benchmarks cannot be read: %s", err)
        return {}
    kept: dict[str, Benchmark] = {}
    for item in document if isinstance(document, list) else ():
        try:
            benchmark = read(Benchmark, item)
        except ProtocolError as err:
            _LOGGER.warning("An earlier benchmark is ignored: %s", err)
        else:
            kept[benchmark.model] = benchmark
    return kept
