"""Whether everything that a flow shows has a text, and the text all that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from homeassistant.config_entries import (
    ConfigEntriesFlowManager,
    ConfigSubentryFlowManager,
    OptionsFlowManager,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, section
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.selector import SelectSelector

from custom_components.edge_vision.const import DOMAIN
from custom_components.edge_vision.flows.models import ModelFlow
from custom_components.edge_vision.markdown import Markdown
from tests.pictures import NODE_FOLDER

INTEGRATION = NODE_FOLDER.parent
ENGLISH: dict[str, Any] = json.loads((INTEGRATION / "translations" / "en.json").read_text())

_PLACEHOLDER = re.compile(r"{(\w+)}")


def find(path: str) -> Any:
    """Return what the translations have under a dotted path, None where there is nothing."""
    value: Any = ENGLISH
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def placeholders(text: str) -> set[str]:
    """Return the names in braces."""
    return set(_PLACEHOLDER.findall(text))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text with its dotted path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def missing_in_flow(hass: HomeAssistant, manager: Any, flow: Any, result: Any) -> Iterator[str]:
    """Yield what one result of one of our flows lacks."""
    if (where := _where(hass, manager, flow)) is not None:
        given = result.get("description_placeholders")
        for path in _shown(where, result):
            yield from _missing(path, given)
            yield from _unfit(path, given or {}, menu=result["type"] is FlowResultType.MENU)


def missing_in_issue(issue: ir.IssueEntry) -> Iterator[str]:
    """Yield what an issue lacks; what its repair shows is checked when that is opened."""
    if issue.domain == DOMAIN:
        given = issue.translation_placeholders or {}
        for path, _ in leaves(find(f"issues.{issue.translation_key}")):
            yield from _unfit(f"issues.{issue.translation_key}.{path}", given)
        where = f"issues.{issue.translation_key}"
        yield from _missing(f"{where}.title", issue.translation_placeholders)
        if issue.is_fixable:
            confirm = f"{where}.fix_flow.step.confirm.description"
            yield from _missing(confirm, issue.translation_placeholders)
        else:
            yield from _missing(f"{where}.description", issue.translation_placeholders)


def missing_in_error(error: HomeAssistantError) -> Iterator[str]:
    """Yield what an error that is shown to a user lacks."""
    if error.translation_domain == DOMAIN:
        path = f"exceptions.{error.translation_key}.message"
        yield from _missing(path, error.translation_placeholders)


def _missing(path: str, given: Mapping[str, str] | None) -> Iterator[str]:
    text = find(path)
    if not isinstance(text, str):
        yield f"no text {path}"
    elif lacking := placeholders(text) - set(given or {}):
        yield f"{path} needs {', '.join(sorted(lacking))}"


# Texts that the frontend shows as Markdown; all others are shown as they are.
_MARKDOWN = ("description", "abort", "progress", "data_description", "create_entry")


def _unfit(path: str, given: Mapping[str, str], *, menu: bool = False) -> Iterator[str]:
    """Yield what is in a text that must not be there: active Markdown, or escapes to be seen."""
    text = find(path)
    used = placeholders(text) if isinstance(text, str) else set()
    if menu and path.endswith(".title") and not path.startswith("config_subentries") and used:
        yield f"{path} has placeholders: the frontend gives titles of menus none"
    markdown = any(part in _MARKDOWN for part in path.split("."))
    for name in sorted(used & given.keys()):
        value = given[name]
        if markdown and not isinstance(value, Markdown):
            yield f"{path}: {name} is not escaped"
        if not markdown and isinstance(value, Markdown) and "\\" in value:
            yield f"{path}: {name} is escaped where that is seen"


def _where(hass: HomeAssistant, manager: Any, flow: Any) -> str | None:
    if isinstance(manager, ConfigEntriesFlowManager):
        return "config" if flow.handler == DOMAIN else None
    if isinstance(manager, OptionsFlowManager):
        return "options" if isinstance(flow, ModelFlow) else None
    if isinstance(manager, ConfigSubentryFlowManager):
        entry = hass.config_entries.async_get_entry(flow.handler[0])
        ours = entry is not None and entry.domain == DOMAIN
        return f"config_subentries.{flow.handler[1]}" if ours else None
    if flow.handler == DOMAIN:
        issue = ir.async_get(hass).async_get_issue(DOMAIN, flow.issue_id)
        key = issue.translation_key if issue else flow.issue_id.rpartition("_")[0]
        return f"issues.{key}.fix_flow"
    return None


def _shown(where: str, result: Any) -> Iterator[str]:
    kind = result["type"]
    if kind is FlowResultType.ABORT:
        if result.get("translation_domain") is None:
            yield f"{where}.abort.{result['reason']}"
    elif kind is FlowResultType.SHOW_PROGRESS:
        yield f"{where}.progress.{result['progress_action']}"
    elif kind in (FlowResultType.FORM, FlowResultType.MENU):
        step = f"{where}.step.{result['step_id']}"
        yield f"{step}.title"
        yield f"{step}.description"
        for option in result.get("menu_options") or ():
            yield f"{step}.menu_options.{option}"
        for error in (result.get("errors") or {}).values():
            yield f"{where}.error.{error}"
        if kind is FlowResultType.FORM and result.get("data_schema") is not None:
            yield from _fields(step, result["data_schema"].schema)


def _fields(step: str, schema: Any) -> Iterator[str]:
    for key, kind in schema.items():
        if isinstance(kind, section):
            yield f"{step}.sections.{key}.name"
            yield from _fields(f"{step}.sections.{key}", kind.schema.schema)
            continue
        yield f"{step}.data.{key}"
        yield f"{step}.data_description.{key}"
        if isinstance(kind, SelectSelector):
            for option in kind.config["options"]:
                value = option if isinstance(option, str) else option["value"]
                label = option if isinstance(option, str) else option["label"]
                translated = f"selector.{kind.config.get('translation_key')}.options.{value}"
                # A name of its own does without a translation.
                own = isinstance(option, dict) and kind.config.get("translation_key") is None
                if (label == value and not own) or find(translated) is not None:
                    yield translated
