"""What a benchmark has measured, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ..markdown import Markdown, escaped
from ..node.edge_vision_node.protocol import Benchmark, BenchmarkRow, DeviceInfo

# How many times as fast another place must be before anybody is asked to take it.
_WORTH_A_CHANGE: Final = 1.2


def per_second(rate: float) -> str:
    """Return a rate without false precision."""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def listed(benchmark: Benchmark) -> Markdown:
    """Return a benchmark as a list in Markdown: a table of so many columns fits no phone."""
    return Markdown("\n".join(map(_item, benchmark.rows)))


def _item(row: BenchmarkRow) -> str:
    name = f"- **{escaped(f'{row.engine_name}, {row.accelerator_name}')}**: "
    if row.median_ms is None or row.p95_ms is None or row.frames_per_second is None:
        return name + escaped(row.error or "it could not be measured")
    text = (
        f"{name}{row.median_ms:.0f} ms a picture, 95 % of them within {row.p95_ms:.0f} ms;"
        f" {per_second(row.frames_per_second)} pictures per second"
    )
    if row.cameras:
        counts = _in_a_row([str(item.cameras) for item in row.cameras])
        rates = _in_a_row([per_second(item.frames_per_second) for item in row.cameras])
        text += f", or {rates} for each of {counts} cameras"
    return text


def _in_a_row(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def better_place(
    benchmark: Benchmark | None, engine: str, accelerator: str
) -> tuple[BenchmarkRow, str] | None:
    """Return the place that a benchmark recommends in the place of another one, and why.

    None where there is none, or it would make no difference that anybody could notice.
    """
    if benchmark is None or (best := benchmark.recommendation) is None:
        return None
    rows = {(row.engine, row.accelerator): row for row in benchmark.rows}
    there, here = rows.get((best.engine, best.accelerator)), rows.get((engine, accelerator))
    if there is None or there is here:
        return None
    gains = (there.frames_per_second or 0.0) >= _WORTH_A_CHANGE * (
        (here.frames_per_second if here else None) or 0.0
    )
    frees = there.accelerator != "cpu" and accelerator == "cpu"
    return (there, best.reason) if gains or frees else None


def accelerators(devices: Iterable[DeviceInfo]) -> Markdown:
    """Return what is really there beside the processor, and what each still lacks."""
    lines = [
        f"- {escaped(device.name)}: {escaped(device.missing or 'ready')}" for device in devices
    ]
    return Markdown("\n".join(lines) or "- None was found: models run on the processor.")


def figure_of(
    benchmarks: Iterable[Benchmark],
    model: str,
    engine: str | None,
    accelerator: str | None = None,
) -> str | None:
    """Return what was measured of a model in a place, such as "15 ms, 61 pictures per second".

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
    return (
        f"{best.median_ms:.0f} ms, {per_second(best.frames_per_second or 0.0)} pictures per second"
    )
