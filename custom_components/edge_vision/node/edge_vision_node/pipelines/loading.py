"""Models of pipelines: loaded in the background, kept, replaced by a fallback, and unloaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import (
    AcceleratorError,
    AcceleratorFailedError,
    EngineMissingError,
    InferenceError,
    ModelError,
    ModelLoadingError,
    NodeError,
)
from ..models.store import DEFAULT_MODEL, ModelStore
from ..workers.lane import Lane, ModelSite
from ..workers.pool import Workers
from .pipeline import Pipeline

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

# A model that was loaded cannot be loaded again after a crash, or never could be, or is of no use.
_CANNOT_LOAD = (AcceleratorError, AcceleratorFailedError, EngineMissingError, ModelError)
# How long a look waits for its model: most are loaded by then, and an accelerator's compiler may
# need half an hour.
_PATIENCE_S = 10.0


class Loader:
    """Loads the models of pipelines. Used from the event loop."""

    def __init__(self, workers: Workers, store: ModelStore, changed: Callable[[], None]) -> None:
        """Initialize; `changed` is called when a pipeline changes state."""
        self._workers = workers
        self._store = store
        self._changed = changed
        self._pipelines: set[Pipeline] = set()
        self._loads: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Return whether a model is being loaded."""
        return bool(self._loads)

    def add(self, pipeline: Pipeline) -> None:
        """Keep the model of a pipeline loaded from now on."""
        self._pipelines.add(pipeline)

    def begin(self, pipeline: Pipeline, *, anew: bool = False) -> asyncio.Task[None]:
        """Load a pipeline's model in the background, unless that is under way."""
        if pipeline.loading is None:
            task = pipeline.loading = asyncio.create_task(self._load(pipeline, anew=anew))
            self._loads.add(task)
            task.add_done_callback(self._loads.discard)
        return pipeline.loading

    async def stop(self, pipeline: Pipeline) -> None:
        """Stop loading a pipeline's model."""
        task, pipeline.loading = pipeline.loading, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def remove(self, pipeline: Pipeline) -> None:
        """Forget a pipeline; see `unload_unused`."""
        self._pipelines.discard(pipeline)
        await self.stop(pipeline)

    async def _load(self, pipeline: Pipeline, *, anew: bool) -> None:
        try:
            pipeline.use(*await self._load_for(pipeline, anew=anew))
        except NodeError as err:
            self.fail(pipeline, err)
        except Exception as err:
            _LOGGER.exception("Pipeline %s: the model cannot be loaded", pipeline.config.name)
            self.fail(pipeline, NodeError(f"{type(err).__name__}: {err}"))
        finally:
            if pipeline.loading is asyncio.current_task():
                pipeline.loading = None
        self._changed()
        await self.unload_unused()

    @staticmethod
    def fail(pipeline: Pipeline, err: NodeError) -> None:
        """Note that a pipeline's model cannot be used."""
        _LOGGER.warning("Pipeline %s cannot look: %s", pipeline.config.pipeline_id, err)
        pipeline.fail(err)

    async def _load_for(self, pipeline: Pipeline, *, anew: bool) -> tuple[ModelSite, str | None]:
        """Load a pipeline's model where it is wanted, or as a fallback elsewhere if allowed.

        `anew`: try what is wanted even if that has failed before. Returns where it runs, and in a
        sentence why that is a fallback. Raises `NodeError`.
        """
        config, workers = pipeline.config, self._workers
        model = self._store.get(config.model)
        before, fallback_from = pipeline.place, pipeline.fallback_from
        if before is not None and fallback_from is not None and not anew:
            # It may take minutes to fail again, for a setting that has nothing to do with it.
            with suppress(*_CANNOT_LOAD, InferenceError):
                await workers.load(before)
                return before, fallback_from
        wanted: ModelSite | None = None
        try:
            wanted = await workers.choose(model, config.engine, config.accelerator)
            await workers.load(wanted)
        except (*_CANNOT_LOAD, InferenceError) as err:
            if not config.allow_fallback:
                raise
            reason = err
        else:
            return wanted, None
        others = [place for place in await workers.places(model) if place != wanted]
        # Another accelerator of the same engine comes first.
        for place in sorted(others, key=lambda place: place.engine != config.engine):
            try:
                await workers.load(place)
            except (*_CANNOT_LOAD, InferenceError) as err:
                _LOGGER.warning("Pipeline %s: %s does not work: %s", config.name, place.key, err)
                continue
            what = f"{wanted.engine} on {wanted.accelerator}" if wanted else config.engine
            _LOGGER.warning("Pipeline %s runs as %s: %s", config.name, place.key, reason)
            return place, f"{what or 'The wanted engine'} cannot be used: {reason}"
        raise reason

    async def ready(self, pipeline: Pipeline) -> ModelSite:
        """Return where the pipeline's model is loaded, after loading it if necessary.

        Raises `NodeError`: `ModelLoadingError` if that takes longer than a look can wait.
        """
        if (place := pipeline.place) is not None and self._workers.lane(place).loaded(place):
            return place
        done, _ = await asyncio.wait({self.begin(pipeline)}, timeout=_PATIENCE_S)
        if pipeline.error is not None:
            raise pipeline.error
        if done and pipeline.place is not None:
            return pipeline.place
        if pipeline.place is not None:  # after a crash, say
            pipeline.place = None
            self._changed()
        raise ModelLoadingError("The model is being loaded; the first time it may be compiled")

    async def run_in(
        self, pipeline: Pipeline, work: Callable[[Lane, ModelSite], Awaitable[_T]]
    ) -> tuple[ModelSite, _T]:
        """Do work where the pipeline's model is loaded, or can be. Raises `NodeError`."""
        try:
            return await self._run_once(pipeline, work)
        except _CANNOT_LOAD as err:
            if pipeline.place is None:
                raise  # loading it has just failed
            self.fail(pipeline, err)
            self._changed()
            if not pipeline.config.allow_fallback:
                raise
        return await self._run_once(pipeline, work)

    async def _run_once(
        self, pipeline: Pipeline, work: Callable[[Lane, ModelSite], Awaitable[_T]]
    ) -> tuple[ModelSite, _T]:
        place = await self.ready(pipeline)
        return place, await work(self._workers.lane(place), place)

    async def reload(self, model_ids: set[str]) -> None:
        """Have the pipelines of some models load them as they are now.

        Pipelines that look go on with the model they have until that is done.
        """
        for pipeline in tuple(self._pipelines):
            model = pipeline.place.model.id if pipeline.place else pipeline.config.model
            if (model or DEFAULT_MODEL) in model_ids:
                await self.stop(pipeline)
                pipeline.error = None
                self.begin(pipeline, anew=True)
        if model_ids:
            self._changed()

    async def unload_unused(self) -> None:
        """Unload models that no pipeline uses."""
        places = [pipeline.place for pipeline in self._pipelines if pipeline.place]
        await self._workers.unload_all_but(places)

    async def close(self) -> None:
        """Stop loading."""
        for load in tuple(self._loads):
            load.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
