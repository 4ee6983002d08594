"""The end of a progress step reaches a browser that was not listening when it came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from homeassistant.config_entries import ConfigFlow, ConfigFlowContext, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import EVENT_DATA_ENTRY_FLOW_PROGRESSED, FlowResultType
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import (
    MockModule,
    async_capture_events,
    async_fire_time_changed,
    mock_config_flow,
    mock_integration,
    mock_platform,
)

from custom_components.edge_vision.config_flow import EdgeVisionConfigFlow
from custom_components.edge_vision.flows.camera_settings import PipelineFlow
from custom_components.edge_vision.flows.models import ModelFlow
from custom_components.edge_vision.flows.progress import ProgressFlow


class QuickFlow(ProgressFlow[ConfigFlowContext, ConfigFlowResult, str], ConfigFlow):
    """A flow whose work is done before the browser has drawn its first step."""

    async def async_step_user(self, _: object = None) -> ConfigFlowResult:
        task = self.hass.async_create_task(self._work())
        if self.async_get_progress_task() is None:
            return self.async_show_progress(
                step_id="user", progress_action="work", progress_task=task
            )
        return self.async_show_progress_done(next_step_id="end")

    async def async_step_end(self, _: object = None) -> ConfigFlowResult:
        return self.async_show_form(step_id="end")

    async def _work(self) -> None:
        return


async def pass_time(hass: HomeAssistant, seconds: float) -> None:
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=seconds))
    await hass.async_block_till_done()


@pytest.fixture
async def flow_id(hass: HomeAssistant) -> str:
    mock_integration(hass, MockModule("quick"))
    mock_platform(hass, "quick.config_flow")
    with mock_config_flow("quick", QuickFlow):
        shown = await hass.config_entries.flow.async_init("quick", context={"source": "user"})
        assert shown["type"] is FlowResultType.SHOW_PROGRESS
        await hass.async_block_till_done()
        return str(shown["flow_id"])


async def test_the_end_is_announced_until_the_next_step_is_fetched(
    hass: HomeAssistant, flow_id: str
) -> None:
    announced = async_capture_events(hass, EVENT_DATA_ENTRY_FLOW_PROGRESSED)
    await pass_time(hass, 1.5)
    await pass_time(hass, 3)
    assert [event.data["flow_id"] for event in announced] == [flow_id] * 2
    fetched = await hass.config_entries.flow.async_configure(flow_id)
    assert fetched["step_id"] == "end"
    await pass_time(hass, 10)
    await pass_time(hass, 20)
    assert len(announced) == 2


async def test_a_closed_flow_announces_nothing(hass: HomeAssistant, flow_id: str) -> None:
    announced = async_capture_events(hass, EVENT_DATA_ENTRY_FLOW_PROGRESSED)
    hass.config_entries.flow.async_abort(flow_id)
    await pass_time(hass, 10)
    assert announced == []


def test_every_flow_with_progress_does_so() -> None:
    assert all(issubclass(f, ProgressFlow) for f in (EdgeVisionConfigFlow, ModelFlow, PipelineFlow))
