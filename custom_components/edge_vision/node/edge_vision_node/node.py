"""The node: owns pipelines, loaded models, accelerators, pictures and the result log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ulid_transform import ulid_now

from . import __version__
from .benchmark import Benchmarks
from .benchmark import ProgressListener as BenchmarkListener
from .engines.packages import has_package
from .errors import (
    AcceleratorError,
    AcceleratorFailedError,
    ConfigurationError,
    EngineMissingError,
    InferenceError,
    ModelError,
    ModelLoadingError,
    NodeError,
    NoPictureError,
    StorageError,
    SupersededError,
    UnknownPipelineError,
)
from .frames.masks import Masks
from .hardware.discovery import (
    board_profile,
    describe_hardware,
    find_devices,
    resident_bytes,
    temperature_c,
)
from .imaging.service import Imaging
from .library.manager import ModelManager, ProgressListener
from .models.store import DEFAULT_MODEL, SELF_TEST_EXPECTATION, SELF_TEST_PICTURE, ModelStore
from .models.trust import Trust
from .pipelines.live import leave, leave_labels
from .pipelines.pipeline import Pipeline, allowed, parse_time, summarise, understood
from .pipelines.registry import LivePipelines
from .plain_files import read_plain
from .protocol import (
    NO_ANSWER,
    TASKS_WITH_OBJECTS,
    Benchmark,
    BenchmarkRequest,
    Configure,
    Detected,
    DetectedObject,
    DetectRequest,
    ErrorCode,
    Findings,
    Inspection,
    InspectModel,
    Look,
    LookRequest,
    ModelInfo,
    NodeEvent,
    NodeInfo,
    NodeStatus,
    Phase,
    Picture,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    ProtocolError,
    SelfTest,
    SelfTestRequest,
)
from .rules.objects import Limits
from .storage.archive import Records
from .storage.files import write_whole
from .workers.lane import Lane, Place
from .workers.messages import RunResult
from .workers.pool import Workers

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_PIPELINE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_ID_BYTES = 1024
_SELF_TEST_S = 0.5
# A model that was loaded cannot be loaded again after a crash, or never could be, or is of no use.
_CANNOT_LOAD = (AcceleratorError, AcceleratorFailedError, EngineMissingError, ModelError)
# How long one who has a picture waits for a model that is being loaded: most are there by then, and
# a compiler of an accelerator may need half an hour.
_PATIENCE_S = 10.0
# Whose pictures those are that belong to no pipeline.
_ASKED = "whoever asks"

StatusListener = Callable[[NodeStatus], None]
LookListener = Callable[[Look], None]


@dataclass(frozen=True)
class _Picture:
    """A still that is kept for an event: the file, what it shows, and what it is about."""

    event_id: str
    data: memoryview
    findings: Findings
    captured_at: datetime
    masks: Masks = ()
    subjects: Sequence[DetectedObject] | None = None


class Node:
    """Everything a node does, without a word about sockets. Used from one event loop."""

    def __init__(self, data: Path, threads: int | None = None, mirror: Path | None = None) -> None:
        """Open the data folder. Raises `OSError` where it cannot be written."""
        self._data = data
        self._workers = Workers(threads, data / "cache", Trust(data))
        self.records = Records(data, self.spawn, self.changed)
        self.node_id = _node_id(data / "node_id")
        self._store = ModelStore([data / "models"])
        self.models = ModelManager(data, self._store, self._workers, mirror)
        self._benchmarks = Benchmarks(data, self._workers)
        self.imaging = Imaging()
        self.lives = LivePipelines(self)
        self._pipelines: dict[str, Pipeline] = {}
        # Id → why, of those that could not be set up.
        self._refused: dict[str, str] = {}
        self._configuring = asyncio.Lock()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads: set[asyncio.Task[None]] = set()
        self._look_listeners: set[LookListener] = set()
        self._status_listeners: set[StatusListener] = set()
        self._started = time.monotonic()

    # --- What the node says about itself --------------------------------------------------

    async def info(self) -> NodeInfo:
        """Return who this node is and what it can do."""
        engines = await self._workers.engines()
        try:
            engine = (await self._workers.choose(self._store.get(None), None, None)).engine
        except NodeError:
            engine = None
        devices = await self.records.on_disk(find_devices, engines)
        return NodeInfo(
            node_id=self.node_id,
            version=__version__,
            hardware=await self.records.on_disk(describe_hardware),
            engines=tuple(replace(item, packaged=has_package(item.id)) for item in engines),
            models=tuple(model.info() for model in self._store.models.values()),
            default_engine=engine,
            default_model=DEFAULT_MODEL,
            devices=devices,
            board_profile=await self.records.on_disk(board_profile, devices),
            benchmarks=self._benchmarks.kept,
        )

    async def status(self) -> NodeStatus:
        """Return how the node and its pipelines are doing."""
        pids = [*self._workers.pids, *self.lives.pids, *self.imaging.pids]
        memory_bytes = await self.records.on_disk(resident_bytes, pids)
        return self._status(memory_bytes, await self.records.on_disk(temperature_c))

    def _status(self, memory_bytes: int | None, temperature: float | None) -> NodeStatus:
        return NodeStatus(
            pipelines=(
                *(self.lives.status(pipeline.status) for pipeline in self._pipelines.values()),
                *(_refused_status(item, reason) for item, reason in self._refused.items()),
            ),
            uptime_s=round(time.monotonic() - self._started, 1),
            memory_bytes=memory_bytes,
            temperature_c=temperature,
            storage_error=self.records.error,
            storage_newer=self.records.newer,
            storage_notice=self.records.notice,
            quarantined=self._workers.trust.quarantined,
        )

    def listen_status(self, listener: StatusListener) -> Callable[[], None]:
        """Call back when a pipeline or the storage changes state; returns how to stop that."""
        self._status_listeners.add(listener)
        return partial(self._status_listeners.discard, listener)

    def listen_looks(self, listener: LookListener) -> Callable[[], None]:
        """Call back with what live pipelines see when it changes; returns how to stop that."""
        self._look_listeners.add(listener)
        return partial(self._look_listeners.discard, listener)

    def show(self, look: Look) -> None:
        """Tell what holds in a live pipeline."""
        for listener in tuple(self._look_listeners):
            listener(look)

    def changed(self) -> None:
        """Tell the status soon."""
        self.spawn(self._announce_status())

    async def _announce_status(self) -> None:
        status = await self.status()
        for listener in tuple(self._status_listeners):
            listener(status)

    # --- Pipelines ------------------------------------------------------------------------

    async def configure(
        self, wanted: Configure, refused: Mapping[str, str] | None = None
    ) -> NodeStatus:
        """Have just these pipelines. Each loads its model by itself; the status tells when.

        One that cannot be set up, or load its model, fails alone. `refused`: id → why, of those
        whose configuration cannot be read. Raises `ProtocolError` where an id is none.
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
        # To its end, even where whoever asked goes away: a change that stops in the middle leaves
        # cameras that nobody ends.
        await asyncio.shield(self.spawn(self._configure(configs, bad)))
        return await self.status()

    async def _configure(self, configs: dict[str, PipelineConfig], bad: dict[str, str]) -> None:
        # Two at once would each make what the other is just making.
        async with self._configuring:
            if self._closing:
                return
            for pipeline_id in self._pipelines.keys() - configs.keys():
                await self._stop_loading(self._pipelines.pop(pipeline_id))
                await self.lives.drop(pipeline_id)
            for config in configs.values():
                try:
                    await self._set_up(config)
                except (NodeError, ArithmeticError, LookupError, TypeError, ValueError) as err:
                    bad[config.pipeline_id] = f"{type(err).__name__}: {err}"
                    if (pipeline := self._pipelines.pop(config.pipeline_id, None)) is not None:
                        await self._stop_loading(pipeline)
                    await self.lives.drop(config.pipeline_id)
            for pipeline_id, reason in bad.items():
                _LOGGER.warning("Pipeline %s cannot be set up: %s", pipeline_id, reason)
            self._refused = bad
        await self._unload_unused()
        self.records.begin_to_tidy(lambda: set(self._pipelines))

    async def forget(self, pipeline_id: str) -> None:
        """Delete what is kept of a pipeline that its user has removed.

        Raises `ProtocolError` where there still is such a pipeline, `StorageError`.
        """
        if not _PIPELINE_ID.fullmatch(pipeline_id) or pipeline_id in self._pipelines:
            raise ProtocolError(f"{pipeline_id!r} is no pipeline that was removed")
        await self._written()
        await self.records.delete(pipeline_id)

    async def _set_up(self, config: PipelineConfig) -> None:
        pipeline = self._pipelines.get(config.pipeline_id)
        changed = pipeline is None or pipeline.config != config
        masked = pipeline is not None and pipeline.config.privacy_masks == config.privacy_masks
        if pipeline is None:
            records = self.records
            taken_at = await records.on_disk(records.pictures.taken_at, config.pipeline_id)
            pipeline = Pipeline(config, taken_at)
            if (history := await records.history(config.pipeline_id)) is not None:
                pipeline.restore(history)
            self._pipelines[config.pipeline_id] = pipeline
        elif changed:
            if pipeline.reconfigure(config):
                await self._stop_loading(pipeline)
            elif pipeline.place is not None:
                try:
                    pipeline.use(pipeline.place, pipeline.fallback_from)
                except NodeError as err:
                    self._fail(pipeline, err)
        if pipeline.place is None:
            self._begin_load(pipeline)
        await self.lives.apply(pipeline, changed=changed)
        if config.privacy_masks and not masked:
            await self._hide(pipeline)

    async def _hide(self, pipeline: Pipeline) -> None:
        """Hide in a pipeline's last picture what its privacy masks hide now."""
        records, pipeline_id = self.records, pipeline.config.pipeline_id
        await self.lives.settled(pipeline_id=pipeline_id)
        try:
            jpeg, at = await records.on_disk(records.pictures.read, pipeline_id)
            masks = pipeline.config.privacy_masks
            if (hidden := await self.imaging.hide(pipeline_id, jpeg, masks)) is not None:
                await records.keep(records.pictures.write, pipeline_id, hidden, at)
        except NoPictureError:
            return
        except (OSError, NodeError) as err:
            _LOGGER.warning("The last picture cannot be masked, so it is deleted: %s", err)
            with suppress(OSError):
                await records.on_disk(records.pictures.delete, pipeline_id)
            pipeline.picture_at = None

    def _begin_load(self, pipeline: Pipeline, *, anew: bool = False) -> asyncio.Task[None]:
        """Have a pipeline's model loaded, unless it is being loaded already."""
        if pipeline.loading is None:
            task = pipeline.loading = asyncio.create_task(self._load(pipeline, anew=anew))
            self._loads.add(task)
            task.add_done_callback(self._loads.discard)
        return pipeline.loading

    @staticmethod
    async def _stop_loading(pipeline: Pipeline) -> None:
        task, pipeline.loading = pipeline.loading, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _load(self, pipeline: Pipeline, *, anew: bool) -> None:
        try:
            pipeline.use(*await self._load_for(pipeline, anew=anew))
        except NodeError as err:
            self._fail(pipeline, err)
        except Exception as err:
            _LOGGER.exception("Pipeline %s: the model cannot be loaded", pipeline.config.name)
            self._fail(pipeline, NodeError(f"{type(err).__name__}: {err}"))
        finally:
            if pipeline.loading is asyncio.current_task():
                pipeline.loading = None
        await self._announce_status()
        await self._unload_unused()

    @staticmethod
    def _fail(pipeline: Pipeline, err: NodeError) -> None:
        _LOGGER.warning("Pipeline %s cannot look: %s", pipeline.config.pipeline_id, err)
        pipeline.fail(err)

    async def _load_for(self, pipeline: Pipeline, *, anew: bool) -> tuple[Place, str | None]:
        """Load a pipeline's model where it is wanted, or elsewhere where that is allowed.

        `anew`: try what is wanted, whatever came of it before. Returns where, and in a sentence why
        it is elsewhere. Raises `NodeError`.
        """
        config, workers = pipeline.config, self._workers
        model = self._store.get(config.model)
        before, fallback_from = pipeline.place, pipeline.fallback_from
        if before is not None and fallback_from is not None and not anew:
            # It may take minutes to fail again, for a setting that has nothing to do with it.
            with suppress(*_CANNOT_LOAD, InferenceError):
                await workers.load(before)
                return before, fallback_from
        wanted: Place | None = None
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

    async def _choose(
        self, model_id: str | None, engine: str | None, accelerator: str | None
    ) -> Place:
        """Return where a model runs: where it is wanted, or where this node thinks best."""
        return await self._workers.choose(self._store.get(model_id), engine, accelerator)

    def _pipeline(self, pipeline_id: str) -> Pipeline:
        try:
            return self._pipelines[pipeline_id]
        except KeyError:
            if pipeline_id in self._refused:
                raise ConfigurationError(self._refused[pipeline_id]) from None
            raise UnknownPipelineError(f"This node has no pipeline {pipeline_id!r}") from None

    def _require(self, pipeline: Pipeline) -> None:
        """Raise `UnknownPipelineError` where a pipeline has been removed during its look."""
        if self._pipelines.get(pipeline.config.pipeline_id) is not pipeline:
            raise UnknownPipelineError(f"{pipeline.config.name} has been removed")

    # --- Models ---------------------------------------------------------------------------

    async def install_model(self, model_id: str, listener: ProgressListener) -> ModelInfo:
        """Install a model of the catalogue; pipelines that use it change over.

        Raises `UnknownModelError`, `DownloadError`, `ModelError` or `StorageError`.
        """
        info = await self.models.install(model_id, listener)
        await self._reload({model_id})
        return info

    async def remove_model(self, model_id: str) -> None:
        """Delete a model that no pipeline uses. Raises `ModelError`, `UnknownModelError`."""
        pipelines = self._pipelines.values()
        users = [item.config.name for item in pipelines if item.config.model == model_id]
        await self.models.remove(model_id, users)

    async def inspect_model(self, request: InspectModel) -> tuple[Inspection, bytes | None]:
        """Look at a model of the user's own; pipelines that use what is saved change over."""
        inspection, picture = await self.models.inspect(request)
        if inspection.saved is not None:
            await self._reload({inspection.saved.id})
        return inspection, picture

    async def allow_model(self, model_id: str | None) -> NodeStatus:
        """Use a model again that crashed its engine; None allows all."""
        cleared = await self._workers.trust.clear(model_id)
        await self._reload({item.model for item in cleared})
        return await self.status()

    async def _reload(self, model_ids: set[str]) -> None:
        """Have the pipelines of some models load them as they are now.

        Those that look go on with what they have until that is done.
        """
        for pipeline in tuple(self._pipelines.values()):
            model = pipeline.place.model.id if pipeline.place else pipeline.config.model
            if (model or DEFAULT_MODEL) in model_ids:
                await self._stop_loading(pipeline)
                pipeline.error = None
                self._begin_load(pipeline, anew=True)
        if model_ids:
            await self._announce_status()

    async def _unload_unused(self) -> None:
        places = [pipeline.place for pipeline in self._pipelines.values() if pipeline.place]
        await self._workers.unload_all_but(places)

    # --- Looking --------------------------------------------------------------------------

    async def look(self, request: LookRequest, data: memoryview) -> Look:
        """Run one frame of a pipeline.

        Raises `UnknownPipelineError`, `PictureError`, `SupersededError`, `InferenceError`, or why
        the model cannot be loaded.
        """
        pipeline = self._pipeline(request.pipeline_id)
        try:
            return await self.look_at(request, data, still=True)
        except (SupersededError, ModelLoadingError):
            pipeline.dropped += 1
            raise
        except NodeError:
            pipeline.failures += 1
            raise

    async def look_at(self, request: LookRequest, data: memoryview, *, still: bool = False) -> Look:
        """Do as `look`, without counting what fails.

        A `still` of a pipeline that watches live video by now is too late.
        """
        started = time.perf_counter()
        captured_at = parse_time(request.captured_at)
        pipeline = self._pipeline(request.pipeline_id)
        masks = pipeline.config.privacy_masks
        place, result = await self._run(pipeline, data, masks)
        async with pipeline.turn:
            if still and self.lives.watches(pipeline.config.pipeline_id):
                raise SupersededError("Live video is watched by now")
            ended, followed = await self._leave_live(pipeline, captured_at, place)
            self._require(pipeline)
            if pipeline.elsewhere:
                pipeline.elsewhere = False
                gone = pipeline.inherited | pipeline.outlived
                ended += pipeline.end_presence(captured_at, place, besides=gone)
                pipeline.outlived |= gone
            if place.model.manifest.task not in TASKS_WITH_OBJECTS:
                pipeline.outlive()  # nobody will see when that is gone
            events = ended + pipeline.conclude(request, result, place)
            if pipeline.outlived:
                more, followed = await self._end_outlived(pipeline, followed, captured_at, place)
                events += more
            findings = result.findings
            shown = [e for e in events if e.phase != Phase.END and e.label != NO_ANSWER]
            if shown and (findings.objects or findings.classes):
                pipeline.picture_at = captured_at
                # One picture shows all that a look has shown.
                evidence = shown[0].event_id
                events = [replace(e, evidence=evidence) if e in shown else e for e in events]
                subjects = _subjects(shown, findings)
                picture = _Picture(evidence, data, findings, captured_at, masks, subjects)
                self.lives.take(pipeline, (evidence,), self._keep(pipeline, picture))
            await self.records.publish(events, followed)
        return pipeline.look(request, result, place, (time.perf_counter() - started) * 1000)

    async def _leave_live(
        self, pipeline: Pipeline, captured_at: datetime, place: Place
    ) -> tuple[list[NodeEvent], tuple[str, str] | None]:
        """Return the ends of what was followed before there were stills, and what to keep."""
        pipeline_id = pipeline.config.pipeline_id
        if pipeline.told_of == "stills" or self.lives.watches(pipeline_id):
            return [], None
        try:
            snapshot = await self.records.followed(pipeline_id)
        except StorageError:
            return [], None  # once it can be read
        pipeline.told_of = "stills"
        if snapshot is None:
            return [], None
        ended, go_on, left = leave(pipeline.config, snapshot)
        if ended:
            pipeline.forget_presence()
        pipeline.inherit(go_on)
        return pipeline.end_followed(ended, captured_at, place), (pipeline_id, left)

    async def _end_outlived(
        self,
        pipeline: Pipeline,
        followed: tuple[str, str] | None,
        captured_at: datetime,
        place: Place,
    ) -> tuple[list[NodeEvent], tuple[str, str] | None]:
        """Return the ends of what was followed and stills show no more, and what to keep."""
        pipeline_id = pipeline.config.pipeline_id
        try:
            snapshot = followed[1] if followed else await self.records.followed(pipeline_id)
        except StorageError:
            return [], followed  # once it can be read
        labels, pipeline.outlived = pipeline.outlived, set()
        if snapshot is None:
            return [], None
        ended, left = leave_labels(pipeline.config, snapshot, labels)
        return pipeline.end_followed(ended, captured_at, place), (pipeline_id, left)

    async def run_in(
        self, pipeline: Pipeline, work: Callable[[Lane, Place], Awaitable[_T]]
    ) -> tuple[Place, _T]:
        """Do work where the pipeline's model is loaded, or can be. Raises `NodeError`."""
        try:
            return await self._run_once(pipeline, work)
        except _CANNOT_LOAD as err:
            if pipeline.place is None:
                raise  # it was tried just now
            self._fail(pipeline, err)
            await self._announce_status()
            if not pipeline.config.allow_fallback:
                raise
        return await self._run_once(pipeline, work)

    async def _run_once(
        self, pipeline: Pipeline, work: Callable[[Lane, Place], Awaitable[_T]]
    ) -> tuple[Place, _T]:
        place = await self.ready(pipeline)
        return place, await work(self._workers.lane(place), place)

    async def ready(self, pipeline: Pipeline) -> Place:
        """Return where the pipeline's model is loaded, after loading it where need be.

        Raises `NodeError`: `ModelLoadingError` where that takes longer than anybody can wait for.
        """
        if (place := pipeline.place) is not None and self._workers.lane(place).loaded(place):
            return place
        done, _ = await asyncio.wait({self._begin_load(pipeline)}, timeout=_PATIENCE_S)
        if pipeline.error is not None:
            raise pipeline.error
        if done and pipeline.place is not None:
            return pipeline.place
        if pipeline.place is not None:  # after a crash, say
            pipeline.place = None
            await self._announce_status()
        raise ModelLoadingError("The model is being loaded; the first time it may be compiled")

    async def _run(
        self, pipeline: Pipeline, data: memoryview, masks: Masks = (), user: str | None = None
    ) -> tuple[Place, RunResult]:
        whose = pipeline.config.pipeline_id

        async def work(lane: Lane, place: Place) -> RunResult:
            manifest = place.model.manifest
            # Before it is its turn: nobody waits for the picture of another one.
            still = await self.imaging.prepare(whose, data, manifest, masks, patient=user is None)
            lowest, class_ids = pipeline.limits.lowest, pipeline.class_ids
            return await lane.run(user or whose, place, still, lowest, class_ids)

        place, result = await self.run_in(pipeline, work)
        return place, pipeline.counted(understood(place, result))

    async def scan(self, pipeline_id: str) -> Look:
        """Look once at the newest frame of live video; states are left as they are.

        Raises as `look` does, or `CameraError`.
        """
        started = time.perf_counter()
        pipeline = self._pipeline(pipeline_id)
        request, jpeg = await self.lives.still(pipeline_id)
        # Of its own, so that no newer frame takes its place.
        place, result = await self._run(pipeline, memoryview(jpeg), user=ulid_now())
        self._require(pipeline)
        events = pipeline.scanned(request, result, place)
        if events:
            evidence, at = events[0].event_id, parse_time(request.captured_at)
            events = [replace(event, evidence=evidence) for event in events]
            picture = _Picture(evidence, memoryview(jpeg), result.findings, at)
            self.lives.take(pipeline, (evidence,), self._keep(pipeline, picture))
        await self.records.publish(events)
        look = pipeline.look(request, result, place, (time.perf_counter() - started) * 1000)
        return replace(look, presence=self.lives.get(pipeline_id).presence)

    async def detect(
        self, request: DetectRequest, data: memoryview
    ) -> tuple[Detected, bytes | None]:
        """Look once, outside every pipeline; nothing is kept.

        Returns the answer, and the annotated picture (JPEG) where it was asked for. Raises as
        `look` does.
        """
        started = time.perf_counter()
        place = await self._choose(request.model, request.engine, request.accelerator)
        class_ids = place.model.class_ids(request.labels)
        limits = Limits(request.confidence, request.limits)
        masks, imaging = request.privacy_masks, self.imaging
        with self._workers.hold(place) as lane:
            await lane.load(place)
            still = await imaging.prepare(_ASKED, data, place.model.manifest, masks)
            found = await lane.run(ulid_now(), place, still, limits.lowest, class_ids)
        result = understood(place, allowed(found, limits) if request.limits else found)
        objects = result.findings.objects
        picture = None
        if request.annotate:
            _, picture = await imaging.draw(_ASKED, data, result.findings, masks=masks)
        answer = Detected(
            width=result.width,
            height=result.height,
            objects=objects,
            model=place.model.id,
            model_version=place.model.manifest.version,
            engine=place.engine,
            accelerator=place.accelerator,
            decode_ms=result.decode_ms,
            inference_ms=result.inference_ms,
            node_ms=round((time.perf_counter() - started) * 1000, 2),
            task=place.model.manifest.task,
            classes=result.findings.classes,
            embedding=result.findings.embedding,
        )
        return answer, picture

    async def self_test(self, request: SelfTestRequest) -> SelfTest:
        """Run a model on the picture that comes with the node. Raises as `look` does."""
        place = await self._choose(request.model, request.engine, request.accelerator)
        data = await self.records.on_disk(SELF_TEST_PICTURE.read_bytes)
        expectation = json.loads(await self.records.on_disk(SELF_TEST_EXPECTATION.read_text))
        expect = expectation["expect"]
        lowest = min(item["min_confidence"] for item in expect)
        with self._workers.hold(place) as lane:
            loaded = await lane.load(place)
            result = await lane.run(ulid_now(), place, data, lowest, ())
            measured = await lane.measure(place, data, _SELF_TEST_S)
        objects = result.findings.objects
        found = summarise(objects)
        return SelfTest(
            model=place.model.id,
            engine=place.engine,
            engine_version=loaded.engine_version,
            accelerator=place.accelerator,
            load_ms=loaded.load_ms,
            inference_ms=measured.median_ms,
            runs=measured.runs,
            passed=all(found.get(item["label"], 0) >= item["min_count"] for item in expect),
            expected=", ".join(f"{item['min_count']} x {item['label']}" for item in expect),
            objects=objects,
        )

    async def benchmark(self, request: BenchmarkRequest, listener: BenchmarkListener) -> Benchmark:
        """Measure a model on everything that is here. Raises `BusyError`, `UnknownModelError`."""
        try:
            return await self._benchmarks.run(
                self._store.get(request.model), request.seconds, listener
            )
        finally:
            await self._unload_unused()

    # --- Pictures -------------------------------------------------------------------------

    async def _keep(self, pipeline: Pipeline, picture: _Picture) -> None:
        """Keep a picture that was looked at, as it is and with what it shows."""
        try:
            clean, annotated = await self.imaging.draw(
                pipeline.config.pipeline_id,
                picture.data,
                picture.findings,
                picture.subjects,
                picture.masks,
                clean=True,
            )
            at = picture.captured_at
            await self.lives.keep(pipeline, picture.event_id, clean, annotated, at)
        except (OSError, NodeError) as err:
            _LOGGER.error("A picture cannot be kept: %s", err)

    async def picture(self, pipeline_id: str) -> tuple[Picture, bytes]:
        """Return the annotated picture of a pipeline's last event. Raises `NoPictureError`."""
        self._pipeline(pipeline_id)
        await self.lives.settled(pipeline_id=pipeline_id)
        try:
            data, at = await self.records.on_disk(self.records.pictures.read, pipeline_id)
        except OSError as err:
            raise StorageError(f"The picture cannot be read: {err.strerror}") from err
        return Picture(content_type="image/jpeg", at=at.isoformat()), data

    # --- The end --------------------------------------------------------------------------

    async def _written(self) -> None:
        """Wait for the pictures that are on their way to disk."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that nobody need wait for; it is finished before the node ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Finish what is on its way to disk, and close the result log."""
        self.records.stop_tidying()
        await self.models.close()
        self._closing = True
        async with self._configuring:  # what is just being made ends, too
            await self.lives.close()
        for load in tuple(self._loads):
            load.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._workers.close()
        await self.imaging.close()
        await self.records.close()


