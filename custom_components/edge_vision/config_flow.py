"""Set up the local node in the UI: select an engine, install it, and test it.

Nothing is saved before the self-test with the engine has passed. After a failure, the form is shown
again with the problem and what to do.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, override

import voluptuous as vol
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowContext,
    ConfigFlowResult,
    ConfigSubentryFlow,
    FlowType,
    SubentryFlowContext,
)
from homeassistant.const import Platform
from homeassistant.core import callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from .const import (
    AUTO,
    CONF_ACCELERATOR,
    CONF_ENGINE,
    CONF_NODE_TYPE,
    DATA_DIR,
    DOMAIN,
    NODE_TYPE_LOCAL,
    SUBENTRY_PIPELINE,
)
from .flows.camera_settings import PipelineFlow
from .flows.models import ModelFlow
from .flows.progress import ProgressFlow
from .local_node.engine_test import Trial, TrialError, async_benchmark, async_try_engine, in_words
from .local_node.requirements import (
    ENGINE_NAMES,
    EngineInstallError,
    async_install_engine,
    default_engine,
    engine_name,
    platform_name,
)
from .markdown import escaped, placeholders
from .node.edge_vision_node.protocol import Benchmark, BenchmarkProgress, BenchmarkRow
from .runtime.benchmark_text import accelerators, better_place, listed

_LOGGER = logging.getLogger(__name__)

TITLE: Final = "This device"
FIELD_PLACE: Final = "place"
_OTHER, _THIS = "other", "this"
_WORKING_STEPS = ("install", "test", "benchmark")


class EdgeVisionConfigFlow(
    ProgressFlow[ConfigFlowContext, ConfigFlowResult, str], ConfigFlow, domain=DOMAIN
):
    """Add the local node, or change its engine."""

    VERSION = 1

    def __init__(self) -> None:
        """Initialize the flow."""
        self._choice = AUTO
        self._accelerator: str | None = None  # None: the preferred one of the engine
        self._engines: list[str] = []  # engines to test; the first one is being tested
        self._task: asyncio.Task[Any] | None = None
        self._failure: TrialError | None = None
        self._trial: Trial | None = None
        self._benchmark: Benchmark | None = None
        self._made_data_dir = False
        self._not_asked_yet = False
        self._confirming = False

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry
    ) -> dict[str, type[ConfigSubentryFlow]]:
        """Return the subentry types of a node."""
        return {SUBENTRY_PIPELINE: PipelineFlow}

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> ModelFlow:
        """Return the options flow for the models of the node."""
        return ModelFlow()

    # --- Choosing ------------------------------------------------------------------------------

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show the form for the engine."""
        # Two nodes cannot share a data folder. A flow left open at another step has not started
        # anything, and must not block new ones until the next restart.
        if any(flow.get("step_id") in _WORKING_STEPS for flow in self._async_in_progress()):
            return self.async_abort(reason="already_in_progress")
        return await self._choose("user", user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change the engine."""
        if user_input is None and self._failure is None:
            self._choice = self._get_reconfigure_entry().data[CONF_ENGINE]
        return await self._choose("reconfigure", user_input)

    async def _choose(self, step_id: str, user_input: dict[str, Any] | None) -> ConfigFlowResult:
        # If the work finished immediately, the flow manager passes the same input again.
        asked, self._not_asked_yet = not self._not_asked_yet, False
        if user_input is not None and asked:
            self._choice = user_input[CONF_ENGINE]
            best = default_engine()
            # Automatic uses the first engine that really works.
            others = [engine for engine in ENGINE_NAMES if engine != best]
            self._engines = [best, *others] if self._choice == AUTO else [self._choice]
            self._failure = self._accelerator = self._benchmark = None
            return await self.async_step_install()
        options = dict.fromkeys([AUTO, *ENGINE_NAMES, self._choice])
        selector = SelectSelector(
            SelectSelectorConfig(
                options=list(options),
                mode=SelectSelectorMode.LIST,
                translation_key=CONF_ENGINE,
            )
        )
        return self.async_show_form(
            step_id=step_id,
            data_schema=vol.Schema({vol.Required(CONF_ENGINE, default=self._choice): selector}),
            errors={"base": self._failure.key} if self._failure else {},
            description_placeholders={
                **placeholders(
                    automatic=engine_name(default_engine()), this_platform=platform_name()
                ),
                # An error is plain text.
                **(self._failure.placeholders if self._failure else {}),
            },
        )

    # --- Working -------------------------------------------------------------------------------

    async def async_step_install(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Install the package of the engine."""
        engine = self._engines[0]
        if self._task is None:
            self._task = self._start(async_install_engine(self.hass, engine))
        if not self._task.done():
            return self._progress("install", self._task)
        task, self._task = self._task, None
        try:
            await task
        except EngineInstallError as err:
            return self._failed(TrialError.not_installed(err))
        return self.async_show_progress_done(next_step_id="test")

    async def async_step_test(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Run the self-test with the engine."""
        if self._task is None:
            self._task = self._start(self._test(self._engines[0]))
        if not self._task.done():
            return self._progress("test", self._task)
        task, self._task = self._task, None
        try:
            self._trial = await task
        except TrialError as err:
            return self._failed(err)
        taken = self._accelerator is not None
        return self.async_show_progress_done(next_step_id="keep" if taken else "benchmark")

    async def async_step_benchmark(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Measure all available hardware to show the results."""
        if self._task is None:
            self._task = self._start(self._in_data_dir(self._measure))
        if not self._task.done():
            return self._progress("benchmark", self._task)
        task, self._task = self._task, None
        self._benchmark = await task
        return self.async_show_progress_done(next_step_id="confirm")

    async def _measure(self, data_dir: Path) -> Benchmark | None:
        return await async_benchmark(self.hass, data_dir, self._show_progress)

    @callback
    def _show_progress(self, progress: BenchmarkProgress) -> None:
        self.async_update_progress(progress.done / max(progress.total, 1))

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        # A background task, so that Home Assistant cancels it when it stops.
        return self.hass.async_create_background_task(work, "Edge Vision set-up")

    def _progress(self, step_id: str, task: asyncio.Task[Any]) -> ConfigFlowResult:
        return self.async_show_progress(
            step_id=step_id,
            progress_action=step_id,
            progress_task=task,
            description_placeholders=placeholders(engine=engine_name(self._engines[0])),
        )

    async def _test(self, engine: str) -> Trial:
        return await self._in_data_dir(
            lambda data_dir: async_try_engine(self.hass, engine, data_dir, self._accelerator)
        )

    async def _in_data_dir[T](self, work: Callable[[Path], Awaitable[T]]) -> T:
        """Use the data folder of the new node, or another one while it is in use."""
        if self.source != SOURCE_RECONFIGURE:
            existed = await self.hass.async_add_executor_job(self._data_dir.exists)
            self._made_data_dir = self._made_data_dir or not existed
            return await work(self._data_dir)
        # A running node does not share its data folder.
        folder = await self.hass.async_add_executor_job(tempfile.mkdtemp, None, "edge_vision_")
        try:
            return await work(Path(folder))
        finally:
            await self.hass.async_add_executor_job(shutil.rmtree, folder, True)

    def _failed(self, err: TrialError) -> ConfigFlowResult:
        """Continue with the next engine, or show the form with the error of the first one."""
        _LOGGER.warning("%s cannot be used: %s", engine_name(self._engines.pop(0)), err)
        self._failure = self._failure or err
        if self._engines:
            return self.async_show_progress_done(next_step_id="install")
        self._not_asked_yet, self._confirming = True, False
        step_id = "reconfigure" if self.source == SOURCE_RECONFIGURE else "user"
        return self.async_show_progress_done(next_step_id=step_id)

    # --- Showing and keeping -------------------------------------------------------------------

    @property
    def _better(self) -> tuple[BenchmarkRow, str] | None:
        """Return a place where the model runs better than where it was tested, and why."""
        assert self._trial is not None
        test = self._trial.test
        return better_place(self._benchmark, test.engine, test.accelerator)

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the result of the test and the recommendation, and save the selection."""
        better = self._better
        if user_input is not None and self._confirming:
            if better is None or user_input[FIELD_PLACE] == _THIS:
                return await self._keep()
            # The benchmark does not check the results of the model.
            self._engines, self._accelerator = [better[0].engine], better[0].accelerator
            return await self.async_step_install()
        self._confirming = True
        fields: dict[Any, Any] = {}
        if better is not None:
            row = better[0]
            options = {
                _OTHER: f"{row.engine_name}, {row.accelerator_name}",
                _THIS: self._place_name,
            }
            fields[vol.Required(FIELD_PLACE, default=_OTHER)] = SelectSelector(
                SelectSelectorConfig(
                    options=[
                        SelectOptionDict(value=value, label=label)
                        for value, label in options.items()
                    ],
                    mode=SelectSelectorMode.LIST,
                )
            )
        return self.async_show_form(
            step_id="confirm",
            data_schema=vol.Schema(fields),
            description_placeholders={
                **self._figures(),
                "advice": escaped(better[1] if better else "Nothing here is noticeably faster."),
            },
            last_step=True,
        )

    async def async_step_keep(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Save the recommended place, which has passed the test, too."""
        return await self._keep()

    @property
    def _place_name(self) -> str:
        """Return the place of the test."""
        assert self._trial is not None
        info, test = self._trial.info, self._trial.test
        engine = next(engine for engine in info.engines if engine.id == test.engine)
        places = {place.id: place.name for place in engine.accelerators}
        return f"{engine.name}, {places.get(test.accelerator, test.accelerator)}"

    def _figures(self) -> dict[str, str]:
        """Return the placeholders for the results of the test and the benchmark."""
        assert self._trial is not None
        info, test = self._trial.info, self._trial.test
        models = {model.id: model.name for model in info.models}
        return placeholders(
            place=f"{self._place_name} ({test.engine_version})",
            processor=info.hardware.cpu,
            model=models.get(test.model, test.model),
            inference_ms=f"{test.inference_ms:.0f}",
            accelerators=accelerators(info.devices),
            benchmark=listed(self._benchmark) if self._benchmark else "It could not be measured.",
            found=in_words(test.objects),
        )

    async def _keep(self) -> ConfigFlowResult:
        assert self._trial is not None
        kept = {
            CONF_ENGINE: self._trial.test.engine,
            CONF_ACCELERATOR: self._accelerator or AUTO,
        }
        if self.source == SOURCE_RECONFIGURE:
            entry = self._get_reconfigure_entry()
            if entry.update_listeners:
                return self.async_update_and_abort(entry, data_updates=kept)
            # It is not running, possibly because its engine did not work.
            return self.async_update_reload_and_abort(entry, data_updates=kept)
        await self.async_set_unique_id(self._trial.info.node_id, raise_on_progress=False)
        return self.async_create_entry(title=TITLE, data={CONF_NODE_TYPE: NODE_TYPE_LOCAL, **kept})

    @override
    async def async_on_create_entry(self, result: ConfigFlowResult) -> ConfigFlowResult:
        """Continue with the first camera, because a node without one does nothing."""
        if not self.hass.states.async_entity_ids(Platform.CAMERA):
            return result
        flow = await self.hass.config_entries.subentries.async_init(
            (result["result"].entry_id, SUBENTRY_PIPELINE),
            context=SubentryFlowContext(source=SOURCE_USER),
        )
        if flow["type"] is FlowResultType.FORM:  # it aborts immediately if the node is gone
            result["next_flow"] = (FlowType.CONFIG_SUBENTRIES_FLOW, flow["flow_id"])
        return result

    # --- The end -------------------------------------------------------------------------------

    @property
    def _data_dir(self) -> Path:
        return Path(self.hass.config.path(DATA_DIR))

    @callback
    @override
    def async_remove(self) -> None:
        """Clean up. The flow manager has canceled the task, which stops the node."""
        super().async_remove()
        in_use = self._async_current_entries() or self._async_in_progress()
        if self._made_data_dir and not in_use:
            self.hass.async_create_task(self._remove_data(self._task))

    async def _remove_data(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            await asyncio.wait([task])
        await self.hass.async_add_executor_job(shutil.rmtree, self._data_dir, True)
