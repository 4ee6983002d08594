"""What the documents show works, and what they link to exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from homeassistant.components.automation.config import async_validate_config_item
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import parse_yaml

from custom_components.edge_vision.const import EVENT_DETECTION
from custom_components.edge_vision.trigger import TRIGGERS
from tests.hub.conftest import STREET, Cameras, Home, pipeline, until
from tests.pictures import NODE_FOLDER

ROOT = NODE_FOLDER.parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
AUTOMATIONS = (ROOT / "docs" / "automations.md").read_text()

_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def examples(text: str, language: str) -> list[str]:
    """Return the blocks of code of a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return what a document's headings can be addressed by."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", item).strip().lower().replace(" ", "-") for item in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in ("".join(groups) for groups in _LINK.findall(text)):
        if re.match(r"[a-z]+:", link) or link.startswith("/"):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{document.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{document.name}: {link}"


async def test_every_automation_in_the_documents_is_one(hass: HomeAssistant, home: Home) -> None:
    await home.add(pipeline())
    assert await async_setup_component(hass, "automation", {})
    found: list[dict[str, Any]] = [parse_yaml(text) for text in examples(AUTOMATIONS, "yaml")]
    for text in examples((ROOT / "README.md").read_text(), "yaml"):
        example = parse_yaml(text)
        if "triggers" in example:  # the others are actions
            found.append({"actions": [], "alias": "README", **example})
    for number, example in enumerate(found):
        config = await async_validate_config_item(hass, f"example_{number}", example)
        assert config is not None
        assert config.validation_error is None, (example["alias"], config.validation_error)
    used = {item.get("trigger") for example in found for item in example.get("triggers", ())}
    assert {f"edge_vision.{key}" for key in TRIGGERS} <= used


async def test_the_events_in_the_documents_have_the_keys_that_events_have(
    hass: HomeAssistant, home: Home, cameras: Cameras
) -> None:
    fired: list[dict[str, Any]] = []

    async def note(event: Any) -> None:
        fired.append(event.data)

    hass.bus.async_listen(EVENT_DETECTION, note)
    cameras.porch.picture = STREET
    await home.add(pipeline())
    await until(lambda: fired)
    for text in examples(AUTOMATIONS, "yaml"):
        for trigger in parse_yaml(text).get("triggers", ()):
            assert trigger.get("event_data", {}).keys() <= fired[0].keys()
    named = set(re.findall(r"trigger\.event\.data\.(\w+)", AUTOMATIONS))
    assert named <= fired[0].keys()
    (flow,) = [json.loads(text) for text in examples(AUTOMATIONS, "json")]
    nodes = {node["id"]: node for node in flow}
    assert all(there in nodes for node in flow for wire in node["wires"] for there in wire)
    assert nodes["ev_events"]["eventType"] == EVENT_DETECTION
    assert json.loads(nodes["ev_events"]["eventData"]).keys() <= fired[0].keys()
