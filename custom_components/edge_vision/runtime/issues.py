"""Create and delete repair issues."""

from __future__ import annotations

from collections.abc import Mapping

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from ..const import DOMAIN, Issue, issue_id
from ..markdown import one_line
from ..markdown import placeholders as escape

_IN_TITLES = ("engine", "model", "name")


@callback
def async_raise_issue(
    hass: HomeAssistant,
    issue: Issue,
    owner: str,
    placeholders: Mapping[str, str] | None,
    *,
    reload_fixes: str | None = None,
    data: Mapping[str, str] | None = None,
    severity: ir.IssueSeverity = ir.IssueSeverity.ERROR,
) -> None:
    """Create an issue that only the user can fix.

    `owner` is the id of the entry or subentry that it is about. `reload_fixes` is the id of the
    entry that a click of theirs reloads, for problems that may be gone by then; `data` is for
    another way to fix it (`repairs.py`).
    """
    if reload_fixes is not None:
        data = {"entry_id": reload_fixes}
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id(issue, owner),
        data=dict(data) if data else None,
        is_fixable=data is not None,
        severity=severity,
        translation_key=issue,
        translation_placeholders={
            **escape(**(placeholders or {})),
            # A title is plain text.
            **{
                f"{key}_in_title": one_line(text)
                for key, text in (placeholders or {}).items()
                if key in _IN_TITLES
            },
        },
    )


@callback
def async_clear_issue(hass: HomeAssistant, issue: Issue, owner: str) -> None:
    """Delete an issue if it exists."""
    ir.async_delete_issue(hass, DOMAIN, issue_id(issue, owner))
