"""Two pipelines on two engines at once: their throughput as a share of that of the raw engines.

Usage: python -m tests.bench.two_engines [--engines onnxruntime ncnn] [--imitated] [--json]

Raw: both engines run continuously on a prepared tensor, each in a separate process, at the same
time. Full: two pipelines send JPEGs of 1280x720 through the workers of the node as fast as they get
results: decoding, resizing, inference, decoding of the outputs. Both are measured alternately in
the same run. The share shows the cost of everything around the engines; if the engines run on the
processor, everything competes for the same cores.

The share by processor time compares the processor time of all processes for the pictures of the
full runs with that of the engines alone for the same number. If the engines keep all cores busy,
both shares are the same, but this one is affected less by other programs. "around" is the
difference per picture.

With `--imitated`, the engines are two SIMULATED accelerators that take no processor time: a program
that replaces the package ncnn waits 15 and 25 ms for each picture.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from edge_vision_node.errors import SupersededError
from edge_vision_node.inference.runner import Runner
from edge_vision_node.inference.timing import street_720p
from edge_vision_node.models.store import ModelStore
from edge_vision_node.workers.lane import ModelSite
from edge_vision_node.workers.pool import Workers

# Vulkan device n waits WAITS[n] seconds and finds nothing.
IMITATION = """
import time
from types import SimpleNamespace
import numpy as np
WAITS = (0.015, 0.025)
Mat = np.asarray
def get_gpu_count():
    return len(WAITS)
def get_gpu_info(number):
    return SimpleNamespace(device_name=lambda: "imitation", type=lambda: 0)
class Net:
    def __init__(self):
        self.opt = SimpleNamespace()
    def set_vulkan_device(self, number):
        self._wait = WAITS[number]
    def load_param(self, path):
        return 0
    load_model = load_param
    def create_extractor(self):
        return self
    def input(self, name, mat):
        time.sleep(self._wait)
        return 0
    def extract(self, name):
        return 0, np.full((1917, 4 if name == "out0" else 91), -10, np.float32)
    def clear(self):
        pass
"""


@dataclass(frozen=True)
class Rate:
    """The work of one engine: runs, elapsed seconds, and seconds of processor time."""

    runs: int
    seconds: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        """Return runs per second."""
        return self.runs / self.seconds


def split(place: str) -> tuple[str, str]:
    """Return engine and accelerator of "ncnn on vulkan:0"; the default is the processor."""
    engine, _, accelerator = place.partition(" on ")
    return engine, accelerator or "cpu"


def raw(engine: str, threads: int, seconds: float, begin: Barrier, rates: Any) -> None:
    """Run an engine continuously."""
    runner = Runner(ModelStore().get(None), *split(engine), threads)
    tensor = np.zeros(runner.preprocess.shape, runner.preprocess.dtype)
    begin.wait()
    runs, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        runner.infer(tensor)
        runs += 1
    rates[engine] = Rate(runs, time.perf_counter() - started, time.process_time() - cpu)


def measure_raw(engines: list[str], threads: int, seconds: float) -> dict[str, Rate]:
    """Return the rate of each engine, with all of them running at the same time."""
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


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of this process and others."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return time.process_time() + sum(item.user + item.system for item in times)


async def measure_full(
    engines: list[str], threads: int, seconds: float
) -> tuple[dict[str, Rate], float]:
    """Return the rate of each engine through the workers of the node, all at the same time.

    Also return the processor time of all processes; that of the engines alone is unknown.
    """
    workers = Workers(threads)
    picture, model = street_720p(), ModelStore().get(None)
    places = {engine: ModelSite(model, *split(engine)) for engine in engines}
    for place in places.values():
        await workers.lane(place).load(place)
    counts = dict.fromkeys(engines, 0)
    started, cpu = time.perf_counter(), cpu_seconds(workers.pids)

    async def camera(engine: str, number: int) -> None:
        place = places[engine]
        while time.perf_counter() < started + seconds:
            try:
                await workers.lane(place).run(f"camera {number}", place, picture, 50.0, ())
            except SupersededError:
                continue
            counts[engine] += 1

    # Three cameras each: one is running, one is being decoded, one is waiting.
    await asyncio.gather(*(camera(engine, n) for engine in engines for n in range(3)))
    elapsed, cpu = time.perf_counter() - started, cpu_seconds(workers.pids) - cpu
    await workers.close()
    return {engine: Rate(count, elapsed, 0.0) for engine, count in counts.items()}, cpu


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", default=["onnxruntime", "ncnn"])
    parser.add_argument("--imitated", action="store_true", help="use simulated accelerators")
    parser.add_argument("--threads", type=int, default=1, help="threads per engine")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.imitated:
        measure(options)
        return
    with TemporaryDirectory() as folder:
        (Path(folder) / "ncnn.py").write_text(IMITATION)
        os.environ["PYTHONPATH"] = folder  # for the workers
        sys.path.insert(0, folder)  # for the processes of the raw engines
        options.engines = ["ncnn on vulkan:0", "ncnn on vulkan:1"]
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Measure and print both rates and the shares."""
    raws: list[dict[str, Rate]] = []
    fulls: list[dict[str, Rate]] = []
    full_cpu_s = 0.0
    for _ in range(options.rounds):
        raws.append(measure_raw(options.engines, options.threads, options.seconds))
        full, cpu_s = asyncio.run(measure_full(options.engines, options.threads, options.seconds))
        fulls.append(full)
        full_cpu_s += cpu_s
    total_raw, total_full = (
        sum(rate.per_second for item in items for rate in item.values()) / options.rounds
        for items in (raws, fulls)
    )
    pictures = sum(rate.runs for item in fulls for rate in item.values())
    engines_cpu_s = sum(
        sum(item[engine].runs for item in fulls)
        * sum(item[engine].cpu_s for item in raws)
        / sum(item[engine].runs for item in raws)
        for engine in options.engines
    )
    rates = {
        name: [{key: round(rate.per_second, 1) for key, rate in item.items()} for item in items]
        for name, items in (("raw", raws), ("full", fulls))
    }
    result = {
        **rates,
        "raw_sum": round(total_raw, 1),
        "full_sum": round(total_full, 1),
        "share": round(total_full / total_raw, 3),
        "share_by_processor_time": round(engines_cpu_s / full_cpu_s, 3),
        "around_ms": round((full_cpu_s - engines_cpu_s) / pictures * 1000, 2),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, items in rates.items():
        for item in items:
            print(name, {engine: f"{rate}/s" for engine, rate in item.items()})
    print(f"share {result['share']:.1%}: {total_full:.1f} of {total_raw:.1f} per second")
    if options.imitated:  # they take no processor time, so the share is meaningless
        return
    print(
        f"share by processor time {result['share_by_processor_time']:.1%}:"
        f" {result['around_ms']} ms per picture around the engines"
    )


if __name__ == "__main__":
    main()
