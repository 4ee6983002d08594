"""One worker and the fair queue before it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from ulid_transform import ulid_now

from ..engines import is_exclusive
from ..errors import InferenceError, WorkerError
from ..imaging.messages import Still
from ..models.formats.checks import check_model
from ..models.manifest import Model
from ..models.store import is_bundled
from ..models.trust import Trust
from .failures import Failures, Verdict
from .messages import (
    CropsResult,
    Load,
    Loaded,
    Measure,
    Measured,
    Order,
    Run,
    RunCrops,
    RunResult,
    Unload,
)
from .process import model_process
from .proof import prove
from .scheduler import Scheduler

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_LOAD_DEADLINE_S = 120.0
# Accelerators compile a model when they first see it: TensorRT on a small board takes a quarter of
# an hour. The result is kept.
_COMPILE_DEADLINE_S = 1800.0
_RUN_DEADLINE_S = 20.0


@dataclass(frozen=True)
class PreparedCrops:
    """Parts of one frame, ready for a model.

    Attributes:
        pixels: uint8 RGB [N, H, W, 3], H and W as the model wants them.
        placements: where the frame lies in each part, as the fields of `Placement`.
    """

    pixels: bytes | memoryview
    placements: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ModelSite:
    """A model on an engine and accelerator, where it runs."""

    model: Model
    engine: str
    accelerator: str

    @cached_property
    def key(self) -> str:
        """Return its name in logs and in a worker. It changes with the model's files."""
        digest = self.model.digest(self.engine)[:8]
        version = f"{self.model.manifest.version} ({digest})"
        return f"{self.model.id} {version} on {self.engine} {self.accelerator}"


