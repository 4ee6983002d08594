"""Repair issues about a node: raised and cleared by what its status says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from ..const import CRASH_LOOP_MINUTES, Issue
from ..node.edge_vision_node.protocol import NodeStatus, QuarantinedModel, redact
from .issues import async_clear_issue, async_raise_issue


class NodeIssues:
    """The repair issues of one entry's node."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry_id: str,
        place_name: Callable[[str | None, str | None], str],
    ) -> None:
        """Initialize. `place_name` returns an engine and accelerator in words."""
        self._hass = hass
        self._entry_id = entry_id
        self._place_name = place_name
        self._quarantined: AbstractSet[str] = frozenset()

    @callback
    def async_update(self, status: NodeStatus) -> None:
        """Raise and clear issues as a status wants it."""
        self._report_storage(status)
        self._report_mended(status.storage_notice)
        self._report_quarantine(status.quarantined)

    @callback
    def async_crash_loop(self, count: int, reason: str) -> None:
        """Raise an issue about a node that ends again and again."""
        async_raise_issue(
            self._hass,
            Issue.NODE_CRASH_LOOP,
            self._entry_id,
            {"count": str(count), "minutes": str(CRASH_LOOP_MINUTES), "error": reason},
            reload_fixes=self._entry_id,
        )

    @callback
    def async_stable(self) -> None:
        """Clear the issue about a node that ends again and again."""
        async_clear_issue(self._hass, Issue.NODE_CRASH_LOOP, self._entry_id)

    @callback
    def _report_storage(self, status: NodeStatus) -> None:
        """Report that results cannot be stored; the node detects all the same."""
        error = status.storage_error
        now = Issue.LOG_NEWER if status.storage_newer else Issue.STORAGE_FAILED
        for issue in (Issue.STORAGE_FAILED, Issue.LOG_NEWER):
            if error is None or issue is not now:
                async_clear_issue(self._hass, issue, self._entry_id)
            else:
                async_raise_issue(
                    self._hass,
                    issue,
                    self._entry_id,
                    {"error": error},
                    severity=ir.IssueSeverity.WARNING,
                )

    @callback
    def _report_mended(self, notice: str | None) -> None:
        """Report what has happened to the log of events, until the node is restarted."""
        if notice is None:
            async_clear_issue(self._hass, Issue.LOG_MENDED, self._entry_id)
            return
        async_raise_issue(
            self._hass,
            Issue.LOG_MENDED,
            self._entry_id,
            {"what": redact(notice)},
            severity=ir.IssueSeverity.WARNING,
        )

    @callback
    def _report_quarantine(self, models: Iterable[QuarantinedModel]) -> None:
        """Report models that are disabled because they crashed their engine."""
        entry_id = self._entry_id
        now = {f"{entry_id}_{item.model}_{item.engine}_{item.accelerator}": item for item in models}
        for owner in self._quarantined - now.keys():
            async_clear_issue(self._hass, Issue.MODEL_QUARANTINED, owner)
        for owner in now.keys() - self._quarantined:
            item = now[owner]
            async_raise_issue(
                self._hass,
                Issue.MODEL_QUARANTINED,
                owner,
                {
                    "model": item.name,
                    "place": self._place_name(item.engine, item.accelerator),
                    "count": str(item.strikes),
                    "error": redact(item.reason),
                },
                data={"entry_id": entry_id, "model": item.model},
            )
        self._quarantined = now.keys()
