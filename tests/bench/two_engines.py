"""Two pipelines on two engines at once: their throughput as a share of the raw engines' sum.

Usage: python -m tests.bench.two_engines [--engines onnxruntime ncnn] [--seconds 8] [--json]

Raw: both engines run without a pause on a tensor that is ready, each in a process of its own, at
the same time. Full: two pipelines send JPEGs of 1280x720 through the node's workers as fast as they
are answered: decoding, resizing, inference, reading of the outputs. Both in the same run, twice, by
turns. The share says what everything around the engines costs; on a machine whose engines run on
the processor, that work and theirs compete for the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from edge_vision_node.bench import street_720p
from edge_vision_node.errors import SupersededError
from edge_vision_node.models.store import ModelStore
from edge_vision_node.runner import Runner
from edge_vision_node.workers.pool import Place, Workers


def raw(engine: str, threads: int, seconds: float, begin: Barrier, rates: Any) -> None:
    """Run an engine without a pause; put runs per second into `rates`."""
    runner = Runner(ModelStore().get(None), engine, "cpu", threads)
    tensor = np.zeros(runner.preprocess.shape, runner.preprocess.dtype)
    begin.wait()
    runs, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        runner.infer(tensor)
        runs += 1
    rates[engine] = runs / (time.perf_counter() - started)


def measure_raw(engines: list[str], threads: int, seconds: float) -> dict[str, float]:
    """Return engine → runs per second, all at the same time."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(len(engines))
    with context.Manager() as manager:
        rates = manager.dict()
        processes = [
            context.Process(target=raw, args=(engine, threads, seconds, begin, rates))
            for engine in engines
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return dict(rates)


async def measure_full(engines: list[str], threads: int, seconds: float) -> dict[str, float]:
    """Return engine → pictures per second through the node's workers, all at the same time."""
    workers = Workers(threads)
    picture, model = street_720p(), ModelStore().get(None)
    places = [Place(model, engine, "cpu") for engine in engines]
    for place in places:
        await workers.lane(place).load(place)
    counts = dict.fromkeys(engines, 0)
    until = time.perf_counter() + seconds

    async def camera(place: Place, number: int) -> None:
        while time.perf_counter() < until:
            try:
                await workers.lane(place).run(f"camera {number}", place, picture, 50.0, ())
            except SupersededError:
                continue
            counts[place.engine] += 1

    started = time.perf_counter()
    # Three cameras each: one runs, one is being decoded, one waits.
    await asyncio.gather(*(camera(place, n) for place in places for n in range(3)))
    elapsed = time.perf_counter() - started
    await workers.close()
    return {engine: count / elapsed for engine, count in counts.items()}


def main() -> None:
    """Print both, and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", default=["onnxruntime", "ncnn"])
    parser.add_argument("--threads", type=int, default=1, help="of each engine")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    raws, fulls = [], []
    for _ in range(2):
        raws.append(measure_raw(options.engines, options.threads, options.seconds))
        fulls.append(asyncio.run(measure_full(options.engines, options.threads, options.seconds)))
    total_raw = sum(sum(item.values()) for item in raws) / 2
    total_full = sum(sum(item.values()) for item in fulls) / 2
    result = {
        "raw": raws,
        "full": fulls,
        "raw_sum": round(total_raw, 1),
        "full_sum": round(total_full, 1),
        "share": round(total_full / total_raw, 3),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, runs in (("raw", raws), ("full", fulls)):
        for item in runs:
            print(name, {engine: f"{rate:.1f}/s" for engine, rate in item.items()})
    print(f"share {result['share']:.1%}: {total_full:.1f} of {total_raw:.1f} a second")


if __name__ == "__main__":
    main()
