"""The node of a config entry: its connection, what it said about itself, and requests to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval

from ..api.client import (
    COMPILE_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    NodeClient,
    NodeCommandError,
    NodeDisconnected,
    NodeRequestError,
    Progress,
)
from ..api.link import NodeLink
from ..const import AUTO, CONF_ACCELERATOR, CONF_ENGINE
from ..node.edge_vision_node.protocol import (
    AllowModel,
    Benchmark,
    BenchmarkProgress,
    BenchmarkRequest,
    Command,
    Greeting,
    NodeInfo,
    NodeStatus,
    PeekRequest,
    Picture,
    PipelineState,
    Task,
    Video,
)
from .benchmark_text import figure_of

_LOGGER = logging.getLogger(__name__)

# Importing an engine or loading a model takes a while on a small board.
SET_UP_TIMEOUT_S = 60.0
# The node itself waits for a frame for twenty seconds, and may have to start a process first.
_PEEK_TIMEOUT_S = 60.0
# In each place: the default model when a benchmark is requested, other models for a shorter time.
BENCHMARK_SECONDS = 2.0
MEASURE_SECONDS = 0.5
STATUS_EVERY = timedelta(seconds=30)
# Looks in a row without an answer after which the node counts as stuck.
_STUCK_AFTER_TIMEOUTS = 3


def task_in(info: NodeInfo | None, model: str | None) -> str:
    """Return what a model is for: entities are made from that.

    A model that the node does not know fails its pipeline, whatever it is for.
    """
    if info is not None:
        wanted = model or info.default_model
        for item in info.models:
            if item.id == wanted:
                return item.task
    return Task.DETECTION


class EntryNode:
    """The node of a config entry.

    `info`, `status` and `greeting` are the last ones received; they are kept while the node is
    disconnected, so that entities and diagnostics can still show them.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        link: NodeLink,
        *,
        on_status: Callable[[NodeStatus], None],
        on_info: Callable[[NodeInfo | None], Awaitable[None]],
    ) -> None:
        """Initialize a node that is not connected.

        `on_status` is called with every status; `on_info` after new information was received, with
        that of before.
        """
        self._hass = hass
        self._entry = entry
        self._on_status = on_status
        self._on_info = on_info
        self.link = link
        self.info: NodeInfo | None = None
        self.status: NodeStatus | None = None
        self.greeting: Greeting | None = None
        self.device_id: str | None = None
        # Why the node cannot read live video; None where it can.
        self.video_missing: str | None = None
        self._client: NodeClient | None = None
        self._listeners: set[CALLBACK_TYPE] = set()
        self._timeouts = 0
        self._unsubscribe_timer: CALLBACK_TYPE | None = None

    # --- What it is ------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._client is not None and self._client.connected

    @property
    def client(self) -> NodeClient | None:
        """Return the connection of a node that is set up."""
        return self._client

    @property
    def node_id(self) -> str:
        """Return the node's id. The entry's unique id is the one it had when it was added."""
        return self.greeting.node_id if self.greeting else str(self._entry.unique_id)

    @property
    def engine(self) -> str:
        """Return the engine that the user has chosen for the node."""
        return str(self._entry.data[CONF_ENGINE])

    def engine_for(self, model: str | None, chosen: str | None) -> str | None:
        """Return the engine that runs a model: the one chosen for it, or else for the node.

        None leaves the choice to the node, where the model has no files for the node's engine.
        """
        if chosen is not None or self.info is None:
            return chosen or self.engine
        wanted = model or self.info.default_model
        held = {item.id: item.engines for item in self.info.models}
        return self.engine if self.engine in held.get(wanted, (self.engine,)) else None

    def place_for(
        self, model: str | None, engine: str | None, accelerator: str | None
    ) -> tuple[str | None, str | None]:
        """Return engine and accelerator for a model, from what was chosen for it.

        Where both are automatic, that is the node's accelerator, if there is one and the model is
        known to run there. None leaves the choice to the node.
        """
        place, usual = self.engine_for(model, engine), self._entry.data.get(CONF_ACCELERATOR, AUTO)
        if engine is not None or accelerator is not None or usual == AUTO or place != self.engine:
            return place, accelerator
        return place, usual if self._runs_on(model, place, usual) else None

    def _runs_on(self, model: str | None, engine: str, accelerator: str) -> bool:
        """Return whether a model was measured there; the default one was, when it was chosen."""
        if self.info is None or model in (None, self.info.default_model):
            return True
        measured = figure_of(self.info.benchmarks, model, engine, accelerator)
        return measured is not None

    def task_of(self, model: str | None) -> str:
        """Return what a model is for; None is the node's default model."""
        return task_in(self.info, model)

    def place_name(self, engine: str | None, accelerator: str | None) -> str:
        """Return where a model runs in words, as far as the node has named it."""
        for item in self.info.engines if self.info else ():
            if item.id == engine:
                names = {place.id: place.name for place in item.accelerators}
                return f"{item.name}, {names.get(accelerator or '', accelerator)}"
        return f"{engine}, {accelerator}"

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call back when anything about the node changes; returns how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @callback
    def async_notify(self) -> None:
        """Notify listeners."""
        for listener in tuple(self._listeners):
            listener()

    # --- Its connection --------------------------------------------------------------------------

    async def async_greet(self, client: NodeClient) -> None:
        """Receive what a node that has just connected is and has. Raises `NodeRequestError`."""
        self.greeting = client.greeting
        self.info = await client.request(Command.INFO, None, NodeInfo, timeout_s=SET_UP_TIMEOUT_S)

    @callback
    def async_set_client(self, client: NodeClient) -> None:
        """Use a connection from now on."""
        self._timeouts = 0
        self._client = client

    @callback
    def async_drop_client(self) -> None:
        """Stop using a connection that has ended."""
        self._client = None

    @callback
    def async_start_polling(self) -> None:
        """Ask for the status at regular times."""
        self._unsubscribe_timer = async_track_time_interval(
            self._hass, self._async_poll_status, STATUS_EVERY, name="Edge Vision node status"
        )

    @callback
    def async_stop_polling(self) -> None:
        """Stop asking for the status."""
        if self._unsubscribe_timer is not None:
            self._unsubscribe_timer()
            self._unsubscribe_timer = None

    async def _async_poll_status(self, _now: datetime) -> None:
        if self._client is None:
            return
        try:
            self.async_set_status(await self.async_request(Command.STATUS, None, NodeStatus))
        except NodeRequestError as err:
            _LOGGER.debug("The node did not answer with its status: %s", err)

    @callback
    def async_set_status(self, status: NodeStatus) -> None:
        """Update the status, then what depends on it, then listeners."""
        self.status = status
        self._on_status(status)
        self.async_notify()

    @callback
    def async_note_answer(self, *, in_time: bool) -> None:
        """Note whether a look was answered; a node that no longer answers is restarted.

        Its connection may live on while an engine hangs in native code.
        """
        self._timeouts = 0 if in_time else self._timeouts + 1
        if self._timeouts >= _STUCK_AFTER_TIMEOUTS:
            self._timeouts = 0
            self.link.restart(f"{_STUCK_AFTER_TIMEOUTS} looks in a row got no answer")

    # --- Requests --------------------------------------------------------------------------------

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
        """Send a request. Raises `NodeRequestError`; `NodeDisconnected` without a connection."""
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
        """Send a request whose answer comes with a picture. Raises `NodeRequestError`."""
        return await self._require_client().request_picture(
            command, params, answer, picture=picture, timeout_s=timeout_s
        )

    async def async_request_either[T](
        self, command: Command, params: object | None, answer: type[T], *, timeout_s: float
    ) -> tuple[T, bytes | None]:
        """Send a request whose answer may come with a picture. Raises `NodeRequestError`."""
        return await self._require_client().request_either(
            command, params, answer, timeout_s=timeout_s
        )

    async def async_refresh_info(self) -> None:
        """Request anew what the node is and has. Raises `NodeRequestError`."""
        before = self.info
        self.info = await self.async_request(
            Command.INFO, None, NodeInfo, timeout_s=SET_UP_TIMEOUT_S
        )
        self.async_notify()
        await self._on_info(before)

    async def async_peek(self, video: Video) -> tuple[Picture, bytes]:
        """Return a frame of live video as JPEG. Raises `NodeRequestError` where there is none."""
        request = PeekRequest(video=video)
        return await self.async_request_picture(
            Command.PEEK, request, Picture, timeout_s=_PEEK_TIMEOUT_S
        )

    async def async_allow_model(self, model: str) -> None:
        """Use a model again that crashed its engine. Raises `NodeRequestError`."""
        self.async_set_status(
            await self.async_request(
                Command.ALLOW_MODEL,
                AllowModel(model=model),
                NodeStatus,
                timeout_s=SET_UP_TIMEOUT_S,
            )
        )

    async def async_benchmark(self, models: Iterable[str | None]) -> None:
        """Measure the default model, and those of `models` that the node has, in every place.

        Raises `NodeRequestError` where the default one cannot be measured; others are skipped then.
        """
        await self.async_measure(None, BENCHMARK_SECONDS)
        info = self.info
        held = {model.id for model in info.models if model.id != info.default_model} if info else ()
        for model in sorted(set(models).intersection(held), key=str):
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
        """Measure a model for so many seconds in each place. Raises `NodeRequestError`."""
        await self.async_request(
            Command.BENCHMARK,
            BenchmarkRequest(model=model, seconds=seconds),
            Benchmark,
            timeout_s=COMPILE_TIMEOUT_S,
            progress=progress,
        )
        await self.async_refresh_info()

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
            _LOGGER.debug("A model is still being loaded after %s s", at_most_s)
        finally:
            unsubscribe()
