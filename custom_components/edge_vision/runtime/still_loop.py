"""Looks at stills at regular times, and once when it is asked to."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import CoreState, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util

from ..api.client import NodeCommandError, NodeRequestError, NodeTimeout
from ..const import DOMAIN, Issue, PipelineProblem
from ..node.edge_vision_node.protocol import (
    Command,
    ErrorCode,
    Look,
    LookRequest,
    ScanRequest,
    redact,
)
from .issues import async_raise_issue
from .node import EntryNode
from .pipeline import PROBLEM_OF_CODE, PipelineRuntime
from .stills import PictureTooLarge, async_get_still

_LOGGER = logging.getLogger(__name__)

CAMERA_RETRY_AFTER_S = 1.0
RETRY_FIRST_S = 5.0
RETRY_LONGEST_S = 60.0
_STAGGER_LONGEST_S = 1.0


class _CannotLook(Exception):
    """Why a look failed."""

    def __init__(self, problem: PipelineProblem, reason: str, *, quarantined: bool = False) -> None:
        # Cameras put their address, with the password, into their errors.
        super().__init__(redact(reason))
        self.problem = problem
        self.quarantined = quarantined


class _Superseded(Exception):
    """The picture is no longer of use: neither a result nor a failure."""


@dataclass(frozen=True)
class _Ticks:
    """The times at which stills are due, numbered from the first."""

    interval_s: float
    first: float

    def at(self, moment: float) -> int:
        """Return the number of the newest one."""
        # A timer may fire a little early; that must not make two looks of one tick.
        return int((moment - self.first) / self.interval_s + 0.001)

    def until_next(self, moment: float) -> float:
        """Return how long it is until the next one, in seconds."""
        return max(0.0, self.first + (self.at(moment) + 1) * self.interval_s - moment)


class StillLoop:
    """Looks at the stills of one camera, while its pipeline watches no live video."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry,
        node: EntryNode,
        pipeline: PipelineRuntime,
    ) -> None:
        """Initialize; `async_start` starts the loop."""
        self._hass = hass
        self._entry = entry
        self._node = node
        self._pipeline = pipeline
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @callback
    def async_start(self, position: int, count: int) -> None:
        """Start looking. `position` of `count` pipelines: they start one after another."""
        settings = self._pipeline.settings
        stagger_s = position * min(_STAGGER_LONGEST_S, settings.scan_interval_s / count)
        self._task = self._entry.async_create_background_task(
            self._hass, self._run(stagger_s), f"Edge Vision pipeline {settings.name}"
        )

    async def async_stop(self) -> None:
        """Stop looking."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    async def async_scan(self) -> None:
        """Look once, now, because it was requested; the node answers with `scan` events, too.

        Raises `ServiceValidationError` while detection is off, `HomeAssistantError` where the
        look fails.
        """
        name = self._pipeline.settings.name
        if not self._pipeline.enabled:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="detection_off",
                translation_placeholders={"name": name},
            )
        try:
            await self._attempt(scan=True)
        except (_CannotLook, _Superseded) as err:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="scan_failed",
                translation_placeholders={"name": name, "reason": str(err)},
            ) from err

    async def _run(self, stagger_s: float) -> None:
        """Look at regular times, and after failures ever less often."""
        pipeline = self._pipeline
        await asyncio.sleep(stagger_s)
        ticks = _Ticks(pipeline.settings.scan_interval_s, time.monotonic())
        while True:
            if pipeline.settings.scan_interval_s != ticks.interval_s:
                ticks = _Ticks(pipeline.settings.scan_interval_s, time.monotonic())
            pipeline.wake.clear()
            # There is nothing to try while the model is loading: the status says when that is done.
            loading = pipeline.model_loading
            wait_s: float | None = RETRY_FIRST_S if loading else None
            if (
                pipeline.enabled
                and self._node.connected
                and pipeline.stream is None
                and not loading
            ):
                began = ticks.at(time.monotonic())
                await self._attempt_regularly()
                now = time.monotonic()
                if pipeline.problem is not None:
                    retry_s = RETRY_FIRST_S * 2.0 ** max(pipeline.failures - 1, 0)
                    wait_s = min(retry_s, RETRY_LONGEST_S)
                elif not pipeline.settings.only_on_request:
                    pipeline.dropped += ticks.at(now) - began
                    wait_s = ticks.until_next(now)
            try:
                async with asyncio.timeout(wait_s):
                    await pipeline.wake.wait()
            except TimeoutError:
                pass  # time for the next look

    async def _attempt_regularly(self) -> None:
        """Look once, unless a look is under way; failures end nothing."""
        pipeline = self._pipeline
        if self._turn.locked():
            pipeline.dropped += 1
            return
        try:
            await self._attempt(scan=False)
        except _CannotLook as err:
            _LOGGER.debug("%s: %s", pipeline.settings.name, err)
        except _Superseded:
            pipeline.dropped += 1
        except Exception as err:
            # A bug must not leave states standing that nothing renews.
            _LOGGER.exception("%s cannot look", pipeline.settings.name)
            pipeline.failures += 1
            pipeline.async_fail(PipelineProblem.NODE_UNAVAILABLE, type(err).__name__)

    async def _attempt(self, *, scan: bool) -> None:
        """Look once and show the outcome. Raises `_CannotLook` or `_Superseded`."""
        pipeline = self._pipeline
        async with self._turn:
            try:
                look = await self._look(scan)
            except _CannotLook as err:
                pipeline.failures = min(pipeline.failures + 1, 10)
                if pipeline.enabled and pipeline.stream is None:
                    pipeline.async_fail(err.problem, str(err), quarantined=err.quarantined)
                if scan:
                    # A pipeline that only looks on request must still recover by itself.
                    pipeline.async_wake()
                raise
            # It may have been switched off meanwhile; and live video has results of its own.
            if pipeline.enabled and pipeline.stream is None:
                pipeline.async_succeed(look, live=False)

    async def _look(self, scan: bool) -> Look:
        pipeline = self._pipeline
        if pipeline.lacks_stream:
            camera = pipeline.settings.camera
            reason = self._node.video_missing or f"{camera} has no stream to read"
            raise _CannotLook(PipelineProblem.NO_STREAM, reason)
        # Before the camera is asked: a latency that is too long is honest, one too short is not.
        captured_at = dt_util.utcnow().isoformat()
        live = pipeline.stream is not None
        picture = None if live else await self._still()
        if not pipeline.enabled:
            raise _Superseded("detection was switched off meanwhile")
        request: LookRequest | ScanRequest
        request = LookRequest(pipeline_id=pipeline.pipeline_id, captured_at=captured_at, scan=scan)
        command = Command.LOOK
        if live:
            command, request = Command.SCAN, ScanRequest(pipeline_id=pipeline.pipeline_id)
        look = await self._request(command, request, picture)
        # Either may have gone away while the node looked, and is shown as unavailable already.
        if not self._node.connected:
            raise _CannotLook(PipelineProblem.NODE_UNAVAILABLE, "the node is not running")
        if not live:
            self._require_camera()
        return look

    async def _request(
        self, command: Command, request: LookRequest | ScanRequest, picture: bytes | None
    ) -> Look:
        try:
            look = await self._node.async_request(command, request, Look, picture=picture)
        except NodeCommandError as err:
            self._node.async_note_answer(in_time=True)
            if err.code == ErrorCode.SUPERSEDED:
                raise _Superseded(str(err)) from err
            problem = PROBLEM_OF_CODE.get(err.code, PipelineProblem.MODEL_FAILED)
            quarantined = err.code == ErrorCode.MODEL_QUARANTINED
            raise _CannotLook(problem, str(err), quarantined=quarantined) from err
        except NodeRequestError as err:
            if isinstance(err, NodeTimeout):
                self._node.async_note_answer(in_time=False)
            raise _CannotLook(PipelineProblem.NODE_UNAVAILABLE, str(err)) from err
        self._node.async_note_answer(in_time=True)
        return look

    def _require_camera(self) -> str:
        if (camera := self._pipeline.settings.camera) is None:
            raise _CannotLook(PipelineProblem.NO_STREAM, "there is no camera to ask for a still")
        state = self._hass.states.get(camera)
        if state is None:
            self._report_missing_camera(camera)
        if state is None or state.state == STATE_UNAVAILABLE:
            raise _CannotLook(PipelineProblem.CAMERA_UNAVAILABLE, f"{camera} is unavailable")
        return camera

    async def _still(self) -> bytes:
        """Get a picture from the camera, with a second try: many fail now and then."""
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

    @callback
    def _report_missing_camera(self, camera: str) -> None:
        """Raise an issue where a camera is gone for good and not merely slow to start."""
        if (
            self._hass.state is CoreState.running
            and er.async_get(self._hass).async_get(camera) is None
        ):
            pipeline = self._pipeline
            placeholders = {"name": pipeline.settings.name, "camera": camera}
            async_raise_issue(self._hass, Issue.CAMERA_MISSING, pipeline.pipeline_id, placeholders)
