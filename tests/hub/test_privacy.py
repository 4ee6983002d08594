"""Privacy masks hold over all entries, for every action, whichever node looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from homeassistant.components.camera import async_get_image
from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.edge_vision.const import CONF_ENGINE, CONF_NODE_TYPE, DOMAIN
from custom_components.edge_vision.node.edge_vision_node.protocol import Command
from custom_components.edge_vision.runtime import links
from tests.hub.conftest import ALL, STREET, Cameras, Home, pipeline, until
from tests.hub.fake_link import FakeLink
from tests.hub.fake_node import FakeNode
from tests.hub.flows import ChangeFlow
from tests.hub.test_subentry_flow import Flow, answers

pytestmark = pytest.mark.usefixtures("run_folders", "socket_enabled")

PERSON = "binary_sensor.front_door_person"
ADDRESS = "rtsp://user:secret@camera/porch"


class TwoEntries:
    """A first entry that looks at the porch, and a second one with a node of its own."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.second_node = FakeNode()
        self.second: MockConfigEntry | None = None

        def make_link(_: HomeAssistant, entry: ConfigEntry) -> FakeLink:
            return FakeLink(home.node if entry is home.entry else self.second_node)

        monkeypatch.setattr(links, "make_link", make_link)

    async def begin(self) -> None:
        """Add the first entry, which sees somebody."""
        await self.home.add(pipeline())
        await self.home.until_state(PERSON, "on")

    async def add_second(self, **changes: Any) -> MockConfigEntry:
        entry = MockConfigEntry(
            domain=DOMAIN,
            title="Attic",
            unique_id="02NODE",
            data={CONF_NODE_TYPE: "local", CONF_ENGINE: "onnxruntime"},
            subentries_data=[pipeline("Second", **changes)],
        )
        entry.add_to_hass(self.home.hass)
        self.home.entries.append(entry)
        await self.home.hass.config_entries.async_setup(entry.entry_id)
        await self.home.hass.async_block_till_done()
        assert entry.state is ConfigEntryState.LOADED
        self.second = entry
        return entry

    @property
    def masks(self) -> list[Any]:
        """Return the masks that the first entry's node has been given for its pipeline."""
        configured = self.home.node.asked(Command.CONFIGURE)[-1]["pipelines"]
        return [list(item["privacy_masks"]) for item in configured]

    def change_first(self, **changes: Any) -> None:
        self._change(self.home.entry, changes)

    def change_second(self, **changes: Any) -> None:
        assert self.second is not None
        self._change(self.second, changes)

    def _change(self, entry: MockConfigEntry, changes: dict[str, Any]) -> None:
        (subentry,) = entry.subentries.values()
        self.home.hass.config_entries.async_update_subentry(
            entry, subentry, data={**subentry.data, **changes}
        )


@pytest.fixture
def two(home: Home, cameras: Cameras) -> Iterator[TwoEntries]:
    cameras.porch.picture = STREET
    # Not the test's own patch: that is undone after the home's, and would put its node back.
    with pytest.MonkeyPatch.context() as patch:
        yield TwoEntries(home, patch)


async def test_masks_of_one_entry_come_and_go_in_another(two: TwoEntries) -> None:
    home = two.home
    await two.begin()
    await two.add_second(privacy_masks=[ALL])
    await until(lambda: two.masks == [[ALL]])
    await home.scan()
    await home.scan()
    assert home.state(PERSON) == "off"
    two.change_second(privacy_masks=[])
    await until(lambda: two.masks == [[]])
    await home.scan()
    assert home.state(PERSON) == "on"
    two.change_second(privacy_masks=[ALL])
    await until(lambda: two.masks == [[ALL]])
    # They hold while their entry is not loaded, and over a restart of either.
    assert two.second is not None
    assert await home.hass.config_entries.async_unload(two.second.entry_id)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    assert two.masks == [[ALL]]
    # With the entry its masks are gone.
    await home.hass.config_entries.async_remove(two.second.entry_id)
    home.entries.remove(two.second)
    await until(lambda: two.masks == [[]])


