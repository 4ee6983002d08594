"""Repairs: a click that restarts, and an honest answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from homeassistant.components.repairs import repairs_flow_manager
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.requirements import RequirementsNotFound
from homeassistant.setup import async_setup_component

from custom_components.edge_vision.const import DOMAIN, Issue, issue_id
from custom_components.edge_vision.local_node import requirements, supervisor
from tests.hub import flows
from tests.hub.conftest import Home, pipeline, until


@pytest.fixture(autouse=True)
async def _repairs(hass: HomeAssistant) -> None:
    assert await async_setup_component(hass, "repairs", {})


def issue(home: Home, kind: Issue, owner: str) -> ir.IssueEntry | None:
    return ir.async_get(home.hass).async_get_issue(DOMAIN, issue_id(kind, owner))


async def begin(home: Home, kind: Issue, owner: str) -> Any:
    """Open the repair."""
    manager = repairs_flow_manager(home.hass)
    assert manager is not None
    found = issue(home, kind, owner)
    assert found is not None
    assert found.is_fixable
    form = await manager.async_init(DOMAIN, data={"issue_id": found.issue_id})
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "confirm")
    return form


async def submit(home: Home, form: Any) -> Any:
    manager = repairs_flow_manager(home.hass)
    assert manager is not None
    return await manager.async_configure(form["flow_id"], {})


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installer that refuses until it is told otherwise."""

    class Installer:
        refuses = True

    install = requirements.async_process_requirements

    async def process(*arguments: Any, **more: Any) -> None:
        if Installer.refuses:
            raise RequirementsNotFound(DOMAIN, ["onnxruntime"])
        await install(*arguments, **more)

    monkeypatch.setattr(requirements, "async_process_requirements", process)
    return Installer


async def test_an_engine_is_installed_again(home: Home, installer: Any) -> None:
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)
    form = await begin(home, Issue.ENGINE_NOT_INSTALLED, entry.entry_id)
    assert form["description_placeholders"]["engine"] == "ONNX Runtime"
    installer.refuses = False
    done = await submit(home, form)
    assert done["type"] is FlowResultType.CREATE_ENTRY
    assert entry.state is ConfigEntryState.LOADED
    assert issue(home, Issue.ENGINE_NOT_INSTALLED, entry.entry_id) is None


async def test_an_engine_that_still_cannot_be_installed_stays_an_issue(
    home: Home, installer: Any
) -> None:
    entry = await home.add(expect=ConfigEntryState.SETUP_RETRY)
    form = await begin(home, Issue.ENGINE_NOT_INSTALLED, entry.entry_id)
    done = await submit(home, form)
    assert (done["type"], done["reason"]) == (FlowResultType.ABORT, "not_fixed")
    assert "cannot be installed" in done["description_placeholders"]["error"]
    assert issue(home, Issue.ENGINE_NOT_INSTALLED, entry.entry_id) is not None


@pytest.mark.real_node
async def test_a_node_that_kept_crashing_is_started_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.02)
    entry = await home.add()
    for _ in range(supervisor.CRASH_LOOP_EXITS):
        await until(lambda: home.runtime.node.connected)
        home.kill_node()
        await until(lambda: not home.runtime.node.connected)
    await until(lambda: issue(home, Issue.NODE_CRASH_LOOP, entry.entry_id))
    form = await begin(home, Issue.NODE_CRASH_LOOP, entry.entry_id)
    assert form["description_placeholders"]["error"]
    done = await submit(home, form)
    assert done["type"] is FlowResultType.CREATE_ENTRY
    assert issue(home, Issue.NODE_CRASH_LOOP, entry.entry_id) is None
    assert home.runtime.node.connected
    assert home.local_node.restarts == 0  # it is a new run, with nothing to wait for


@pytest.mark.real_node
async def test_a_model_that_works_again_is_no_issue_any_more(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flows.fake_engine(monkeypatch, tmp_path, flows.CANNOT_LOAD)
    entry = await home.add(pipeline())
    (subentry_id,) = entry.subentries
    await until(lambda: issue(home, Issue.MODEL_FAILED, subentry_id))

    form = await begin(home, Issue.MODEL_FAILED, subentry_id)
    assert "bad magic" in form["description_placeholders"]["error"]
    done = await submit(home, form)
    assert (done["type"], done["reason"]) == (FlowResultType.ABORT, "not_fixed")
    assert "bad magic" in done["description_placeholders"]["error"]
    assert issue(home, Issue.MODEL_FAILED, subentry_id) is not None

    monkeypatch.delenv("PYTHONPATH")
    form = await begin(home, Issue.MODEL_FAILED, subentry_id)
    done = await submit(home, form)
    assert done["type"] is FlowResultType.CREATE_ENTRY
    assert issue(home, Issue.MODEL_FAILED, subentry_id) is None
    await home.until_state("image_processing.front_door", "0")


async def test_an_entry_that_cannot_be_reloaded_now_says_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, installer: Any
) -> None:
    entry = await home.add(expect=ConfigEntryState.SETUP_RETRY)
    form = await begin(home, Issue.ENGINE_NOT_INSTALLED, entry.entry_id)
    # It stays in this state when its entities could not be removed.
    entry._async_set_state(home.hass, ConfigEntryState.FAILED_UNLOAD, "entities are stuck")
    done = await submit(home, form)
    assert (done["type"], done["reason"]) == (FlowResultType.ABORT, "not_fixed")
    assert done["description_placeholders"]["error"]


async def test_an_issue_of_an_entry_that_is_gone(home: Home, installer: Any) -> None:
    entry = await home.add(expect=ConfigEntryState.SETUP_RETRY)
    form = await begin(home, Issue.ENGINE_NOT_INSTALLED, entry.entry_id)
    await home.hass.config_entries.async_remove(entry.entry_id)
    home.entries.clear()
    done = await submit(home, form)
    assert (done["type"], done["reason"]) == (FlowResultType.ABORT, "entry_removed")
