"""Progress steps with an end that the frontend cannot miss."""

from __future__ import annotations

from typing import Any, Final, override

from homeassistant.core import CALLBACK_TYPE, HassJob, callback
from homeassistant.data_entry_flow import FlowContext, FlowHandler, FlowResult, FlowResultType
from homeassistant.helpers.event import async_call_later

_AGAIN_AFTER_S: Final = 1.0


class ProgressFlow[ContextT: FlowContext, ResultT: FlowResult[Any, Any], HandlerT](
    FlowHandler[ContextT, ResultT, HandlerT]
):
    """A flow that announces the end of a progress step until the next step is fetched.

    The flow manager announces it once. The frontend only listens after it has drawn the first
    progress step, and not while it fetches a step. The end of very short work, such as installing
    an existing package, would be missed, and the dialog would wait forever.
    """

    _cancel_announcing: CALLBACK_TYPE | None = None

    @callback
    @override
    def async_show_progress_done(self, *, next_step_id: str) -> ResultT:
        """Mark the progress done."""
        self._announce_later()
        return super().async_show_progress_done(next_step_id=next_step_id)

    @callback
    @override
    def async_remove(self) -> None:
        """Stop announcing."""
        super().async_remove()
        if self._cancel_announcing is not None:
            self._cancel_announcing()

    def _announce_later(self) -> None:
        if self._cancel_announcing is not None:
            self._cancel_announcing()
        job = HassJob(self._announce, cancel_on_shutdown=True)
        self._cancel_announcing = async_call_later(self.hass, _AGAIN_AFTER_S, job)

    @callback
    def _announce(self, _: object) -> None:
        self._cancel_announcing = None
        # Fetching the next step replaces this one.
        if self.cur_step and self.cur_step["type"] is FlowResultType.SHOW_PROGRESS_DONE:
            self.async_notify_flow_changed()
            self._announce_later()
