"""Everything of one config entry at run time: the node, its connection, its pipelines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_time_interval

from .client import (
    COMPILE_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    NodeClient,
    NodeCommandError,
    NodeDisconnected,
    NodeError,
    Progress,
)
from .const import (
    CONF_ENGINE,
    CRASH_LOOP_MINUTES,
    DATA_DIR,
    EVENT_DETECTION,
    Issue,
)
from .events import event_data
from .inbox import EventInbox
from .issues import async_clear_issue, async_raise_issue
from .node.edge_vision_node.protocol import (
    AllowModel,
    Benchmark,
    BenchmarkProgress,
    BenchmarkRequest,
    Command,
    Configure,
    Forget,
    Greeting,
    Look,
    NodeEvent,
    NodeInfo,
    NodeStatus,
    Nothing,
    PeekRequest,
    Picture,
    PipelineState,
    Point,
    QuarantinedModel,
    Task,
    Video,
)
from .node_log import redact
from .pipeline import PipelineRuntime
from .settings import PipelineSettings, pipeline_settings
from .stream import StreamAddresses, fingerprint
from .supervisor import NodeCallbacks, NodeSupervisor

if TYPE_CHECKING:
    from .entity import PipelineEntities

_LOGGER = logging.getLogger(__name__)

# Importing an engine or loading a model takes its time on a small board.
_SET_UP_TIMEOUT_S = 60.0
# The node itself waits for a frame for twenty seconds, and may have to start a process first.
_PEEK_TIMEOUT_S = 60.0
# In each place: the default model when somebody asks for it, others with less patience.
BENCHMARK_SECONDS = 2.0
MEASURE_SECONDS = 0.5
STATUS_EVERY = timedelta(seconds=30)
# Looks in a row without an answer after which the node counts as stuck.
_STUCK_AFTER_TIMEOUTS = 3

type EdgeVisionConfigEntry = ConfigEntry[EdgeVisionHub]


def data_dir(hass: HomeAssistant) -> Path:
    """Return the local node's data folder."""
    return Path(hass.config.path(DATA_DIR))


