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
    SubentryFlowContext,
    SubentryFlowResult,
)
from homeassistant.const import CONF_NAME, PERCENTAGE, Platform, UnitOfTime
from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.selector import (
    BooleanSelector,
    EntitySelector,
    EntitySelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    Selector,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
)
from homeassistant.util import slugify

from ..api.client import COMPILE_TIMEOUT_S, NodeCommandError, NodeDisconnected, NodeError
from ..const import (
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
from ..markdown import Plain, placeholders
from ..node.edge_vision_node.protocol import (
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
    redact,
)
from ..runtime.area_renames import async_rename_areas
from ..runtime.benchmark_text import figure_of
from ..runtime.damaged_settings import damage, usable
from ..runtime.settings import chosen, may_be_live
from ..runtime.stream_addresses import async_get_stream_address, lower_scheme
from .areas import KINDS
from .forms import FormSection, folded, misfits, number, optional, required, unfold
from .limits_and_motion import DetailFlow
from .model_text import task_words
from .preview import address_error, async_try_to_see
from .progress import ProgressFlow

SECTION_DETECTION: Final = "detection"
SECTION_SCHEDULE: Final = "schedule"
SECTION_VIDEO: Final = "video"
SECTION_ADVANCED: Final = "advanced"
# Errors of the whole form → the section where the user can do something about them.
_MENDED_IN: Final = {"no_camera": SECTION_VIDEO, "cannot_run": SECTION_ADVANCED}
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


class _SinglePictures(Exception):
    """What was to be watched as live video gives one picture each time it is asked."""


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
        self._data = usable(subentry.data)
        self._before = self._title, self._data
        if (aborted := self._find_node()) is not None:
            return aborted
        options = ["change_settings", "areas"]
        if damage(subentry.data):
            options = ["change_settings"]  # what is damaged is chosen anew there
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
        size = f"{model.width}x{model.height}"
        details = [task_words(model.task), size, *([figure] if figure else [])]
        return f"{model.name} ({', '.join(details)})"

    # --- The form --------------------------------------------------------------------------------

    async def async_step_settings(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for everything, and try it."""
        if user_input is not None and (errors := misfits(user_input)):
            named = await self._misfits("settings", user_input)
            return self._show_settings(errors, "", user_input, named)
        if user_input is not None:
            self._take(user_input)
            return await self._try_to_save()
        return self._show_settings({}, "")

    async def _try_to_save(self) -> SubentryFlowResult:
        """Try it, and save it if it works."""
        self._trial = self.hass.async_create_background_task(self._try(), "Edge Vision trial")
        await asyncio.wait([self._trial], timeout=_SHOW_PROGRESS_AFTER_S)
        if not self._trial.done():
            return await self.async_step_trial()
        return await self.async_step_tried()

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
        except _SinglePictures:
            return await self.async_step_single_pictures()
        return await self.async_step_save()

    @callback
    @override
    def async_remove(self) -> None:
        """End a trial that nobody waits for any more, with all else that the flow has."""
        super().async_remove()
        if self._trial is not None:
            self._trial.cancel()

    def _show_settings(
        self,
        errors: dict[str, str],
        reason: str,
        answers: Mapping[str, Any] | None = None,
        named: str = "",
    ) -> SubentryFlowResult:
        """Show the form, with answers that were not taken; `named` are those that do not fit."""
        schema = self.add_suggested_values_to_schema(self._schema(), answers)
        return self.async_show_form(
            step_id="settings",
            data_schema=unfold(schema, _sections_to_mend(errors)),
            errors=errors,
            description_placeholders=placeholders(
                model=self._model.name, reason=Plain(reason), misfits=Plain(named)
            ),
            last_step=True,
        )

    def _take(self, form: Mapping[str, Any]) -> None:
        """Turn the form's answers into the subentry's data."""
        detection, schedule = form[SECTION_DETECTION], form[SECTION_SCHEDULE]
        labels = _label_keys(self._model)
        # What was not asked, for there is no choice, stays as it is.
        advanced = form.get(SECTION_ADVANCED, {})
        place = advanced.get(FIELD_PLACE, self._place)
        fallback = advanced.get(CONF_ALLOW_FALLBACK, self._data.get(CONF_ALLOW_FALLBACK, False))
        engine, _, accelerator = place.partition(_IN)
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
            CONF_ALLOW_FALLBACK: fallback,
            CONF_PATTERN: self._data.get(CONF_PATTERN, PATTERN_FULL_EDGE),
        }

    def _schema(self) -> vol.Schema:
        data = self._data
        camera = EntitySelector(
            EntitySelectorConfig(domain=Platform.CAMERA, exclude_entities=self._views())
        )
        fields: dict[Any, Any] = {
            **optional(CONF_CAMERA, camera, data.get(CONF_CAMERA)),
            **optional(CONF_NAME, TextSelector(), self._title),
            vol.Required(SECTION_DETECTION): FormSection(self._detection_fields(data)),
            vol.Required(SECTION_SCHEDULE): FormSection(_schedule_fields(data)),
            vol.Required(SECTION_VIDEO): folded(_video_fields(data), _video_fields({})),
        }
        places = self._places()
        if len(places) > 2:  # automatic, and more than one that it can be
            usual = _advanced_fields(places, AUTO, allow_fallback=False)
            fallback = bool(data.get(CONF_ALLOW_FALLBACK, False))
            advanced = _advanced_fields(places, self._place, allow_fallback=fallback)
            fields[vol.Required(SECTION_ADVANCED)] = folded(advanced, usual)
        return vol.Schema(fields)

    @property
    def _place(self) -> str:
        """Return the place that was chosen, unless it is for another model."""
        engine = self._data.get(CONF_ENGINE, AUTO)
        if engine not in self._model.engines:
            return AUTO
        return _place(engine, self._data.get(CONF_ACCELERATOR, AUTO))

    def _detection_fields(self, data: Mapping[str, Any]) -> dict[Any, Any]:
        labels = {label: key for key, label in _label_keys(self._model).items()}
        usual: tuple[str, ...] = DEFAULT_LABELS if self._model.task == Task.DETECTION else ()
        if self._model.task in TASKS_WITH_OBJECTS and len(labels) == 1:
            usual = tuple(labels)
        wanted = [label for label in data.get(CONF_LABELS, usual) if label in labels]
        choice = _select(
            {key: label.capitalize() for label, key in labels.items()},
            translation_key="label",
            multiple=True,
        )
        confidence = number(
            MIN_CONFIDENCE, MAX_CONFIDENCE, unit=PERCENTAGE, mode=NumberSelectorMode.SLIDER
        )
        return {
            **required(CONF_LABELS, choice, [labels[label] for label in wanted], []),
            **required(CONF_CONFIDENCE, confidence, data.get(CONF_CONFIDENCE), DEFAULT_CONFIDENCE),
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
            names = {item.id: item.name for item in engine.accelerators if not item.emulated}
            if chosen == (engine.id, AUTO):
                places[_place(engine.id, AUTO)] = engine.name  # as it was chosen before
            for accelerator, name in names.items():
                figure = figure_of(self._info.benchmarks, self._model.id, engine.id, accelerator)
                label = f"{engine.name}, {name}"
                places[_place(engine.id, accelerator)] = f"{label}: {figure}" if figure else label
        if self._place not in places:  # not there just now; changing something else keeps it
            places[self._place] = self._hub.place_name(*chosen)
        return places

    # --- Trying it -------------------------------------------------------------------------------

    async def _try(self) -> None:
        """Look once, just as the pipeline will. Raises `_CannotSave` or `_NoPicture`."""
        data, camera = self._data, self._data.get(CONF_CAMERA)
        await self._check(camera, data.get(CONF_VIDEO_ADDRESS))
        try:
            seen = await async_try_to_see(self._hub, data)
        except NodeDisconnected as err:
            raise _CannotSave({"base": "node_gone"}, str(err)) from err
        except (HomeAssistantError, NodeError) as err:
            raise _NoPicture(redact(str(err))) from err
        engine, accelerator = self._hub.place_for(
            data[CONF_MODEL], chosen(data, CONF_ENGINE), chosen(data, CONF_ACCELERATOR)
        )
        request = DetectRequest(
            model=data[CONF_MODEL],
            engine=engine,
            accelerator=accelerator,
            labels=tuple(data[CONF_LABELS]),
            confidence=data[CONF_CONFIDENCE],
            privacy_masks=self._privacy_masks(),
        )
        try:
            await self._hub.async_request(
                Command.DETECT, request, Detected, picture=seen.picture, timeout_s=COMPILE_TIMEOUT_S
            )
        except NodeCommandError as err:
            if err.code == ErrorCode.BAD_PICTURE:
                raise _NoPicture(err.message) from err
            raise _CannotSave({"base": "cannot_run"}, err.message) from err
        except NodeError as err:
            raise _CannotSave({"base": "node_gone"}, str(err)) from err
        if seen.single_pictures and not self._watches_as_before:
            raise _SinglePictures

    @property
    def _watches_as_before(self) -> bool:
        """Return whether what it watches is not what is being changed."""
        keys = (CONF_CAMERA, CONF_VIDEO_ADDRESS)
        _, before = self._before
        return bool(before) and all(before.get(key) == self._data.get(key) for key in keys)

    async def _check(self, camera: str | None, address: str | None) -> None:
        """Refuse what cannot work whatever the camera shows. Raises `_CannotSave`."""
        data = self._data
        if camera is None and address is None:
            raise _CannotSave({"base": "no_camera"})
        if camera is None and not may_be_live(data):
            raise _CannotSave({SECTION_SCHEDULE: "stills_need_a_camera"})
        if camera is not None and self.hass.states.get(camera) is None:
            raise _CannotSave({CONF_CAMERA: "camera_not_found"})
        # Which of its answers matter is a choice for a model that gives one about the frame.
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
        """Say what is wrong with the camera; it may be meant to be off just now."""
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
        """Offer stills where there is no video; a camera of Home Assistant is what has them."""
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
        """Look at the camera's stills instead, if they can be looked at."""
        self._data = {**self._data, CONF_SOURCE: PictureSource.STILLS}
        self._data.pop(CONF_VIDEO_ADDRESS, None)
        return await self._try_to_save()

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
                data=_changed(usable(subentry.data), old, self._data),
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


def _sections_to_mend(errors: Mapping[str, str]) -> set[str]:
    """Return the sections of the form in which errors can be mended."""
    return {*errors, *(_MENDED_IN[key] for key in errors.values() if key in _MENDED_IN)}


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


def _advanced_fields(
    places: Mapping[str, str], place: str, *, allow_fallback: bool
) -> dict[Any, Any]:
    choice = _select(places, translation_key="place")
    return {
        **required(FIELD_PLACE, choice, place, AUTO),
        **required(CONF_ALLOW_FALLBACK, BooleanSelector(), allow_fallback, False),
    }


def _schedule_fields(data: Mapping[str, Any]) -> dict[Any, Any]:
    # A camera that was added before there was live video keeps what it has.
    source = PictureSource.STILLS if data else PictureSource.AUTO
    sources = _select({item: item for item in PictureSource}, translation_key="source")
    interval = number(MIN_SCAN_INTERVAL, MAX_SCAN_INTERVAL, unit=UnitOfTime.SECONDS)
    return {
        **required(CONF_SOURCE, sources, data.get(CONF_SOURCE), source),
        **required(CONF_ONLY_ON_REQUEST, BooleanSelector(), data.get(CONF_ONLY_ON_REQUEST), False),
        **required(
            CONF_SCAN_INTERVAL, interval, data.get(CONF_SCAN_INTERVAL), DEFAULT_SCAN_INTERVAL
        ),
    }


def _video_fields(data: Mapping[str, Any]) -> dict[Any, Any]:
    def field(key: str, selector: Selector[Any], default: Any) -> dict[vol.Required, Any]:
        return required(key, selector, data.get(key), default)

    looks = _select({item: item for item in Thoroughness}, translation_key="look")
    sensitivities = _select({item: item for item in Sensitivity}, translation_key="sensitivity")
    transports = _select({item: item for item in TRANSPORTS}, translation_key="transport")
    return {
        **optional(CONF_VIDEO_ADDRESS, TextSelector(), data.get(CONF_VIDEO_ADDRESS)),
        **field(CONF_FPS, number(MIN_FPS, MAX_FPS, unit="fps"), DEFAULT_FPS),
        **field(CONF_LOOK, looks, Thoroughness.BALANCED),
        **field(CONF_SENSITIVITY, sensitivities, Sensitivity.MEDIUM),
        **field(CONF_COOLDOWN, number(0, MAX_COOLDOWN, unit=UnitOfTime.SECONDS), 0),
        **field(CONF_TRANSPORT, transports, AUTO),
        **field(CONF_KEY_FRAMES_ONLY, BooleanSelector(), False),
        **field(CONF_HARDWARE_DECODING, BooleanSelector(), False),
    }


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