async def test_the_node_knows_the_shape_of_the_picture_that_masks_were_drawn_on(
    two: TwoEntries,
) -> None:
    def aspects() -> list[list[float]]:
        configured = two.home.node.asked(Command.CONFIGURE)[-1]["pipelines"]
        return [list(item["mask_aspects"]) for item in configured]

    await two.begin()
    assert aspects() == [[]]
    await two.add_second(privacy_masks=[ALL], areas_aspect=4 / 3)
    await until(lambda: aspects() == [[pytest.approx(4 / 3, abs=0.001)]])
    await _detect(two.home)
    detect = two.home.node.asked(Command.DETECT)[-1]
    assert detect.mask_aspects == (pytest.approx(4 / 3, abs=0.001),)
    two.change_first(privacy_masks=[ALL], areas_aspect=16 / 9)
    await until(lambda: aspects() == [pytest.approx([4 / 3, 16 / 9], abs=0.001)])
    two.change_first(privacy_masks=[])
    # Without masks there is nothing to place.
    two.change_second(privacy_masks=[], areas_aspect=4 / 3)
    await until(lambda: aspects() == [[]])


async def test_another_camera_is_not_masked(two: TwoEntries) -> None:
    await two.begin()
    await two.add_second(camera="camera.garden", privacy_masks=[ALL])
    await two.home.scan()
    assert two.masks == [[]]
    assert two.home.state(PERSON) == "on"


async def _detect(home: Home) -> None:
    data = {"entity_id": "camera.porch", "config_entry_id": home.entry.entry_id}
    answer = await home.hass.services.async_call(
        DOMAIN, "detect", data, blocking=True, return_response=True
    )
    assert answer is not None
    assert answer["summary"] == {}


async def _live_view(home: Home) -> None:
    await async_get_image(home.hass, "camera.front_door_live_view")


async def _picture_of_areas(home: Home) -> None:
    await ChangeFlow(home.hass, home).begin("areas")


async def _picture_of_limits(home: Home) -> None:
    await ChangeFlow(home.hass, home).begin("objects")


async def _trial(home: Home) -> None:
    flow = await Flow.begin(home)
    await flow.send(answers("camera.porch"))


LOOKS: dict[str, tuple[Callable[[Home], Awaitable[None]], Command]] = {
    "detect": (_detect, Command.DETECT),
    "live view": (_live_view, Command.DETECT),
    "areas": (_picture_of_areas, Command.OUTLINE),
    "limits": (_picture_of_limits, Command.DETECT),
    "trial": (_trial, Command.DETECT),
}


@pytest.mark.parametrize("known_by", ["entity", "address", "both"])
@pytest.mark.parametrize("action", LOOKS)
async def test_a_mask_of_another_entry_holds_for_every_action(
    two: TwoEntries, cameras: Cameras, action: str, known_by: str
) -> None:
    """Also where only the camera itself can tell that it has the address of the mask."""
    home, (look, command) = two.home, LOOKS[action]
    cameras.porch.stream_address = None if known_by == "entity" else ADDRESS
    masked: dict[str, Any] = {"privacy_masks": [ALL]}
    if known_by != "entity":
        masked |= {"video_address": ADDRESS, "source": "live", "only_on_request": False}
    if known_by == "address":
        masked["camera"] = None
    await two.begin()
    await two.add_second(**masked)
    home.node.requests.clear()
    await look(home)
    asked = home.node.asked(command)
    assert asked
    assert all(len(request.privacy_masks) == 1 for request in asked)


async def test_a_pipeline_of_stills_has_the_mask_that_was_drawn_for_its_address(
    two: TwoEntries, cameras: Cameras
) -> None:
    cameras.porch.stream_address = ADDRESS
    await two.begin()
    await two.add_second(
        camera=None,
        video_address=ADDRESS,
        source="live",
        only_on_request=False,
        privacy_masks=[ALL],
    )
    await until(lambda: two.masks == [[ALL]])
    await two.home.scan()
    await two.home.scan()
    assert two.home.state(PERSON) == "off"
