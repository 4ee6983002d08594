"""All pipelines of a node: configured, changed, removed."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import replace

from ..errors import (
    CameraError,
    ConfigurationError,
    ModelLoadingError,
    NodeError,
    SupersededError,
    UnknownPipelineError,
)
from ..frames.masks import NO_MASKS
from ..protocol import (
    Configure,
    ErrorCode,
    Look,
    LookRequest,
    Picture,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    ProtocolError,
    SourceState,
)
from ..storage.archive import Archive
from .background import Background
from .live import LiveParts, LivePipeline
from .memory import Memory
from .pipeline import Pipeline

_LOGGER = logging.getLogger(__name__)

_PIPELINE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# In pixels, of a frame that is requested.
MOST_WIDTH = 3840


class Registry:
    """Pipelines by their ids. Used from the event loop."""

    def __init__(self, parts: LiveParts, archive: Archive, background: Background) -> None:
        """Initialize without pipelines."""
        self._parts = parts
        self._archive = archive
        self._loader = parts.loader
        self._pictures = parts.pictures
        self._background = background
        self._pipelines: dict[str, Pipeline] = {}
        self._live: dict[str, LivePipeline] = {}
        # Id → why, of those that could not be set up.
        self._refused: dict[str, str] = {}
        self._configuring = asyncio.Lock()
        self._closing = False

    @property
    def ids(self) -> set[str]:
        """Return the ids of all pipelines."""
        return set(self._pipelines)

    @property
    def busy(self) -> bool:
        """Return whether pipelines are being configured."""
        return self._configuring.locked()

    def users_of(self, model_id: str) -> list[str]:
        """Return the names of the pipelines that are configured to use a model."""
        return [
            pipeline.config.name
            for pipeline in self._pipelines.values()
            if pipeline.config.model == model_id
        ]

    def get(self, pipeline_id: str) -> Pipeline:
        """Return a pipeline. Raises `UnknownPipelineError`, `ConfigurationError`."""
        try:
            return self._pipelines[pipeline_id]
        except KeyError:
            if pipeline_id in self._refused:
                raise ConfigurationError(self._refused[pipeline_id]) from None
            raise UnknownPipelineError(f"This node has no pipeline {pipeline_id!r}") from None

    def live(self, pipeline_id: str) -> LivePipeline:
        """Return a live pipeline. Raises `CameraError` if it watches no live video."""
        try:
            return self._live[pipeline_id]
        except KeyError:
            raise CameraError("This pipeline watches no live video") from None

    # --- Configuring -----------------------------------------------------------------------------

    async def configure(self, wanted: Configure, refused: Mapping[str, str] | None = None) -> None:
        """Keep just these pipelines. Each loads its model by itself; the status tells when.

        A pipeline that cannot be set up, or load its model, fails alone. `refused`: id → why, of
        those whose configuration cannot be read. Raises `ProtocolError` if an id is none.
        """
        bad = dict(refused or {})
        configs: dict[str, PipelineConfig] = {}
        for pipeline_id in (*bad, *(config.pipeline_id for config in wanted.pipelines)):
            if not _PIPELINE_ID.fullmatch(pipeline_id):
                raise ProtocolError(f"{pipeline_id[:80]!r} is not a pipeline id")
        for config in wanted.pipelines:
            try:
                config.check()
            except ProtocolError as err:
                bad[config.pipeline_id] = str(err)
            else:
                configs[config.pipeline_id] = config
        # A change that stops in the middle would leave cameras that nothing ends.
        await self._background.finish(self._configure(configs, bad))

    async def _configure(self, configs: dict[str, PipelineConfig], bad: dict[str, str]) -> None:
        # Two at once would each make what the other is just making.
        async with self._configuring:
            if self._closing:
                return
            for pipeline_id in self._pipelines.keys() - configs.keys():
                await self._remove(pipeline_id)
            for config in configs.values():
                try:
                    await self._set_up(config)
                except (NodeError, ArithmeticError, LookupError, TypeError, ValueError) as err:
                    bad[config.pipeline_id] = f"{type(err).__name__}: {err}"
                    await self._remove(config.pipeline_id)
            for pipeline_id, reason in bad.items():
                _LOGGER.warning("Pipeline %s cannot be set up: %s", pipeline_id, reason)
            self._refused = bad
        await self._loader.unload_unused()
        self._archive.begin_to_tidy(lambda: set(self._pipelines))

    async def _set_up(self, config: PipelineConfig) -> None:
        pipeline = self._pipelines.get(config.pipeline_id)
        changed = pipeline is None or pipeline.config != config
        before = pipeline.masks if pipeline is not None else NO_MASKS
        if pipeline is None:
            archive = self._archive
            taken_at = await archive.on_disk(archive.pictures.taken_at, config.pipeline_id)
            memory = Memory(config.pipeline_id, archive)
            await memory.load(config)
            pipeline = Pipeline(config, memory, taken_at)
            self._pipelines[config.pipeline_id] = pipeline
            self._loader.add(pipeline)
        elif changed:
            if pipeline.reconfigure(config):
                await self._loader.stop(pipeline)
            elif pipeline.place is not None:
                try:
                    pipeline.use(pipeline.place, pipeline.fallback_from)
                except NodeError as err:
                    self._loader.fail(pipeline, err)
        if pipeline.place is None:
            self._loader.begin(pipeline)
        if changed:
            await self._watch(pipeline)
        if pipeline.masks != before:
            await self._pictures.hide(pipeline)

    async def _watch(self, pipeline: Pipeline) -> None:
        """Start or stop to watch live video, as a pipeline's configuration says."""
        pipeline_id, video = pipeline.config.pipeline_id, pipeline.config.video
        before = self._live.pop(pipeline_id, None)
        if before is not None:
            await before.stop()
        try:
            if video is not None:
                self._live[pipeline_id] = LivePipeline(pipeline, video, self._parts)
        finally:
            if before is not None:
                # Only now, so that a camera that both want goes on.
                await before.release()

    async def _remove(self, pipeline_id: str) -> None:
        """Stop a pipeline, and forget what was there at its camera."""
        if (pipeline := self._pipelines.pop(pipeline_id, None)) is not None:
            pipeline.removed = True
            await self._loader.remove(pipeline)
        if (live := self._live.pop(pipeline_id, None)) is not None:
            await live.stop()
            await live.release()
        await self._archive.forget(pipeline_id)

    async def forget(self, pipeline_id: str) -> None:
        """Delete what is kept of a pipeline that its user has removed.

        Raises `ProtocolError` if there still is such a pipeline, `StorageError`.
        """
        if not _PIPELINE_ID.fullmatch(pipeline_id) or pipeline_id in self._pipelines:
            raise ProtocolError(f"{pipeline_id!r} is no pipeline that was removed")
        await self._background.settled()  # pictures may be on their way to disk
        await self._archive.delete(pipeline_id)

    # --- Looking ---------------------------------------------------------------------------------

    async def look(self, request: LookRequest, data: memoryview) -> Look:
        """Run one still of a pipeline.

        Raises `UnknownPipelineError`, `PictureError`, `SupersededError`, `InferenceError`, or why
        the model cannot be loaded.
        """
        pipeline = self.get(request.pipeline_id)
        try:
            return await self._parts.stills.look(pipeline, request, data, still=True)
        except (SupersededError, ModelLoadingError):
            pipeline.dropped += 1
            raise
        except NodeError:
            pipeline.failures += 1
            raise

    async def scan(self, pipeline_id: str) -> Look:
        """Look once at the newest frame of live video; states are left as they are.

        Raises as `look` does, or `CameraError`.
        """
        pipeline = self.get(pipeline_id)
        live = self.live(pipeline_id)
        pictured, jpeg = await live.view.newest(MOST_WIDTH)
        look = await self._parts.stills.scan(pipeline, pictured.captured_at, jpeg)
        return replace(look, presence=self.live(pipeline_id).presence)

    async def last_picture(self, pipeline_id: str) -> tuple[Picture, bytes]:
        """Return the annotated picture of a pipeline's last event. Raises `NoPictureError`."""
        self.get(pipeline_id)
        return await self._pictures.last(pipeline_id)

    # --- State -----------------------------------------------------------------------------------

    @property
    def looks(self) -> list[Look]:
        """Return what each live pipeline shows now that has looked."""
        return [
            live.last_look
            for live in self._live.values()
            if live.last_look is not None
            and live.trouble is None
            and live.source.state == SourceState.LIVE
        ]

    @property
    def statuses(self) -> tuple[PipelineStatus, ...]:
        """Return how each pipeline is doing, also of those that could not be set up."""
        return (
            *(self._status(pipeline) for pipeline in self._pipelines.values()),
            *(
                PipelineStatus(
                    pipeline_id=pipeline_id,
                    state=PipelineState.FAILED,
                    error_code=ErrorCode.BAD_MESSAGE,
                    error=reason,
                )
                for pipeline_id, reason in self._refused.items()
            ),
        )

    def _status(self, pipeline: Pipeline) -> PipelineStatus:
        live, status = self._live.get(pipeline.config.pipeline_id), pipeline.status
        return status if live is None else live.add_to_status(status)

    async def close(self) -> None:
        """Stop all live pipelines."""
        self._closing = True
        async with self._configuring:  # what is just being made ends, too
            lives = list(self._live.values())
            self._live.clear()
            for live in lives:
                await live.stop()
            await asyncio.gather(*(live.release() for live in lives))
