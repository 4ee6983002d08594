"""Every form as Home Assistant's frontend sends it: untouched, and with its fields cleared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    SelectSelector,
    SelectSelectorConfig,
    TextSelector,
)
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.edge_vision.const import DOMAIN, Issue, issue_id
from custom_components.edge_vision.flows import model_steps
from custom_components.edge_vision.flows.forms import optional, required
from custom_components.edge_vision.local_node import engine_test
from tests.hub.conftest import STREET, Cameras, Home
from tests.hub.frontend import Browser, all_cleared, may_be_sent, numbers
from tests.hub.test_model_flow import drop, upload
from tests.hub.texts import find
from tests.onnx_files import onnx_file
from tests.small_models import add_pose

NUMBER = NumberSelector(NumberSelectorConfig(min=8, max=64))
CHOICE = SelectSelector(SelectSelectorConfig(options=["a", "b"]))


@pytest.mark.parametrize(
    ("selector", "value", "suggested"),
    [
        (NUMBER, 16, 16),
        (NUMBER, 5000, 64),
        (NUMBER, -1, 8),
        (NUMBER, None, None),
        (NUMBER, "", None),
        (NUMBER, "wide", None),
        (NUMBER, [16], None),
        (CHOICE, "a", "a"),
        (CHOICE, "c", None),
        (CHOICE, "", None),
        (TextSelector(), "text", "text"),
        (TextSelector(), "", None),
        (TextSelector(), 5, None),
    ],
)
def test_a_form_suggests_what_it_accepts(selector: Any, value: Any, suggested: Any) -> None:
    ((marker, _),) = optional("field", selector, value).items()
    assert (marker.description or {}).get("suggested_value") == suggested
    if value != "":
        ((marker, _),) = required("field", selector, value, "default").items()
        assert marker.default() == ("default" if suggested is None else suggested)


async def posted(
    again: Callable[[], Awaitable[Browser]], visited: set[str], **trying: Any
) -> Browser:
    """Send the form that `again` leads to in every way a browser does; return it sent untouched.

    None of them is refused by the schema alone, or makes an error of the server: see `Browser`.
    `trying` is what is chosen so that it is not sent for good.
    """
    browser = await again()
    visited.add(browser.where)
    empty = all_cleared(browser.fields, browser.form)
    if empty != browser.form:
        await browser.submit(lambda _: empty | trying)
        browser = await again()
    # What is typed outside the limits is named with them; a section with such a number is unfolded.
    wrong, errors = browser.form, {}
    for path, config in numbers(browser.fields):
        inner = wrong[path[0]] if len(path) > 1 else wrong
        inner[path[-1]] = config["max"] * 2 + 1
        errors[path[0]] = "does_not_fit"
    if errors:
        await browser.submit(lambda _: wrong | {key: trying[key] for key in trying.keys() - errors})
        assert browser.step["errors"] == errors
        assert {key for key in errors if "schema" in browser.field(key)} <= browser.unfolded
        for _, config in numbers(browser.fields):
            assert f"({config['min']:g} to {config['max']:g}" in browser.told["misfits"]
        browser = await again()
    return await browser.submit()


def steps(where: str) -> set[str]:
    """Return the steps of flows that are forms, by their texts."""
    return {name for name, step in find(where).items() if "menu_options" not in step}


@pytest.mark.real_node
async def test_every_form_of_a_camera_is_taken_as_the_browser_sends_it(
    home: Home, cameras: Cameras, hass_client: ClientSessionGenerator
) -> None:
    """Walk all steps of the flows of cameras, with two models so that none is left out."""
    cameras.porch.picture = STREET
    add_pose(home.data_folder / "models")
    await home.add()
    visited: set[str] = set()

    async def add() -> Browser:
        return await Browser.add_camera(home, hass_client)

    await posted(add, visited)

    async def settings() -> Browser:
        browser = await add()
        return await browser.submit()

    browser = await posted(settings, visited)
    assert browser.step["errors"] == {"base": "no_camera"}
    assert "video" in browser.unfolded
    browser = await settings()
    await browser.submit(camera="camera.porch")
    assert browser.step["type"] == "create_entry"
    await home.hass.async_block_till_done()

    def change(*options: str) -> Callable[[], Awaitable[Browser]]:
        return lambda: Browser.change_camera(home, hass_client, *options)

    async def add_areas() -> None:
        square = "0.1,0.1 0.9,0.1 0.9,0.9 0.1,0.9"
        browser = await Browser.change_camera(home, hass_client, "areas", "zone")
        await browser.submit(name="Porch", points=square)
        await (await browser.pick("line")).submit(name="Gate", points="0.1,0.5 0.9,0.5")
        await (await browser.pick("privacy_mask")).submit(points="0,0 0.1,0 0,0.1")
        await (await browser.pick("motion_mask")).submit(points="0.8,0 1,0 1,0.2")
        await browser.pick("save")
        await home.hass.async_block_till_done()

    browser = await change("areas", "zone")()
    assert browser.form["labels"] == ["person"]
    assert not may_be_sent(browser.fields, browser.form)  # a name is needed
    visited |= {"zone", "line", "privacy_mask", "motion_mask"}
    await add_areas()
    await posted(change("areas", "change"), visited)
    for item in ("zones/0", "lines/0", "privacy_masks/0", "motion_masks/0"):

        async def edit(item: str = item) -> Browser:
            return await (await change("areas", "change")()).submit(item=item)

        # What is there is sent back as it was.
        browser = await posted(edit, visited)
        assert browser.where == "areas", browser.step
    await posted(change("areas", "remove"), visited)
    await posted(change("objects", "limit"), visited)

    async def limits() -> Browser:
        return await (await change("objects", "limit")()).submit()

    browser = await posted(limits, visited)
    assert browser.told["limits"] == "none"  # what was in force still is, and no more
    await posted(change("motion", "motion_settings"), visited)
    browser = await posted(change("change_settings"), visited)
    await browser.submit()
    assert browser.where in ("reconfigure_successful", "settings"), browser.step
    assert visited == steps("config_subentries.pipeline.step")


@pytest.mark.real_node
async def test_every_form_of_models_is_taken_as_the_browser_sends_it(
    home: Home, hass_client: ClientSessionGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_steps, "MEASURE_SECONDS", 0.01)
    add_pose(home.data_folder / "models")
    await home.add()
    onnx = onnx_file([("images", (1, 3, 320, 320), "float32")], [("out", (1, 7, 2100), "float32")])
    drop(home, "broken.onnx", b"not a model")
    visited: set[str] = set()

    def gear(*options: str) -> Callable[[], Awaitable[Browser]]:
        return lambda: Browser.configure(home, hass_client, *options)

    browser = await gear("own", "upload")()
    assert not may_be_sent(browser.fields, browser.form)  # a file is needed
    file = await upload(home.hass, hass_client, "street.onnx", onnx)
    await browser.submit(file=file)
    assert browser.where == "review", browser.step
    reviewed = browser
    browser = await gear("own", "address")()
    assert not may_be_sent(browser.fields, browser.form)
    await browser.submit(url="http://127.0.0.1/model.onnx")
    assert browser.step["errors"] == {"base": "model_unreadable"}
    visited |= {"upload", "address"}
    browser = await posted(gear("own", "dropped"), visited)
    assert browser.step["errors"] == {"base": "model_unreadable"}

    async def review() -> Browser:
        return reviewed  # looking at a model takes its time, and nothing is kept

    browser = await posted(review, visited, then="again")
    # What was typed outside the limits stays until it is corrected.
    assert browser.step["errors"] == dict.fromkeys(("details", "confidence"), "does_not_fit")
    found = {"width": 320, "height": 320, "classes": 3, "iou": 0.45}
    await browser.submit(details=found, confidence=40, name="My street", then="save")
    assert browser.where == "model_added", browser.step
    assert steps("options.step") - visited == {"catalogue", "remove", "engines"}
    browser = await gear("catalogue")()
    assert browser.form["model"] in browser.options("model")
    browser = await gear("remove")()
    chosen = browser.form["model"]
    await browser.submit()
    assert browser.where == "confirm_removal"
    await browser.pick("do_remove")
    assert browser.where == "model_removed"
    assert chosen not in (await gear("remove")()).options("model")
    browser = await posted(gear("engines"), visited)
    assert browser.where == "engines_kept"


async def test_every_form_of_the_set_up_is_taken_as_the_browser_sends_it(
    home: Home, hass_client: ClientSessionGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_test, "COMPILE_TIMEOUT_S", 0.001)  # nothing is measured here
    assert await async_setup_component(home.hass, DOMAIN, {})
    browser = await Browser.add_integration(home, hass_client)
    assert (browser.where, browser.form) == ("user", {"engine": "auto"})
    await browser.submit()
    assert browser.where == "confirm", browser.step
    assert browser.actions[-2:] == ["test", "benchmark"]  # installing takes a moment or none
    await browser.submit()
    assert browser.step["type"] == "create_entry"
    home.entries.extend(home.hass.config_entries.async_entries(DOMAIN))  # type: ignore[arg-type]
    # There is one; what can be done with it is to add cameras.
    again = await Browser.add_integration(home, hass_client)
    assert again.where == "single_instance_allowed"
    browser = await Browser.reconfigure(home, hass_client)
    assert (browser.where, browser.form) == ("reconfigure", {"engine": "onnxruntime"})
    home.runtime.async_crash_loop(5, "it *crashed*")
    owner = issue_id(Issue.NODE_CRASH_LOOP, home.entry.entry_id)
    browser = await Browser.repair(home, hass_client, owner)
    assert (browser.where, browser.form) == ("confirm", {})
    assert browser.told["error"] == r"it \*crashed\*"
    await browser.submit()
    assert browser.step["type"] == "create_entry"
