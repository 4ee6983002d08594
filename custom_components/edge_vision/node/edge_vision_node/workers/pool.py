"""All workers of a node: one for each model on an accelerator.

Models share a worker if only one process can use their accelerator.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..engines import (
    ENGINES,
    default_accelerator,
    describe_engine,
    get_engine,
    is_exclusive,
    is_installed,
)
from ..errors import EngineMissingError, NodeError, WorkerError
from ..models.manifest import Model
from ..models.trust import Trust
from ..processes.child_process import ChildProcess
from ..protocol import EngineInfo
from .failures import Failures
from .lane import Lane, ModelSite
from .messages import (
    Describe,
    Described,
    Loaded,
    Order,
)
from .process import model_process

_LOGGER = logging.getLogger(__name__)

# Importing the largest engine takes ten seconds from a slow card.
_DESCRIBE_DEADLINE_S = 30.0


class Workers:
    """The lanes of a node and the capabilities of its engines."""

    def __init__(
        self, threads: int | None = None, cache: Path | None = None, trust: Trust | None = None
    ) -> None:
        """Prepare; nothing is started yet. Engines keep compiled models in `cache`."""
        self.trust = trust or Trust()
        self._threads = threads
        self.cache = cache
        self._failures = Failures()
        self._lanes: dict[tuple[str, str, str], Lane] = {}
        self._engines: tuple[EngineInfo, ...] | None = None
        self._describing = asyncio.Lock()

    async def engines(self) -> tuple[EngineInfo, ...]:
        """Return the capabilities of every engine here. They are queried once, in a process."""
        async with self._describing:
            if self._engines is None:
                self._engines = await _describe_engines()
            return self._engines

    async def choose(self, model: Model, engine: str | None, accelerator: str | None) -> ModelSite:
        """Return where a model runs; None leaves the choice open. Raises `EngineMissingError`.

        Raises `WorkerError` if the named engine crashed when it was queried.
        """
        if engine is not None:
            get_engine(engine)
        reasons = []
        for info in await self.engines():
            if engine is not None and info.id != engine:
                continue
            if engine is not None and info.crashed:
                raise WorkerError(info.missing or f"{info.name} crashed")
            if info.id not in model.engines:
                reasons.append(f"{model.manifest.name} has no files for {info.name}")
            elif info.version is None:
                reasons.append(info.missing or f"{info.name} cannot be used here")
            elif where := accelerator or default_accelerator(
                info.accelerators, model.engine(info.id).files
            ):
                return ModelSite(model, info.id, where)
            else:
                reasons.append(
                    f"{model.manifest.name} has no file for an accelerator of {info.name}"
                )
        raise EngineMissingError(f"{model.manifest.name} cannot run here: {'; '.join(reasons)}")

    async def places(self, model: Model) -> list[ModelSite]:
        """Return all places where a model can run, best first, without emulated GPUs."""
        return [
            ModelSite(model, info.id, item.id)
            for info in await self.engines()
            if info.version is not None and info.id in model.engines
            for item in info.accelerators
            if not item.emulated and default_accelerator([item], model.engine(info.id).files)
        ]

    def lane(self, place: ModelSite) -> Lane:
        """Return the lane of a place; exclusive accelerators have one lane for all models.

        A model that crashes, hangs or is compiled for half an hour delays no model of another
        lane.
        """
        engine, accelerator = place.engine, place.accelerator
        key = (engine, accelerator, "" if is_exclusive(accelerator) else place.key)
        if key not in self._lanes:
            versions = {info.id: info.version or "" for info in self._engines or ()}
            self._lanes[key] = Lane(
                engine,
                accelerator,
                self._threads,
                self.cache,
                self.trust,
                versions.get(engine, ""),
                self._failures,
            )
        return self._lanes[key]

    @contextmanager
    def hold(self, place: ModelSite) -> Iterator[Lane]:
        """Keep the lane of a place open, whether or not a pipeline uses it."""
        lane = self.lane(place)
        lane.holders += 1
        try:
            yield lane
        finally:
            lane.holders -= 1

    async def load(self, place: ModelSite) -> Loaded:
        """Load a model. Raises as `Lane.load` does."""
        with self.hold(place) as lane:
            return await lane.load(place)

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that run."""
        return [pid for lane in self._lanes.values() if (pid := lane.worker.pid)]

    async def unload_all_but(self, places: Iterable[ModelSite]) -> None:
        """Keep only these models; a worker without one ends."""
        keys = {place.key for place in places}
        for name, lane in list(self._lanes.items()):
            if lane.holders or self._lanes.get(name) is not lane:
                continue
            if lane.has_any(keys):
                await lane.unload_all_but(keys)
            else:
                # Removed first: a caller that needs it gets a new one, and nobody closes it twice.
                del self._lanes[name]
                await lane.close()

    async def close(self) -> None:
        """End all workers."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            await lane.close()


async def _describe_engines() -> tuple[EngineInfo, ...]:
    """Query all engines in one process: starting one costs more than importing most packages.

    An engine that ends that process is queried once more in a process of its own, because only
    then it is known to be the culprit.
    """
    described = []
    worker = model_process("look for engines")
    try:
        for engine in ENGINES:
            if not is_installed(engine):
                info = describe_engine(engine)  # says why it is missing; loads nothing
            else:
                try:
                    info = await _describe(worker, engine)
                except NodeError:
                    info = await _describe_alone(engine)
            described.append(info)
    finally:
        await worker.close()
    return tuple(described)


async def _describe_alone(engine: str) -> EngineInfo:
    worker = model_process(f"look for {engine}")
    try:
        return await _describe(worker, engine)
    except NodeError as err:  # a package for another processor crashes the process
        name = ENGINES[engine].name
        return EngineInfo(id=engine, name=name, missing=str(err), crashed=True)
    finally:
        await worker.close()


async def _describe(worker: ChildProcess, engine: str) -> EngineInfo:
    answer = await worker.ask(
        Order.DESCRIBE, Describe(engine=engine), Described, deadline_s=_DESCRIBE_DEADLINE_S
    )
    return answer.engine
