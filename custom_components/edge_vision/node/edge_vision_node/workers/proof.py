"""The first load and run of a model that did not come with the package.

They happen in a process of their own, with limits, that is thrown away: whatever a file does to
the engine, it does it there.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..models.manifest import Model
from ..models.store import SELF_TEST_PICTURE
from ..processes.child_process import ChildProcess
from .messages import Load, Loaded, Order, Probe, Probed, Run, RunResult
from .process import model_process

_LOAD_DEADLINE_S = 60.0
# An accelerator's compiler may take its time over a model that it has never seen.
_COMPILE_DEADLINE_S = 1800.0
_RUN_DEADLINE_S = 20.0
# Of address space, which is more than what is really used: engines map a lot that they never touch.
_LEAST_MEMORY = 3 * 2**30
_MOST_MEMORY = 8 * 2**30
_KEY = "candidate"


def disposable(name: str, accelerator: str) -> ChildProcess:
    """Return a worker for a model that may do anything.

    Its memory is limited on the CPU; drivers of GPUs reserve more address space than any limit.
    """
    limit = 0
    if accelerator == "cpu":
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = min(max(installed, _LEAST_MEMORY), _MOST_MEMORY)
    return model_process(name, memory_limit=limit, disposable=True)


async def prove(
    model: Model,
    engine: str,
    accelerator: str,
    threads: int | None,
    cache: Path | None = None,
) -> Loaded:
    """Load and run a model once; what it compiles for that is kept in `cache`.

    Raises `WorkerError` where it crashed or hung, or the `NodeError` that says what is wrong.
    """
    worker = disposable(f"first run of {model.id}", accelerator)
    try:
        return (await _try(worker, model, engine, accelerator, threads, cache, 50.0))[0]
    finally:
        await worker.close()


async def trial(
    model: Model,
    engine: str,
    accelerator: str,
    picture: bytes,
    confidence: float,
    cache: Path | None = None,
) -> RunResult:
    """Load and run a model once, for what it finds in a picture. Raises as `prove` does."""
    worker = disposable(f"trial of {model.id}", accelerator)
    try:
        _, result = await _try(worker, model, engine, accelerator, None, cache, confidence, picture)
        return result
    finally:
        await worker.close()


async def probe(model: Model, engine: str, accelerator: str, picture: bytes) -> Probed:
    """Run a model without reading its outputs, for their shapes and ranges. Raises as `prove`."""
    worker = disposable(f"look into {model.id}", accelerator)
    order = Probe(folder=str(model.folder), engine=engine, accelerator=accelerator)
    try:
        return await worker.ask(
            Order.PROBE, order, Probed, deadline_s=_deadline(accelerator), picture=picture
        )
    finally:
        await worker.close()


async def _try(
    worker: ChildProcess,
    model: Model,
    engine: str,
    accelerator: str,
    threads: int | None,
    cache: Path | None,
    confidence: float,
    picture: bytes | None = None,
) -> tuple[Loaded, RunResult]:
    order = Load(
        key=_KEY,
        folder=str(model.folder),
        engine=engine,
        accelerator=accelerator,
        threads=threads,
        detector=str(model.detector.folder) if model.detector else None,
        cache=str(cache) if cache else None,
    )
    loaded = await worker.ask(Order.LOAD, order, Loaded, deadline_s=_deadline(accelerator))
    result = await worker.ask(
        Order.RUN,
        Run(key=_KEY, confidence=confidence),
        RunResult,
        deadline_s=_RUN_DEADLINE_S,
        picture=picture if picture is not None else SELF_TEST_PICTURE.read_bytes(),
    )
    return loaded, result


def _deadline(accelerator: str) -> float:
    return _LOAD_DEADLINE_S if accelerator == "cpu" else _COMPILE_DEADLINE_S
