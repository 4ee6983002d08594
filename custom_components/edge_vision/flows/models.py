"""Models in the UI: add one from the catalogue, bring one's own, remove one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard, override

import voluptuous as vol
from homeassistant.components.file_upload import process_uploaded_file
from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigFlowContext,
    ConfigFlowResult,
    OptionsFlow,
)
from homeassistant.const import PERCENTAGE
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.selector import (
    FileSelector,
    FileSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.util import slugify

from ..api.client import COMPILE_TIMEOUT_S, NodeError, Progress
from ..const import CONF_FURTHER_ENGINES, DATA_DIR
from ..local_node.requirements import (
    FURTHER_NAMES,
    EngineInstallError,
    async_install_engine,
    platform_name,
)
from ..markdown import Markdown, Plain, placeholders
from ..node.edge_vision_node.protocol import (
    BenchmarkProgress,
    CatalogueAnswer,
    Command,
    Inspection,
    InspectModel,
    InstallModel,
    InstallProgress,
    ModelInfo,
    Nothing,
    RemoveModel,
    Task,
    UploadChunk,
    Uploaded,
    redact,
)
from ..runtime.runtime import MEASURE_SECONDS, EdgeVisionHub
from .camera_settings import TASKS
from .forms import FormSection, async_name_misfits, misfits, number, optional, required, unfold
from .model_text import (
    DETAIL_CORRECTIONS,
    SECTION_DETAILS,
    as_form,
    catalogue_line,
    corrections,
    installed_lines,
    report,
    unavailable_lines,
)
from .picture import FlowPicture
from .progress import ProgressFlow

_LOGGER = logging.getLogger(__name__)

# Hundreds of megabytes over a slow line; the node itself gives up on a line that is silent.
_INSTALL_TIMEOUT_S: Final = 3600.0
_PART_BYTES: Final = 4 * 1024 * 1024
_MODEL_FILES: Final = ".onnx,.tflite,.param,.xml,.hef,.zip,.tar,.gz,.tgz"
_FURTHER_FILES: Final = ".bin,.txt,.data,.json,.yaml,.yml,.names,.csv,.pbtxt"
_AGAIN, _SAVE = "again", "save"


class ModelFlow(ProgressFlow[ConfigFlowContext, ConfigFlowResult, str], OptionsFlow):
    """What the gear of the integration opens."""

    _hub: EdgeVisionHub
    _picture: FlowPicture

    def __init__(self) -> None:
        """Start with nothing chosen."""
        self._catalogue = CatalogueAnswer(models=())
        self._model = ""
        self._saved: ModelInfo | None = None
        self._new_engine: str | None = None
        self._task: asyncio.Task[Any] | None = None
        self._back = ""  # the step to which a failure leads
        self._reason = ""
        self._not_asked_yet = False
        self._engines: list[str] = []
        self._files: list[str] = []
        self._source = InspectModel()
        self._found: Inspection | None = None
        self._shown = Markdown()
        self._corrections: dict[str, Any] = {}
        self._before: dict[str, Any] = {}  # the corrections before the form's last answers
        self._confidence = 40.0
        self._save_as: str | None = None
        self._replace = False
        self._typed: dict[str, Any] = {}  # what the form of corrections was left with

    # --- What to do ------------------------------------------------------------------------------

    async def async_step_init(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask what to do."""
        if self.config_entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_not_loaded")
        self._hub = self.config_entry.runtime_data
        self._picture = FlowPicture(self.hass)
        try:
            self._catalogue = await self._hub.async_request(
                Command.CATALOGUE, None, CatalogueAnswer
            )
        except NodeError as err:
            return self._end("node_unavailable", reason=str(err))
        options = ["catalogue", "own", *(["remove"] if self._removable else []), "engines"]
        return self.async_show_menu(step_id="init", menu_options=options)

    @property
    def _removable(self) -> dict[str, str]:
        info = self._hub.info
        if info is None:
            return {}
        return {item.id: item.name for item in info.models if item.id != info.default_model}

    def _end(self, why: str, **told: str) -> ConfigFlowResult:
        return self.async_abort(reason=why, description_placeholders=placeholders(**told))

    def _errors(self, key: str) -> dict[str, str]:
        return {"base": key} if self._reason else {}

    def _failed(self, err: Exception) -> ConfigFlowResult:
        """Go back to where the work was asked for, with what became of it."""
        self._reason = redact(str(err))
        return self._go_on(self._back)

    def _go_on(self, step_id: str) -> ConfigFlowResult:
        """Go on with a step that asks for something.

        Where the work was done at once, the manager hands it the answers of the step before.
        """
        self._not_asked_yet = True
        return self.async_show_progress_done(next_step_id=step_id)

    def _is_answer(self, user_input: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
        """Return whether these are the answers to the form that was shown."""
        asked, self._not_asked_yet = not self._not_asked_yet, False
        return user_input is not None and asked

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.hass.async_create_background_task(work, "Edge Vision model")

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
        selector = _select(
            {item.id: catalogue_line(item, for_cameras=item.task in TASKS) for item in models},
            SelectSelectorMode.LIST,
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
        """Show how far the installation is."""
        if self._task is None:
            self._task = self._start(self._install())
        if not self._task.done():
            return self._progress("install", model=self._model)
        task, self._task = self._task, None
        try:
            await task
        except (NodeError, EngineInstallError) as err:
            return self._failed(err)
        # With a new engine the node starts anew; what it can do is measured later.
        return self._go_on("installed" if self._new_engine else "measure")

    async def _install(self) -> None:
        self._new_engine = engine = self._missing_engine(self._model)
        if engine is not None:
            await async_install_engine(self.hass, engine)

        def listener(step: InstallProgress) -> None:
            self.async_update_progress(step.done_bytes / max(step.total_bytes, 1))

        info = await self._hub.async_request(
            Command.INSTALL_MODEL,
            InstallModel(model=self._model),
            ModelInfo,
            timeout_s=_INSTALL_TIMEOUT_S,
            progress=Progress(InstallProgress, listener),
        )
        self._saved = info
        await self._hub.async_refresh_info()
        if engine is not None:
            self._keep_engines({*self._further, engine})

    @property
    def _further(self) -> list[str]:
        return list(self.config_entry.data.get(CONF_FURTHER_ENGINES, ()))

    def _keep_engines(self, engines: set[str]) -> None:
        """Have the node use these engines from now on: a change sets the entry up anew."""
        data = {**self.config_entry.data, CONF_FURTHER_ENGINES: sorted(engines)}
        self.hass.config_entries.async_update_entry(self.config_entry, data=data)

    def _missing_engine(self, model: str) -> str | None:
        """Return the engine that a model of the catalogue needs, where the node has none for it."""
        (entry,) = [item for item in self._catalogue.models if item.id == model]
        info = self._hub.info
        usable = {item.id for item in info.engines if item.version} if info else set()
        if usable & set(entry.engines):
            return None
        return next((item for item in entry.engines if item in self._installable), None)

    @property
    def _installable(self) -> list[str]:
        """Return the further engines that there are packages of for this device."""
        info = self._hub.info
        unpackaged = {item.id for item in info.engines if not item.packaged} if info else set()
        return [item for item in FURTHER_NAMES if item not in unpackaged]

    async def async_step_measure(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Measure what was added: the figures are shown beside the choices of a camera."""
        if self._task is None:
            self._task = self._start(self._measure())
        if not self._task.done():
            return self._progress("measure", model=self._saved.name if self._saved else "")
        task, self._task = self._task, None
        await task
        return self._go_on("installed")

    async def _measure(self) -> None:
        assert self._saved is not None

        def listener(step: BenchmarkProgress) -> None:
            self.async_update_progress(step.done / max(step.total, 1))

        try:
            await self._hub.async_measure(
                self._saved.id, MEASURE_SECONDS, Progress(BenchmarkProgress, listener)
            )
        except NodeError as err:  # it is there all the same
            _LOGGER.debug("%s was not measured: %s", self._saved.name, err)

    async def async_step_installed(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Say what can be done now."""
        model = self._saved
        assert model is not None  # where the steps lead here
        why = "model_added" if model.task in TASKS else "model_added_apart"
        return self._end(why, model=model.name, id=model.id)

    def _progress(self, step_id: str, **told: str) -> ConfigFlowResult:
        assert self._task is not None
        return self.async_show_progress(
            step_id=step_id,
            progress_action=step_id,
            progress_task=self._task,
            description_placeholders=placeholders(**told),
        )

    # --- One's own -------------------------------------------------------------------------------

    async def async_step_own(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask where the model is."""
        options = ["upload", *(["dropped"] if self._catalogue.dropped else []), "address"]
        return self.async_show_menu(
            step_id="own",
            menu_options=options,
            description_placeholders=placeholders(folder=self.hass.config.path(DATA_DIR, "drop")),
        )

    async def async_step_upload(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Upload it."""
        if self._is_answer(user_input):
            self._files = [user_input[key] for key in ("file", "further") if user_input.get(key)]
            return await self._inspect_from("upload", InspectModel())
        schema = vol.Schema(
            {
                vol.Required("file"): FileSelector(FileSelectorConfig(accept=_MODEL_FILES)),
                vol.Optional("further"): FileSelector(FileSelectorConfig(accept=_FURTHER_FILES)),
            }
        )
        return self._ask_for_file("upload", schema)

    async def async_step_dropped(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Take one that lies in the node's folder."""
        if self._is_answer(user_input):
            return await self._inspect_from("dropped", InspectModel(dropped=user_input["file"]))
        names = {name: name for name in self._catalogue.dropped}
        schema = vol.Schema({vol.Required("file"): _select(names, SelectSelectorMode.LIST)})
        return self._ask_for_file("dropped", schema)

    async def async_step_address(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Fetch it."""
        if self._is_answer(user_input):
            return await self._inspect_from("address", InspectModel(url=user_input["url"]))
        url = TextSelector(TextSelectorConfig(type=TextSelectorType.URL))
        return self._ask_for_file("address", vol.Schema({vol.Required("url"): url}))

    def _ask_for_file(self, step_id: str, schema: vol.Schema) -> ConfigFlowResult:
        result = self.async_show_form(
            step_id=step_id,
            data_schema=schema,
            errors=self._errors("model_unreadable"),
            description_placeholders={"reason": Plain(self._reason)},
            last_step=False,
        )
        self._reason = ""
        return result

    async def _inspect_from(self, step_id: str, source: InspectModel) -> ConfigFlowResult:
        self._back, self._source = step_id, source
        self._found, self._corrections, self._save_as, self._reason = None, {}, None, ""
        self._replace, self._typed = False, {}
        return await self.async_step_inspect()

    async def async_step_inspect(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Wait while the node looks at it and tries it."""
        if self._task is None:
            self._task = self._start(self._inspect())
        if not self._task.done():
            return self._progress("inspect")
        task, self._task = self._task, None
        try:
            self._found = found = await task
        except (NodeError, OSError, ValueError) as err:
            return self._failed(err)
        return self._go_on("measure" if found.saved else "review")

    async def _inspect(self) -> Inspection:
        if self._files:
            upload = None
            for number, file_id in enumerate(self._files):
                upload = await self._upload(file_id, upload, number)
            self._files = []
            self._source = InspectModel(upload=upload)
        source = self._source
        request = InspectModel(
            upload=source.upload,
            dropped=source.dropped,
            url=source.url,
            corrections=self._corrections,
            confidence=self._confidence,
            save_as=self._save_as,
            replace=self._replace,
        )
        found, jpeg = await self._hub.async_request_either(
            Command.INSPECT_MODEL, request, Inspection, timeout_s=COMPILE_TIMEOUT_S
        )
        self._shown = self._picture.show(jpeg) if jpeg else Markdown()
        self._back = "review"  # a correction that is refused is corrected there
        if found.saved is not None:
            self._saved = found.saved
            await self._hub.async_refresh_info()
        return found

    async def _upload(self, file_id: str, upload: str | None, number: int) -> str:
        """Hand a file that the browser has sent on to the node."""
        name, data = await self.hass.async_add_executor_job(_take_upload, self.hass, file_id)
        for offset in range(0, max(len(data), 1), _PART_BYTES):
            answer = await self._hub.async_request(
                Command.UPLOAD,
                UploadChunk(name=name, offset=offset, upload=upload),
                Uploaded,
                picture=data[offset : offset + _PART_BYTES],
            )
            upload = answer.upload
            done = (number + min(1.0, (offset + _PART_BYTES) / max(len(data), 1))) / 2
            self.async_update_progress(min(done, 0.9))
        assert upload is not None  # a part was sent, however empty
        return upload

    async def async_step_review(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show what was found and let the user correct it, try it again, or keep it."""
        found = self._found
        assert found is not None
        proposed = as_form(found)
        typed, self._typed = self._typed, {}
        errors = self._errors("model_refused")
        if self._is_answer(user_input):
            typed, errors = user_input, misfits(user_input)
            try:
                changed = {} if errors else corrections(user_input, proposed, self._corrections)
            except ValueError as err:
                errors = {str(err): "no_numbers"}
            if not errors:
                return await self._take_review(user_input, changed)
        schema = self.add_suggested_values_to_schema(self._review_schema(found, proposed), typed)
        result = self.async_show_form(
            step_id="review",
            data_schema=unfold(schema, errors),
            errors=errors,
            description_placeholders=placeholders(
                report=report(found),
                picture=self._shown,
                reason=Plain(self._reason),
                misfits=await async_name_misfits(self.hass, "options.step.review", typed),
            ),
            last_step=False,
        )
        self._reason = ""
        return result

    async def _take_review(self, form: dict[str, Any], changed: dict[str, Any]) -> ConfigFlowResult:
        """Try the model with what was corrected, and keep it if that was asked for."""
        self._before, self._corrections = self._corrections, changed
        self._confidence = float(form["confidence"])
        save = form["then"] == _SAVE
        self._save_as = self._free_id(form.get("name", "")) if save else None
        self._reason, self._replace = "", False
        if self._save_as in self._own:
            self._typed = form
            return await self.async_step_taken()
        return await self.async_step_inspect()

    def _review_schema(self, found: Inspection, values: dict[str, Any]) -> vol.Schema:
        def text(key: str, *, multiline: bool = False) -> dict[vol.Optional, TextSelector]:
            selector = TextSelector(TextSelectorConfig(multiline=multiline))
            return optional(key, selector, values.get(key))

        def choice(
            key: str, options: list[str], default: str, translation_key: str | None = None
        ) -> dict[vol.Required, Any]:
            config = SelectSelectorConfig(
                options=[SelectOptionDict(value=item, label=item) for item in options],
                mode=SelectSelectorMode.DROPDOWN,
            )
            if translation_key is not None:
                config["translation_key"] = translation_key
            return required(key, SelectSelector(config), values.get(key), default)

        heads = list(found.heads)
        then = SelectSelector(
            SelectSelectorConfig(
                options=[_AGAIN, _SAVE], mode=SelectSelectorMode.LIST, translation_key="then"
            )
        )
        usable = found.proposal is not None and found.problem is None
        return vol.Schema(
            {
                **text("name"),
                **choice("task", [task.value for task in Task], Task.DETECTION, "task"),
                **choice("head", heads, heads[0] if heads else ""),
                **choice("colour", ["rgb", "bgr"], "rgb", "colour"),
                **choice("resize", ["stretch", "letterbox"], "stretch", "resize"),
                **text("mean"),
                **text("scale"),
                **text("labels", multiline=True),
                vol.Required(SECTION_DETAILS): FormSection(
                    _details(values.get(SECTION_DETAILS, {})), unfolded=self._details_corrected
                ),
                vol.Required("confidence", default=self._confidence): number(
                    1, 99, unit=PERCENTAGE, mode=NumberSelectorMode.SLIDER
                ),
                vol.Required("then", default=_SAVE if usable else _AGAIN): then,
            }
        )

    @property
    def _details_corrected(self) -> bool:
        """Return whether something was corrected that is in the section for seldom things."""
        return any(key in self._corrections for key in DETAIL_CORRECTIONS)

    @property
    def _own(self) -> dict[str, str]:
        """Return the models of the user's own, id → name."""
        others = {item.id for item in self._catalogue.models}
        return {key: name for key, name in self._removable.items() if key not in others}

    def _free_id(self, name: str) -> str:
        """Return an id for a name that no model has which is not the user's own."""
        wanted = slugify(name)[:60] or "model"
        info = self._hub.info
        taken = {item.id for item in self._catalogue.models}
        taken |= {info.default_model} if info else set()
        return f"{wanted}_2" if wanted in taken else wanted

    async def async_step_taken(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask whether the model of that name is to be replaced."""
        assert self._save_as is not None
        return self.async_show_menu(
            step_id="taken",
            menu_options=["replace", "rename"],
            description_placeholders=placeholders(
                model=self._own.get(self._save_as, self._save_as)
            ),
        )

    async def async_step_replace(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Keep it in the other one's place."""
        self._replace = True
        return await self.async_step_inspect()

    async def async_step_rename(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Go back to the form, where the name is; nothing was done with its answers."""
        self._corrections = self._before
        return await self.async_step_review()

    # --- Engines ---------------------------------------------------------------------------------

    async def async_step_engines(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Choose which engines there are beside the node's own."""
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
        """Keep the choice."""
        self._keep_engines(set(self._engines))
        return self._end("engines_kept")

    # --- Removing --------------------------------------------------------------------------------

    async def async_step_remove(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose a model to remove, of those that no camera uses."""
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
            data_schema=vol.Schema(required("model", _select(names), self._model, first)),
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
        """Ask whether it is meant."""
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
            await self._hub.async_request(
                Command.REMOVE_MODEL, RemoveModel(model=self._model), Nothing
            )
            await self._hub.async_refresh_info()
        except NodeError as err:
            self._reason = str(err)
            return await self.async_step_remove()
        return self._end("model_removed", model=name)

    @callback
    @override
    def async_remove(self) -> None:
        """Leave no picture behind. The manager has cancelled the task."""
        super().async_remove()
        if hasattr(self, "_picture"):
            self._picture.remove()


def _details(values: Mapping[str, Any]) -> dict[Any, Any]:
    """Return the fields of what is seldom wrong: the picture's size, the family's parameters."""
    layout = SelectSelector(
        SelectSelectorConfig(
            options=["nchw", "nhwc"], mode=SelectSelectorMode.DROPDOWN, translation_key="layout"
        )
    )
    return {
        **optional("width", number(8, 4096), values.get("width")),
        **optional("height", number(8, 4096), values.get("height")),
        **optional("layout", layout, values.get("layout")),
        **optional("classes", number(1, 50_000), values.get("classes")),
        **optional("iou", number(0.05, 0.95, 0.01), values.get("iou")),
        **optional("keypoints", TextSelector(), values.get("keypoints")),
    }


def _take_upload(hass: HomeAssistant, file_id: str) -> tuple[str, bytes]:
    """Return name and content of a file that the browser has sent, which is deleted."""
    with process_uploaded_file(hass, file_id) as path:
        return Path(path).name, Path(path).read_bytes()


def _select(
    options: dict[str, str], mode: SelectSelectorMode = SelectSelectorMode.DROPDOWN
) -> SelectSelector:
    return SelectSelector(
        SelectSelectorConfig(
            options=[SelectOptionDict(value=key, label=label) for key, label in options.items()],
            mode=mode,
        )
    )
