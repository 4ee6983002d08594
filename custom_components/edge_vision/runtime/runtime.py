"""Everything of one config entry at run time: the node, its connection, its pipelines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import STATE_OFF, Platform
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers import restore_state
from homeassistant.helpers.event import async_track_time_interval

from ..api.client import (
    COMPILE_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    NodeClient,
    NodeCommandError,
    NodeDisconnected,
    NodeError,
    Progress,
)
from ..const import (
    AUTO,
    CONF_ACCELERATOR,
    CONF_ENGINE,
    CRASH_LOOP_MINUTES,
    DATA_DIR,
    DOMAIN,
    EVENT_DETECTION,
    Issue,
)
from ..local_node.supervisor import NodeCallbacks, NodeSupervisor
from ..node.edge_vision_node.protocol import (
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
    redact,
)
from .benchmark_text import figure_of
from .event_data import event_data
from .event_inbox import EventInbox
from .issues import async_clear_issue, async_raise_issue
from .pipeline import PipelineRuntime
from .settings import CameraMasks, Damaged, PipelineSettings, pipeline_settings
from .stream_addresses import StreamAddresses, fingerprint

if TYPE_CHECKING:
    from ..entity import PipelineEntities

_LOGGER = logging.getLogger(__name__)

# Importing an engine or loading a model takes its time on a small board.
_SET_UP_TIMEOUT_S = 60.0
# The node itself waits for a frame for twenty seconds, and may have to start a process first.
_PEEK_TIMEOUT_S = 60.0
# In each place: the default model when somebody asks for it, others with less patience.
BENCHMARK_SECONDS = 2.0
MEASURE_SECONDS = 0.5
STATUS_EVERY = timedelta(seconds=30)
# How long the set-up waits for the first looks. Home Assistant's start waits with it, and complains
# of what takes ten seconds; the node needs some of them to start.
FIRST_LOOKS_PATIENCE_S = 6.0
# How long all pipelines wait for the addresses of streams; who comes later is taken in later.
_STREAMS_SOON_S = 2.0
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
        usual, self.damaged = pipeline_settings(entry)
        self.pipelines = {
            pipeline_id: PipelineRuntime(self, pipeline_id, settings)
            for pipeline_id, settings in usual.items()
        }
        # Those of each platform, in the order in which the platforms were set up.
        self.pipeline_entities: list[PipelineEntities] = []
        self._updating = asyncio.Lock()
        self._asked: dict[str, asyncio.Task[str | None]] = {}
        self._client: NodeClient | None = None
        self._listeners: set[CALLBACK_TYPE] = set()
        self._configuring = asyncio.Lock()
        # Something was changed that the node could not be told.
        self._untold = False
        self._begun = False
        self._stopping = False
        # Cameras of which the node still has pictures.
        self._removed: set[str] = set()
        self._off_damaged: set[str] = set()
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

    def place_for(
        self, model: str | None, engine: str | None, accelerator: str | None
    ) -> tuple[str | None, str | None]:
        """Return engine and accelerator for a model, of what was chosen for it.

        Where both are automatic, that is the node's accelerator, if there is one and the model is
        known to run there. None leaves the choice to the node.
        """
        place, usual = self.engine_for(model, engine), self.entry.data.get(CONF_ACCELERATOR, AUTO)
        if engine is not None or accelerator is not None or usual == AUTO or place != self.engine:
            return place, accelerator
        return place, usual if self._runs_on(model, place, usual) else None

    def _runs_on(self, model: str | None, engine: str, accelerator: str) -> bool:
        """Return whether a model was measured there; the default one was, when it was chosen."""
        if self.info is None or model in (None, self.info.default_model):
            return True
        measured = figure_of(self.info.benchmarks, model, engine, accelerator)
        return measured is not None

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
        every = self._all_masks()
        others = {
            key: self._names_of(item.camera, item.video_address) for key, item in every.items()
        }
        masks: dict[tuple[Point, ...], None] = {}
        # One pipeline may know a camera by its entity, another by its address, a third by both.
        while alike := [key for key, known in others.items() if names & known]:
            for key in alike:
                names |= others.pop(key)
                if key != besides:
                    masks |= dict.fromkeys(every[key].masks)
        return tuple(masks)

    def _all_masks(self) -> dict[str, CameraMasks]:
        """Return the masks of all pipelines by their ids, also of those that are damaged."""
        return {key: item.masks for key, item in self.damaged.items()} | {
            key: item.settings.masks for key, item in self.pipelines.items()
        }

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
        self._report_damaged()
        self._off_damaged = {key for key in kept.get("off", ()) if key in self.damaged}
        for pipeline_id, pipeline in self.pipelines.items():
            if pipeline_id in kept["off"] if "off" in kept else self._was_off(pipeline_id):
                pipeline.enabled = False
        self.streams.fingerprints.update(kept.get("addresses", {}))
        self._removed.update(kept.get("removed", ()))
        # Some may have been removed while the entry was not set up.
        self._removed |= set(kept.get("known", ())) - self.entry.subentries.keys()
        await self.supervisor.start()
        self._inbox.async_go_on(kept, self.node_id)

    def _was_off(self, pipeline_id: str) -> bool:
        """Return whether a camera was switched off before it was kept here which ones are."""
        entity_id = er.async_get(self.hass).async_get_entity_id(
            Platform.SWITCH, DOMAIN, f"{pipeline_id}_detection"
        )
        stored = restore_state.async_get(self.hass).last_states.get(entity_id or "")
        return stored is not None and stored.state.state == STATE_OFF

    async def async_begin(self) -> None:
        """Begin to look, and wait until it is known of most cameras what they show.

        Entities that come now have their states at once: no "unknown" that a moment later is
        something else fills the logbook with each restart.
        """
        self._begun = True
        self.async_save_soon()
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
        await self._async_wait_for_looks()

    @callback
    def async_hear(self) -> None:
        """Take in events, too: every entity is there now."""
        self._inbox.async_begin()

    async def _async_wait_for_looks(self) -> None:
        """Wait until each camera has been looked at or cannot be, but not for long."""
        settled = asyncio.Event()

        @callback
        def check() -> None:
            if all(pipeline.is_settled for pipeline in self.pipelines.values()):
                settled.set()

        unsubscribe = [pipeline.async_add_listener(check) for pipeline in self.pipelines.values()]
        check()
        try:
            async with asyncio.timeout(FIRST_LOOKS_PATIENCE_S):
                await settled.wait()
        except TimeoutError:
            _LOGGER.info("Some cameras have not been looked at yet: they begin as unknown")
        finally:
            for stop in unsubscribe:
                stop()

    async def async_update(self) -> None:
        """Take in what the user has changed about cameras; the others go on as they are."""
        async with self._updating:  # one at a time, each with what is wanted by then
            before, damaged = self.pipelines.keys() | self.damaged.keys(), self.damaged
            wanted, self.damaged = pipeline_settings(self.entry)
            self._report_damaged(damaged)
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
            off = {item.pipeline_id for item in removed if not item.enabled} | self._off_damaged
            for pipeline in added:
                pipeline.enabled = pipeline.pipeline_id not in off
            self._off_damaged = off & self.damaged.keys()
            self.pipelines |= {pipeline.pipeline_id: pipeline for pipeline in added}
            # The node is told last, so that what it sees finds its entities.
            for pipeline in (*added, *changed):
                await self._async_update_entities(pipeline)
            if removed or changed or added:
                await self.async_reconfigure(changed)
            gone = before - self.entry.subentries.keys()
            for pipeline_id in gone:
                async_clear_issue(self.hass, Issue.SETTINGS_DAMAGED, pipeline_id)
            self._removed |= gone
            await self._async_forget()
            if removed or added or gone:
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
                _LOGGER.debug("Pictures of a removed camera are still kept: %s", err)
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

    async def async_peek(self, video: Video) -> tuple[Picture, bytes]:
        """Return a frame of live video as JPEG. Raises `NodeError` where there is none."""
        request = PeekRequest(video=video)
        return await self.async_request_picture(
            Command.PEEK, request, Picture, timeout_s=_PEEK_TIMEOUT_S
        )

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
                _LOGGER.debug("%s was not measured: %s", model, err)

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
                    self.place_for(settings.model, settings.engine, settings.accelerator),
                    pipeline.stream,
                    self.streams.options(settings.camera, settings.video_address),
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
        """Find out where live video is, once for each camera of which it is wanted.

        Each camera has its own time to answer. One that does not do so soon keeps nobody else
        waiting: what it says later is taken in then.
        """
        wanting = [
            pipeline
            for pipeline in self.pipelines.values()
            if pipeline.wants_stream and self.video_missing is None
        ]
        cameras = {camera for pipeline in wanting if (camera := pipeline.settings.asked_for_stream)}
        masked = self._masked_cameras()
        asked = {camera: self._async_ask(camera) for camera in cameras | masked}
        if asked:
            await asyncio.wait(asked.values(), timeout=_STREAMS_SOON_S)
        # Until it is known of which cameras they are, nothing may be seen at addresses.
        unknown = [asked[camera] for camera in masked if self.streams.known(camera) is None]
        if unknown:
            await asyncio.wait(unknown)
        for pipeline in self.pipelines.values():
            address, task = pipeline.settings.video_address, None
            if address is None and pipeline in wanting:
                task = asked.get(pipeline.settings.camera or "")
            if task is not None and not task.done():
                task.add_done_callback(partial(self._async_take_late, pipeline))
                continue  # what it had stays until then
            if task is not None and not task.cancelled():
                address = task.result()
            pipeline.async_take_stream(address if pipeline in wanting else None)

    def _masked_cameras(self) -> set[str]:
        """Return the cameras with masks of which an address may be, which some pipelines have."""
        every = [pipeline.settings for pipeline in self.pipelines.values()]
        if not any(settings.video_address for settings in every):
            return set()
        every_mask = self._all_masks().values()
        return {item.camera for item in every_mask if item.camera and item.masks}

    @callback
    def _async_ask(self, camera: str) -> asyncio.Task[str | None]:
        """Ask a camera for the address of its stream, or wait with who has asked."""
        task = self._asked.get(camera)
        if task is None or task.done():
            task = self._asked[camera] = self.entry.async_create_background_task(
                self.hass, self._async_get_stream(camera), f"Edge Vision stream of {camera}"
            )
        return task

    async def _async_get_stream(self, camera: str) -> str | None:
        before = self.streams.known(camera)
        address = await self.streams.get(camera)
        if self.streams.known(camera) != before:
            self.async_save_soon()
        return address

    @callback
    def _async_take_late(self, pipeline: PipelineRuntime, task: asyncio.Task[str | None]) -> None:
        """Have a pipeline use the address that its camera gave after the others' answers."""
        if task.cancelled() or self._stopping or task.result() == pipeline.stream:
            return
        self.entry.async_create_background_task(
            self.hass, self.async_reconfigure([pipeline]), "Edge Vision stream that came late"
        )

    async def async_reconfigure(self, changed: Iterable[PipelineRuntime]) -> None:
        """Tell the node what its pipelines are now; one that is away hears it when it is back."""
        if self._client is None:
            self._untold = True
            return
        try:
            await self._async_configure(self._client)
        except NodeCommandError as err:
            _LOGGER.warning("The node did not take its new settings: %s", err)
            return
        except NodeError as err:
            _LOGGER.debug("The node takes its new settings when it is back: %s", err)
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
        self._report_storage(status)
        self._report_mended(status.storage_notice)
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
            "off": [*off, *sorted(self._off_damaged & self.damaged.keys())],
            "known": sorted({*self.pipelines, *self.damaged}),
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
    def _report_damaged(self, before: Mapping[str, Damaged] | None = None) -> None:
        """Report cameras that are not looked at because their settings are damaged."""
        if self.damaged == before:
            return
        for subentry in self.entry.subentries.values():
            key = subentry.subentry_id
            if (item := self.damaged.get(key)) is None:
                async_clear_issue(self.hass, Issue.SETTINGS_DAMAGED, key)
                continue
            told = {"name": subentry.title, "error": item.reason}
            _LOGGER.error("The settings of %s cannot be read: %s", subentry.title, item.reason)
            async_raise_issue(self.hass, Issue.SETTINGS_DAMAGED, key, told)

    @callback
    def _report_storage(self, status: NodeStatus) -> None:
        """Tell the user while the node cannot keep what it sees; it looks all the same."""
        error = status.storage_error
        now = Issue.LOG_NEWER if status.storage_newer else Issue.STORAGE_FAILED
        for issue in (Issue.STORAGE_FAILED, Issue.LOG_NEWER):
            if error is None or issue is not now:
                async_clear_issue(self.hass, issue, self.entry.entry_id)
            else:
                async_raise_issue(
                    self.hass,
                    issue,
                    self.entry.entry_id,
                    {"error": error},
                    severity=ir.IssueSeverity.WARNING,
                )

    @callback
    def _report_mended(self, notice: str | None) -> None:
        """Tell the user what has happened to the log of events, until the node starts anew."""
        if notice is None:
            async_clear_issue(self.hass, Issue.LOG_MENDED, self.entry.entry_id)
            return
        async_raise_issue(
            self.hass,
            Issue.LOG_MENDED,
            self.entry.entry_id,
            {"what": redact(notice)},
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
