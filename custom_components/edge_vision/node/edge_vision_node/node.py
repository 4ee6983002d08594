"""The node: puts its parts together, and says what it is and how it is doing."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ulid_transform import ulid_now

from . import __version__
from .benchmark import Benchmarks
from .benchmark import ProgressListener as BenchmarkListener
from .cameras.stream import Cameras
from .engines.packages import has_package
from .errors import NodeError
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
from .pipelines.background import Background
from .pipelines.live import LiveParts
from .pipelines.loading import Loader
from .pipelines.pictures import Pictures
from .pipelines.preview import Previews
from .pipelines.registry import Registry
from .pipelines.stills import Stills, detect
from .pipelines.telling import Teller
from .plain_files import read_plain
from .protocol import (
    Benchmark,
    BenchmarkRequest,
    Configure,
    Detected,
    DetectRequest,
    Inspection,
    InspectModel,
    ModelInfo,
    NodeInfo,
    NodeStatus,
    SelfTest,
    SelfTestRequest,
)
from .rules.objects import count_labels
from .storage.archive import Archive
from .storage.files import write_whole
from .workers.pool import Workers

_LOGGER = logging.getLogger(__name__)

_NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_ID_BYTES = 1024
_SELF_TEST_S = 0.5
_NOT_PUSHED = "The status cannot be pushed"

StatusListener = Callable[[NodeStatus], None]


class Node:
    """Everything a node does, without a word about sockets. Used from one event loop."""

    def __init__(self, data: Path, threads: int | None = None, mirror: Path | None = None) -> None:
        """Open the data folder. Raises `OSError` if it cannot be written."""
        self.node_id = _node_id(data / "node_id")
        self._workers = Workers(threads, data / "cache", Trust(data))
        self._store = ModelStore([data / "models"])
        self.models = ModelManager(data, self._store, self._workers, mirror)
        self._benchmarks = Benchmarks(data, self._workers)
        self.background = Background(self.changed)
        self.archive = Archive(data, self.changed)
        self.imaging = Imaging()
        self.cameras = Cameras()
        self.teller = Teller(self.archive, self.background)
        self.loader = Loader(self._workers, self._store, self.changed)
        self.pictures = Pictures(self.archive, self.imaging, self.background)
        stills = Stills(self.loader, self.imaging, self.teller, self.pictures)
        live = LiveParts(
            self.cameras,
            self.loader,
            stills,
            self.teller,
            self.pictures,
            self.changed,
        )
        self.pipelines = Registry(live, self.archive, self.background)
        self.previews = Previews(self.pipelines, self.cameras, self.imaging)
        self._status_listeners: set[StatusListener] = set()
        self._started = time.monotonic()

    # --- What the node says about itself ---------------------------------------------------------

    async def info(self) -> NodeInfo:
        """Return what this node is and what it can do."""
        engines = await self._workers.engines()
        try:
            engine = (await self._workers.choose(self._store.get(None), None, None)).engine
        except NodeError:
            engine = None
        on_disk = self.archive.on_disk
        devices = await on_disk(find_devices, engines)
        return NodeInfo(
            node_id=self.node_id,
            version=__version__,
            hardware=await on_disk(describe_hardware),
            engines=tuple(replace(item, packaged=has_package(item.id)) for item in engines),
            models=tuple(model.info() for model in self._store.models.values()),
            default_engine=engine,
            default_model=DEFAULT_MODEL,
            devices=devices,
            board_profile=await on_disk(board_profile, devices),
            benchmarks=self._benchmarks.kept,
        )

    async def status(self) -> NodeStatus:
        """Return how the node and its pipelines are doing."""
        archive = self.archive
        pids = [*self._workers.pids, *self.cameras.pids, *self.imaging.pids]
        memory_bytes = await archive.on_disk(resident_bytes, pids)
        temperature = await archive.on_disk(temperature_c)
        return NodeStatus(
            pipelines=self.pipelines.statuses,
            uptime_s=round(time.monotonic() - self._started, 1),
            memory_bytes=memory_bytes,
            temperature_c=temperature,
            storage_error=archive.error or self.background.error,
            storage_newer=archive.newer,
            storage_notice=archive.notice,
            quarantined=self._workers.trust.quarantined,
        )

    def listen_status(self, listener: StatusListener) -> Callable[[], None]:
        """Call back when a pipeline or the storage changes state; returns how to stop that."""
        self._status_listeners.add(listener)
        return partial(self._status_listeners.discard, listener)

    def changed(self) -> None:
        """Push the status soon."""
        self.background.spawn(self._push_status(), "The status cannot be read")

    async def _push_status(self) -> None:
        status = await self.status()
        self.background.call_all(_NOT_PUSHED, self._status_listeners, status)

    # --- Pipelines -------------------------------------------------------------------------------

    async def configure(
        self, wanted: Configure, refused: Mapping[str, str] | None = None
    ) -> NodeStatus:
        """Keep just these pipelines; see `Registry.configure`. Raises `ProtocolError`."""
        await self.pipelines.configure(wanted, refused)
        return await self.status()

    # --- Models ----------------------------------------------------------------------------------

    async def install_model(self, model_id: str, listener: ProgressListener) -> ModelInfo:
        """Install a model of the catalogue; pipelines that use it change over.

        Raises `UnknownModelError`, `DownloadError`, `ModelError` or `StorageError`.
        """
        info = await self.models.install(model_id, listener)
        await self.loader.reload({model_id})
        return info

    async def remove_model(self, model_id: str) -> None:
        """Delete a model that no pipeline uses. Raises `ModelError`, `UnknownModelError`."""
        await self.models.remove(model_id, self.pipelines.users_of(model_id))

    async def inspect_model(self, request: InspectModel) -> tuple[Inspection, bytes | None]:
        """Look at a model of the user's own; pipelines that use what is saved change over."""
        inspection, picture = await self.models.inspect(request)
        if inspection.saved is not None:
            await self.loader.reload({inspection.saved.id})
        return inspection, picture

    async def allow_model(self, model_id: str | None) -> NodeStatus:
        """Use a model again that crashed its engine; None allows all."""
        cleared = await self._workers.trust.clear(model_id)
        await self.loader.reload({item.model for item in cleared})
        return await self.status()

    # --- Outside of pipelines --------------------------------------------------------------------

    async def detect(
        self, request: DetectRequest, data: memoryview
    ) -> tuple[Detected, bytes | None]:
        """Look once, outside every pipeline; nothing is kept. See `stills.detect`."""
        return await detect(request, data, self._store, self._workers, self.imaging)

    async def self_test(self, request: SelfTestRequest) -> SelfTest:
        """Run a model on the picture that comes with the node. Raises as `look` does."""
        model = self._store.get(request.model)
        place = await self._workers.choose(model, request.engine, request.accelerator)
        data = await self.archive.on_disk(SELF_TEST_PICTURE.read_bytes)
        expectation = json.loads(await self.archive.on_disk(SELF_TEST_EXPECTATION.read_text))
        expect = expectation["expect"]
        lowest = min(item["min_confidence"] for item in expect)
        with self._workers.hold(place) as lane:
            loaded = await lane.load(place)
            result = await lane.run(ulid_now(), place, data, lowest, ())
            measured = await lane.measure(place, data, _SELF_TEST_S)
        objects = result.findings.objects
        found = count_labels(objects)
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
            await self.loader.unload_unused()

    # --- The end ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Finish what is on its way to disk, and close the archive."""
        self.archive.stop_tidying()
        await self.models.close()
        await self.pipelines.close()
        await self.cameras.close()
        await self.loader.close()
        await self.background.settled()
        await self._workers.close()
        await self.imaging.close()
        await self.archive.close()


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
