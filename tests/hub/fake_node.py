"""A node without models: it speaks the real protocol and sees what a test says a picture shows.

It runs inside the test, so a test with it starts no process and loads no engine. What it refuses,
the real node refuses with the same code; `test_fake_node.py` compares the two.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from PIL import Image
from ulid_transform import ulid_now

from custom_components.edge_vision.node.edge_vision_node import __version__
from custom_components.edge_vision.node.edge_vision_node.protocol import (
    AcceleratorInfo,
    AllowModel,
    Benchmark,
    BenchmarkProgress,
    BenchmarkRequest,
    BenchmarkRow,
    Box,
    CameraLoad,
    CatalogueAnswer,
    Command,
    Detected,
    DetectedObject,
    DetectRequest,
    EngineInfo,
    ErrorCode,
    EvidenceRequest,
    Forget,
    HardwareInfo,
    Kind,
    LabelPresence,
    Line,
    LineTotal,
    LiveRequest,
    LoggedEvent,
    Look,
    LookRequest,
    ModelInfo,
    NodeEvent,
    NodeInfo,
    NodeStatus,
    Nothing,
    OutlineRequest,
    PeekRequest,
    Phase,
    Picture,
    PictureRequest,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    Point,
    ProtocolError,
    QuarantinedModel,
    Recommendation,
    RemoveModel,
    Results,
    ResultsRequest,
    ScanRequest,
    SourceState,
    SourceStatus,
    check_polygons,
    read,
)
from tests.hub.fake_video import FakeVideo, NoVideo
from tests.pictures import NODE_FOLDER, SELF_TEST_PICTURE

DEFAULT_MODEL = "ssd_mobilenet_v2_coco"
_BUNDLED = NODE_FOLDER / "edge_vision_node" / "models" / "bundled" / DEFAULT_MODEL
_LABELS = tuple((_BUNDLED / "labels.txt").read_text().split("\n")[:80])
_PERSONS = (
    (98.2, 0.1526, 0.1502, 0.2443, 0.4388),
    (96.5, 0.7872, 0.2852, 0.8781, 0.6396),
    (96.3, 0.8896, 0.2781, 0.9785, 0.613),
)
_MOST_RESULTS = 1000
# Live video: frames in a row without an object after which it is gone.
_FRAMES_TO_LEAVE = 3

type Answer = tuple[Any, bytes | None]
type Pushed = Callable[[dict[str, Any]], None]


def person(confidence: float, *corners: float) -> DetectedObject:
    """Return a person in a box (left, top, right, bottom)."""
    return thing("person", confidence, *corners)


def thing(label: str, confidence: float, *corners: float) -> DetectedObject:
    """Return an object in a box (left, top, right, bottom)."""
    left, top, right, bottom = corners or (0.4, 0.4, 0.6, 0.8)
    box = Box(x_min=left, y_min=top, x_max=right, y_max=bottom)
    return DetectedObject(label=label, confidence=confidence, box=box)


class Refusal(Exception):
    """A command that cannot be done: `code` for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class FakePipeline:
    """A configured pipeline and what is present at its camera."""

    config: PipelineConfig
    model: ModelInfo | None = None
    engine: str | None = None
    accelerator: str | None = None
    error: Refusal | None = None
    fallback_from: str | None = None
    loading: bool = False
    looks: int = 0
    failures: int = 0
    seen: dict[str, deque[int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    confidences: dict[str, float] = field(default_factory=dict)
    last_detection_at: str | None = None
    picture_at: str | None = None
    source: SourceStatus | None = None
    # Of live video: track id → the object, and for how many frames it was not seen.
    tracks: dict[int, tuple[DetectedObject, int]] = field(default_factory=dict)
    frame: bytes | None = None
    video: FakeVideo | None = None
    live_look: Look | None = None

    @property
    def presence(self) -> dict[str, LabelPresence]:
        return {
            label: LabelPresence(
                present=count > 0,
                count=count,
                confidence=self.confidences.get(label) if count else None,
            )
            for label, count in self.counts.items()
        }

    @property
    def status(self) -> PipelineStatus:
        state = PipelineState.LOADING if self.loading else PipelineState.READY
        if self.error is not None:
            state = PipelineState.FAILED
        ready = state == PipelineState.READY and self.model is not None
        return PipelineStatus(
            pipeline_id=self.config.pipeline_id,
            state=state,
            error_code=self.error.code if self.error else None,
            error=str(self.error) if self.error else None,
            model=self.model.id if ready and self.model else None,
            model_version=self.model.version if ready and self.model else None,
            engine=self.engine if ready else None,
            accelerator=self.accelerator if ready else None,
            looks=self.looks,
            failures=self.failures,
            presence=self.presence,
            last_detection_at=self.last_detection_at,
            picture_at=self.picture_at,
            fallback_from=self.fallback_from,
            source=self.source,
        )


class FakeNode:
    """What a node is and keeps; it outlives the connections to it.

    Everything public can be changed by a test at any time.
    """

    def __init__(self) -> None:
        self.node_id = ulid_now()
        self.version = __version__
        self.engines = (
            _engine("onnxruntime", "ONNX Runtime", "1.32.0"),
            _engine("litert", "LiteRT", "2.3.0"),
            _engine("ncnn", "ncnn", "1.0.20261020"),
        )
        self.models = [bundled_model()]
        self.benchmarks: dict[str, Benchmark] = {}
        self.catalogue = CatalogueAnswer(models=())
        self.quarantined: list[QuarantinedModel] = []
        self.storage_error: str | None = None
        self.storage_newer = False
        self.storage_notice: str | None = None
        self.pipelines: dict[str, FakePipeline] = {}
        # What was asked of it, as it was read.
        self.requests: list[tuple[Command, Any]] = []
        self.log_id = ulid_now()
        self.log: list[LoggedEvent] = []
        # Event id → the picture with boxes, and the clean one.
        self.event_pictures: dict[str, tuple[bytes, bytes]] = {}
        self.last_pictures: dict[str, bytes] = {}
        # Engines that load no model yet.
        self.slow_engines: set[str] = set()
        self._shown: dict[bytes, tuple[DetectedObject, ...]] = {
            SELF_TEST_PICTURE.read_bytes(): tuple(person(*item) for item in _PERSONS)
        }
        self._refusals: dict[Command, Refusal] = {}
        self._held: dict[Command, asyncio.Event] = {}
        self._listeners: list[Pushed] = []
        self._tracks = itertools.count(1)
        self._videos: dict[str, FakeVideo] = {}

    # --- What a test scripts ---------------------------------------------------------------------

    def shows(self, picture: bytes, *objects: DetectedObject) -> None:
        """See these objects in a picture; in pictures that nobody mentions there is nothing."""
        self._shown[picture] = objects

    def fails(self, command: Command, code: str, message: str) -> None:
        """Refuse a command until `works` is called."""
        self._refusals[command] = Refusal(code, message)

    def works(self, command: Command) -> None:
        """Do a command again."""
        self._refusals.pop(command, None)
        if (held := self._held.pop(command, None)) is not None:
            held.set()

    def hangs(self, command: Command) -> None:
        """Give no answer to a command until `works` is called."""
        self._held[command] = asyncio.Event()

    def asked(self, command: Command) -> list[Any]:
        """Return the parameters of all requests of a command."""
        return [params for name, params in self.requests if name == command]

    def push_event(self, event: NodeEvent) -> None:
        """Log an event, and send it to whoever is subscribed."""
        self._publish([event])

    def push_status(self) -> None:
        """Send the status to whoever is subscribed."""
        self._push({"type": "status", "status": self.status()})

    def lose_log(self) -> None:
        """Begin a new log, as after the loss of the old one."""
        self.log, self.log_id = [], ulid_now()

    def finish_loading(self) -> None:
        """Load the models of slow engines, and say so."""
        self.slow_engines.clear()
        for pipeline in self.pipelines.values():
            pipeline.loading = False
        self.push_status()

    # --- For the connection ----------------------------------------------------------------------

    def listen(self, pushed: Pushed) -> Callable[[], None]:
        """Call back with every message that is pushed; returns how to stop that."""
        self._listeners.append(pushed)
        for pipeline in self.pipelines.values():
            if pipeline.live_look is not None:
                pushed({"type": "look", "look": pipeline.live_look})
        return lambda: self._listeners.remove(pushed)

    async def answer(
        self, command: Command, header: dict[str, Any], picture: bytes | None, progress: Pushed
    ) -> Answer:
        """Do a command. Raises `Refusal`, `ProtocolError`."""
        if (refusal := self._refusals.get(command)) is not None:
            raise refusal
        if (held := self._held.get(command)) is not None:
            await held.wait()
        handler = getattr(self, f"_{command}", None)
        if handler is None:
            raise Refusal(ErrorCode.INTERNAL, f"The fake node does not do {command}")
        kind = _PARAMS.get(command)
        if kind is None:
            self.requests.append((command, header))
            return await handler(header)
        params = read(kind, header)
        self.requests.append((command, params))
        if command == Command.BENCHMARK:
            return await handler(params, progress)
        if picture is not None:
            return await handler(params, picture)
        return await handler(params)

    async def stop(self) -> None:
        """Stop reading video, as a node that ends does."""
        videos, self._videos = self._videos, {}
        for pipeline in self.pipelines.values():
            pipeline.video, pipeline.live_look = None, None
        for video in videos.values():
            await video.stop()

    # --- What it is and has ----------------------------------------------------------------------

    async def _ping(self, _: dict[str, Any]) -> Answer:
        return Nothing(), None

    async def _info(self, _: dict[str, Any]) -> Answer:
        return (
            NodeInfo(
                node_id=self.node_id,
                version=self.version,
                hardware=HardwareInfo(
                    machine="x86_64",
                    system="Linux",
                    libc="glibc 2.43",
                    cpu="Imaginary",
                    cores=4,
                    python="3.14",
                    memory_bytes=2**32,
                ),
                engines=self.engines,
                models=tuple(self.models),
                default_engine="onnxruntime",
                default_model=DEFAULT_MODEL,
                benchmarks=tuple(self.benchmarks.values()),
            ),
            None,
        )

    async def _status(self, _: dict[str, Any]) -> Answer:
        return self.status(), None

    def status(self) -> NodeStatus:
        """Return how it is doing."""
        return NodeStatus(
            pipelines=tuple(pipeline.status for pipeline in self.pipelines.values()),
            uptime_s=1.0,
            memory_bytes=100 * 2**20,
            storage_error=self.storage_error,
            storage_newer=self.storage_newer,
            storage_notice=self.storage_notice,
            quarantined=tuple(self.quarantined),
        )

    async def _catalogue(self, _: dict[str, Any]) -> Answer:
        return self.catalogue, None

    async def _benchmark(self, request: BenchmarkRequest, progress: Pushed) -> Answer:
        model = self._model(request.model)
        places = [
            (engine, place)
            for engine in self.engines
            for place in engine.accelerators
            if engine.id in model.engines
        ]
        rows = []
        for done, (engine, place) in enumerate(places):
            progress(
                {
                    "progress": BenchmarkProgress(
                        engine_name=engine.name,
                        accelerator_name=place.name,
                        done=done,
                        total=len(places),
                    )
                }
            )
            rows.append(
                BenchmarkRow(
                    engine=engine.id,
                    engine_name=engine.name,
                    accelerator=place.id,
                    accelerator_name=place.name,
                    median_ms=10.0,
                    p95_ms=12.0,
                    still_ms=20.0,
                    frames_per_second=50.0,
                    cameras=(CameraLoad(cameras=1, frames_per_second=50.0),),
                )
            )
        engine, place = places[0]
        best = Recommendation(engine=engine.id, accelerator=place.id, reason="It is the fastest.")
        benchmark = Benchmark(
            model=model.id,
            model_name=model.name,
            at=_now(),
            rows=tuple(rows),
            recommendation=best,
        )
        self.benchmarks[model.id] = benchmark
        return benchmark, None

    async def _remove_model(self, request: RemoveModel) -> Answer:
        model = self._model(request.model)
        if model.id == DEFAULT_MODEL:
            raise Refusal(ErrorCode.MODEL_FAILED, f"{model.name} comes with the node")
        self.models.remove(model)
        return Nothing(), None

    async def _allow_model(self, request: AllowModel) -> Answer:
        freed = [item for item in self.quarantined if request.model in (None, item.model)]
        self.quarantined = [item for item in self.quarantined if item not in freed]
        for pipeline in self.pipelines.values():
            self._load(pipeline)
        return self.status(), None

    def _model(self, model: str | None) -> ModelInfo:
        for item in self.models:
            if item.id == (model or DEFAULT_MODEL):
                return item
        held = ", ".join(item.id for item in self.models)
        raise Refusal(ErrorCode.UNKNOWN_MODEL, f"No model {model!r}; this node has: {held}")

    def _place(
        self, model: ModelInfo, engine: str | None, accelerator: str | None
    ) -> tuple[str, str]:
        """Return where a model runs. Raises `Refusal`."""
        wanted = engine or next(item.id for item in self.engines if item.id in model.engines)
        known = next((item for item in self.engines if item.id == wanted), None)
        if known is None or known.version is None:
            raise Refusal(ErrorCode.ENGINE_MISSING, f"{wanted} cannot be used here")
        if wanted not in model.engines:
            raise Refusal(ErrorCode.MODEL_FAILED, f"{model.name} has no files for {known.name}")
        places = [item.id for item in known.accelerators]
        place = accelerator or places[0]
        if place not in places:
            raise Refusal(
                ErrorCode.UNKNOWN_ACCELERATOR,
                f"{known.name} has no accelerator {place!r} on this device; it has"
                f" {', '.join(places)}",
            )
        for item in self.quarantined:
            if (item.model, item.engine, item.accelerator) == (model.id, wanted, place):
                raise Refusal(ErrorCode.MODEL_QUARANTINED, f"{model.name} {item.reason}")
        return wanted, place

    # --- Pipelines -------------------------------------------------------------------------------

    async def _configure(self, header: dict[str, Any]) -> Answer:
        items = header.get("pipelines")
        if not isinstance(items, list):
            raise ProtocolError("Configure.pipelines: a list was expected")
        wanted: dict[str, FakePipeline] = {}
        for item in items:
            try:
                config = read(PipelineConfig, item)
            except ProtocolError as err:
                pipeline_id = item.get("pipeline_id") if isinstance(item, dict) else None
                if not isinstance(pipeline_id, str):
                    raise
                config = PipelineConfig(pipeline_id=pipeline_id, name="")
                wanted[pipeline_id] = FakePipeline(
                    config, error=Refusal(ErrorCode.BAD_MESSAGE, str(err))
                )
                continue
            wanted[config.pipeline_id] = self._configured(config)
        for pipeline in self.pipelines.values():
            if pipeline.config.pipeline_id not in wanted:
                await self._watch(pipeline, None)
        self.pipelines = wanted
        for pipeline in wanted.values():
            video = pipeline.config.video
            await self._watch(pipeline, video.url if video and not pipeline.error else None)
        return self.status(), None

    def _configured(self, config: PipelineConfig) -> FakePipeline:
        pipeline = self.pipelines.get(config.pipeline_id) or FakePipeline(config)
        if pipeline.config.camera != config.camera:
            self._end_presence(pipeline)
        pipeline.config = config
        wants = set(config.labels)
        if wants:
            pipeline.counts = {k: v for k, v in pipeline.counts.items() if k in wants}
            pipeline.seen = {k: v for k, v in pipeline.seen.items() if k in wants}
        try:
            config.check()
        except ProtocolError as err:
            pipeline.error = Refusal(ErrorCode.BAD_MESSAGE, str(err))
        else:
            self._load(pipeline)
        return pipeline

    def _load(self, pipeline: FakePipeline) -> None:
        config = pipeline.config
        pipeline.error = pipeline.fallback_from = None
        try:
            pipeline.model = model = self._model(config.model)
            for label in config.labels:
                if label not in model.labels:
                    raise Refusal(ErrorCode.MODEL_FAILED, f"{model.name} has no label {label}")
            try:
                place = self._place(model, config.engine, config.accelerator)
            except Refusal as err:
                if not config.allow_fallback:
                    raise
                place = self._place(model, None, None)
                wanted = f"{config.engine or place[0]} on {config.accelerator}"
                pipeline.fallback_from = f"{wanted} cannot be used: {err}"
            pipeline.engine, pipeline.accelerator = place
        except Refusal as err:
            pipeline.error, pipeline.model = err, None
        pipeline.loading = pipeline.error is None and pipeline.engine in self.slow_engines

    async def _forget(self, request: Forget) -> Answer:
        if request.pipeline_id in self.pipelines:
            raise ProtocolError(f"{request.pipeline_id!r} is no pipeline that was removed")
        for logged in self.log:
            if logged.event.pipeline_id == request.pipeline_id:
                self.event_pictures.pop(logged.event.event_id, None)
        self.last_pictures.pop(request.pipeline_id, None)
        return Nothing(), None

    def _pipeline(self, pipeline_id: str) -> FakePipeline:
        if (pipeline := self.pipelines.get(pipeline_id)) is None:
            message = f"This node has no pipeline {pipeline_id!r}"
            raise Refusal(ErrorCode.UNKNOWN_PIPELINE, message)
        return pipeline

    # --- Stills ----------------------------------------------------------------------------------

    async def _look(self, request: LookRequest, picture: bytes) -> Answer:
        pipeline = self._ready(request.pipeline_id)
        captured_at = _utc(request.captured_at)
        try:
            size, objects = self._see(picture, pipeline.config)
        except Refusal:
            pipeline.failures += 1
            raise
        if pipeline.config.video is not None and pipeline.source is not None:
            raise Refusal(ErrorCode.SUPERSEDED, "Live video is watched by now")
        pipeline.looks += 1
        pipeline.last_detection_at = captured_at if objects else pipeline.last_detection_at
        events = self._still_changes(pipeline, objects, captured_at)
        if request.scan:
            events += self._scans(pipeline, objects, captured_at)
        self._publish(self._pictured(pipeline, events, picture, captured_at))
        return self._result(pipeline, size, objects, captured_at), None

    def _ready(self, pipeline_id: str) -> FakePipeline:
        pipeline = self._pipeline(pipeline_id)
        if pipeline.error is not None:
            raise pipeline.error
        if pipeline.loading:
            message = "The model is being loaded; the first time it may be compiled"
            raise Refusal(ErrorCode.MODEL_LOADING, message)
        return pipeline

    def _see(
        self, picture: bytes, config: PipelineConfig | DetectRequest
    ) -> tuple[tuple[int, int], tuple[DetectedObject, ...]]:
        size = _size_of(picture)
        found = []
        for item in self._shown.get(bytes(picture), ()):
            limits = config.limits.get(item.label)
            least = limits.confidence if limits and limits.confidence else config.confidence
            if config.labels and item.label not in config.labels:
                continue
            if item.confidence < least or any(_within(_foot(item), mask) for mask in masks(config)):
                continue
            if limits and not limits.min_area <= item.box.area <= limits.max_area:
                continue
            found.append(item)
        return size, tuple(found)

    def _still_changes(
        self, pipeline: FakePipeline, objects: Sequence[DetectedObject], captured_at: str
    ) -> list[NodeEvent]:
        """Step the presence rule; return an event for each label whose count has changed."""
        config, events = pipeline.config, []
        by_label: dict[str, list[DetectedObject]] = {label: [] for label in config.labels}
        for label in pipeline.seen:
            by_label.setdefault(label, [])
        for item in objects:
            by_label.setdefault(item.label, []).append(item)
        for label, found in by_label.items():
            window = pipeline.seen.setdefault(label, deque(maxlen=config.looks_to_clear))
            window.append(len(found))
            count, before = max(window), pipeline.counts.get(label, 0)
            pipeline.counts[label] = count
            if found:
                pipeline.confidences[label] = found[0].confidence
            if count != before:
                phase = Phase.START if not before else Phase.UPDATE if count else Phase.END
                best = found[0] if found else None
                events.append(
                    self._event(pipeline, Kind.OBJECT, phase, label, count, best, captured_at)
                )
        return events

    def _scans(
        self, pipeline: FakePipeline, objects: Sequence[DetectedObject], captured_at: str
    ) -> list[NodeEvent]:
        event = partial(self._event, pipeline, Kind.SCAN, Phase.INSTANT)
        return [
            event(item.label, sum(o.label == item.label for o in objects), item, captured_at)
            for item in objects
        ]

    def _end_presence(self, pipeline: FakePipeline) -> None:
        """End what was seen at another camera."""
        now = _now()
        present = {label: n for label, n in pipeline.counts.items() if n and not pipeline.tracks}
        events = [
            self._event(pipeline, Kind.OBJECT, Phase.END, label, 0, None, now) for label in present
        ]
        events += [
            self._track_event(pipeline, Phase.END, track_id, item, now)
            for track_id, (item, _) in pipeline.tracks.items()
        ]
        pipeline.counts, pipeline.seen, pipeline.tracks = {}, {}, {}
        self._publish(events)

    def _pictured(
        self, pipeline: FakePipeline, events: list[NodeEvent], picture: bytes, captured_at: str
    ) -> list[NodeEvent]:
        """Keep one picture for all events of a look that show something."""
        shown = [event for event in events if event.phase != Phase.END]
        if not shown:
            return events
        first = shown[0].event_id
        drawn = _drawn(picture)
        self.event_pictures[first] = drawn, bytes(picture)
        self.last_pictures[pipeline.config.pipeline_id] = drawn
        pipeline.picture_at = captured_at
        return [replace(item, evidence=first) if item in shown else item for item in events]

    def _result(
        self,
        pipeline: FakePipeline,
        size: tuple[int, int],
        objects: Sequence[DetectedObject],
        captured_at: str,
        **live: Any,
    ) -> Look:
        assert pipeline.model is not None
        assert pipeline.engine is not None
        assert pipeline.accelerator is not None
        return Look(
            pipeline_id=pipeline.config.pipeline_id,
            captured_at=captured_at,
            width=size[0],
            height=size[1],
            objects=tuple(objects),
            presence=pipeline.presence,
            model=pipeline.model.id,
            model_version=pipeline.model.version,
            engine=pipeline.engine,
            accelerator=pipeline.accelerator,
            decode_ms=1.0,
            inference_ms=10.0,
            node_ms=12.0,
            last_detection_at=pipeline.last_detection_at,
            picture_at=pipeline.picture_at,
            task=pipeline.model.task,
            **live,
        )

    def _event(
        self,
        pipeline: FakePipeline,
        kind: Kind,
        phase: Phase,
        label: str,
        count: int,
        best: DetectedObject | None,
        captured_at: str,
        **more: Any,
    ) -> NodeEvent:
        assert pipeline.model is not None
        confidence = best.confidence if best else pipeline.confidences.get(label, 0.0)
        return NodeEvent(
            event_id=ulid_now(),
            pipeline_id=pipeline.config.pipeline_id,
            kind=kind,
            phase=phase,
            label=label,
            confidence=confidence,
            count=count,
            box=best.box if best else None,
            model=pipeline.model.id,
            model_version=pipeline.model.version,
            engine=str(pipeline.engine),
            accelerator=str(pipeline.accelerator),
            pattern=pipeline.config.pattern,
            captured_at=captured_at,
            inference_ms=10.0,
            **more,
        )

    async def _detect(self, request: DetectRequest, picture: bytes) -> Answer:
        check_polygons(request.privacy_masks)
        model = self._model(request.model)
        for label in request.labels:
            if label not in model.labels:
                raise Refusal(ErrorCode.MODEL_FAILED, f"{model.name} has no label {label}")
        engine, accelerator = self._place(model, request.engine, request.accelerator)
        size, objects = self._see(picture, request)
        answer = Detected(
            width=size[0],
            height=size[1],
            objects=objects,
            model=model.id,
            model_version=model.version,
            engine=engine,
            accelerator=accelerator,
            decode_ms=1.0,
            inference_ms=10.0,
            node_ms=12.0,
            task=model.task,
        )
        return answer, _drawn(picture) if request.annotate else None

    async def _outline(self, request: OutlineRequest, picture: bytes) -> Answer:
        zones = (zone.points for zone in request.zones)
        check_polygons((*zones, *request.privacy_masks, *request.motion_masks))
        width, height = _size_of(picture)
        return replace(_header(_now()), aspect=width / height), _drawn(picture)

    # --- Live video ------------------------------------------------------------------------------

    async def _watch(self, pipeline: FakePipeline, address: str | None) -> None:
        """Read the video of an address for a pipeline; all pipelines of it share one reader."""
        before = pipeline.video
        if before is not None and before.address != address:
            pipeline.video = None
            before.viewers.discard(pipeline.config.pipeline_id)
            if not before.viewers:
                del self._videos[before.address]
                await before.stop()
        if address is None:
            pipeline.source = pipeline.live_look = pipeline.frame = None
            return
        if pipeline.video is None:
            if (video := self._videos.get(address)) is None:
                video = self._videos[address] = FakeVideo(
                    address, self._take_frame, self._take_source
                )
            video.viewers.add(pipeline.config.pipeline_id)
            pipeline.video, pipeline.source = video, video.source
        # What it sees next is told anew: to another hub, or by other settings.
        pipeline.live_look = None

    def _viewers(self, video: FakeVideo) -> Iterable[FakePipeline]:
        return [item for key in video.viewers if (item := self.pipelines.get(key)) is not None]

    def _take_source(self, video: FakeVideo, source: SourceStatus) -> None:
        for pipeline in self._viewers(video):
            pipeline.source = source
            if source.state != SourceState.LIVE:
                pipeline.live_look = None
        self.push_status()

    def _take_frame(self, video: FakeVideo, picture: bytes) -> None:
        for pipeline in self._viewers(video):
            pipeline.frame = picture
            if pipeline.error is None and not pipeline.loading and pipeline.video is video:
                self._follow(pipeline, picture)

    def _follow(self, pipeline: FakePipeline, picture: bytes) -> None:
        """Follow objects over frames; push a look where something has changed."""
        now = _now()
        pipeline.looks += 1
        size, objects = self._see(picture, pipeline.config)
        events, unmatched = [], list(objects)
        for track_id, (item, missed) in list(pipeline.tracks.items()):
            same = next((new for new in unmatched if _same(new, item)), None)
            if same is not None:
                unmatched.remove(same)
                pipeline.tracks[track_id] = same, 0
            elif missed + 1 < _FRAMES_TO_LEAVE:
                pipeline.tracks[track_id] = item, missed + 1
            else:
                del pipeline.tracks[track_id]
                events += self._track_events(pipeline, Phase.END, track_id, item, now)
        for item in unmatched:
            track_id = next(self._tracks)
            pipeline.tracks[track_id] = item, 0
            events += self._track_events(pipeline, Phase.START, track_id, item, now)
        if objects:
            pipeline.last_detection_at = now
        followed = [
            replace(item, track_id=track_id, zones=self._zones_of(pipeline, item), stationary=False)
            for track_id, (item, _) in pipeline.tracks.items()
        ]
        self._count(pipeline, followed)
        self._publish(self._each_pictured(pipeline, events, picture, now))
        lines = tuple(_totals(pipeline.config.lines, pipeline.config.labels))
        look = self._result(
            pipeline,
            size,
            followed,
            now,
            zones=self._zone_presence(pipeline, followed),
            lines=lines,
            frames_per_second=10.0,
        )
        if pipeline.live_look is None or pipeline.live_look.objects != look.objects:
            pipeline.live_look = look
            self._push({"type": "look", "look": look})

    def _count(self, pipeline: FakePipeline, followed: Sequence[DetectedObject]) -> None:
        labels = dict.fromkeys((*pipeline.config.labels, *(item.label for item in followed)))
        pipeline.counts = {label: sum(item.label == label for item in followed) for label in labels}
        pipeline.seen = {}
        pipeline.confidences |= {item.label: item.confidence for item in followed}

    def _each_pictured(
        self, pipeline: FakePipeline, events: list[NodeEvent], picture: bytes, now: str
    ) -> list[NodeEvent]:
        """Keep a picture for every event that begins something."""
        pictured = []
        for event in events:
            if event.phase == Phase.START and event.kind == Kind.OBJECT:
                self.event_pictures[event.event_id] = _drawn(picture), bytes(picture)
                self.last_pictures[pipeline.config.pipeline_id] = _drawn(picture)
                pipeline.picture_at = now
                pictured.append(replace(event, evidence=event.event_id))
            else:
                pictured.append(event)
        return pictured

    def _zones_of(self, pipeline: FakePipeline, item: DetectedObject) -> tuple[str, ...]:
        return tuple(
            zone.name
            for zone in pipeline.config.zones
            if (not zone.labels or item.label in zone.labels) and _within(_foot(item), zone.points)
        )

    def _zone_presence(
        self, pipeline: FakePipeline, followed: Sequence[DetectedObject]
    ) -> dict[str, dict[str, LabelPresence]]:
        found: dict[str, dict[str, LabelPresence]] = {}
        for zone in pipeline.config.zones:
            counts = dict.fromkeys(zone.labels or pipeline.config.labels, 0)
            for item in followed:
                if zone.name in item.zones:
                    counts[item.label] = counts.get(item.label, 0) + 1
            found[zone.name] = {
                label: LabelPresence(
                    present=n > 0,
                    count=n,
                    confidence=pipeline.confidences.get(label) if n else None,
                )
                for label, n in counts.items()
            }
        return found

    def _track_events(
        self, pipeline: FakePipeline, phase: Phase, track_id: int, item: DetectedObject, now: str
    ) -> list[NodeEvent]:
        events = [self._track_event(pipeline, phase, track_id, item, now)]
        events += [
            self._track_event(pipeline, phase, track_id, item, now, zone)
            for zone in self._zones_of(pipeline, item)
        ]
        return events

    def _track_event(
        self,
        pipeline: FakePipeline,
        phase: Phase,
        track_id: int,
        item: DetectedObject,
        now: str,
        zone: str | None = None,
    ) -> NodeEvent:
        count = sum(other.label == item.label for other, _ in pipeline.tracks.values())
        return self._event(
            pipeline,
            Kind.OBJECT if zone is None else Kind.ZONE,
            phase,
            item.label,
            count,
            None if phase == Phase.END else item,
            now,
            track_id=track_id,
            zones=self._zones_of(pipeline, item),
            zone=zone,
        )

    async def _scan(self, request: ScanRequest) -> Answer:
        pipeline = self._pipeline(request.pipeline_id)
        picture = self._newest(pipeline)
        self._ready(request.pipeline_id)
        now = _now()
        size, objects = self._see(picture, pipeline.config)
        events = self._scans(pipeline, objects, now)
        self._publish(self._pictured(pipeline, events, picture, now))
        return self._result(pipeline, size, objects, now), None

    async def _live(self, request: LiveRequest) -> Answer:
        picture = self._newest(self._pipeline(request.pipeline_id))
        return _header(_now()), _drawn(picture)

    def _newest(self, pipeline: FakePipeline) -> bytes:
        if pipeline.video is None:
            raise Refusal(ErrorCode.CAMERA_UNAVAILABLE, "This pipeline watches no live video")
        if pipeline.frame is None or pipeline.video.source.state != SourceState.LIVE:
            raise Refusal(ErrorCode.CAMERA_UNAVAILABLE, "There is no frame yet")
        return pipeline.frame

    async def _peek(self, request: PeekRequest) -> Answer:
        request.video.check()
        try:
            picture = await FakeVideo.first_frame(request.video.url)
        except NoVideo as err:
            raise Refusal(ErrorCode.CAMERA_UNAVAILABLE, str(err)) from err
        return _header(_now()), picture

    # --- Events and pictures ---------------------------------------------------------------------

    def _publish(self, events: Iterable[NodeEvent]) -> None:
        for event in events:
            if self.storage_error is not None:
                self._push({"type": "event", "seq": None, "log": None, "event": event})
                continue
            seq = self.newest + 1
            self.log.append(LoggedEvent(seq=seq, event=event))
            self._push({"type": "event", "seq": seq, "log": self.log_id, "event": event})

    def _push(self, message: dict[str, Any]) -> None:
        for listener in tuple(self._listeners):
            listener(message)

    @property
    def newest(self) -> int:
        """Return the number of the newest event."""
        return self.log[-1].seq if self.log else 0

    async def _results(self, request: ResultsRequest) -> Answer:
        if self.storage_error is not None:
            raise Refusal(ErrorCode.STORAGE_FAILED, self.storage_error)
        found = [
            logged
            for logged in reversed(self.log)
            if request.pipeline_id in (None, logged.event.pipeline_id)
            and (request.before is None or logged.seq < request.before)
            and (not request.with_picture or logged.event.event_id in self.event_pictures)
        ]
        limit = min(max(request.limit, 1), _MOST_RESULTS)
        return Results(events=tuple(found[:limit])), None

    async def _picture(self, request: PictureRequest) -> Answer:
        pipeline = self._pipeline(request.pipeline_id)
        if (jpeg := self.last_pictures.get(request.pipeline_id)) is None:
            raise Refusal(ErrorCode.NO_PICTURE, "This pipeline has had no event yet")
        return _header(pipeline.picture_at or _now()), jpeg

    async def _evidence(self, request: EvidenceRequest) -> Answer:
        owner = next(
            (item.event for item in self.log if item.event.event_id == request.event_id), None
        )
        pictures = self.event_pictures.get(request.event_id)
        wrong = request.pipeline_id is not None and (
            owner is None or owner.pipeline_id != request.pipeline_id
        )
        if owner is None or pictures is None or wrong:
            message = "There is no picture of this event, or not any more"
            raise Refusal(ErrorCode.NO_PICTURE, message)
        return _header(owner.captured_at), pictures[1 if request.clean else 0]


_PARAMS: dict[Command, Any] = {
    Command.ALLOW_MODEL: AllowModel,
    Command.BENCHMARK: BenchmarkRequest,
    Command.DETECT: DetectRequest,
    Command.EVIDENCE: EvidenceRequest,
    Command.FORGET: Forget,
    Command.LIVE: LiveRequest,
    Command.LOOK: LookRequest,
    Command.OUTLINE: OutlineRequest,
    Command.PEEK: PeekRequest,
    Command.PICTURE: PictureRequest,
    Command.REMOVE_MODEL: RemoveModel,
    Command.RESULTS: ResultsRequest,
    Command.SCAN: ScanRequest,
}


def bundled_model() -> ModelInfo:
    """Return the model that comes with every node."""
    return ModelInfo(
        id=DEFAULT_MODEL,
        version="1.0.0",
        name="SSD MobileNetV2 COCO",
        task="detection",
        labels=_LABELS,
        engines=("onnxruntime", "openvino", "ncnn"),
        license="Apache-2.0",
        source="here",
        width=300,
        height=300,
        size_bytes=18060402,
    )


def _engine(engine_id: str, name: str, version: str) -> EngineInfo:
    cpu = AcceleratorInfo(id="cpu", name="CPU")
    return EngineInfo(id=engine_id, name=name, version=version, accelerators=(cpu,))


def masks(config: PipelineConfig | DetectRequest) -> tuple[tuple[Point, ...], ...]:
    """Return what a pipeline or a single look must not see."""
    return config.privacy_masks


def _foot(item: DetectedObject) -> Point:
    return Point(x=(item.box.x_min + item.box.x_max) / 2, y=item.box.y_max)


def _same(one: DetectedObject, other: DetectedObject) -> bool:
    return (one.label, one.box) == (other.label, other.box)


def _within(point: Point, polygon: Sequence[Point]) -> bool:
    """Return whether a point lies in a polygon: a ray from it crosses an odd number of sides."""
    inside = False
    for a, b in itertools.pairwise((*polygon, polygon[0])):
        if (a.y > point.y) != (b.y > point.y):
            x = a.x + (point.y - a.y) / (b.y - a.y) * (b.x - a.x)
            inside ^= point.x < x
    return inside


def _totals(lines: Iterable[Line], labels: Sequence[str]) -> Iterable[LineTotal]:
    for line in lines:
        for label in line.labels or labels:
            for direction in ("in", "out"):
                yield LineTotal(line=line.name, label=label, direction=direction, total=0)


def _header(at: str) -> Picture:
    return Picture(content_type="image/jpeg", at=at)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _utc(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except ValueError as err:
        raise ProtocolError(f"{text!r} is not a time: {err}") from None


_sizes: dict[bytes, tuple[int, int]] = {}


def _size_of(picture: bytes) -> tuple[int, int]:
    """Return width and height of a picture that can be decoded."""
    picture = bytes(picture)
    if picture not in _sizes:
        try:
            with Image.open(io.BytesIO(picture)) as image:
                image.load()
                _sizes[picture] = image.size
        except (OSError, SyntaxError, ValueError) as err:
            raise Refusal(ErrorCode.BAD_PICTURE, f"The picture cannot be read: {err}") from None
    return _sizes[picture]


def _drawn(picture: bytes) -> bytes:
    """Return a picture that is not the same as before, as one with boxes is."""
    with Image.open(io.BytesIO(picture)) as image:
        drawn = image.convert("RGB")
        drawn.putpixel((0, 0), (255, 0, 0))
        out = io.BytesIO()
        drawn.save(out, "JPEG", quality=70)
    return out.getvalue()
