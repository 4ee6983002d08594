"""Code, translations, icons and YAML say the same. Stands in for checks that only run in core.

That every text shown by a flow, an issue or an error exists, with its placeholders, is checked
in every test of this folder (see `_every_text_exists`). Here: that no text is left over, and that
what is read by Home Assistant itself fits together.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.icon import async_get_icons
from homeassistant.helpers.service import async_get_all_descriptions
from homeassistant.util import slugify

from custom_components.edge_vision.config_flow import EdgeVisionConfigFlow
from custom_components.edge_vision.const import DOMAIN, Issue
from custom_components.edge_vision.flows.camera_settings import PipelineFlow
from custom_components.edge_vision.node.edge_vision_node import __version__
from custom_components.edge_vision.services import DETECT_SCHEMA
from tests.hub.conftest import AREAS, STREET, Cameras, Home, pipeline, until
from tests.hub.texts import ENGLISH, INTEGRATION, find, leaves, placeholders
from tests.live_camera import mjpeg_camera
from tests.small_models import add_classification, add_face, add_pose

ICONS: dict[str, Any] = json.loads((INTEGRATION / "icons.json").read_text())
SERVICES: dict[str, Any] = yaml.safe_load((INTEGRATION / "services.yaml").read_text())
QUALITY: dict[str, Any] = yaml.safe_load((INTEGRATION / "quality_scale.yaml").read_text())
HUB_CODE = {
    path.relative_to(INTEGRATION).as_posix(): ast.parse(path.read_text())
    for path in INTEGRATION.rglob("*.py")
    if not path.is_relative_to(INTEGRATION / "node")
}


def constants(*files: str) -> set[str]:
    """Return every string in the hub's code, or in some files and folders of it."""
    return {
        node.value
        for name, tree in HUB_CODE.items()
        if not files or name.startswith(files)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# --- The file itself ------------------------------------------------------------------------------


def test_there_is_one_source_of_texts() -> None:
    assert not (INTEGRATION / "strings.json").exists()
    assert [path.name for path in (INTEGRATION / "translations").iterdir()] == ["en.json"]


@pytest.mark.parametrize(("path", "text"), leaves(ENGLISH), ids=lambda value: str(value)[:60])
def test_a_text_is_plain(path: str, text: str) -> None:
    assert all(re.fullmatch(r"[a-z0-9_]+", key) for key in path.split(".")), "keys are slugs"
    assert text.strip() == text != ""
    assert "[%key" not in text, "only core resolves references"
    assert "http" not in text, "addresses are placeholders"
    assert not re.search(r"</?\w+>", text), "no HTML"
    assert text.count("{") == text.count("}") == len(re.findall(r"{\w+}", text))
    assert "'{" not in text, "an apostrophe would make a brace literal"


# --- No text is left over -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("config.error", ("local_node/",)),
        ("config.progress", ("config_flow.py",)),
        ("config_subentries.pipeline.error", ("flows/", "areas.py")),
        *((f"options.{part}", ("flows/",)) for part in ("step", "progress", "error", "abort")),
        ("config_subentries.pipeline.step.no_picture.menu_options", ("flows/camera",)),
        ("common", ("runtime/event_words.py", "sensor.py", "media_source.py")),
        ("exceptions", ()),
        ("system_health.info", ("system_health.py",)),
        ("services", ("const.py",)),
        ("selector", ("config_flow.py", "flows/", "const.py", "trigger.py")),
        *(
            (f"issues.{key}.fix_flow.{part}", ("repairs.py",))
            for key, issue in ENGLISH["issues"].items()
            for part in ("step", "abort")
            if "fix_flow" in issue
        ),
    ],
)
def test_what_is_translated_is_used(path: str, files: tuple[str, ...]) -> None:
    assert set(find(path)) - constants(*files) == set()


# Home Assistant gives these; from 2026.10 on with texts of its own.
GIVEN_BY_CORE = {"already_configured", "reconfigure_successful"}


@pytest.mark.parametrize(
    ("path", "flow", "file"),
    [
        ("config", EdgeVisionConfigFlow, "config_flow.py"),
        ("config_subentries.pipeline", PipelineFlow, "flows/"),
    ],
)
def test_steps_and_ends_of_flows_are_those_in_the_code(path: str, flow: type, file: str) -> None:
    for step in find(f"{path}.step"):
        assert hasattr(flow, f"async_step_{step}"), step
    assert set(find(f"{path}.abort")) - GIVEN_BY_CORE - constants(file) == set()


