"""The form for the settings of a camera, and conversion of its input to data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import voluptuous as vol
from homeassistant.const import CONF_NAME, PERCENTAGE, Platform, UnitOfTime
from homeassistant.helpers.selector import (
    BooleanSelector,
    EntitySelector,
    EntitySelectorConfig,
    NumberSelectorMode,
    Selector,
    TextSelector,
)
from homeassistant.util import slugify

from ..areas import KINDS
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
from ..node.edge_vision_node.protocol import (
    TASKS_WITH_OBJECTS,
    ModelInfo,
    NodeInfo,
    Sensitivity,
    Task,
    Thoroughness,
)
from ..runtime.benchmark_text import figure_of
from ..runtime.stream_addresses import lower_scheme
from .forms import FormSection, folded, number, optional, required, select

SECTION_DETECTION: Final = "detection"
SECTION_SCHEDULE: Final = "schedule"
SECTION_VIDEO: Final = "video"
SECTION_ADVANCED: Final = "advanced"
# Errors of the whole form → the section where they can be fixed.
_FIXED_IN: Final = {"no_camera": SECTION_VIDEO, "cannot_run": SECTION_ADVANCED}
TRANSPORTS: Final = (AUTO, "tcp", "udp")
# One field for engine and accelerator, because not all combinations are possible.
FIELD_PLACE: Final = "place"
_IN: Final = "/"

DEFAULT_LABELS: Final = ("person", "cat", "dog", "car")
# Tasks with entities. The node supports more, for models that work together.
TASKS: Final = (Task.DETECTION, Task.CLASSIFICATION, Task.POSE, Task.FACE)


@dataclass(frozen=True, kw_only=True)
class CameraForm:
    """The form for a camera and a model.

    Attributes:
        data: the data of the subentry; empty for a new camera.
        title: the chosen name, or None for the name of the camera.
        model: the model, which determines the other options.
        info: information about the node, with its engines and benchmarks.
        place_name: function that returns the name of an unavailable engine and accelerator.
        excluded: cameras that cannot be selected.
    """

    data: Mapping[str, Any]
    title: str | None
    model: ModelInfo
    info: NodeInfo
    place_name: Callable[[str, str], str]
    excluded: Collection[str] = ()

    def schema(self) -> vol.Schema:
        """Return the form with the current values."""
        data = self.data
        camera = EntitySelector(
            EntitySelectorConfig(domain=Platform.CAMERA, exclude_entities=list(self.excluded))
        )
        fields: dict[Any, Any] = {
            **optional(CONF_CAMERA, camera, data.get(CONF_CAMERA)),
            **optional(CONF_NAME, TextSelector(), self.title),
            vol.Required(SECTION_DETECTION): FormSection(self._detection_fields(data)),
            vol.Required(SECTION_SCHEDULE): FormSection(_schedule_fields(data)),
            vol.Required(SECTION_VIDEO): folded(_video_fields(data), _video_fields({})),
        }
        places = self._places()
        if len(places) > 2:  # automatic, with more than one possibility
            usual = _advanced_fields(places, AUTO, allow_fallback=False)
            fallback = bool(data.get(CONF_ALLOW_FALLBACK, False))
            advanced = _advanced_fields(places, self._place, allow_fallback=fallback)
            fields[vol.Required(SECTION_ADVANCED)] = folded(advanced, usual)
        return vol.Schema(fields)

    @property
    def _place(self) -> str:
        """Return the selected place, unless it is for another model."""
        engine = self.data.get(CONF_ENGINE, AUTO)
        if engine not in self.model.engines:
            return AUTO
        return _place(engine, self.data.get(CONF_ACCELERATOR, AUTO))

    def _detection_fields(self, data: Mapping[str, Any]) -> dict[Any, Any]:
        labels = {label: key for key, label in _label_keys(self.model).items()}
        usual: tuple[str, ...] = DEFAULT_LABELS if self.model.task == Task.DETECTION else ()
        if self.model.task in TASKS_WITH_OBJECTS and len(labels) == 1:
            usual = tuple(labels)
        wanted = [label for label in data.get(CONF_LABELS, usual) if label in labels]
        choice = select(
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

    def _places(self) -> dict[str, str]:
        """Return the places that can run the model, with their benchmark results."""
        places = {AUTO: AUTO}
        chosen = (self.data.get(CONF_ENGINE, AUTO), self.data.get(CONF_ACCELERATOR, AUTO))
        for engine in self.info.engines:
            if engine.version is None or engine.id not in self.model.engines:
                continue
            names = {item.id: item.name for item in engine.accelerators if not item.emulated}
            if chosen == (engine.id, AUTO):
                places[_place(engine.id, AUTO)] = engine.name  # the current selection
            for accelerator, name in names.items():
                figure = figure_of(self.info.benchmarks, self.model.id, engine.id, accelerator)
                label = f"{engine.name}, {name}"
                places[_place(engine.id, accelerator)] = f"{label}: {figure}" if figure else label
        if self._place not in places:  # not available now; keep it when something else is changed
            places[self._place] = self.place_name(*chosen)
        return places

    def read(self, form: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Return the entered title, if any, and the data of the subentry."""
        detection, schedule = form[SECTION_DETECTION], form[SECTION_SCHEDULE]
        labels = _label_keys(self.model)
        # Hidden fields without a choice keep their values.
        advanced = form.get(SECTION_ADVANCED, {})
        place = advanced.get(FIELD_PLACE, self._place)
        fallback = advanced.get(CONF_ALLOW_FALLBACK, self.data.get(CONF_ALLOW_FALLBACK, False))
        engine, _, accelerator = place.partition(_IN)
        title = form.get(CONF_NAME, "").strip() or None
        details = {
            key: self.data[key] for key in (*KINDS, CONF_LIMITS, CONF_MOTION) if key in self.data
        }
        video = dict(form[SECTION_VIDEO])
        if address := video.pop(CONF_VIDEO_ADDRESS, "").strip():
            video[CONF_VIDEO_ADDRESS] = lower_scheme(address)
        return title, {
            **details,
            **video,
            **{key: form[key] for key in (CONF_CAMERA,) if form.get(key)},
            CONF_FPS: int(video[CONF_FPS]),
            CONF_COOLDOWN: int(video[CONF_COOLDOWN]),
            CONF_SOURCE: schedule[CONF_SOURCE],
            CONF_MODEL: self.model.id,
            CONF_LABELS: [labels[key] for key in detection[CONF_LABELS]],
            CONF_CONFIDENCE: float(detection[CONF_CONFIDENCE]),
            CONF_ONLY_ON_REQUEST: schedule[CONF_ONLY_ON_REQUEST],
            CONF_SCAN_INTERVAL: int(schedule[CONF_SCAN_INTERVAL]),
            CONF_ENGINE: engine,
            CONF_ACCELERATOR: accelerator or AUTO,
            CONF_ALLOW_FALLBACK: fallback,
            CONF_PATTERN: self.data.get(CONF_PATTERN, PATTERN_FULL_EDGE),
        }


def sections_to_mend(errors: Mapping[str, str]) -> set[str]:
    """Return the sections of the form in which errors can be fixed."""
    return {*errors, *(_FIXED_IN[key] for key in errors.values() if key in _FIXED_IN)}


def _label_keys(model: ModelInfo) -> dict[str, str]:
    """Return unique translation keys for the labels of a model."""
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
    choice = select(places, translation_key="place")
    return {
        **required(FIELD_PLACE, choice, place, AUTO),
        **required(CONF_ALLOW_FALLBACK, BooleanSelector(), allow_fallback, False),
    }


def _schedule_fields(data: Mapping[str, Any]) -> dict[Any, Any]:
    # Cameras added before live video was supported keep their settings.
    source = PictureSource.STILLS if data else PictureSource.AUTO
    sources = select({item: item for item in PictureSource}, translation_key="source")
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

    looks = select({item: item for item in Thoroughness}, translation_key="look")
    sensitivities = select({item: item for item in Sensitivity}, translation_key="sensitivity")
    transports = select({item: item for item in TRANSPORTS}, translation_key="transport")
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
    """Return engine and accelerator as a single form value."""
    return AUTO if engine == accelerator == AUTO else f"{engine}{_IN}{accelerator}"
