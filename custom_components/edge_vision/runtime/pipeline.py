"""One camera's pipeline as Home Assistant shows it: its settings, newest result and problem."""

from __future__ import annotations

import logging
import time
from asyncio import Event
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from homeassistant.core import CALLBACK_TYPE, CoreState, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util

from ..const import Issue, PictureSource, PipelineProblem
from ..node.edge_vision_node.protocol import (
    TASKS_WITH_OBJECTS,
    ErrorCode,
    Look,
    PipelineState,
    PipelineStatus,
    SlowedBy,
    redact,
)
from .event_data import milliseconds_since
from .issues import async_clear_issue, async_raise_issue
from .settings import PipelineSettings

_LOGGER = logging.getLogger(__name__)

_RATE_OVER_LOOKS = 10

# What an error of the node means for a pipeline; all others are about its model.
PROBLEM_OF_CODE: dict[str | None, PipelineProblem] = {
    ErrorCode.BAD_MESSAGE: PipelineProblem.SETTINGS_REFUSED,
    ErrorCode.BAD_PICTURE: PipelineProblem.PICTURE_UNREADABLE,
    ErrorCode.CAMERA_UNAVAILABLE: PipelineProblem.CAMERA_UNAVAILABLE,
    ErrorCode.MODEL_LOADING: PipelineProblem.MODEL_LOADING,
    ErrorCode.UNKNOWN_PIPELINE: PipelineProblem.NODE_UNAVAILABLE,
}


class ModelPlaces(Protocol):
    """What a pipeline asks its node: what models are for, and what places are called."""

    def task_of(self, model: str | None) -> str:
        """Return what a model is for."""

    def place_name(self, engine: str | None, accelerator: str | None) -> str:
        """Return an engine and accelerator in words."""