def test_every_issue_has_a_text_and_no_other() -> None:
    assert set(ENGLISH["issues"]) == set(Issue)
    for issue in ENGLISH["issues"].values():
        assert ("fix_flow" in issue) != ("description" in issue)


def raised() -> Iterator[str]:
    """Yield the keys that errors in the code are raised with."""
    for tree in HUB_CODE.values():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg == "translation_key" and isinstance(keyword.value, ast.Constant):
                    yield keyword.value.value
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in ("_refused", "_failed") and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)
                text = find(f"exceptions.{node.args[0].value}.message")
                assert placeholders(text) == {keyword.arg for keyword in node.keywords}


def test_every_error_that_is_raised_has_a_text_and_no_other() -> None:
    errors = set(ENGLISH["exceptions"])
    of_others = {"engine", "label", "look", "pattern", "place", "sensitivity", "source"}
    of_others |= {"further_engine", "layout", "then", "transport", *ENGLISH["device"]}
    of_others |= {key for platform in ENGLISH["entity"].values() for key in platform}
    found = set(raised())
    assert errors - found == set()
    assert found - errors - of_others == set()


# --- Selectors ------------------------------------------------------------------------------------


def test_every_label_of_a_bundled_model_has_a_text() -> None:
    bundled = INTEGRATION / "node" / "edge_vision_node" / "models" / "bundled"
    files = list(bundled.glob("*/labels.txt"))
    assert files
    labels = {slugify(label) for file in files for label in file.read_text().split("\n") if label}
    assert set(find("selector.label.options")) == labels


# --- Entities -------------------------------------------------------------------------------------


@pytest.mark.real_node
@pytest.mark.usefixtures("socket_enabled")
async def test_entities_texts_and_icons_are_the_same_set(home: Home, cameras: Cameras) -> None:
    async with mjpeg_camera(STREET) as stream:
        cameras.garden.stream_address = stream.address
        await _check_entities(home, cameras)


