"""The steps of a new user in the frontend: integration, camera, zone, own model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import demo
import pytest
import pytest_asyncio
import pytest_socket
from demo_camera import ClipCamera
from ha_instance import HomeAssistant

from tests.e2e.browser import Frontend, chromium, frontend
from tests.pictures import NODE_FOLDER, SELF_TEST_PICTURE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("socket_enabled"),
]

MODEL = NODE_FOLDER / "edge_vision_node/models/bundled/ssd_mobilenet_v2_coco/model.onnx"
PORCH = "0.1,0.4 0.9,0.4 0.9,0.95 0.1,0.95"


async def add_the_integration(user: Frontend) -> None:
    await user.open("/config/integrations/dashboard", "ha-integration-card")
    await user.press("Add integration")
    await user.page.get_by_placeholder("Search for a brand name").fill("edge vision")
    await user.choose("Edge Vision")
    await user.form.wait_for()
    assert await user.show("engine") == []
    await user.press("Submit")
    await user.sees("Found in the test picture")
    assert await user.show("it-works") == []
    # If another option was faster, it is recommended; keep the one that works.
    places = user.form.get_by_role("radio")
    if await places.count():
        await places.last.click()
    await user.press("Submit")


async def add_the_camera(user: Frontend) -> None:
    picker = user.form.locator("ha-entity-picker")
    await picker.wait_for()
    assert await user.show("camera") == []
    await picker.click()
    await user.choose("Footpath")
    await user.press("Submit")
    await user.sees("Created configuration for Footpath.")
    await user.press("Finish")
    await user.page.locator("step-flow-create-entry").wait_for(state="detached")


async def add_a_zone(user: Frontend) -> None:
    await user.page.locator("ha-integration-card").filter(has_text="Edge Vision").click()
    await user.page.locator("ha-config-entry-row").first.wait_for()
    assert await user.show("integration") == []
    await user.press("Change settings")
    await user.choose("Zones, lines and masks")
    await user.choose("Add a zone")
    await user.form.wait_for()
    assert await user.show("zone") == []
    await user.fill("Name", "Porch")
    await user.fill("Corners", "0.1,0.4 0.9,0.95 0.9,0.4 0.1,0.95")
    await user.press("Next")
    await user.sees("cross")  # and the input is kept
    await user.fill("Corners", PORCH)
    await user.press("Next")
    await user.sees("Add a line")
    await user.choose("Save")
    await user.press("Close")


async def add_a_model(user: Frontend) -> None:
    await user.press("Configure")
    await user.choose("Add your own model")
    await user.choose("Upload a file")
    await user.form.locator("input[type=file]").first.set_input_files(MODEL)
    await user.sees("model.onnx", exact=True)  # "Uploading model.onnx" before
    await user.press("Next")
    await user.sees("Check the model")
    assert await user.show("model") == []
    await user.fill("Name", "My street")
    await user.choose("Save it")
    await user.press("Next")
    await user.sees("Select it when you add a camera")
    assert await user.show("model-added") == []
    await user.press("Close")


async def look_around(user: Frontend) -> None:
    await user.page.locator("ha-config-entry-device-row").last.click()
    await user.sees("Last detection")
    assert await user.show("device") == []
    await user.open("/logbook", "ha-logbook")
    assert await user.show("activity") == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home() -> AsyncIterator[HomeAssistant]:
    """Start Home Assistant with only a camera on a street."""
    pytest_socket.enable_socket()  # to this machine only, see tests/conftest.py
    # Threads started during a test are reported as leaks, so start the common one here.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await asyncio.to_thread(int)
    home = HomeAssistant(password="correct horse battery")
    async with ClipCamera(SELF_TEST_PICTURE) as camera, home:
        await demo.add_camera(home.client, camera)
        yield home


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(home: HomeAssistant) -> AsyncIterator[Frontend]:
    """Open the frontend."""
    async with frontend(home.client, chromium()) as user:
        yield user


async def test_a_newcomer_comes_to_the_end(home: HomeAssistant, user: Frontend) -> None:
    await add_the_integration(user)
    await add_the_camera(user)
    await add_a_zone(user)
    await add_a_model(user)
    await look_around(user)
    (entry,) = await home.client.command("config_entries/get", domain="edge_vision")
    (pipeline,) = await home.client.command(
        "config_entries/subentries/list", entry_id=entry["entry_id"]
    )
    assert pipeline["title"] == "Footpath"
    assert any("porch" in entity_id for entity_id in await home.client.states())
    ours = [line for line in home.log.read_text().splitlines() if "edge_vision" in line]
    assert [line for line in ours if " ERROR " in line] == []
