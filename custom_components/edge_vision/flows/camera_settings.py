"""Add a camera to a node in the UI, or change its settings.

There is one form, and before it the selection of the model if the node has more than one, because
the model determines the labels. The settings are tested on a picture of the camera before they are
saved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, override
from urllib.parse import urlsplit

import voluptuous as vol
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    SubentryFlowContext,
    SubentryFlowResult,
)
from homeassistant.const import Platform
from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.selector import (
    SelectSelectorMode,
)

from ..api.client import COMPILE_TIMEOUT_S, NodeCommandError, NodeDisconnected, NodeRequestError
from ..const import (
    CONF_ACCELERATOR,
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_ENGINE,
    CONF_FPS,
    CONF_LABELS,
    CONF_MODEL,
    CONF_SCAN_INTERVAL,
    CONF_SOURCE,
    CONF_VIDEO_ADDRESS,
    DOMAIN,
    PictureSource,
)
from ..markdown import Plain, placeholders
from ..node.edge_vision_node.protocol import (
    TASKS_WITH_OBJECTS,
    Command,
    Detected,
    DetectRequest,
    ErrorCode,
    ModelInfo,
    NodeInfo,
    redact,
)
from ..runtime.area_renames import async_rename_areas
from ..runtime.benchmark_text import figure_of
from ..runtime.damaged_settings import damage, usable
from ..runtime.settings import chosen, may_be_live
from ..runtime.stream_addresses import async_get_stream_address
from .camera_form import (
    SECTION_DETECTION,
    SECTION_SCHEDULE,
    SECTION_VIDEO,
    TASKS,
    CameraForm,
    sections_to_mend,
)
from .changes import merge_changes
from .forms import misfits, select, unfold
from .limits_and_motion import DetailFlow
from .model_text import task_words
from .preview import address_error, async_try_to_see
from .progress import ProgressFlow

# A test that takes longer shows its progress.
_SHOW_PROGRESS_AFTER_S = 5.0


class _CannotSave(Exception):
    """The settings cannot work; the form shows `errors` and `reason`."""

    def __init__(self, errors: dict[str, str], reason: str = "") -> None:
        super().__init__(reason)
        self.errors = errors
        self.reason = reason


class _NoPicture(Exception):
    """The camera gives no usable picture at the moment."""


class _SinglePictures(Exception):
    """The address for live video returns a single picture for each request."""


class PipelineFlow(
    ProgressFlow[SubentryFlowContext, SubentryFlowResult, tuple[str, str]], DetailFlow
):
    """Add or change a pipeline."""

    _info: NodeInfo
    _model: ModelInfo

    def __init__(self) -> None:
        """Start with the defaults."""
        self._title: str | None = None
        self._data: dict[str, Any] = {}
        # The data at the start of a change; other changes in the meantime are kept.
        self._before: tuple[str | None, dict[str, Any]] = (None, {})
        self._renames = {}
        self._reason = ""
        self._trial: asyncio.Task[None] | None = None

    # --- Where it begins -----------------------------------------------------------------------

    async def async_step_user(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Add a camera."""
        return await self._begin()

    async def async_step_reconfigure(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Change the settings of a camera."""
        subentry = self._get_reconfigure_subentry()
        self._title = subentry.title
        self._data = usable(subentry.data)
        self._before = self._title, self._data
        if (aborted := self._find_node()) is not None:
            return aborted
        options = ["change_settings", "areas"]
        if damage(subentry.data):
            options = ["change_settings"]  # damaged settings are selected again there
        elif self._data[CONF_LABELS]:
            options.append("objects")
        if may_be_live(self._data) and not damage(subentry.data):
            options.append("motion")
        return self.async_show_menu(step_id="reconfigure", menu_options=options)

    async def async_step_change_settings(
        self, _: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change all but the details."""
        return await self._choose()

    async def _begin(self) -> SubentryFlowResult:
        return self._find_node() or await self._choose()

    def _find_node(self) -> SubentryFlowResult | None:
        """Get the node, or abort with the reason if there is none."""
        entry = self._get_entry()
        if entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_not_loaded")
        self._begun_with = entry.runtime_data
        if not self._hub.node.connected or self._hub.node.info is None:
            return self.async_abort(reason="node_unavailable")
        self._info = self._hub.node.info
        return None

    async def _choose(self) -> SubentryFlowResult:
        if len(self._models) > 1:
            return await self.async_step_model()
        (self._model,) = self._models.values()
        return await self.async_step_settings()

    @property
    def _models(self) -> dict[str, ModelInfo]:
        """Return the models with entities whose detector is installed, if they need one."""
        held = {model.id for model in self._info.models}
        return {
            model.id: model
            for model in self._info.models
            if model.task in TASKS and model.detector in (None, *held)
        }

    async def async_step_model(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Select the model, which determines all other options."""
        models = self._models
        if user_input is not None:
            self._model = models[user_input[CONF_MODEL]]
            return await self.async_step_settings()
        chosen = self._data.get(CONF_MODEL)
        selector = select(
            {model.id: self._described(model) for model in models.values()},
            mode=SelectSelectorMode.LIST,
        )
        default = chosen if chosen in models else self._info.default_model
        return self.async_show_form(
            step_id="model",
            data_schema=vol.Schema({vol.Required(CONF_MODEL, default=default): selector}),
            last_step=False,
        )

    def _described(self, model: ModelInfo) -> str:
        """Return the name of a model with its benchmark result."""
        engine = self._hub.node.engine if self._hub.node.engine in model.engines else None
        figure = figure_of(self._info.benchmarks, model.id, engine)
        size = f"{model.width}x{model.height}"
        details = [task_words(model.task), size, *([figure] if figure else [])]
        return f"{model.name} ({', '.join(details)})"

    # --- The form --------------------------------------------------------------------------------

    async def async_step_settings(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Show the form for all settings and test them."""
        if user_input is not None and (errors := misfits(user_input)):
            named = await self._misfits("settings", user_input)
            return self._show_settings(errors, "", user_input, named)
        if user_input is not None:
            self._title, self._data = self._form.read(user_input)
            return await self._try_to_save()
        return self._show_settings({}, "")

    async def _try_to_save(self) -> SubentryFlowResult:
        """Test the settings, and save them if they work."""
        self._trial = self.hass.async_create_background_task(self._try(), "Edge Vision trial")
        await asyncio.wait([self._trial], timeout=_SHOW_PROGRESS_AFTER_S)
        if not self._trial.done():
            return await self.async_step_trial()
        return await self.async_step_tried()

    async def async_step_trial(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Wait for the test: the model may have to be compiled first."""
        assert self._trial is not None
        if self._trial.done():
            return self.async_show_progress_done(next_step_id="tried")
        return self.async_show_progress(
            step_id="trial", progress_action="trial", progress_task=self._trial
        )

    async def async_step_tried(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Save working settings, and show what is wrong otherwise."""
        assert self._trial is not None
        try:
            await self._trial
        except _CannotSave as err:
            return self._show_settings(err.errors, err.reason)
        except _NoPicture as err:
            self._reason = str(err)
            return await self.async_step_no_picture()
        except _SinglePictures:
            return await self.async_step_single_pictures()
        return await self.async_step_save()

    @callback
    @override
    def async_remove(self) -> None:
        """Cancel the test and remove everything else when the flow ends."""
        super().async_remove()
        if self._trial is not None:
            self._trial.cancel()

    @property
    def _form(self) -> CameraForm:
        return CameraForm(
            data=self._data,
            title=self._title,
            model=self._model,
            info=self._info,
            place_name=self._hub.node.place_name,
            excluded=self._views(),
        )

    def _views(self) -> list[str]:
        """Return the camera entities of Edge Vision, which cannot be selected."""
        return [
            entity.entity_id
            for entity in er.async_get(self.hass).entities.values()
            if entity.platform == DOMAIN and entity.domain == Platform.CAMERA
        ]

    def _show_settings(
        self,
        errors: dict[str, str],
        reason: str,
        answers: Mapping[str, Any] | None = None,
        named: str = "",
    ) -> SubentryFlowResult:
        """Show the form with rejected input; `named` are the values that do not fit."""
        schema = self.add_suggested_values_to_schema(self._form.schema(), answers)
        return self.async_show_form(
            step_id="settings",
            data_schema=unfold(schema, sections_to_mend(errors)),
            errors=errors,
            description_placeholders=placeholders(
                model=self._model.name, reason=Plain(reason), misfits=Plain(named)
            ),
            last_step=True,
        )

    # --- Trying it -------------------------------------------------------------------------------

    async def _try(self) -> None:
        """Analyze one picture as the pipeline will do. Raises `_CannotSave` or `_NoPicture`."""
        data, camera = self._data, self._data.get(CONF_CAMERA)
        await self._check(camera, data.get(CONF_VIDEO_ADDRESS))
        try:
            seen = await async_try_to_see(self._hub, data)
        except NodeDisconnected as err:
            raise _CannotSave({"base": "node_gone"}, str(err)) from err
        except (HomeAssistantError, NodeRequestError) as err:
            raise _NoPicture(redact(str(err))) from err
        engine, accelerator = self._hub.node.place_for(
            data[CONF_MODEL], chosen(data, CONF_ENGINE), chosen(data, CONF_ACCELERATOR)
        )
        masks = await self._privacy_masks()
        request = DetectRequest(
            model=data[CONF_MODEL],
            engine=engine,
            accelerator=accelerator,
            labels=tuple(data[CONF_LABELS]),
            confidence=data[CONF_CONFIDENCE],
            privacy_masks=masks.polygons,
            mask_aspects=masks.aspects,
        )
        try:
            await self._hub.node.async_request(
                Command.DETECT, request, Detected, picture=seen.picture, timeout_s=COMPILE_TIMEOUT_S
            )
        except NodeCommandError as err:
            if err.code == ErrorCode.BAD_PICTURE:
                raise _NoPicture(err.message) from err
            raise _CannotSave({"base": "cannot_run"}, err.message) from err
        except NodeRequestError as err:
            raise _CannotSave({"base": "node_gone"}, str(err)) from err
        if seen.single_pictures and not self._watches_as_before:
            raise _SinglePictures

    @property
    def _watches_as_before(self) -> bool:
        """Return whether the source differs from that of the subentry being changed."""
        keys = (CONF_CAMERA, CONF_VIDEO_ADDRESS)
        _, before = self._before
        return bool(before) and all(before.get(key) == self._data.get(key) for key in keys)

    async def _check(self, camera: str | None, address: str | None) -> None:
        """Check settings that do not depend on the picture. Raises `_CannotSave`."""
        data = self._data
        if camera is None and address is None:
            raise _CannotSave({"base": "no_camera"})
        if camera is None and not may_be_live(data):
            raise _CannotSave({SECTION_SCHEDULE: "stills_need_a_camera"})
        if camera is not None and self.hass.states.get(camera) is None:
            raise _CannotSave({CONF_CAMERA: "camera_not_found"})
        # For models that classify the whole frame, the labels are optional.
        if not data[CONF_LABELS] and self._model.task in TASKS_WITH_OBJECTS:
            raise _CannotSave({SECTION_DETECTION: "no_labels"})
        if address is not None:
            if (error := address_error(self.hass, address)) is not None:
                raise _CannotSave({SECTION_VIDEO: error})
        elif (
            camera is not None
            and data[CONF_SOURCE] == PictureSource.LIVE
            and await async_get_stream_address(self.hass, camera) is None
        ):
            raise _CannotSave({SECTION_SCHEDULE: "no_stream"})

    async def async_step_no_picture(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show what is wrong with the camera, which may be off intentionally."""
        return self.async_show_menu(
            step_id="no_picture",
            menu_options=["settings", "save"],
            description_placeholders=placeholders(
                camera=self._camera_name(),
                reason=self._reason,
                title=Plain(self._camera_name()),
            ),
        )

    async def async_step_single_pictures(
        self, _: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer stills if there is no video and there is a camera in Home Assistant."""
        stills = ["use_stills"] if self._data.get(CONF_CAMERA) else []
        return self.async_show_menu(
            step_id="single_pictures",
            menu_options=[*stills, "save", "settings"],
            description_placeholders=placeholders(
                camera=self._camera_name(),
                seconds=f"{self._data[CONF_SCAN_INTERVAL]}",
                fps=f"{self._data[CONF_FPS]}",
            ),
        )

    async def async_step_use_stills(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Use the stills of the camera instead, if they can be read."""
        self._data = {**self._data, CONF_SOURCE: PictureSource.STILLS}
        self._data.pop(CONF_VIDEO_ADDRESS, None)
        return await self._try_to_save()

    # --- Keeping it ------------------------------------------------------------------------------

    async def async_step_save(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Save the settings."""
        title = self._title or self._camera_name()
        if self.source == SOURCE_RECONFIGURE:
            entry, subentry = self._get_entry(), self._get_reconfigure_subentry()
            async_rename_areas(self.hass, entry.entry_id, subentry.subentry_id, self._renames)
            old_title, old = self._before
            return self.async_update_and_abort(
                entry,
                subentry,
                title=subentry.title if title == old_title else title,
                data=merge_changes(usable(subentry.data), old, self._data),
            )
        return self.async_create_entry(title=title, data=self._data)

    def _camera_name(self) -> str:
        if (camera := self._data.get(CONF_CAMERA)) is None:
            # An address may contain or be a secret, but titles are shown everywhere.
            address = self._data[CONF_VIDEO_ADDRESS]
            return urlsplit(address).hostname or PurePath(address).name
        state = self.hass.states.get(camera)
        return state.name if state else str(camera)
