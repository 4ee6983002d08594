"""Add a camera to a node in the UI, or change what is done with it.

One form, and before it the choice of the model where the node holds more than one: the labels to
choose from are the model's. What was chosen is tried on a picture of the camera before it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, override
from urllib.parse import urlsplit

import voluptuous as vol
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    SubentryFlowResult,
)
from homeassistant.const import CONF_NAME, PERCENTAGE, Platform, UnitOfTime
from homeassistant.core import callback
from homeassistant.data_entry_flow import section
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.selector import (
    BooleanSelector,
    EntitySelector,
    EntitySelectorConfig,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
)
from homeassistant.util import slugify

from .area_flow import KINDS
from .client import COMPILE_TIMEOUT_S, NodeCommandError, NodeDisconnected, NodeError
from .const import (
    AUTO,
    CONF_ACCELERATOR,
    CONF_ALLOW_FALLBACK,
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_COOLDOWN,
    CONF_ENGINE,
    CONF_FPS,
    CONF_HARDWARE_DECODING,
    CONF_KEY_FRAMES_ONLY,
    CONF_LABELS,
    CONF_LIMITS,
    CONF_LOOK,
    CONF_MODEL,
    CONF_MOTION,
    CONF_ONLY_ON_REQUEST,
    CONF_PATTERN,
    CONF_SCAN_INTERVAL,
    CONF_SENSITIVITY,
    CONF_SOURCE,
    CONF_TRANSPORT,
    CONF_VIDEO_ADDRESS,
    DEFAULT_CONFIDENCE,
    DEFAULT_FPS,
    DEFAULT_SCAN_INTERVAL,
    DOMAIN,
    MAX_CONFIDENCE,
    MAX_COOLDOWN,
    MAX_FPS,
    MAX_SCAN_INTERVAL,
    MIN_CONFIDENCE,
    MIN_FPS,
    MIN_SCAN_INTERVAL,
    PATTERN_FULL_EDGE,
    PictureSource,
)
from .detail_flow import DetailFlow
from .figures import figure_of
from .node.edge_vision_node.protocol import (
    TASKS_WITH_OBJECTS,
    Command,
    Detected,
    DetectRequest,
    ErrorCode,
    ModelInfo,
    NodeInfo,
    Sensitivity,
    Task,
    Thoroughness,
)
from .node_log import redact
from .renames import async_rename_areas
from .seeing import address_error, async_see
from .settings import chosen, may_be_live
from .stream import async_get_stream_address, lower_scheme

SECTION_DETECTION: Final = "detection"
SECTION_SCHEDULE: Final = "schedule"
SECTION_VIDEO: Final = "video"
SECTION_ADVANCED: Final = "advanced"
TRANSPORTS: Final = (AUTO, "tcp", "udp")
# One field for engine and accelerator: not every one of these goes with every one of those.
FIELD_PLACE: Final = "place"
_IN: Final = "/"

DEFAULT_LABELS: Final = ("person", "cat", "dog", "car")
# What entities can be made from. The node can do more, for models that work with others.
TASKS: Final = (Task.DETECTION, Task.CLASSIFICATION, Task.POSE, Task.FACE)
# A trial that takes longer shows that it is under way.
_SHOW_PROGRESS_AFTER_S = 5.0


class _CannotSave(Exception):
    """What was chosen cannot work; `errors` and `reason` say why in the form."""

    def __init__(self, errors: dict[str, str], reason: str = "") -> None:
        super().__init__(reason)
        self.errors = errors
        self.reason = reason


class _NoPicture(Exception):
    """The camera gives no usable picture at the moment."""


class PipelineFlow(DetailFlow):
    """Add or change a pipeline."""

    _info: NodeInfo
    _model: ModelInfo

    def __init__(self) -> None:
        """Start with the defaults."""
        self._title: str | None = None
        self._data: dict[str, Any] = {}
        # What a change began with: what else is changed meanwhile stays.
        self._before: tuple[str | None, dict[str, Any]] = (None, {})
        self._renames = {}
        self._reason = ""
        self._trial: asyncio.Task[None] | None = None

    # --- Where it begins -----------------------------------------------------------------------

    async def async_step_user(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Add a camera."""
        return await self._begin()

    async def async_step_reconfigure(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Change what is done with a camera."""
        subentry = self._get_reconfigure_subentry()
        self._title = subentry.title
        self._data = dict(subentry.data)
        self._before = self._title, self._data
        if (aborted := self._find_node()) is not None:
            return aborted
        options = ["change_settings", "areas"]
        if self._data[CONF_LABELS]:
            options.append("objects")
        if may_be_live(self._data):
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
        """Take the node, or say why there is none."""
        entry = self._get_entry()
        if entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_not_loaded")
        self._begun_with = entry.runtime_data
        if not self._hub.connected or self._hub.info is None:
            return self.async_abort(reason="node_unavailable")
        self._info = self._hub.info
        return None

    async def _choose(self) -> SubentryFlowResult:
        if len(self._models) > 1:
            return await self.async_step_model()
        (self._model,) = self._models.values()
        return await self.async_step_settings()

    @property
    def _models(self) -> dict[str, ModelInfo]:
        """Return those that entities are made of, and that have what they look at."""
        held = {model.id for model in self._info.models}
        return {
            model.id: model
            for model in self._info.models
            if model.task in TASKS and model.detector in (None, *held)
        }

    async def async_step_model(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Choose the model; everything else depends on it."""
        models = self._models
        if user_input is not None:
            self._model = models[user_input[CONF_MODEL]]
            return await self.async_step_settings()
        chosen = self._data.get(CONF_MODEL)
        selector = _select(
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
        """Return a model in words, with what was measured of it."""
        engine = self._hub.engine if self._hub.engine in model.engines else None
        figure = figure_of(self._info.benchmarks, model.id, engine)
        details = [model.task, f"{model.width}x{model.height}", *([figure] if figure else [])]
        return f"{model.name} ({', '.join(details)})"

    # --- The form --------------------------------------------------------------------------------

    async def async_step_settings(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for everything, and try it."""
        if user_input is not None:
            self._take(user_input)
            self._trial = self.hass.async_create_background_task(self._try(), "Edge Vision trial")
            await asyncio.wait([self._trial], timeout=_SHOW_PROGRESS_AFTER_S)
            if not self._trial.done():
                return await self.async_step_trial()
            return await self.async_step_tried()
        return self._show_settings({}, "")

    async def async_step_trial(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Wait while it is tried: the model may have to be compiled first."""
        assert self._trial is not None
        if self._trial.done():
            return self.async_show_progress_done(next_step_id="tried")
        return self.async_show_progress(
            step_id="trial", progress_action="trial", progress_task=self._trial
        )

    async def async_step_tried(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Save what works, and say what is wrong with the rest."""
        assert self._trial is not None
        try:
            await self._trial
        except _CannotSave as err:
            return self._show_settings(err.errors, err.reason)
        except _NoPicture as err:
            self._reason = str(err)
            return await self.async_step_no_picture()
        return await self.async_step_save()

    @callback
    @override
    def async_remove(self) -> None:
        """End a trial that nobody waits for any more, with all else that the flow has."""
        super().async_remove()
        if self._trial is not None:
            self._trial.cancel()

    def _show_settings(self, errors: dict[str, str], reason: str) -> SubentryFlowResult:
        return self.async_show_form(
            step_id="settings",
            data_schema=self._schema(),
            errors=errors,
            description_placeholders={"model": self._model.name, "reason": reason},
            last_step=True,
        )

    def _take(self, form: Mapping[str, Any]) -> None:
        """Turn the form's answers into the subentry's data."""
        detection, schedule = form[SECTION_DETECTION], form[SECTION_SCHEDULE]
        labels = _label_keys(self._model)
        advanced = dict(form[SECTION_ADVANCED])
        engine, _, accelerator = advanced.pop(FIELD_PLACE).partition(_IN)
        self._title = form.get(CONF_NAME, "").strip() or None
        details = {
            key: self._data[key] for key in (*KINDS, CONF_LIMITS, CONF_MOTION) if key in self._data
        }
        video = dict(form[SECTION_VIDEO])
        if address := video.pop(CONF_VIDEO_ADDRESS, "").strip():
            video[CONF_VIDEO_ADDRESS] = lower_scheme(address)
        self._data = {
            **details,
            **video,
            **{key: form[key] for key in (CONF_CAMERA,) if form.get(key)},
            CONF_FPS: int(video[CONF_FPS]),
            CONF_COOLDOWN: int(video[CONF_COOLDOWN]),
            CONF_SOURCE: schedule[CONF_SOURCE],
            CONF_MODEL: self._model.id,
            CONF_LABELS: [labels[key] for key in detection[CONF_LABELS]],
            CONF_CONFIDENCE: float(detection[CONF_CONFIDENCE]),
            CONF_ONLY_ON_REQUEST: schedule[CONF_ONLY_ON_REQUEST],
            CONF_SCAN_INTERVAL: int(schedule[CONF_SCAN_INTERVAL]),
            CONF_ENGINE: engine,
            CONF_ACCELERATOR: accelerator or AUTO,
            **advanced,
        }

    def _schema(self) -> vol.Schema:
        data = self._data
        labels = {label: key for key, label in _label_keys(self._model).items()}
        usual: tuple[str, ...] = DEFAULT_LABELS if self._model.task == Task.DETECTION else ()
        if self._model.task in TASKS_WITH_OBJECTS and len(labels) == 1:
            usual = tuple(labels)
        wanted = [label for label in data.get(CONF_LABELS, usual) if label in labels]
        places = self._places()
        place = _place(data.get(CONF_ENGINE, AUTO), data.get(CONF_ACCELERATOR, AUTO))
        detection = {
            vol.Required(CONF_LABELS, default=[labels[label] for label in wanted]): _select(
                {key: label.capitalize() for label, key in labels.items()},
                translation_key="label",
                multiple=True,
            ),
            vol.Required(
                CONF_CONFIDENCE, default=_within_limits(data.get(CONF_CONFIDENCE))
            ): NumberSelector(
                NumberSelectorConfig(
                    min=MIN_CONFIDENCE,
                    max=MAX_CONFIDENCE,
                    step=1,
                    unit_of_measurement=PERCENTAGE,
                    mode=NumberSelectorMode.SLIDER,
                )
            ),
        }
        # A camera that was added before there was live video keeps what it has.
        source = PictureSource.STILLS if data else PictureSource.AUTO
        schedule = {
            vol.Required(CONF_SOURCE, default=data.get(CONF_SOURCE, source)): _select(
                {item: item for item in PictureSource}, translation_key="source"
            ),
            vol.Required(
                CONF_ONLY_ON_REQUEST, default=data.get(CONF_ONLY_ON_REQUEST, False)
            ): BooleanSelector(),
            vol.Required(
                CONF_SCAN_INTERVAL, default=data.get(CONF_SCAN_INTERVAL, DEFAULT_SCAN_INTERVAL)
            ): NumberSelector(
                NumberSelectorConfig(
                    min=MIN_SCAN_INTERVAL,
                    max=MAX_SCAN_INTERVAL,
                    step=1,
                    unit_of_measurement=UnitOfTime.SECONDS,
                    mode=NumberSelectorMode.BOX,
                )
            ),
        }
        video = self._video_schema()
        advanced = {
            vol.Required(FIELD_PLACE, default=place if place in places else AUTO): _select(
                places, translation_key="place"
            ),
            vol.Required(
                CONF_ALLOW_FALLBACK, default=data.get(CONF_ALLOW_FALLBACK, False)
            ): BooleanSelector(),
            vol.Required(CONF_PATTERN, default=PATTERN_FULL_EDGE): _select(
                {PATTERN_FULL_EDGE: PATTERN_FULL_EDGE}, translation_key="pattern"
            ),
        }
        return vol.Schema(
            {
                vol.Optional(
                    CONF_CAMERA, description={"suggested_value": data.get(CONF_CAMERA)}
                ): EntitySelector(
                    EntitySelectorConfig(domain=Platform.CAMERA, exclude_entities=self._views())
                ),
                vol.Optional(
                    CONF_NAME, description={"suggested_value": self._title}
                ): TextSelector(),
                vol.Required(SECTION_DETECTION): section(vol.Schema(detection)),
                vol.Required(SECTION_SCHEDULE): section(vol.Schema(schedule)),
                vol.Required(SECTION_VIDEO): section(vol.Schema(video), {"collapsed": True}),
                vol.Required(SECTION_ADVANCED): section(vol.Schema(advanced), {"collapsed": True}),
            }
        )

    def _video_schema(self) -> dict[Any, Any]:
        data = self._data
        address = {"suggested_value": data.get(CONF_VIDEO_ADDRESS)}
        return {
            vol.Optional(CONF_VIDEO_ADDRESS, description=address): TextSelector(),
            vol.Required(CONF_FPS, default=data.get(CONF_FPS, DEFAULT_FPS)): NumberSelector(
                NumberSelectorConfig(
                    min=MIN_FPS,
                    max=MAX_FPS,
                    step=1,
                    unit_of_measurement="fps",
                    mode=NumberSelectorMode.BOX,
                )
            ),
            vol.Required(CONF_LOOK, default=data.get(CONF_LOOK, Thoroughness.BALANCED)): _select(
                {item: item for item in Thoroughness}, translation_key="look"
            ),
            vol.Required(
                CONF_SENSITIVITY, default=data.get(CONF_SENSITIVITY, Sensitivity.MEDIUM)
            ): _select({item: item for item in Sensitivity}, translation_key="sensitivity"),
            vol.Required(CONF_COOLDOWN, default=data.get(CONF_COOLDOWN, 0)): NumberSelector(
                NumberSelectorConfig(
                    min=0,
                    max=MAX_COOLDOWN,
                    step=1,
                    unit_of_measurement=UnitOfTime.SECONDS,
                    mode=NumberSelectorMode.BOX,
                )
            ),
            vol.Required(CONF_TRANSPORT, default=data.get(CONF_TRANSPORT, AUTO)): _select(
                {item: item for item in TRANSPORTS}, translation_key="transport"
            ),
            vol.Required(
                CONF_KEY_FRAMES_ONLY, default=data.get(CONF_KEY_FRAMES_ONLY, False)
            ): BooleanSelector(),
            vol.Required(
                CONF_HARDWARE_DECODING, default=data.get(CONF_HARDWARE_DECODING, False)
            ): BooleanSelector(),
        }

    def _views(self) -> list[str]:
        """Return the cameras that Edge Vision itself has: what is drawn there is no news."""
        return [
            entity.entity_id
            for entity in er.async_get(self.hass).entities.values()
            if entity.platform == DOMAIN and entity.domain == Platform.CAMERA
        ]

    def _places(self) -> dict[str, str]:
        """Return where the model can run, each with what was measured there."""
        places = {AUTO: AUTO}
        chosen = (self._data.get(CONF_ENGINE, AUTO), self._data.get(CONF_ACCELERATOR, AUTO))
        for engine in self._info.engines:
            if engine.version is None or engine.id not in self._model.engines:
                continue
            names = {item.id: item.name for item in engine.accelerators}
            if chosen == (engine.id, AUTO):
                places[_place(engine.id, AUTO)] = engine.name  # as it was chosen before
            for accelerator, name in names.items():
                figure = figure_of(self._info.benchmarks, self._model.id, engine.id, accelerator)
                label = f"{engine.name}, {name}"
                places[_place(engine.id, accelerator)] = f"{label}: {figure}" if figure else label
        return places

    # --- Trying it -------------------------------------------------------------------------------

    async def _try(self) -> None:
        """Look once, just as the pipeline will. Raises `_CannotSave` or `_NoPicture`."""
        data, camera = self._data, self._data.get(CONF_CAMERA)
        await self._check(camera, data.get(CONF_VIDEO_ADDRESS))
        try:
            picture = await async_see(self._hub, data)
        except NodeDisconnected as err:
            raise _CannotSave({"base": "node_gone"}, str(err)) from err
        except (HomeAssistantError, NodeError) as err:
            raise _NoPicture(redact(str(err))) from err
        request = DetectRequest(
            model=data[CONF_MODEL],
            engine=self._hub.engine_for(data[CONF_MODEL], chosen(data, CONF_ENGINE)),
            accelerator=chosen(data, CONF_ACCELERATOR),
            labels=tuple(data[CONF_LABELS]),
            confidence=data[CONF_CONFIDENCE],
            privacy_masks=self._privacy_masks(),
        )
        try:
            await self._hub.async_request(
                Command.DETECT, request, Detected, picture=picture, timeout_s=COMPILE_TIMEOUT_S
            )
        except NodeCommandError as err:
            if err.code == ErrorCode.BAD_PICTURE:
                raise _NoPicture(err.message) from err
            raise _CannotSave({"base": "cannot_run"}, err.message) from err
        except NodeError as err:
            raise _CannotSave({"base": "node_gone"}, str(err)) from err

    async def _check(self, camera: str | None, address: str | None) -> None:
        """Refuse what cannot work whatever the camera shows. Raises `_CannotSave`."""
        data = self._data
        if camera is None and address is None:
            raise _CannotSave({"base": "no_camera"})
        if camera is None and not may_be_live(data):
            raise _CannotSave({"base": "stills_need_a_camera"})
        if camera is not None and self.hass.states.get(camera) is None:
            raise _CannotSave({CONF_CAMERA: "camera_not_found"})
        # Which of its answers matter is a choice for a model that gives one about the frame.
        if not data[CONF_LABELS] and self._model.task in TASKS_WITH_OBJECTS:
            raise _CannotSave({"base": "no_labels"})
        if address is not None:
            if (error := address_error(self.hass, address)) is not None:
                raise _CannotSave({"base": error})
        elif (
            camera is not None
            and data[CONF_SOURCE] == PictureSource.LIVE
            and await async_get_stream_address(self.hass, camera) is None
        ):
            raise _CannotSave({"base": "no_stream"})

    async def async_step_no_picture(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Say what is wrong with the camera; it may be meant to be off just now."""
        return self.async_show_menu(
            step_id="no_picture",
            menu_options=["settings", "save"],
            description_placeholders={"camera": self._camera_name(), "reason": self._reason},
        )

    # --- Keeping it ------------------------------------------------------------------------------

    async def async_step_save(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Keep it."""
        title = self._title or self._camera_name()
        if self.source == SOURCE_RECONFIGURE:
            entry, subentry = self._get_entry(), self._get_reconfigure_subentry()
            async_rename_areas(self.hass, entry.entry_id, subentry.subentry_id, self._renames)
            old_title, old = self._before
            return self.async_update_and_abort(
                entry,
                subentry,
                title=subentry.title if title == old_title else title,
                data=_changed(subentry.data, old, self._data),
            )
        return self.async_create_entry(title=title, data=self._data)

    def _camera_name(self) -> str:
        if (camera := self._data.get(CONF_CAMERA)) is None:
            # An address may hold a password, or be one; a title is shown everywhere.
            address = self._data[CONF_VIDEO_ADDRESS]
            return urlsplit(address).hostname or PurePath(address).name
        state = self.hass.states.get(camera)
        return state.name if state else str(camera)


def _changed(
    now: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Return data with what was changed from `before` to `after`, and all else as it is now.

    Of zones, lines and masks each one counts by itself.
    """
    gone = before.keys() - after.keys()
    new = {key: value for key, value in after.items() if key not in before or value != before[key]}
    for key in KINDS:
        if before.get(key) != after.get(key):
            gone.discard(key)
            new[key] = _changed_items(now.get(key, ()), before.get(key, ()), after.get(key, ()))
    return {**{key: value for key, value in now.items() if key not in gone}, **new}


def _changed_items(now: Sequence[Any], before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Return a list's items, as `_changed`: zones and lines by their names, masks by themselves."""

    def by_name(items: Sequence[Any]) -> dict[Any, Any]:
        return {item["name"] if isinstance(item, Mapping) else str(item): item for item in items}

    was, wanted, there = by_name(before), by_name(after), by_name(now)
    kept = {
        name: item
        for name, item in there.items()
        # What somebody else has removed, or changed, meanwhile stays so.
        if name in wanted or name not in was
    }
    new = {name: item for name, item in wanted.items() if item != was.get(name)}
    return list({**kept, **new}.values())


def _label_keys(model: ModelInfo) -> dict[str, str]:
    """Return a model's labels by keys that a translation may have, each of its own."""
    keys: dict[str, str] = {}
    for label in dict.fromkeys(model.labels):
        key = first = slugify(label)
        number = 1
        while key in keys:
            number += 1
            key = f"{first}_{number}"
        keys[key] = label
    return keys


def _within_limits(confidence: float | None) -> float:
    """Return a confidence that the form accepts; once there were others."""
    wanted = DEFAULT_CONFIDENCE if confidence is None else confidence
    return min(max(wanted, MIN_CONFIDENCE), MAX_CONFIDENCE)


def _place(engine: str, accelerator: str) -> str:
    """Return engine and accelerator as one value of the form."""
    return AUTO if engine == accelerator == AUTO else f"{engine}{_IN}{accelerator}"


def _select(
    options: Mapping[str, str],
    *,
    translation_key: str | None = None,
    multiple: bool = False,
    mode: SelectSelectorMode = SelectSelectorMode.DROPDOWN,
) -> SelectSelector:
    """Return a choice. A label here is what shows where there is no translation."""
    config = SelectSelectorConfig(
        options=[SelectOptionDict(value=value, label=label) for value, label in options.items()],
        multiple=multiple,
        mode=mode,
    )
    if translation_key is not None:
        config["translation_key"] = translation_key
    return SelectSelector(config)