class EdgeVisionHub:
    """Owns the node of a config entry. Entities read from it and from its pipelines.

    `info`, `status` and `greeting` are what the node said last; they stay when it goes away,
    so that entities and diagnostics can still tell what there was.
    """

    def __init__(self, hass: HomeAssistant, entry: EdgeVisionConfigEntry) -> None:
        """Make a hub; `async_start` starts the node."""
        self.hass = hass
        self.entry = entry
        self.info: NodeInfo | None = None
        self.status: NodeStatus | None = None
        self.greeting: Greeting | None = None
        self.node_device_id: str | None = None
        # Whether it was kept which cameras are switched off.
        self.knows_what_is_off = False
        self.streams = StreamAddresses(hass)
        # Why the node cannot read live video; None where it can.
        self.video_missing: str | None = None
        # What the set-up depends on: when it is no longer this, the entry must be reloaded.
        self.made_for = (entry.title, entry.data)
        self._inbox = EventInbox(hass, entry.entry_id, self._async_fire, self._kept)
        self.supervisor = NodeSupervisor(
            hass,
            data_dir(hass),
            NodeCallbacks(
                connected=self._async_connected,
                disconnected=self._async_disconnected,
                event=self._inbox.async_receive,
                status=self._async_take_status,
                look=self._async_take_look,
                crash_loop=self._async_crash_loop,
                stable=self._async_stable,
            ),
        )
        self.pipelines = {
            pipeline_id: PipelineRuntime(self, pipeline_id, settings)
            for pipeline_id, settings in pipeline_settings(entry).items()
        }
        # Those of each platform, in the order in which the platforms were set up.
        self.pipeline_entities: list[PipelineEntities] = []
        self._updating = asyncio.Lock()
        self._client: NodeClient | None = None
        self._listeners: set[CALLBACK_TYPE] = set()
        self._configuring = asyncio.Lock()
        # Something was changed that the node could not be told.
        self._untold = False
        self._begun = False
        self._stopping = False
        # Cameras of which the node still has pictures.
        self._removed: set[str] = set()
        self._timeouts = 0
        self._quarantined: AbstractSet[str] = frozenset()
        self._unsubscribe_timer: CALLBACK_TYPE | None = None

    # --- What others read -----------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the node can be asked now."""
        return self._client is not None and self._client.connected

    @property
    def node_id(self) -> str:
        """Return the node's id. The entry's unique id is the one it had when it was added."""
        return self.greeting.node_id if self.greeting else str(self.entry.unique_id)

    @property
    def engine(self) -> str:
        """Return the engine that the user has chosen for the node."""
        return str(self.entry.data[CONF_ENGINE])

    def engine_for(self, model: str | None, chosen: str | None) -> str | None:
        """Return the engine that runs a model: the one chosen for it, or else for the node.

        None, whichever the node thinks best, where the model has no files for the node's engine.
        """
        if chosen is not None or self.info is None:
            return chosen or self.engine
        wanted = model or self.info.default_model
        held = {item.id: item.engines for item in self.info.models}
        return self.engine if self.engine in held.get(wanted, (self.engine,)) else None

    def task_of(self, settings: PipelineSettings) -> str:
        """Return what a pipeline's model is for: entities are made from that.

        A model that the node does not know fails the pipeline, whatever it is for.
        """
        if self.info is not None:
            wanted = settings.model or self.info.default_model
            for model in self.info.models:
                if model.id == wanted:
                    return model.task
        return Task.DETECTION

    def masks_of(
        self, camera: str | None, address: str | None = None, *, besides: str | None = None
    ) -> tuple[tuple[Point, ...], ...]:
        """Return what nobody may see of a camera: the privacy masks of all its pipelines.

        A camera is the same by its entity or by the address of its video, whoever gave that.
        `besides` is a pipeline whose masks are not asked for.
        """
        names = self._names_of(camera, address)
        others = {
            key: self._names_of(pipeline.settings.camera, pipeline.settings.video_address)
            for key, pipeline in self.pipelines.items()
        }
        masks: dict[tuple[Point, ...], None] = {}
        # One pipeline may know a camera by its entity, another by its address, a third by both.
        while alike := [key for key, known in others.items() if names & known]:
            for key in alike:
                names |= others.pop(key)
                if key != besides:
                    masks |= dict.fromkeys(self.pipelines[key].settings.areas.privacy_masks)
        return tuple(masks)

    def _names_of(self, camera: str | None, address: str | None) -> set[str]:
        """Return by what a camera is known: its entity, and fingerprints of addresses."""
        own = self.streams.known(camera) if camera else None
        typed = fingerprint(address) if address else None
        return {name for name in (camera, own, typed) if name}

    def place_name(self, engine: str | None, accelerator: str | None) -> str:
        """Return where a model runs in words, as far as the node has named it."""
        for item in self.info.engines if self.info else ():
            if item.id == engine:
                names = {place.id: place.name for place in item.accelerators}
                return f"{item.name}, {names.get(accelerator or '', accelerator)}"
        return f"{engine}, {accelerator}"

    @property
    def log_lines(self) -> list[str]:
        """Return the node's newest log lines, without credentials."""
        return self.supervisor.log.lines

    @property
    def restarts(self) -> int:
        """Return how often the node had to be started again."""
        return self.supervisor.restarts

    @property
    def last_seq(self) -> int | None:
        """Return the number of the last event that was taken in."""
        return self._inbox.seq

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call back when anything about the node changes; returns how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @callback
    def _async_notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    # --- From start to stop ----------------------------------------------------------------------

    async def async_start(self) -> None:
        """Start the node, connect, and give it its pipelines.

        Raises `NodeStartError` or `NodeError`; nothing is left running then.
        """
        kept = await self._inbox.async_load()
        # A node must not look even once at what is switched off.
        self.knows_what_is_off = "off" in kept
        for pipeline_id in kept.get("off", ()):
            if (pipeline := self.pipelines.get(pipeline_id)) is not None:
                pipeline.enabled = False
        self.streams.fingerprints.update(kept.get("addresses", {}))
        self._removed.update(kept.get("removed", ()))
        # Some may have been removed while the entry was not set up.
        self._removed |= set(kept.get("known", ())) - self.pipelines.keys()
        await self.supervisor.start()
        # Another node's numbers mean nothing to this one.
        if kept.get("node_id") == self.node_id and isinstance(kept.get("seq"), int):
            self._inbox.seq = kept["seq"]

    async def async_begin(self) -> None:
        """Begin to look and to take in events: every entity is there now."""
        self._begun = True
        self.async_save_soon()
        self._inbox.async_begin()
        if self._client is not None:
            try:
                await self._async_subscribe(self._client)
            except NodeError as err:
                # The supervisor sees the same and starts the node again; that subscribes too.
                _LOGGER.debug("The node went away during set-up: %s", err)
        self._unsubscribe_timer = async_track_time_interval(
            self.hass, self._async_poll_status, STATUS_EVERY, name="Edge Vision node status"
        )
        for place, pipeline in enumerate(self.pipelines.values()):
            pipeline.async_begin(place, len(self.pipelines))

    async def async_update(self) -> None:
        """Take in what the user has changed about cameras; the others go on as they are."""
        async with self._updating:  # one at a time, each with what is wanted by then
            wanted = pipeline_settings(self.entry)
            removed = [self.pipelines.pop(key) for key in self.pipelines.keys() - wanted.keys()]
            for pipeline in removed:
                pipeline.async_forget()
                await pipeline.async_end()
                for entities in self.pipeline_entities:
                    entities.forget(pipeline.pipeline_id)
            changed = [
                pipeline
                for pipeline_id, pipeline in self.pipelines.items()
                if pipeline.settings != wanted[pipeline_id]
            ]
            moved = [
                pipeline
                for pipeline in changed
                if pipeline.settings.camera != wanted[pipeline.pipeline_id].camera
            ]
            for pipeline in moved:
                await pipeline.async_end()  # what is under way shows the other camera
            for pipeline in changed:
                pipeline.async_set_settings(wanted[pipeline.pipeline_id])
            added = [
                PipelineRuntime(self, key, wanted[key])
                for key in wanted.keys() - self.pipelines.keys()
            ]
            self.pipelines |= {pipeline.pipeline_id: pipeline for pipeline in added}
            # The node is told last, so that what it sees finds its entities.
            for pipeline in (*added, *changed):
                await self._async_update_entities(pipeline)
            if removed or changed or added:
                await self.async_reconfigure(changed)
            self._removed |= {pipeline.pipeline_id for pipeline in removed}
            await self._async_forget()
            if removed or added:
                self.async_save_soon()
            if not self._stopping:
                for pipeline in (*added, *moved):
                    pipeline.async_begin(0, 1)

    async def _async_forget(self) -> None:
        """Have the node delete what it has of cameras that the user has removed.

        A node that cannot be asked now is asked when it is back.
        """
        for pipeline_id in sorted(self._removed):
            try:
                await self.async_request(Command.FORGET, Forget(pipeline_id=pipeline_id), Nothing)
            except NodeError as err:
                _LOGGER.warning("Pictures of a removed camera are still kept: %s", err)
            else:
                self._removed.discard(pipeline_id)

    async def _async_update_entities(self, pipeline: PipelineRuntime) -> None:
        for entities in self.pipeline_entities:
            await entities.async_update(pipeline)

    async def async_stop(self) -> None:
        """Stop looking, then the node, and keep the number of the last event."""
        self._stopping = True
        self._inbox.async_mute()
        if self._unsubscribe_timer is not None:
            self._unsubscribe_timer()
            self._unsubscribe_timer = None
        await asyncio.gather(*(pipeline.async_end() for pipeline in self.pipelines.values()))
        try:
            await self.supervisor.stop()
        finally:
            await self._inbox.async_save()

    # --- Talking to the node ---------------------------------------------------------------------

    def _require_client(self) -> NodeClient:
        if self._client is None:
            raise NodeDisconnected("the node is not running")
        return self._client

    async def async_request[T](
        self,
        command: Command,
        params: object | None,
        answer: type[T],
        *,
        picture: bytes | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        progress: Progress[Any] | None = None,
    ) -> T:
        """Ask the node. Raises `NodeError`, `NodeDisconnected` where there is no connection."""
        return await self._require_client().request(
            command, params, answer, picture=picture, timeout_s=timeout_s, progress=progress
        )

    async def async_request_picture[T](
        self,
        command: Command,
        params: object | None,
        answer: type[T],
        *,
        picture: bytes | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> tuple[T, bytes]:
        """Ask the node for something that comes with a picture. Raises `NodeError`."""
        return await self._require_client().request_picture(
            command, params, answer, picture=picture, timeout_s=timeout_s
        )

    async def async_request_either[T](
        self, command: Command, params: object | None, answer: type[T], *, timeout_s: float
    ) -> tuple[T, bytes | None]:
        """Ask the node for something that may come with a picture. Raises `NodeError`."""
        return await self._require_client().request_either(
            command, params, answer, timeout_s=timeout_s
        )

    async def async_refresh_info(self) -> None:
        """Ask the node anew what it is and has. Raises `NodeError`.

        A pipeline whose model now is for something else gets other entities.
        """
        before = {pipeline: pipeline.task for pipeline in self.pipelines.values()}
        self.info = await self.async_request(
            Command.INFO, None, NodeInfo, timeout_s=_SET_UP_TIMEOUT_S
        )
        self._async_notify()
        async with self._updating:
            for pipeline in tuple(self.pipelines.values()):
                if before.get(pipeline, pipeline.task) != pipeline.task:
                    await self._async_update_entities(pipeline)

    async def async_allow_model(self, model: str) -> None:
        """Use a model again that crashed its engine. Raises `NodeError`."""
        self._async_take_status(
            await self.async_request(
                Command.ALLOW_MODEL,
                AllowModel(model=model),
                NodeStatus,
                timeout_s=_SET_UP_TIMEOUT_S,
            )
        )

    async def async_peek(self, video: Video) -> bytes:
        """Return a frame of live video as JPEG. Raises `NodeError` where there is none."""
        request = PeekRequest(video=video)
        _, jpeg = await self.async_request_picture(
            Command.PEEK, request, Picture, timeout_s=_PEEK_TIMEOUT_S
        )
        return jpeg

    async def async_benchmark(self) -> None:
        """Measure the default model, and those that cameras use, on everything the node has.

        Raises `NodeError` where the default one cannot be measured; another is left out then.
        """
        await self.async_measure(None, BENCHMARK_SECONDS)
        info = self.info
        held = {model.id for model in info.models if model.id != info.default_model} if info else ()
        used = {pipeline.settings.model for pipeline in self.pipelines.values()}
        for model in sorted(used.intersection(held), key=str):
            try:
                await self.async_measure(model, MEASURE_SECONDS)
            except NodeCommandError as err:
                _LOGGER.warning("%s was not measured: %s", model, err)

    async def async_measure(
        self,
        model: str | None,
        seconds: float,
        progress: Progress[BenchmarkProgress] | None = None,
    ) -> None:
        """Measure a model for so many seconds in each place. Raises `NodeError`."""
        await self.async_request(
            Command.BENCHMARK,
            BenchmarkRequest(model=model, seconds=seconds),
            Benchmark,
            timeout_s=COMPILE_TIMEOUT_S,
            progress=progress,
        )
        await self.async_refresh_info()

    @callback
    def async_note_answer(self, *, in_time: bool) -> None:
        """Note whether a look was answered; a node that no longer answers is started again.

        Its connection may well live on while an engine hangs in native code.
        """
        self._timeouts = 0 if in_time else self._timeouts + 1
        if self._timeouts >= _STUCK_AFTER_TIMEOUTS:
            self._timeouts = 0
            self.supervisor.restart(f"{_STUCK_AFTER_TIMEOUTS} looks in a row got no answer")

    async def _async_connected(self, client: NodeClient) -> None:
        """Set up a node that has just come up."""
        self.greeting = client.greeting
        self.info = await client.request(Command.INFO, None, NodeInfo, timeout_s=_SET_UP_TIMEOUT_S)
        # Before the node looks again, so that what it sees from now on is news.
        await self._inbox.async_meet(client)
        await self._async_configure(client)
        self._timeouts = 0
        self._client = client
        while self._untold:
            await self._async_configure(client)
        self._async_notify()
        for pipeline in self.pipelines.values():
            pipeline.async_notify()  # so that no event falls into an unavailable entity
        if self._begun:
            await self._async_subscribe(client)
        await self._async_forget()
        if not client.connected:
            raise NodeDisconnected("the connection ended while the node was set up")
        for pipeline in self.pipelines.values():
            pipeline.async_node_ready()

    @callback
    def _async_disconnected(self) -> None:
        self._client = None
        if self._stopping or self.hass.is_stopping:
            return  # nothing has failed, and the entities go away with the node
        for pipeline in self.pipelines.values():
            pipeline.async_node_lost()
        self._async_notify()

    async def _async_configure(self, client: NodeClient) -> None:
        # One at a time, each with what is wanted by then: the last change wins.
        async with self._configuring:
            self._untold = False
            await self._async_find_streams()
            told = {pipeline: pipeline.settings for pipeline in self.pipelines.values()}
            configs = tuple(
                settings.config(
                    pipeline.pipeline_id,
                    self.engine_for(settings.model, settings.engine),
                    pipeline.stream,
                    camera=self._identity(settings),
                    privacy_masks=self.masks_of(settings.camera, settings.video_address),
                )
                for pipeline, settings in told.items()
            )
            status = await client.request(
                Command.CONFIGURE,
                Configure(pipelines=configs),
                NodeStatus,
                timeout_s=_SET_UP_TIMEOUT_S,
            )
            for pipeline, settings in told.items():
                pipeline.told = settings
        self._async_take_status(status)

    def _identity(self, settings: PipelineSettings) -> str:
        """Return what stays the same while it is the same camera, whatever it is called."""
        if settings.camera is None:
            return fingerprint(settings.video_address or "")
        item = er.async_get(self.hass).async_get(settings.camera)
        return item.id if item is not None else settings.camera

    async def _async_find_streams(self) -> None:
        """Find out where live video is, once for each camera of which it is wanted."""
        wanting = [
            pipeline
            for pipeline in self.pipelines.values()
            if pipeline.wants_stream and self.video_missing is None
        ]
        cameras = {camera for pipeline in wanting if (camera := pipeline.settings.asked_for_stream)}
        every = [pipeline.settings for pipeline in self.pipelines.values()]
        if any(settings.video_address for settings in every):
            # Whether that is the address of a camera with masks.
            masked = (settings.camera for settings in every if settings.areas.privacy_masks)
            cameras |= {camera for camera in masked if camera}
        before = dict(self.streams.fingerprints)
        found = await asyncio.gather(*(self.streams.get(camera) for camera in cameras))
        if self.streams.fingerprints != before:
            self.async_save_soon()
        addresses: dict[str | None, str | None] = dict(zip(cameras, found, strict=True))
        for pipeline in self.pipelines.values():
            settings = pipeline.settings
            address = settings.video_address or addresses.get(settings.camera)
            pipeline.async_take_stream(address if pipeline in wanting else None)

    async def async_reconfigure(self, changed: Iterable[PipelineRuntime]) -> None:
        """Tell the node what its pipelines are now; one that is away hears it when it is back."""
        if self._client is None:
            self._untold = True
            return
        try:
            await self._async_configure(self._client)
        except NodeError as err:
            _LOGGER.warning("The node did not take its new settings: %s", err)
            return
        for pipeline in changed:
            pipeline.async_wake()

    async def _async_subscribe(self, client: NodeClient) -> None:
        await self._inbox.async_subscribe(client)
        # A model may have been loaded since the node answered to `configure`.
        self._async_take_status(await client.request(Command.STATUS, None, NodeStatus))

    async def _async_poll_status(self, _now: datetime) -> None:
        if self._client is None:
            return
        try:
            self._async_take_status(await self.async_request(Command.STATUS, None, NodeStatus))
        except NodeError as err:
            _LOGGER.debug("The node did not say how it is doing: %s", err)

    async def async_wait_for_models(self, at_most_s: float) -> None:
        """Wait until it is known of each model whether it can be used, or for so long."""
        settled = asyncio.Event()

        @callback
        def check() -> None:
            pipelines = self.status.pipelines if self.status else ()
            if not any(item.state == PipelineState.LOADING for item in pipelines):
                settled.set()

        unsubscribe = self.async_add_listener(check)
        check()
        try:
            async with asyncio.timeout(at_most_s):
                await settled.wait()
        except TimeoutError:
            _LOGGER.debug("After %s s there still is a model that is being loaded", at_most_s)
        finally:
            unsubscribe()

    # --- What the node says ----------------------------------------------------------------------

    @callback
    def _async_take_status(self, status: NodeStatus) -> None:
        self.status = status
        self._report_storage(status.storage_error)
        self._report_quarantine(status.quarantined)
        for item in status.pipelines:
            if (pipeline := self.pipelines.get(item.pipeline_id)) is not None:
                pipeline.async_take_status(item)
        self._async_notify()

    @callback
    def _async_take_look(self, look: Look) -> None:
        """Take in what a pipeline that watches live video sees."""
        if (pipeline := self.pipelines.get(look.pipeline_id)) is not None:
            pipeline.async_take_look(look)

    @callback
    def _async_fire(self, event: NodeEvent, late: bool) -> None:
        """Fire an event on the bus."""
        if (pipeline := self.pipelines.get(event.pipeline_id)) is None:
            _LOGGER.debug("Event of pipeline %.40r left out: it was removed", event.pipeline_id)
            return
        data = event_data(
            self.hass,
            self.entry.entry_id,
            self.node_id,
            pipeline.told,
            event,
            replayed=late,
        )
        self.hass.bus.async_fire(EVENT_DETECTION, data)
        pipeline.async_take_event(data)

    def _kept(self) -> dict[str, Any]:
        off = [key for key, pipeline in self.pipelines.items() if not pipeline.enabled]
        cameras = {pipeline.settings.camera for pipeline in self.pipelines.values()}
        addresses = self.streams.fingerprints.items()
        return {
            "node_id": self.node_id,
            "off": off,
            "known": sorted(self.pipelines),
            "addresses": {camera: kept for camera, kept in addresses if camera in cameras},
            "removed": sorted(self._removed),
        }

    @callback
    def async_save_soon(self) -> None:
        """Write down which cameras there are, are switched off, and are still to be deleted."""
        self._inbox.async_save_soon()

    # --- Trouble ---------------------------------------------------------------------------------

    @callback
    def _async_crash_loop(self, count: int, reason: str) -> None:
        async_raise_issue(
            self.hass,
            Issue.NODE_CRASH_LOOP,
            self.entry.entry_id,
            {"count": str(count), "minutes": str(CRASH_LOOP_MINUTES), "error": reason},
            reload_fixes=self.entry.entry_id,
        )

    @callback
    def _report_storage(self, error: str | None) -> None:
        """Tell the user while the node cannot keep what it sees; it looks all the same."""
        if error is None:
            async_clear_issue(self.hass, Issue.STORAGE_FAILED, self.entry.entry_id)
            return
        async_raise_issue(
            self.hass,
            Issue.STORAGE_FAILED,
            self.entry.entry_id,
            {"error": error},
            severity=ir.IssueSeverity.WARNING,
        )

    @callback
    def _report_quarantine(self, models: Iterable[QuarantinedModel]) -> None:
        """Tell the user of models that are left out because they crashed their engine."""
        entry_id = self.entry.entry_id
        now = {f"{entry_id}_{item.model}_{item.engine}_{item.accelerator}": item for item in models}
        for owner in self._quarantined - now.keys():
            async_clear_issue(self.hass, Issue.MODEL_QUARANTINED, owner)
        for owner in now.keys() - self._quarantined:
            item = now[owner]
            async_raise_issue(
                self.hass,
                Issue.MODEL_QUARANTINED,
                owner,
                {
                    "model": item.name,
                    "place": self.place_name(item.engine, item.accelerator),
                    "count": str(item.strikes),
                    "error": redact(item.reason),
                },
                data={"entry_id": entry_id, "model": item.model},
            )
        self._quarantined = now.keys()

    @callback
    def _async_stable(self) -> None:
        async_clear_issue(self.hass, Issue.NODE_CRASH_LOOP, self.entry.entry_id)
