"""Common parts of the steps for models: background work and its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeGuard, override

from homeassistant.config_entries import (
    ConfigFlowContext,
    ConfigFlowResult,
    OptionsFlow,
)
from homeassistant.core import callback

from ..api.client import NodeRequestError, Progress
from ..markdown import placeholders
from ..node.edge_vision_node.protocol import (
    BenchmarkProgress,
    CatalogueAnswer,
    ModelInfo,
    redact,
)
from ..runtime.node import MEASURE_SECONDS
from ..runtime.runtime import EntryRuntime
from .camera_form import TASKS
from .picture import FlowPicture
from .progress import ProgressFlow

_LOGGER = logging.getLogger(__name__)


class ModelSteps(ProgressFlow[ConfigFlowContext, ConfigFlowResult, str], OptionsFlow):
    """An options flow with steps that start work on the node and show its progress."""

    _hub: EntryRuntime
    _picture: FlowPicture

    def __init__(self) -> None:
        """Initialize the flow."""
        self._catalogue = CatalogueAnswer(models=())
        self._saved: ModelInfo | None = None
        self._task: asyncio.Task[Any] | None = None
        self._back = ""  # the next step after a failure
        self._reason = ""
        self._not_asked_yet = False

    @property
    def _removable(self) -> dict[str, str]:
        info = self._hub.node.info
        if info is None:
            return {}
        return {item.id: item.name for item in info.models if item.id != info.default_model}

    def _end(self, why: str, **told: str) -> ConfigFlowResult:
        return self.async_abort(reason=why, description_placeholders=placeholders(**told))

    def _errors(self, key: str) -> dict[str, str]:
        return {"base": key} if self._reason else {}

    def _failed(self, err: Exception) -> ConfigFlowResult:
        """Return to the step that started the work, with its result."""
        self._reason = redact(str(err))
        return self._go_on(self._back)

    def _go_on(self, step_id: str) -> ConfigFlowResult:
        """Continue with a step that has a form.

        If the work finished immediately, the flow manager passes it the input of the previous step.
        """
        self._not_asked_yet = True
        return self.async_show_progress_done(next_step_id=step_id)

    def _is_answer(self, user_input: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
        """Return whether this is the input of the shown form."""
        asked, self._not_asked_yet = not self._not_asked_yet, False
        return user_input is not None and asked

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.hass.async_create_background_task(work, "Edge Vision model")

    def _progress(self, step_id: str, **told: str) -> ConfigFlowResult:
        assert self._task is not None
        return self.async_show_progress(
            step_id=step_id,
            progress_action=step_id,
            progress_task=self._task,
            description_placeholders=placeholders(**told),
        )

    async def async_step_measure(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Measure the added model; the figures are shown in the settings of cameras."""
        if self._task is None:
            self._task = self._start(self._measure())
        if not self._task.done():
            return self._progress("measure", model=self._saved.name if self._saved else "")
        task, self._task = self._task, None
        await task
        return self._go_on("installed")

    async def _measure(self) -> None:
        assert self._saved is not None

        def listener(step: BenchmarkProgress) -> None:
            self.async_update_progress(step.done / max(step.total, 1))

        try:
            await self._hub.node.async_measure(
                self._saved.id, MEASURE_SECONDS, Progress(BenchmarkProgress, listener)
            )
        except NodeRequestError as err:  # it is installed anyway
            _LOGGER.debug("%s was not measured: %s", self._saved.name, err)

    async def async_step_installed(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Finish with the next steps for the user."""
        model = self._saved
        assert model is not None  # where the steps lead here
        why = "model_added" if model.task in TASKS else "model_added_apart"
        return self._end(why, model=model.name, id=model.id)

    @callback
    @override
    def async_remove(self) -> None:
        """Remove the picture. The flow manager has canceled the task."""
        super().async_remove()
        if hasattr(self, "_picture"):
            self._picture.remove()