async def _check_entities(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    models = home.data_folder / "models"
    entry = await home.add(
        pipeline(),
        pipeline("Colours", model=add_classification(models), labels=[]),
        pipeline("Bodies", model=add_pose(models)),
        pipeline("Faces", model=add_face(models), labels=["face"]),
        pipeline("Live", "camera.garden", source="live", only_on_request=False, **AREAS),
    )
    events = [f"event.{name}" for name in ("front_door", "colours", "bodies", "faces", "live")]
    nothing = ("unknown", "unavailable")
    await until(lambda: all(home.state(event) not in nothing for event in events))
    await until(lambda: all(runtime.look for runtime in home.runtime.pipelines.values()))
    registry = er.async_get(home.hass)
    entities = er.async_entries_for_config_entry(registry, entry.entry_id)
    found = {(entity.domain, entity.translation_key) for entity in entities}
    # Not every machine has a thermometer that can be read.
    found |= {("sensor", "temperature"), ("sensor", "memory")}

    translated = {(domain, key) for domain, keys in ENGLISH["entity"].items() for key in keys}
    assert translated == found
    assert {(domain, key) for domain, keys in ICONS["entity"].items() for key in keys} == found

    for entity in entities:
        texts = find(f"entity.{entity.domain}.{entity.translation_key}")
        assert entity.original_name, f"{entity.entity_id} is called as its device"
        state = home.hass.states.get(entity.entity_id)
        if state is None:
            continue
        if "options" in state.attributes:
            assert set(texts["state"]) == set(state.attributes["options"])
        shown = texts.get("state_attributes", {})
        of_some = {"zone", "line", "direction"} if entity.domain == "event" else set()
        assert set(shown) - set(state.attributes) - of_some == set(), entity.entity_id
        if "event_types" in state.attributes:
            event_types = shown["event_type"]["state"]
            assert set(event_types) == set(state.attributes["event_types"])
        icons = ICONS["entity"][entity.domain][entity.translation_key].get("state", {})
        states = set(texts.get("state", {"on", "off"}))
        assert set(icons) <= states, entity.entity_id


# --- Actions --------------------------------------------------------------------------------------


def fields_of(service: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Return fields, and sections, of an action in services.yaml."""
    fields: set[str] = set()
    sections: set[str] = set()
    for key, field in service["fields"].items():
        if "fields" in field:
            sections.add(key)
            fields |= set(field["fields"])
        else:
            fields.add(key)
    return fields, sections


async def test_actions_fields_texts_and_icons_are_the_same_set(
    hass: HomeAssistant, home: Home
) -> None:
    await home.add()
    registered = set(hass.services.async_services()[DOMAIN])
    assert set(SERVICES) == set(ENGLISH["services"]) == set(ICONS["services"]) == registered
    fields, sections = fields_of(SERVICES["detect"])
    assert fields == {str(key) for key in DETECT_SCHEMA.schema}
    assert fields == set(find("services.detect.fields"))
    assert sections == set(find("services.detect.sections"))
    assert sections == set(ICONS["services"]["detect"]["sections"])

    # Home Assistant reads them as we do.
    descriptions = await async_get_all_descriptions(hass)
    assert set(descriptions[DOMAIN]["detect"]["fields"]) == set(SERVICES["detect"]["fields"])
    icons = await async_get_icons(hass, "services", {DOMAIN})
    assert icons[DOMAIN] == ICONS["services"]


def test_icons_are_material_design_icons() -> None:
    for path, icon in leaves(ICONS):
        assert re.fullmatch(r"mdi:[a-z0-9-]+", icon), path


# --- Manifest and ledger --------------------------------------------------------------------------


def test_the_manifest_is_complete_and_in_order() -> None:
    manifest = json.loads((INTEGRATION / "manifest.json").read_text())
    keys = list(manifest)
    assert keys[:2] == ["domain", "name"]
    assert keys[2:] == sorted(keys[2:])
    needed = {"codeowners", "config_flow", "dependencies", "documentation", "integration_type"}
    assert needed | {"iot_class", "issue_tracker", "version"} <= set(keys)
    assert manifest["domain"] == DOMAIN == INTEGRATION.name
    assert manifest["documentation"].startswith("https://")
    assert manifest["issue_tracker"].startswith("https://")
    assert "image_processing" in manifest["dependencies"]
    assert "requirements" not in manifest  # engines are installed on demand
    assert manifest["version"] == __version__, "integration and node are released together"
    assert re.fullmatch(r"\d+\.\d+\.\d+(b\d+|rc\d+)?", manifest["version"])
    assert all(owner.startswith("@") for owner in manifest["codeowners"])


RULES = {
    "bronze": """action-setup appropriate-polling brands common-modules config-flow
        config-flow-test-coverage dependency-transparency docs-actions docs-conditions
        docs-high-level-description docs-installation-instructions docs-removal-instructions
        docs-triggers entity-event-setup entity-unique-id has-entity-name runtime-data
        test-before-configure test-before-setup unique-config-entry""",
    "silver": """action-exceptions config-entry-unloading docs-configuration-parameters
        docs-installation-parameters entity-unavailable integration-owner log-when-unavailable
        parallel-updates reauthentication-flow test-coverage""",
    "gold": """devices diagnostics discovery discovery-update-info docs-data-update docs-examples
        docs-known-limitations docs-supported-devices docs-supported-functions
        docs-troubleshooting docs-use-cases dynamic-devices entity-category entity-device-class
        entity-disabled-by-default entity-translations exception-translations icon-translations
        reconfiguration-flow repair-issues stale-devices""",
    "platinum": "async-dependency inject-websession strict-typing",
}


def test_the_ledger_has_every_rule_and_reasons() -> None:
    rules = [rule for text in RULES.values() for rule in text.split()]
    assert len(rules) == 54
    assert set(QUALITY["rules"]) == set(rules)
    for name, rule in QUALITY["rules"].items():
        status = rule if isinstance(rule, str) else rule["status"]
        assert status in ("done", "exempt", "todo"), name
        if status == "exempt":
            assert len(rule["comment"]) > 20, name


def test_every_platform_says_how_many_updates_run_at_once() -> None:
    platforms = [
        path for path in INTEGRATION.glob("*.py") if "async_add_entities: Add" in path.read_text()
    ]
    assert len(platforms) >= 7
    for path in platforms:
        assert "\nPARALLEL_UPDATES = 0\n" in path.read_text(), path.name


def test_pictures_of_the_brand_are_there() -> None:
    brand: Path = INTEGRATION / "brand"
    assert {"icon.png", "icon@2x.png"} <= {path.name for path in brand.iterdir()}
