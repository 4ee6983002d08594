"""Models in the UI: add one from the catalog, add your own, remove one."""

from __future__ import annotations

from typing import Any, Final

import voluptuous as vol
from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.helpers.selector import (
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from ..api.client import NodeRequestError, Progress
from ..const import CONF_FURTHER_ENGINES
from ..local_node.requirements import (
    FURTHER_NAMES,
    EngineInstallError,
    async_install_engine,
    platform_name,
)
from ..markdown import Markdown, Plain, placeholders
from ..node.edge_vision_node.protocol import (
    CatalogueAnswer,
    Command,
    InstallModel,
    InstallProgress,
    ModelInfo,
    Nothing,
    RemoveModel,
)
from .camera_form import TASKS
from .forms import required, select
from .model_text import (
    catalogue_line,
    installed_lines,
    unavailable_lines,
)
from .own_models import OwnModelFlow
from .picture import FlowPicture

# For hundreds of megabytes over a slow connection; the node itself detects stalled connections.
_INSTALL_TIMEOUT_S: Final = 3600.0


class ModelFlow(OwnModelFlow):
    """The options flow of the integration."""

    def __init__(self) -> None:
        """Initialize the flow."""
        super().__init__()
        self._model = ""
        self._new_engine: str | None = None
        self._engines: list[str] = []

    # --- What to do ------------------------------------------------------------------------------

    async def async_step_init(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show the menu."""
        if self.config_entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_not_loaded")
        self._hub = self.config_entry.runtime_data
        self._picture = FlowPicture(self.hass)
        try:
            self._catalogue = await self._hub.node.async_request(
                Command.CATALOGUE, None, CatalogueAnswer
            )
        except NodeRequestError as err:
            return self._end("node_unavailable", reason=str(err))
        options = ["catalogue", "own", *(["remove"] if self._removable else []), "engines"]
        return self.async_show_menu(step_id="init", menu_options=options)

    # --- From the catalogue ----------------------------------------------------------------------

    async def async_step_catalogue(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Choose a model to install."""
        if self._is_answer(user_input):
            self._model, self._back, self._reason = user_input["model"], "catalogue", ""
            return await self.async_step_install()
        every = sorted(self._catalogue.models, key=lambda item: (not item.recommended, item.name))
        missing = unavailable_lines(every)
        here = installed_lines(item for item in every if item.installed is not None)
        models = [
            item for item in every if item.unavailable is None and item.installed != item.version
        ]
        if not models and here:
            return self._end("all_of_the_catalogue", models=here)
        if not models:
            return self._end("nothing_in_the_catalogue", models=missing)
        selector = select(
            {item.id: catalogue_line(item, for_cameras=item.task in TASKS) for item in models},
            mode=SelectSelectorMode.LIST,
        )
        result = self.async_show_form(
            step_id="catalogue",
            data_schema=vol.Schema(required("model", selector, self._model, models[0].id)),
            errors=self._errors("install_failed"),
            description_placeholders=placeholders(
                reason=Plain(self._reason),
                installed=Markdown(f"\n\nInstalled already:\n\n{here}" if here else ""),
                missing=Markdown(f"\n\nNot on this device:\n\n{missing}" if missing else ""),
            ),
            last_step=False,
        )
        self._reason = ""
        return result

    async def async_step_install(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show the progress of the installation."""
        if self._task is None:
            self._task = self._start(self._install())
        if not self._task.done():
            return self._progress("install", model=self._model)
        task, self._task = self._task, None
        try:
            await task
        except (NodeRequestError, EngineInstallError) as err:
            return self._failed(err)
        # With a new engine, the node is restarted; the model is measured later.
        return self._go_on("installed" if self._new_engine else "measure")

    async def _install(self) -> None:
        self._new_engine = engine = self._missing_engine(self._model)
        if engine is not None:
            await async_install_engine(self.hass, engine)

        def listener(step: InstallProgress) -> None:
            self.async_update_progress(step.done_bytes / max(step.total_bytes, 1))

        info = await self._hub.node.async_request(
            Command.INSTALL_MODEL,
            InstallModel(model=self._model),
            ModelInfo,
            timeout_s=_INSTALL_TIMEOUT_S,
            progress=Progress(InstallProgress, listener),
        )
        self._saved = info
        await self._hub.node.async_refresh_info()
        if engine is not None:
            self._keep_engines({*self._further, engine})

    @property
    def _further(self) -> list[str]:
        return list(self.config_entry.data.get(CONF_FURTHER_ENGINES, ()))

    def _keep_engines(self, engines: set[str]) -> None:
        """Set the additional engines of the node; a change reloads the entry."""
        data = {**self.config_entry.data, CONF_FURTHER_ENGINES: sorted(engines)}
        self.hass.config_entries.async_update_entry(self.config_entry, data=data)

    def _missing_engine(self, model: str) -> str | None:
        """Return the missing engine that a model of the catalog needs, if any."""
        (entry,) = [item for item in self._catalogue.models if item.id == model]
        info = self._hub.node.info
        usable = {item.id for item in info.engines if item.version} if info else set()
        if usable & set(entry.engines):
            return None
        return next((item for item in entry.engines if item in self._installable), None)

    @property
    def _installable(self) -> list[str]:
        """Return the additional engines with packages for this device."""
        info = self._hub.node.info
        unpackaged = {item.id for item in info.engines if not item.packaged} if info else set()
        return [item for item in FURTHER_NAMES if item not in unpackaged]

    # --- Engines ---------------------------------------------------------------------------------

    async def async_step_engines(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Select the additional engines."""
        if self._is_answer(user_input):
            self._engines, self._back, self._reason = user_input["engines"], "engines", ""
            return await self.async_step_install_engines()
        options = [item for item in FURTHER_NAMES if item in {*self._installable, *self._further}]
        if not options:
            return self._end("no_further_engines", platform=platform_name())
        selector = SelectSelector(
            SelectSelectorConfig(
                options=options,
                multiple=True,
                mode=SelectSelectorMode.LIST,
                translation_key="further_engine",
            )
        )
        result = self.async_show_form(
            step_id="engines",
            data_schema=vol.Schema({vol.Required("engines", default=self._further): selector}),
            errors=self._errors("install_failed"),
            description_placeholders={"reason": Plain(self._reason)},
        )
        self._reason = ""
        return result

    async def async_step_install_engines(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Install their packages."""
        if self._task is None:
            self._task = self._start(self._install_engines())
        if not self._task.done():
            return self._progress("install_engines")
        task, self._task = self._task, None
        try:
            await task
        except EngineInstallError as err:
            return self._failed(err)
        return self.async_show_progress_done(next_step_id="engines_installed")

    async def _install_engines(self) -> None:
        for engine in self._engines:
            await async_install_engine(self.hass, engine)

    async def async_step_engines_installed(
        self, _: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Save the selected engines."""
        self._keep_engines(set(self._engines))
        return self._end("engines_kept")

    # --- Removing --------------------------------------------------------------------------------

    async def async_step_remove(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Select a model to remove that no camera uses."""
        names, errors, told = self._removable, self._errors("not_removed"), {}
        if self._is_answer(user_input):
            self._model = user_input["model"]
            cameras = self._cameras_with(self._model)
            if not cameras:
                return await self.async_step_confirm_removal()
            errors = {"base": "model_in_use"}
            name = names.get(self._model, self._model)
            told = {"model": Plain(name), "cameras": Plain(", ".join(cameras))}
        if not names:
            return self._end("nothing_to_remove")
        first = next(iter(names))
        result = self.async_show_form(
            step_id="remove",
            data_schema=vol.Schema(required("model", select(names), self._model, first)),
            errors=errors,
            description_placeholders={"reason": Plain(self._reason), **told},
            last_step=False,
        )
        self._reason = ""
        return result

    def _cameras_with(self, model: str) -> list[str]:
        """Return the names of the cameras that use a model."""
        pipelines = self._hub.pipelines.values()
        return [item.settings.name for item in pipelines if item.settings.model == model]

    async def async_step_confirm_removal(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for confirmation."""
        name = self._removable.get(self._model, self._model)
        return self.async_show_menu(
            step_id="confirm_removal",
            menu_options=["do_remove", "remove"],
            description_placeholders=placeholders(model=name),
        )

    async def async_step_do_remove(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Remove the model."""
        name = self._removable.get(self._model, self._model)
        try:
            await self._hub.node.async_request(
                Command.REMOVE_MODEL, RemoveModel(model=self._model), Nothing
            )
            await self._hub.node.async_refresh_info()
        except NodeRequestError as err:
            self._reason = str(err)
            return await self.async_step_remove()
        return self._end("model_removed", model=name)
