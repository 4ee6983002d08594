"""Repair flows: most issues are fixed by restarting the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import voluptuous as vol
from homeassistant.components.repairs import RepairsFlow
from homeassistant.config_entries import ConfigEntryState, OperationNotAllowed
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .api.client import NodeRequestError
from .const import DOMAIN
from .markdown import escaped
from .node.edge_vision_node.protocol import redact

if TYPE_CHECKING:
    from homeassistant.components.repairs import RepairsFlowResult

# The user does not have to wait for an accelerator that compiles a model.
_MODELS_WAIT_S = 20.0


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Return the flow that fixes an issue."""
    given = data or {}
    if "model" in given:
        return AllowModelFlow(str(given["entry_id"]), str(given["model"]))
    return ReloadFlow(str(given["entry_id"]))


class ReloadFlow(RepairsFlow):
    """Reload the entry: this installs the engine, starts the node and loads the models."""

    def __init__(self, entry_id: str) -> None:
        """Initialize the flow."""
        self._entry_id = entry_id

    async def async_step_init(self, _: dict[str, Any] | None = None) -> RepairsFlowResult:
        """Start the flow."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> RepairsFlowResult:
        """Ask for confirmation, fix the issue, and show the result."""
        issues = ir.async_get(self.hass)
        issue = issues.async_get_issue(DOMAIN, self.issue_id)
        placeholders = (issue and issue.translation_placeholders) or {}
        if user_input is None:
            return self.async_show_form(
                step_id="confirm",
                data_schema=vol.Schema({}),
                description_placeholders=placeholders,
            )
        if (entry := self.hass.config_entries.async_get_entry(self._entry_id)) is None:
            return self.async_abort(reason="entry_removed")
        # If the problem persists after the setup, the issue is created again.
        ir.async_delete_issue(self.hass, DOMAIN, self.issue_id)
        try:
            await self.hass.config_entries.async_reload(self._entry_id)
        except OperationNotAllowed as err:
            error = str(err)
        else:
            if entry.state is ConfigEntryState.LOADED:
                # If it takes longer, the issue is created again when it fails.
                await entry.runtime_data.node.async_wait_for_models(_MODELS_WAIT_S)
            again = issues.async_get_issue(DOMAIN, self.issue_id)
            if entry.state is ConfigEntryState.LOADED and again is None:
                return self.async_create_entry(data={})
            said = (again and again.translation_placeholders) or {}
            error = said.get("error") or entry.reason or entry.state.value
        return self.async_abort(
            reason="not_fixed",
            description_placeholders={**placeholders, "error": escaped(error)},
        )


class AllowModelFlow(RepairsFlow):
    """Use a model again that crashed its engine."""

    def __init__(self, entry_id: str, model: str) -> None:
        """Initialize the flow."""
        self._entry_id = entry_id
        self._model = model

    async def async_step_init(self, _: dict[str, Any] | None = None) -> RepairsFlowResult:
        """Start the flow."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> RepairsFlowResult:
        """Ask for confirmation and allow the model; the status of the node shows the result."""
        issue = ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)
        placeholders = (issue and issue.translation_placeholders) or {}
        if user_input is None:
            return self.async_show_form(
                step_id="confirm",
                data_schema=vol.Schema({}),
                description_placeholders=placeholders,
            )
        entry = self.hass.config_entries.async_get_entry(self._entry_id)
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_removed")
        try:
            await entry.runtime_data.node.async_allow_model(self._model)
        except NodeRequestError as err:
            return self.async_abort(
                reason="not_fixed",
                description_placeholders={**placeholders, "error": escaped(redact(str(err)))},
            )
        return self.async_create_entry(data={})
