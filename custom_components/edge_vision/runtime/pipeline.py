"""A pipeline at run time: fetches pictures, has the node look at them, knows how that went."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import CALLBACK_TYPE, CoreState, Event, EventStateChangedData, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import (
    async_track_entity_registry_updated_event,
    async_track_state_change_event,
)
from homeassistant.util import dt as dt_util

from ..api.client import NodeCommandError, NodeError, NodeTimeout
from ..const import CONF_CAMERA, DOMAIN, Issue, PictureSource, PipelineProblem
from ..node.edge_vision_node.protocol import (
    TASKS_WITH_OBJECTS,
    Command,
    ErrorCode,
    Look,
    LookRequest,
    PipelineState,
    PipelineStatus,
    ScanRequest,
    SlowedBy,
    SourceState,
    redact,
)
from .camera_device import async_update_pipeline_device
from .event_data import milliseconds_since
from .issues import async_clear_issue, async_raise_issue
from .settings import PipelineSettings
from .stills import PictureTooLarge, async_get_still
from .video_source import LiveFallback

if TYPE_CHECKING:
    from .runtime import EdgeVisionHub

_LOGGER = logging.getLogger(__name__)

CAMERA_RETRY_AFTER_S = 1.0
RETRY_FIRST_S = 5.0
RETRY_LONGEST_S = 60.0
_STAGGER_LONGEST_S = 1.0
_RATE_OVER_LOOKS = 10

# What an error of the node means for a pipeline; all others are about its model.
_PROBLEM_OF_CODE: dict[str | None, PipelineProblem] = {
    ErrorCode.BAD_MESSAGE: PipelineProblem.SETTINGS_REFUSED,
    ErrorCode.BAD_PICTURE: PipelineProblem.PICTURE_UNREADABLE,
    ErrorCode.CAMERA_UNAVAILABLE: PipelineProblem.CAMERA_UNAVAILABLE,
    ErrorCode.MODEL_LOADING: PipelineProblem.MODEL_LOADING,
    ErrorCode.UNKNOWN_PIPELINE: PipelineProblem.NODE_UNAVAILABLE,
}


class _CannotLook(Exception):
    """Why a look failed."""

    def __init__(self, problem: PipelineProblem, reason: str, *, quarantined: bool = False) -> None:
        # Cameras like to put their address, password and all, into their errors.
        super().__init__(redact(reason))
        self.problem = problem
        self.quarantined = quarantined


class _Superseded(Exception):
    """The picture is of no use any more: neither a result nor a failure."""


@dataclass(frozen=True)
class _Ticks:
    """The times at which stills are due, numbered from the first."""

    interval_s: float
    first: float

    def at(self, moment: float) -> int:
        """Return the number of the newest one."""
        # A timer may wake us a little early; that must not make two looks of one tick.
        return int((moment - self.first) / self.interval_s + 0.001)

    def until_next(self, moment: float) -> float:
        """Return how long it is until the next one, in seconds."""
        return max(0.0, self.first + (self.at(moment) + 1) * self.interval_s - moment)


class PipelineRuntime:
    """One camera's path from picture to entities.

    `look` is the newest result and None while there is none that holds: before the first look,
    while the pipeline cannot look (`problem` says why) and while detection is switched off.
    """

    def __init__(self, hub: EdgeVisionHub, pipeline_id: str, settings: PipelineSettings) -> None:
        """Make a pipeline that does not look yet."""
        self._hub = hub
        self._hass = hub.hass
        self.pipeline_id = pipeline_id
        self.settings = settings
        self.enabled = True
        # What the node goes by; its events are about that.
        self.told = settings
        self.look: Look | None = None
        self._look_is_live = False
        # Where the live video is that the node watches; None where it gets stills.
        self.stream: str | None = None
        # The new entity id of its camera, until that is followed.
        self._renamed_to: str | None = None
        self.fallback = LiveFallback(hub, self)
        self._seeking: asyncio.Task[None] | None = None
        # What cannot keep up with the live video, a `SlowedBy`; None while nothing is slowed.
        self.slowed_by: str | None = None
        self._model_loading = False
        self.problem: PipelineProblem | None = None
        self.problem_text: str | None = None
        self.problem_since: str | None = None
        self.latency_ms: float | None = None
        # Pictures that were wanted and not looked at, of stills and of live video.
        self.dropped = 0
        self._dropped_by_node = 0
        self.last_detection_at: str | None = None
        self.picture_at: str | None = None
        self._finished: deque[float] = deque(maxlen=_RATE_OVER_LOOKS)
        self._failures = 0
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listeners: set[CALLBACK_TYPE] = set()
        self._event_listeners: set[Callable[[dict[str, Any]], None]] = set()
        self._unsubscribe: list[CALLBACK_TYPE] = []

    # --- What entities read ----------------------------------------------------------------------

    @property
    def available(self) -> bool:
        """Whether what entities show is true: nothing is known to be in the way of looking."""
        return self.problem is None

    @property
    def is_settled(self) -> bool:
        """Return whether it is known what the camera shows, or that it cannot be known."""
        if self.look is not None or not self.enabled:
            return True
        if (
            self.problem is PipelineProblem.CAMERA_UNAVAILABLE
            and self._hass.state is not CoreState.running
        ):
            # Its integration may just be starting, too.
            return self._hass.states.get(self.settings.camera or "") is not None
        return self.problem not in (None, PipelineProblem.MODEL_LOADING)

    @property
    def task(self) -> str:
        """Return what the model is for."""
        return self._hub.task_of(self.settings)

    @property
    def counted_labels(self) -> tuple[str, ...]:
        """Return the labels that have entities of their own: of what can be there or not."""
        return self.settings.labels if self.task in TASKS_WITH_OBJECTS else ()

    @property
    def counted_in_zones(self) -> tuple[tuple[str, str], ...]:
        """Return the labels in zones, (label, zone), that have entities of their own."""
        if not self.settings.may_be_live:
            return ()
        return tuple(
            (label, zone.name)
            for zone in self.settings.areas.zones
            for label in self.counted_labels
            if not zone.labels or label in zone.labels
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the names of the lines whose crossings are counted."""
        if not self.settings.may_be_live:
            return ()
        return tuple(line.name for line in self.settings.areas.lines)

    @property
    def live_look(self) -> Look | None:
        """Return the newest result where it is of live video: stills say nothing about lines."""
        return self.look if self._look_is_live else None

    @property
    def activity(self) -> str:
        """Return what the pipeline is doing; the states of the status sensor."""
        if not self.enabled:
            return "off"
        # Once the model is there it is looking, although nothing holds before the first look.
        if self.problem is not None and (
            self._model_loading or self.problem is not PipelineProblem.MODEL_LOADING
        ):
            return self.problem
        if self.slowed_by is not None:
            return "slowed"
        return "on_request" if self.settings.only_on_request else "looking"

    @property
    def source(self) -> str | None:
        """Return where its pictures come from just now; None while they come from nowhere."""
        if not self.enabled or self.lacks_stream:
            return None
        return PictureSource.STILLS if self.stream is None else PictureSource.LIVE

    @property
    def looks_per_second(self) -> float | None:
        """Return the rate over the newest looks; None before there are two."""
        if self.stream is not None:
            return self.look.frames_per_second if self.look else None
        if len(self._finished) < 2 or (span := self._finished[-1] - self._finished[0]) <= 0:
            return None
        return (len(self._finished) - 1) / span

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call back when anything about the pipeline changes; returns how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @callback
    def async_add_event_listener(self, listener: Callable[[dict[str, Any]], None]) -> CALLBACK_TYPE:
        """Call back with the data of every bus event; returns how to stop that."""
        self._event_listeners.add(listener)
        return lambda: self._event_listeners.discard(listener)

    @callback
    def async_notify(self) -> None:
        """Call back all who follow."""
        for listener in tuple(self._listeners):
            listener()

    # --- From begin to end -----------------------------------------------------------------------

    @callback
    def async_begin(self, place: int, of: int) -> None:
        """Begin to look. `place` of `of` pipelines: they take turns instead of all at once."""
        self._renamed_to = None
        self._follow_camera()
        stagger_s = place * min(_STAGGER_LONGEST_S, self.settings.scan_interval_s / of)
        self._task = self._hub.entry.async_create_background_task(
            self._hass, self._run(stagger_s), f"Edge Vision pipeline {self.settings.name}"
        )

    async def async_end(self) -> None:
        """Stop looking."""
        self._leave_camera()
        self.fallback.async_reset()
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    @callback
    def _follow_camera(self) -> None:
        if (camera := self.settings.camera) is None:
            return
        self._unsubscribe = [
            async_track_state_change_event(self._hass, camera, self._async_camera_changed),
            async_track_entity_registry_updated_event(
                self._hass, camera, self._async_camera_renamed
            ),
        ]

    @callback
    def _leave_camera(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    @callback
    def async_forget(self) -> None:
        """Remove what outlives the pipeline: its repair issues."""
        for issue in (Issue.MODEL_FAILED, Issue.CAMERA_MISSING, Issue.ACCELERATOR_FALLBACK):
            async_clear_issue(self._hass, issue, self.pipeline_id)

    @callback
    def async_wake(self) -> None:
        """Look now, or as soon as the look under way has ended."""
        self._wake.set()

    @callback
    def async_set_settings(self, settings: PipelineSettings) -> None:
        """Take new settings; entities and node have to be told by the caller."""
        before, task = self.settings, self.task
        self.settings = settings
        if settings.camera != before.camera:
            async_clear_issue(self._hass, Issue.CAMERA_MISSING, self.pipeline_id)
        moved = settings.camera not in (before.camera, self._renamed_to)
        if moved or self.task != task:
            self.look = None  # what was seen there, or looked for, says nothing about this
            self._failures = 0
        if (settings.may_be_live, settings.source, settings.video_address, settings.video) != (
            before.may_be_live,
            before.source,
            before.video_address,
            before.video,
        ):
            self.fallback.async_reset()
        if (settings.name, settings.camera) != (before.name, before.camera):
            async_update_pipeline_device(self._hass, self._hub, self)
        self.async_notify()

    @callback
    def async_set_enabled(self, enabled: bool) -> None:
        """Switch detection on or off."""
        changed = self.enabled != enabled
        self.enabled = enabled
        self.fallback.async_reset()
        self.look = None
        if not enabled and self.problem is not PipelineProblem.NODE_UNAVAILABLE:
            self._clear_problem()
        self.async_notify()
        if changed:
            self._hub.async_save_soon()
        if changed and self.settings.may_be_live:
            # A node that is not wanted to look need not read the video either. And only then is it
            # known whether there is any, or stills are to be looked at.
            self._reconfigure_soon()
        elif enabled:
            self.async_wake()

    # --- Live video ------------------------------------------------------------------------------

    @property
    def wants_stream(self) -> bool:
        """Return whether it looks at live video where there is any."""
        return self.enabled and self.settings.may_be_live and self.fallback.reason is None

    @property
    def lacks_stream(self) -> bool:
        """Return whether it looks at nothing but live video, and there is none."""
        settings = self.settings
        only_live = settings.source is PictureSource.LIVE or settings.camera is None
        return self.wants_stream and only_live and self.stream is None

    @callback
    def async_take_stream(self, stream: str | None) -> None:
        """Take the address of the camera's live video; None where there is none."""
        if (stream is None) != (self.stream is None):
            self.async_wake()  # from stills to live video, or the other way round
        self.stream = stream

    @callback
    def async_take_look(self, look: Look) -> None:
        """Take in what the node sees in the live video."""
        if self.enabled and self.stream is not None and self.told.camera == self.settings.camera:
            self._succeed(look, live=True)

    @callback
    def _reconfigure_soon(self) -> None:
        self._hub.entry.async_create_background_task(
            self._hass,
            self._hub.async_reconfigure([self]),
            f"Edge Vision stream of {self.settings.name}",
        )

    @callback
    def _take_source(self, status: PipelineStatus) -> None:
        """Take in whether the node has a picture."""
        slowed = status.slowed and self.stream is not None
        self.slowed_by = (status.slowed_by or SlowedBy.MODEL) if slowed else None
        self._seek_stream()
        if self.enabled:
            self.fallback.async_check(status.source)
        if status.source is None or self.stream is None or not self.enabled:
            return
        camera = self.settings.asked_for_stream
        if camera is not None and status.source.state == SourceState.LIVE:
            self._hub.streams.note_live(camera)
        if status.source.state == SourceState.UNAVAILABLE:
            reason = redact(status.source.reason or "the camera sends no video")
            problem, since = PipelineProblem.CAMERA_UNAVAILABLE, status.source.since
            if (self.problem, self.problem_text, self.problem_since) != (problem, reason, since):
                self._fail(problem, reason, since=since)
            self._doubt_stream()

    @callback
    def _seek_stream(self) -> None:
        """Ask a camera now and then for the live video that is wanted, and that it had not."""
        camera = self.settings.asked_for_stream
        if (
            self.wants_stream
            and self.stream is None
            and camera is not None
            and self._hub.video_missing is None
            and (self._seeking is None or self._seeking.done())
            and self._hub.streams.doubt(camera)
        ):
            self._seeking = self._hub.entry.async_create_background_task(
                self._hass, self._find_stream(camera), f"Edge Vision stream of {self.settings.name}"
            )

    async def _find_stream(self, camera: str) -> None:
        if await self._hub.streams.get(camera) is not None:
            await self._hub.async_reconfigure([self])

    @callback
    def _doubt_stream(self) -> None:
        """Have the camera asked anew where its video is, if it is the one that tells."""
        camera = self.settings.asked_for_stream
        if camera is not None and self._hub.streams.doubt(camera):
            self._reconfigure_soon()

    # --- What happens around it ------------------------------------------------------------------

    @callback
    def async_node_ready(self) -> None:
        """Look again: the node is there. What is shown stays as it is until that is done."""
        self._failures = 0
        if not self.enabled:
            self._clear_problem()
        self.async_notify()
        self.async_wake()

    @callback
    def async_node_lost(self) -> None:
        """Show nothing that may no longer be true."""
        self.fallback.async_node_lost()
        self._fail(PipelineProblem.NODE_UNAVAILABLE, "the node is not running")

    @callback
    def async_take_status(self, status: PipelineStatus) -> None:
        """Take in what the node says about the pipeline."""
        self.last_detection_at = status.last_detection_at or self.last_detection_at
        self.picture_at = status.picture_at or self.picture_at
        self._report_fallback(status)
        self._count_dropped(status.dropped)
        self._model_loading = status.state == PipelineState.LOADING
        if status.state == PipelineState.FAILED:
            if self.enabled:
                reason = status.error or "the node gave no reason"
                problem = _PROBLEM_OF_CODE.get(status.error_code, PipelineProblem.MODEL_FAILED)
                quarantined = status.error_code == ErrorCode.MODEL_QUARANTINED
                self._fail(problem, reason, quarantined=quarantined)
        elif self._model_loading:
            # No failure, but nothing that was seen before holds either. A camera that is away is
            # the more useful thing to know.
            if self.enabled and self.problem is not PipelineProblem.CAMERA_UNAVAILABLE:
                self._fail(PipelineProblem.MODEL_LOADING, "the model is being loaded")
        elif self.problem in (
            PipelineProblem.MODEL_LOADING,
            PipelineProblem.MODEL_FAILED,
            PipelineProblem.SETTINGS_REFUSED,
        ):
            self.async_wake()  # the look that follows says what holds
        self._take_source(status)
        self.async_notify()

    @callback
    def _count_dropped(self, by_node: int) -> None:
        """Take in what the node has dropped so far: it counts from 0 again after a restart."""
        before, self._dropped_by_node = self._dropped_by_node, by_node
        if self.stream is not None:  # of stills it is known here
            self.dropped += by_node - before if by_node >= before else by_node

    @callback
    def async_take_event(self, data: dict[str, Any]) -> None:
        """Hand on the data of a bus event."""
        for listener in tuple(self._event_listeners):
            listener(data)

    @callback
    def _async_camera_changed(self, event: Event[EventStateChangedData]) -> None:
        old, new, camera = event.data["old_state"], event.data["new_state"], event.data["entity_id"]
        was_there = old is not None and old.state != STATE_UNAVAILABLE
        is_there = new is not None and new.state != STATE_UNAVAILABLE
        if is_there and not was_there:
            self._failures = 0
            self.async_wake()
            self._hub.streams.doubt(camera, at_once=True)
            self.fallback.async_try_soon()
            masks = self.settings.areas.privacy_masks  # for whoever knows it by its address
            if (self.settings.may_be_live or masks) and self._hub.connected:
                self._reconfigure_soon()
        elif new is None and self._renamed_to is None and self._streams_from(camera):
            # Nobody may want it to be watched any more.
            self._hub.streams.forget(camera)
            self._fail(PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} is gone")
            self._reconfigure_soon()
        elif self.stream is not None:
            pass  # the node watches the camera itself, and knows better
        elif was_there and not is_there and self.enabled and self._hub.connected:
            self._fail(PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} is unavailable")

    def _streams_from(self, camera: str) -> bool:
        return self.stream is not None and self.settings.asked_for_stream == camera

    @callback
    def _async_camera_renamed(self, event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        """Follow the camera to its new entity id, and take over how it is turned now."""
        if event.data["action"] == "update" and "options" in event.data["changes"]:
            self._reconfigure_soon()
        if event.data["action"] == "update" and "old_entity_id" in event.data:
            self._renamed_to = event.data["entity_id"]
            entry = self._hub.entry
            subentry = entry.subentries[self.pipeline_id]
            self._hass.config_entries.async_update_subentry(
                entry, subentry, data={**subentry.data, CONF_CAMERA: event.data["entity_id"]}
            )

    # --- Looking ---------------------------------------------------------------------------------

    async def async_scan(self) -> None:
        """Look once, now, for somebody who asked; events of kind `scan` tell what was seen.

        Raises `ServiceValidationError` while detection is off, `HomeAssistantError` where the
        look fails.
        """
        if not self.enabled:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="detection_off",
                translation_placeholders={"name": self.settings.name},
            )
        try:
            await self._attempt(scan=True)
        except (_CannotLook, _Superseded) as err:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="scan_failed",
                translation_placeholders={"name": self.settings.name, "reason": str(err)},
            ) from err

    async def _run(self, stagger_s: float) -> None:
        """Look at regular times, and after a failure again and again, ever less often."""
        await asyncio.sleep(stagger_s)
        ticks = _Ticks(self.settings.scan_interval_s, time.monotonic())
        while True:
            if self.settings.scan_interval_s != ticks.interval_s:
                ticks = _Ticks(self.settings.scan_interval_s, time.monotonic())
            self._wake.clear()
            # Nothing to try while its model is being loaded: the node says when that is done.
            loading = self._model_loading
            wait_s: float | None = RETRY_FIRST_S if loading else None
            if self.enabled and self._hub.connected and self.stream is None and not loading:
                began = ticks.at(time.monotonic())
                if self._turn.locked():
                    self.dropped += 1
                else:
                    try:
                        await self._attempt(scan=False)
                    except _CannotLook as err:
                        _LOGGER.debug("%s: %s", self.settings.name, err)
                    except _Superseded:
                        self.dropped += 1
                    except Exception as err:
                        # A mistake of ours must not leave states standing that nobody renews.
                        _LOGGER.exception("%s cannot look", self.settings.name)
                        self._failures += 1
                        self._fail(PipelineProblem.NODE_UNAVAILABLE, type(err).__name__)
                now = time.monotonic()
                if self.problem is not None:
                    wait_s = min(RETRY_FIRST_S * 2.0 ** max(self._failures - 1, 0), RETRY_LONGEST_S)
                elif not self.settings.only_on_request:
                    self.dropped += ticks.at(now) - began
                    wait_s = ticks.until_next(now)
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass  # time for the next look

    async def _attempt(self, *, scan: bool) -> None:
        """Look once and show the outcome. Raises `_CannotLook` or `_Superseded`."""
        async with self._turn:
            try:
                look = await self._look(scan)
            except _CannotLook as err:
                self._failures = min(self._failures + 1, 10)
                if self.enabled and self.stream is None:
                    self._fail(err.problem, str(err), quarantined=err.quarantined)
                if scan:
                    self.async_wake()  # who only looks on request must still try to come back
                raise
            # It may have been switched off meanwhile; and of live video the node tells the rest.
            if self.enabled and self.stream is None:
                self._succeed(look, live=False)

    async def _look(self, scan: bool) -> Look:
        if self.lacks_stream:
            reason = self._hub.video_missing or f"{self.settings.camera} has no stream to read"
            raise _CannotLook(PipelineProblem.NO_STREAM, reason)
        # Before the camera is asked: a latency that is too long is honest, one too short is not.
        captured_at = dt_util.utcnow().isoformat()
        live = self.stream is not None
        picture = None if live else await self._still()
        if not self.enabled:
            raise _Superseded("detection was switched off meanwhile")
        request: LookRequest | ScanRequest
        request = LookRequest(pipeline_id=self.pipeline_id, captured_at=captured_at, scan=scan)
        command = Command.LOOK
        if live:
            command, request = Command.SCAN, ScanRequest(pipeline_id=self.pipeline_id)
        try:
            look = await self._hub.async_request(command, request, Look, picture=picture)
        except NodeCommandError as err:
            self._hub.async_note_answer(in_time=True)
            if err.code == ErrorCode.SUPERSEDED:
                raise _Superseded(str(err)) from err
            problem = _PROBLEM_OF_CODE.get(err.code, PipelineProblem.MODEL_FAILED)
            quarantined = err.code == ErrorCode.MODEL_QUARANTINED
            raise _CannotLook(problem, str(err), quarantined=quarantined) from err
        except NodeError as err:
            if isinstance(err, NodeTimeout):
                self._hub.async_note_answer(in_time=False)
            raise _CannotLook(PipelineProblem.NODE_UNAVAILABLE, str(err)) from err
        self._hub.async_note_answer(in_time=True)
        # Either may have gone away while the node looked, and has been shown as gone.
        if not self._hub.connected:
            raise _CannotLook(PipelineProblem.NODE_UNAVAILABLE, "the node is not running")
        if not live:
            self._require_camera()
        return look

    def _require_camera(self) -> str:
        if (camera := self.settings.camera) is None:
            raise _CannotLook(PipelineProblem.NO_STREAM, "there is no camera to ask for a still")
        state = self._hass.states.get(camera)
        if state is None:
            self._report_missing_camera(camera)
        if state is None or state.state == STATE_UNAVAILABLE:
            raise _CannotLook(PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} is unavailable")
        return camera

    async def _still(self) -> bytes:
        """Fetch a picture from the camera, with a second try: many fail now and then."""
        camera = self._require_camera()
        try:
            return await async_get_still(self._hass, camera)
        except HomeAssistantError as err:
            _LOGGER.debug("%s gave no picture (%s); asking once more", camera, redact(str(err)))
        await asyncio.sleep(CAMERA_RETRY_AFTER_S)
        try:
            return await async_get_still(self._hass, camera)
        except PictureTooLarge as err:
            raise _CannotLook(PipelineProblem.PICTURE_UNREADABLE, f"{camera}: {err}") from err
        except HomeAssistantError as err:
            raise _CannotLook(
                PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} gave no picture: {err}"
            ) from err

    # --- Outcomes --------------------------------------------------------------------------------

    @callback
    def _succeed(self, look: Look, *, live: bool) -> None:
        if self.problem is not None:
            _LOGGER.info("%s looks again", self.settings.name)
        self._clear_problem()
        self._failures = 0
        for issue in (Issue.MODEL_FAILED, Issue.CAMERA_MISSING):
            async_clear_issue(self._hass, issue, self.pipeline_id)
        self.look = look
        self._look_is_live = live
        self.latency_ms = milliseconds_since(look.captured_at)
        self.last_detection_at = look.last_detection_at or self.last_detection_at
        self.picture_at = look.picture_at or self.picture_at
        self._finished.append(time.monotonic())
        self.async_notify()

    @callback
    def _fail(
        self,
        problem: PipelineProblem,
        reason: str,
        *,
        quarantined: bool = False,
        since: str | None = None,
    ) -> None:
        """Show what is in the way. `since`: when it began, where that is not now."""
        reason = redact(reason)
        if self.problem is None and self.enabled:
            _LOGGER.info("%s cannot look: %s", self.settings.name, reason)
        if since is not None:
            self.problem_since = since
        elif problem is not self.problem:
            self.problem_since = dt_util.utcnow().isoformat()
        self.problem = problem
        self.problem_text = reason
        self.look = None
        self._finished.clear()
        if quarantined:  # there is an issue about the model, with a way to allow it again
            async_clear_issue(self._hass, Issue.MODEL_FAILED, self.pipeline_id)
        elif problem is PipelineProblem.MODEL_FAILED:
            async_raise_issue(
                self._hass,
                Issue.MODEL_FAILED,
                self.pipeline_id,
                {"name": self.settings.name, "error": reason},
                reload_fixes=self._hub.entry.entry_id,
            )
        self.async_notify()

    @callback
    def _clear_problem(self) -> None:
        self.problem = self.problem_text = self.problem_since = None

    @callback
    def _report_fallback(self, status: PipelineStatus) -> None:
        """Tell the user while the pipeline does not run where they wanted it."""
        if status.fallback_from is None:
            async_clear_issue(self._hass, Issue.ACCELERATOR_FALLBACK, self.pipeline_id)
            return
        async_raise_issue(
            self._hass,
            Issue.ACCELERATOR_FALLBACK,
            self.pipeline_id,
            {
                "name": self.settings.name,
                "error": redact(status.fallback_from),
                "place": self._hub.place_name(status.engine, status.accelerator),
            },
            reload_fixes=self._hub.entry.entry_id,
            severity=ir.IssueSeverity.WARNING,
        )

    @callback
    def _report_missing_camera(self, camera: str) -> None:
        """Tell the user when a camera is gone for good and not merely slow to start."""
        if (
            self._hass.state is CoreState.running
            and er.async_get(self._hass).async_get(camera) is None
        ):
            placeholders = {"name": self.settings.name, "camera": camera}
            async_raise_issue(self._hass, Issue.CAMERA_MISSING, self.pipeline_id, placeholders)
