"""What a benchmark has measured, in words."""

from __future__ import annotations

from collections.abc import Iterable

from .node.edge_vision_node.protocol import Benchmark, BenchmarkRow, DeviceInfo


def per_second(rate: float) -> str:
    """Return a rate without false precision."""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def table(benchmark: Benchmark) -> str:
    """Return a benchmark as a table in Markdown, and what it recommends."""
    rows = [
        "| | Median | 95 % within | Pictures | 1 camera | 2 cameras | 4 cameras | 8 cameras |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(row) for row in benchmark.rows),
    ]
    text = "\n".join(rows)
    if benchmark.recommendation is not None:
        text += f"\n\n{benchmark.recommendation.reason}"
    return text


def _row(row: BenchmarkRow) -> str:
    name = _plain(f"{row.engine_name}, {row.accelerator_name}")
    if row.median_ms is None or row.p95_ms is None or row.frames_per_second is None:
        return f"| {name} | {_plain(row.error or '?')} |" + " |" * 6
    cells = [
        f"{row.median_ms:.0f} ms",
        f"{row.p95_ms:.0f} ms",
        f"{per_second(row.frames_per_second)}/s",
        *(f"{per_second(item.frames_per_second)}/s" for item in row.cameras),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Return text that ends no cell of a table."""
    return text.replace("|", "/").replace("\n", " ")


def accelerators(devices: Iterable[DeviceInfo]) -> str:
    """Return what is really there beside the processor, and what each still lacks."""
    lines = [f"- {device.name}: {device.missing or 'ready'}" for device in devices]
    return "\n".join(lines) or "- None was found: models run on the processor."


def figure_of(
    benchmarks: Iterable[Benchmark],
    model: str,
    engine: str | None,
    accelerator: str | None = None,
) -> str | None:
    """Return what was measured of a model in a place, such as "15 ms, 61 pictures a second".

    Without an accelerator, of the engine's fastest; without an engine, of the fastest of all. None
    where nothing was measured.
    """
    rows = [
        row
        for benchmark in benchmarks
        if benchmark.model == model
        for row in benchmark.rows
        if engine in (None, row.engine)
        and accelerator in (None, row.accelerator)
        and row.frames_per_second is not None
    ]
    if not rows:
        return None
    best = max(rows, key=lambda row: row.frames_per_second or 0.0)
    return f"{best.median_ms:.0f} ms, {per_second(best.frames_per_second or 0.0)} pictures a second"