class PipelineRuntime:
    """One camera's path from picture to entities.

    `look` is the newest result and None while there is none that holds: before the first look,
    while the pipeline cannot look (`problem` says why) and while detection is switched off.

    Its attributes are written by the parts that drive it: `still_loop` looks at stills,
    `video_source` chooses between stills and live video, `pipelines` passes on what the node says.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry_id: str,
        pipeline_id: str,
        settings: PipelineSettings,
        places: ModelPlaces,
    ) -> None:
        """Initialize a pipeline that does not look yet."""
        self._hass = hass
        self._entry_id = entry_id
        self._places = places
        self.pipeline_id = pipeline_id
        self.settings = settings
        self.enabled = True
        # The settings that the node has; its events refer to these.
        self.sent_settings = settings
        self.look: Look | None = None
        self._look_is_live = False
        # The address of the live video that the node watches; None while it gets stills.
        self.stream: str | None = None
        # Why stills are looked at although live video is wanted; None while they are not.
        self.stills_because: str | None = None
        # The new entity id of its camera, until the settings have it.
        self.renamed_to: str | None = None
        # What cannot keep up with the live video, a `SlowedBy`; None while nothing is slowed.
        self.slowed_by: str | None = None
        self.model_loading = False
        self.problem: PipelineProblem | None = None
        self.problem_text: str | None = None
        self.problem_since: str | None = None
        self.latency_ms: float | None = None
        # Pictures that were due and not looked at, of stills and of live video.
        self.dropped = 0
        self._dropped_by_node = 0
        self.last_detection_at: str | None = None
        self.picture_at: str | None = None
        # Looks in a row that failed.
        self.failures = 0
        self.wake = Event()
        self._finished: deque[float] = deque(maxlen=_RATE_OVER_LOOKS)
        self._listeners: set[CALLBACK_TYPE] = set()
        self._event_listeners: set[Callable[[dict[str, Any]], None]] = set()

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
            # Its integration may still be starting.
            return self._hass.states.get(self.settings.camera or "") is not None
        return self.problem not in (None, PipelineProblem.MODEL_LOADING)

    @property
    def task(self) -> str:
        """Return what the model is for."""
        return self._places.task_of(self.settings.model)

    @property
    def counted_labels(self) -> tuple[str, ...]:
        """Return the labels with entities of their own: those of objects, present or not."""
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
        # Once the model is loaded it is looking, although nothing holds before the first look.
        if self.problem is not None and (
            self.model_loading or self.problem is not PipelineProblem.MODEL_LOADING
        ):
            return self.problem
        if self.slowed_by is not None:
            return "slowed"
        return "on_request" if self.settings.only_on_request else "looking"

    @property
    def source(self) -> str | None:
        """Return where its pictures come from now; None while there are none."""
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

    @property
    def wants_stream(self) -> bool:
        """Return whether it looks at live video where there is any."""
        return self.enabled and self.settings.may_be_live and self.stills_because is None

    @property
    def lacks_stream(self) -> bool:
        """Return whether it looks at nothing but live video, and there is none."""
        settings = self.settings
        only_live = settings.source is PictureSource.LIVE or settings.camera is None
        return self.wants_stream and only_live and self.stream is None

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
        """Notify listeners."""
        for listener in tuple(self._listeners):
            listener()

    @callback
    def async_notify_event(self, data: dict[str, Any]) -> None:
        """Pass on the data of a bus event."""
        for listener in tuple(self._event_listeners):
            listener(data)

    # --- What is changed -------------------------------------------------------------------------

    @callback
    def async_set_settings(self, settings: PipelineSettings) -> None:
        """Change the settings; updating the entities and the node is the caller's part."""
        before, task = self.settings, self.task
        self.settings = settings
        if settings.camera != before.camera:
            async_clear_issue(self._hass, Issue.CAMERA_MISSING, self.pipeline_id)
        moved = settings.camera not in (before.camera, self.renamed_to)
        if moved or self.task != task:
            self.look = None  # the result of another camera or task does not hold for this one
            self.failures = 0
        self.async_notify()

    @callback
    def async_set_enabled(self, enabled: bool) -> None:
        """Switch detection on or off; updating the node is the caller's part."""
        self.enabled = enabled
        self.look = None
        if not enabled and self.problem is not PipelineProblem.NODE_UNAVAILABLE:
            self._clear_problem()
        self.async_notify()

    @callback
    def async_set_stream(self, stream: str | None) -> None:
        """Set the address of the camera's live video; None where there is none."""
        if (stream is None) != (self.stream is None):
            self.async_wake()  # from stills to live video, or the other way round
        self.stream = stream

    @callback
    def async_wake(self) -> None:
        """Look now, or as soon as the look under way has ended."""
        self.wake.set()

    @callback
    def async_remove_issues(self) -> None:
        """Remove the repair issues of a pipeline that is removed."""
        for issue in (Issue.MODEL_FAILED, Issue.CAMERA_MISSING, Issue.ACCELERATOR_FALLBACK):
            async_clear_issue(self._hass, issue, self.pipeline_id)

    # --- What the node says ----------------------------------------------------------------------

    @callback
    def async_node_ready(self) -> None:
        """Look again: the node is connected. What is shown stays as it is until that is done."""
        self.failures = 0
        if not self.enabled:
            self._clear_problem()
        self.async_notify()
        self.async_wake()

    @callback
    def async_node_lost(self) -> None:
        """Show nothing that may no longer be true."""
        self.async_fail(PipelineProblem.NODE_UNAVAILABLE, "the node is not running")

    @callback
    def async_set_status(self, status: PipelineStatus) -> None:
        """Update from the node's status; what it says of the video is for `VideoSource`."""
        self.last_detection_at = status.last_detection_at or self.last_detection_at
        self.picture_at = status.picture_at or self.picture_at
        self._report_fallback(status)
        self._count_dropped(status.dropped)
        self.model_loading = status.state == PipelineState.LOADING
        slowed = status.slowed and self.stream is not None
        self.slowed_by = (status.slowed_by or SlowedBy.MODEL) if slowed else None
        if status.state == PipelineState.FAILED:
            if self.enabled:
                reason = status.error or "the node gave no reason"
                problem = PROBLEM_OF_CODE.get(status.error_code, PipelineProblem.MODEL_FAILED)
                quarantined = status.error_code == ErrorCode.MODEL_QUARANTINED
                self.async_fail(problem, reason, quarantined=quarantined)
        elif self.model_loading:
            # No failure, but no earlier result holds either. A camera that is unavailable is the
            # more useful thing to know.
            if self.enabled and self.problem is not PipelineProblem.CAMERA_UNAVAILABLE:
                self.async_fail(PipelineProblem.MODEL_LOADING, "the model is being loaded")
        elif self.problem in (
            PipelineProblem.MODEL_LOADING,
            PipelineProblem.MODEL_FAILED,
            PipelineProblem.SETTINGS_REFUSED,
        ):
            self.async_wake()  # the look that follows says what holds

    @callback
    def async_take_live_look(self, look: Look) -> None:
        """Show a result of the live video that the node watches."""
        same_camera = self.sent_settings.camera == self.settings.camera
        if self.enabled and self.stream is not None and same_camera:
            self.async_succeed(look, live=True)

    @callback
    def _count_dropped(self, by_node: int) -> None:
        """Add what the node has dropped; it counts from 0 again after a restart."""
        before, self._dropped_by_node = self._dropped_by_node, by_node
        if self.stream is not None:  # stills are counted by the still loop
            self.dropped += by_node - before if by_node >= before else by_node

    # --- Outcomes --------------------------------------------------------------------------------

    @callback
    def async_succeed(self, look: Look, *, live: bool) -> None:
        """Show a result."""
        if self.problem is not None:
            _LOGGER.info("%s looks again", self.settings.name)
        self._clear_problem()
        self.failures = 0
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
    def async_fail(
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
        if quarantined:  # the model has an issue of its own, which can allow it again
            async_clear_issue(self._hass, Issue.MODEL_FAILED, self.pipeline_id)
        elif problem is PipelineProblem.MODEL_FAILED:
            async_raise_issue(
                self._hass,
                Issue.MODEL_FAILED,
                self.pipeline_id,
                {"name": self.settings.name, "error": reason},
                reload_fixes=self._entry_id,
            )
        self.async_notify()

    @callback
    def _clear_problem(self) -> None:
        self.problem = self.problem_text = self.problem_since = None

    @callback
    def _report_fallback(self, status: PipelineStatus) -> None:
        """Raise an issue while the pipeline runs on another accelerator than the chosen one."""
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
                "place": self._places.place_name(status.engine, status.accelerator),
            },
            reload_fixes=self._entry_id,
            severity=ir.IssueSeverity.WARNING,
        )
