"""The command `bench`: time a picture on one accelerator or on all of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..benchmark import Benchmarks
from ..inference.timing import BenchResult
from ..models.manifest import Model
from ..models.trust import Trust
from ..protocol import Benchmark, BenchmarkProgress, BenchmarkRow, write
from ..workers.pool import Workers


def print_bench(result: BenchResult, *, as_json: bool) -> None:
    """Print the times of a picture in one place, step by step."""
    if as_json:
        print(json.dumps(asdict(result), indent=2))
        return
    print(
        f"{result.model} on {result.engine} {result.engine_version}, {result.accelerator},"
        f" {result.threads} threads; {result.picture}; {result.runs} runs"
    )
    print(f"  engine alone    {result.engine_ms:7.2f} ms   p95 {result.engine_p95_ms:.2f}")
    print(f"  whole picture   {result.still_ms:7.2f} ms   p95 {result.still_p95_ms:.2f}")
    print(f"    decoding      {result.decode_ms:7.2f} ms")
    print(f"    overhead      {result.overhead_ms:7.2f} ms   (resizing, reading the outputs)")
    print(f"  ratio           {result.ratio:7.2f}      whole picture / engine alone")
    print(f"  frames          {result.frames_per_second:7.1f} /s")
    if result.memory_mb is not None:
        print(f"  memory          {result.memory_mb:7.1f} MB")


def bench_all(options: argparse.Namespace, model: Model) -> int:
    """Measure a model on every engine and accelerator here; print a table and a recommendation."""
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        result = asyncio.run(_run(data, model, options.seconds, options.threads))
    if options.json:
        print(json.dumps(write(result), indent=2))
    else:
        print("\n".join(_table(result)))
    return 0 if result.recommendation else 1


async def _run(data: Path, model: Model, seconds: float, threads: int | None) -> Benchmark:
    workers = Workers(threads, data / "cache", Trust(data))
    try:
        return await Benchmarks(data, workers).run(model, seconds, _tell)
    finally:
        await workers.close()


def _tell(progress: BenchmarkProgress) -> None:
    where = f"{progress.engine_name} on {progress.accelerator_name}"
    print(f"{progress.done + 1} of {progress.total}: {where} …", file=sys.stderr)


def _table(result: Benchmark) -> list[str]:
    lines = [f"{result.model_name}, pictures of 1280x720"]
    cameras = next((row.cameras for row in result.rows if row.cameras), ())
    heads = ["", "median", "p95", "pictures", *(f"{item.cameras} cam." for item in cameras)]
    names = [f"{row.engine_name}, {row.accelerator_name}" for row in result.rows]
    width = max(map(len, names))
    lines.append(_row(heads[0].ljust(width), heads[1:]))
    for name, row in zip(names, result.rows, strict=True):
        cells = _figures(row)
        lines.append(_row(name.ljust(width), cells) if cells else f"  {name}: {row.error}")
    if result.recommendation is not None:
        lines.append(f"Best: {result.recommendation.reason}")
    return lines


def _figures(row: BenchmarkRow) -> list[str]:
    if row.error is not None:
        return []
    return [
        f"{row.median_ms:.1f} ms",
        f"{row.p95_ms:.1f} ms",
        f"{row.frames_per_second:.1f}/s",
        *(f"{item.frames_per_second:.1f}/s" for item in row.cameras),
    ]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"  {name}" + "".join(f"{cell:>11}" for cell in cells)