def _refused_status(pipeline_id: str, reason: str) -> PipelineStatus:
    return PipelineStatus(
        pipeline_id=pipeline_id,
        state=PipelineState.FAILED,
        error_code=ErrorCode.BAD_MESSAGE,
        error=reason,
    )


def _node_id(path: Path) -> str:
    """Return this node's id, made on the first start and kept in a file."""
    try:
        node_id = read_plain(path, _MOST_ID_BYTES).decode("ascii").strip()
        if _NODE_ID.fullmatch(node_id):
            return node_id
        problem = "it holds no id"
    except FileNotFoundError:
        problem = ""
    except (OSError, UnicodeDecodeError) as err:
        problem = str(err)
    if problem:
        _LOGGER.warning("%s is damaged (%s); the node gets a new id", path, problem)
        if not path.is_file() or path.is_symlink():  # it would be in the way of the new one
            path.rename(path.with_name(f"{path.name}.{ulid_now()}"))
    node_id = ulid_now()
    write_whole(path, node_id.encode())
    return node_id


def _subjects(events: Sequence[NodeEvent], findings: Findings) -> list[DetectedObject]:
    """Return the objects that events of one still are about: all of a label that has news."""
    about = {event.label for event in events}
    return [item for item in findings.objects if item.label in about or item.posture in about]
