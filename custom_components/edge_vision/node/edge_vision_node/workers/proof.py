"""The first load and run of a model that is not bundled.

It happens in a process with limits that is thrown away, so that a hostile file harms nothing
else.
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
# An accelerator compiles a model that it has never seen.
_COMPILE_DEADLINE_S = 1800.0
_RUN_DEADLINE_S = 20.0
# Of address space. Engines map far more than they use.
_LEAST_MEMORY = 3 * 2**30
_MOST_MEMORY = 8 * 2**30
_KEY = "candidate"


def disposable(name: str, accelerator: str) -> ChildProcess:
    """Return a process for a model that is not trusted.

    Its memory is limited on the CPU; drivers of GPUs reserve too much address space for a limit.
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
    """Load and run a model once; the engine keeps what it compiles in `cache`.

    Raises `WorkerError` if it crashed or hung, or the `NodeError` that says what is wrong.
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
    """Load a model and return what it finds in a picture. Raises as `prove` does."""
    worker = disposable(f"trial of {model.id}", accelerator)
    try:
        _, result = await _try(worker, model, engine, accelerator, None, cache, confidence, picture)
        return result
    finally:
        await worker.close()


async def probe(model: Model, engine: str, accelerator: str, picture: bytes) -> Probed:
    """Run a model and return shapes and ranges of its outputs. Raises as `prove` does."""
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
