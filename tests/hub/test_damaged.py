"""One camera whose settings are damaged, or whose integration hangs: the others do not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir

from custom_components.edge_vision.const import DOMAIN, Issue, issue_id
from custom_components.edge_vision.runtime.damaged_settings import damage, usable
from custom_components.edge_vision.runtime.settings import pipeline_settings
from tests.hub.conftest import ALL, AREAS, STREET, Cameras, Home, entry_with, live, pipeline, until
from tests.hub.flows import ChangeFlow
from tests.live_camera import MjpegCamera

GOOD = {**pipeline()["data"], **AREAS, "privacy_masks": [ALL], "limits": {"person": {}}}


pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"source": "sometimes"}, {}),
        ({"source": ["auto"]}, {}),
        ({"look": "ultra"}, {}),
        ({"sensitivity": 3}, {}),
        ({"transport": "pigeon"}, {}),
        ({"confidence": "high"}, {}),
        ({"confidence": float("nan")}, {}),
        ({"scan_interval": "often"}, {}),
        ({"fps": True}, {}),
        ({"areas_aspect": "16:9"}, {}),
        ({"areas_aspect": 0.0}, {}),
        ({"labels": "person"}, {}),
        ({"labels": ["person", 5]}, {"labels": ["person"]}),
        ({"zones": {"name": "Porch"}}, {}),
        ({"zones": [*AREAS["zones"], {"name": "no points"}]}, {"zones": AREAS["zones"]}),
        ({"lines": [{"name": "Gate", "start": {"x": 0}}]}, {"lines": []}),
        ({"privacy_masks": [ALL, "all"]}, {"privacy_masks": [ALL]}),
        ({"motion_masks": [[{"x": "0", "y": 0}]]}, {"motion_masks": []}),
        ({"limits": [1]}, {}),
        ({"limits": {"person": {"min_area": "big"}}}, {"limits": {}}),
        ({"motion": {"least_area": "much"}}, {"motion": {}}),
        ({"camera": 5}, {}),
    ],
)
def test_of_damaged_settings_the_rest_is_used(changes: Any, kept: Any) -> None:
    (key,) = changes
    damaged = {**GOOD, **changes}
    rest = {name: value for name, value in GOOD.items() if name != key}
    assert damage(GOOD) == []
    assert usable(GOOD) == GOOD
    assert damage(damaged) == [key]
    assert usable(damaged) == {**rest, **kept}
    entry = entry_with(pipeline(**changes), pipeline("Other"))
    usual, bad = pipeline_settings(entry)
    assert [item.name for item in usual.values()] == ["Other"]
    ((_, item),) = bad.items()
    assert key in item.reason


async def test_one_damaged_camera_fails_by_itself_and_can_be_mended(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = cameras.garden.picture = STREET
    damaged = pipeline("Side door", source="sometimes", privacy_masks=[ALL])
    await home.add(pipeline("Garden", "camera.garden"), damaged)
    await home.scan("image_processing.garden")
    assert home.state("binary_sensor.garden_person") == "on"
    (subentry_id,) = (
        key for key, item in home.entry.subentries.items() if item.title == "Side door"
    )
    registry = ir.async_get(hass)
    issue = registry.async_get_issue(DOMAIN, issue_id(Issue.SETTINGS_DAMAGED, subentry_id))
    assert issue is not None
    assert issue.translation_placeholders == {
        "name": "Side door",
        "name_in_title": "Side door",
        "error": "source",
    }
    # What it hides stays hidden in other entries of the camera.
    assert len((await home.runtime.async_masks_of("camera.porch")).polygons) == 1
    # Its form opens with all that can be read, and what is saved there is whole again.
    flow = ChangeFlow(hass, home)
    flow.result = await home.entry.start_subentry_reconfigure_flow(hass, subentry_id)
    assert flow.result["menu_options"] == ["change_settings"]
    await flow.pick("change_settings")
    filled = flow.result["data_schema"]({"camera": "camera.porch", "name": "Side door"} | SECTIONS)
    await flow.send(**filled)
    if flow.result["type"] is FlowResultType.MENU:
        await flow.pick("save")
    assert flow.result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert home.runtime.pipelines.damaged == {}
    assert home.entry.subentries[subentry_id].data["privacy_masks"] == [ALL]
    assert registry.async_get_issue(DOMAIN, issue.issue_id) is None
    assert home.state("binary_sensor.side_door_person") in ("on", "off", "unavailable", "unknown")


SECTIONS: dict[str, Any] = {key: {} for key in ("detection", "schedule", "video", "advanced")}


async def test_a_camera_that_hangs_delays_only_itself(
    home: Home, cameras: Cameras, stream: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.picture = cameras.garden.picture = STREET
    answer = asyncio.Event()

    async def hang() -> str | None:
        await answer.wait()
        return stream.address

    monkeypatch.setattr(cameras.garden, "stream_source", hang)
    await home.add(live(name="Garden", camera="camera.garden"), live())
    # The other one is watched, while this one is not known to have a stream.
    await home.until_state("binary_sensor.front_door_person", "on")
    assert not answer.is_set()
    garden, porch = home.runtime.pipelines.values()
    assert (garden.stream, porch.stream) == (None, stream.address)
    # Nor is anybody else kept waiting by what is changed meanwhile.
    await home.runtime.pipelines.async_reconfigure([porch])
    assert not answer.is_set()
    answer.set()  # it is taken in when it comes
    await until(lambda: garden.stream == stream.address)