class Lane:
    """One worker and the fair queue before it.

    `holders`: how many callers keep it open, whether or not a pipeline uses it.
    """

    def __init__(
        self,
        engine: str,
        accelerator: str,
        threads: int | None,
        cache: Path | None = None,
        trust: Trust | None = None,
        version: str = "",
        failures: Failures | None = None,
    ) -> None:
        """Prepare; nothing is started yet. `version`: of the engine, empty if unknown."""
        self.holders = 0
        self._version = version
        self._exclusive = is_exclusive(accelerator)
        self._threads = threads
        self._cache = cache
        self.worker = model_process(f"{engine} on {accelerator}")
        self._scheduler = Scheduler()
        self._loading = asyncio.Lock()
        self._loads: dict[str, asyncio.Task[Loaded]] = {}
        self._loaded: dict[str, tuple[int, Loaded]] = {}  # with the worker's generation
        self._trust = trust or Trust()
        self._failures = failures or Failures()

    def loaded(self, place: ModelSite) -> Loaded | None:
        """Return what runs a model, None if it is not loaded."""
        generation, loaded = self._loaded.get(place.key, (0, None))
        if generation == self.worker.generation and self.worker.pid:
            return loaded
        return None

    async def load(self, place: ModelSite) -> Loaded:
        """Load a model, unless it is loaded already.

        Concurrent calls wait for the same load. Raises `NodeError`, also for a model that crashed
        its engine three times in a row.
        """
        self._failures.require_hope(place.key)
        if (loaded := self.loaded(place)) is not None:
            return loaded
        task = self._loads.get(place.key)
        if task is None:
            task = self._loads[place.key] = asyncio.create_task(self._load(place))
            task.add_done_callback(partial(self._load_ended, place.key))
        return await asyncio.shield(task)

    def _load_ended(self, key: str, task: asyncio.Task[Loaded]) -> None:
        del self._loads[key]
        if not task.cancelled():
            task.exception()  # retrieve it: the caller may be gone

    async def _load(self, place: ModelSite) -> Loaded:
        async with self._loading:
            await self.prove(place)
            order = Load(
                key=place.key,
                folder=str(place.model.folder),
                engine=place.engine,
                accelerator=place.accelerator,
                threads=self._threads,
                cache=str(self._cache) if self._cache else None,
                detector=str(detector.folder) if (detector := place.model.detector) else None,
            )
            deadline_s = load_deadline_s(place.accelerator)
            loaded = await self._ask(place, Order.LOAD, order, Loaded, deadline_s)
            self._loaded[place.key] = (self.worker.generation, loaded)
            _LOGGER.info("Loaded %s in %.0f ms", place.key, loaded.load_ms)
            return loaded

    async def _ask(
        self,
        place: ModelSite,
        order: Order,
        message: object,
        answer: type[_T],
        deadline_s: float,
        content: memoryview | bytes = b"",
    ) -> _T:
        """Send the worker an order about a model, which is loaded first if necessary.

        The model that was executing when a worker died gets a strike. All other orders that waited
        for that worker are sent once more, to its successor.
        """
        for last in (False, True):
            if order is not Order.LOAD:
                await self.load(place)
            try:
                return await self.worker.ask(
                    order, message, answer, deadline_s=deadline_s, picture=content
                )
            except WorkerError as err:
                if err.begun:
                    await self._strike(place, err)
                if err.begun or last or self.worker.closed:
                    raise
        raise AssertionError("the last try returns or raises")

    async def run(
        self,
        user: str,
        place: ModelSite,
        picture: Still | bytes,
        confidence: float,
        class_ids: Iterable[int],
    ) -> RunResult:
        """Run a picture when it is the user's turn. Raises `NodeError`.

        A file (`bytes`) is decoded in the engine's process, so it must come from a trusted source.
        """
        still = picture if isinstance(picture, Still) else None
        order = Run(
            key=place.key,
            confidence=confidence,
            class_ids=tuple(class_ids),
            pixels=still.shape if still else None,
        )
        content = picture.pixels if isinstance(picture, Still) else picture
        return await self._run(user, place, Order.RUN, order, RunResult, content)

    async def run_crops(
        self,
        user: str,
        place: ModelSite,
        crops: PreparedCrops,
        confidence: float,
        class_ids: Iterable[int],
    ) -> CropsResult:
        """Run a detector on parts of a frame when it is the user's turn. Raises `NodeError`."""
        order = RunCrops(
            key=place.key,
            confidence=confidence,
            placements=crops.placements,
            class_ids=tuple(class_ids),
        )
        return await self._run(user, place, Order.RUN_CROPS, order, CropsResult, crops.pixels)

    async def _run(
        self,
        user: str,
        place: ModelSite,
        order: Order,
        message: Run | RunCrops,
        answer: type[_T],
        pixels: memoryview | bytes,
    ) -> _T:
        async def job() -> _T:
            try:
                result = await self._ask(place, order, message, answer, _RUN_DEADLINE_S, pixels)
            except WorkerError:
                raise
            except InferenceError as err:
                await self._note_failure(place, err)
                raise
            self._failures.forget(place.key)
            await self._trust.forgive(place.model, place.engine, place.accelerator)
            return result

        return await self._scheduler.run(user, job)

    async def _note_failure(self, place: ModelSite, err: InferenceError) -> None:
        """Reload a model that keeps failing, and give it up if that does not help.

        Raises `AcceleratorFailedError` when it is given up, for example because the accelerator
        was unplugged.
        """
        verdict = self._failures.note(place.key, err)
        if verdict is Verdict.RELOAD:
            await self.worker.end(f"{place.key} fails repeatedly: {err}", logging.WARNING)
        elif verdict is Verdict.GIVE_UP:
            self._failures.require_hope(place.key)

    async def measure(
        self, place: ModelSite, picture: bytes, seconds: float, least: int = 10
    ) -> Measured:
        """Time a model for some seconds, and at least `least` (2 or more) times.

        Raises `NodeError`.
        """
        order = Measure(key=place.key, seconds=seconds, least=least)

        async def job() -> Measured:
            deadline_s = _RUN_DEADLINE_S + seconds
            return await self._ask(place, Order.MEASURE, order, Measured, deadline_s, picture)

        return await self._scheduler.run(ulid_now(), job)

    async def _strike(self, place: ModelSite, err: WorkerError, *, first_run: bool = False) -> None:
        await self._trust.strike(
            place.model,
            place.engine,
            place.accelerator,
            err.reason,
            proven=not first_run,
            # A crash in the trial will happen again. A timeout may be due to a busy machine, and
            # when memory runs out, the kernel ends trials first.
            enough=first_run and not (err.timed_out or err.killed),
        )

    async def prove(self, place: ModelSite) -> None:
        """Try a model that is not bundled in a process that is thrown away.

        Raises `QuarantinedError` if it crashed, or the error that says why it cannot be used.
        """
        model, engine, accelerator = place.model, place.engine, place.accelerator
        self._trust.require_free(model, engine, accelerator)
        if is_bundled(model) or self._trust.is_proven(model, engine, self._version, accelerator):
            return
        for item in (model, model.detector):
            if item is not None:
                await asyncio.to_thread(check_model, item, engine)
        if self._exclusive:
            await self.worker.end(f"{place.key} is tested on its accelerator")
        try:
            loaded = await prove(model, engine, accelerator, self._threads, self._cache)
        except WorkerError as err:
            # A process that could not be started or understood says nothing about the model.
            if err.begun:
                await self._strike(place, err, first_run=True)
                self._trust.require_free(model, engine, accelerator)
            raise
        await self._trust.prove(model, engine, loaded.engine_version, accelerator)
        self._version = loaded.engine_version
        _LOGGER.info("%s passed its test", place.key)

    def has_any(self, keys: set[str]) -> bool:
        """Return whether one of these models was loaded here and not unloaded since."""
        return not keys.isdisjoint(self._loaded)

    async def unload_all_but(self, keys: set[str]) -> None:
        """Unload all models but these."""
        for key in self._loaded.keys() - keys:
            generation, _ = self._loaded.pop(key)
            if generation == self.worker.generation and self.worker.pid:
                with suppress(WorkerError):  # then the process is gone, with its models
                    await self.worker.ask(
                        Order.UNLOAD, Unload(key=key), Unload, deadline_s=_RUN_DEADLINE_S
                    )

    async def close(self) -> None:
        """End the worker."""
        for task in tuple(self._loads.values()):
            task.cancel()
            await asyncio.wait([task])
        await self._scheduler.close()
        await self.worker.close()


def load_deadline_s(accelerator: str) -> float:
    """Return the deadline of loading a model on an accelerator."""
    return _LOAD_DEADLINE_S if accelerator == "cpu" else _COMPILE_DEADLINE_S
