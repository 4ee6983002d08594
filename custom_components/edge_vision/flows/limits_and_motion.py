"""Details of a saved camera: limits for single objects, and motion settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import voluptuous as vol
from homeassistant.config_entries import SubentryFlowResult
from homeassistant.const import PERCENTAGE
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
)

from ..api.client import NodeRequestError
from ..const import (
    CONF_ACCELERATOR,
    CONF_CONFIDENCE,
    CONF_ENGINE,
    CONF_LABELS,
    CONF_LIMITS,
    CONF_MODEL,
    CONF_MOTION,
    CONF_SENSITIVITY,
    DEFAULT_CONFIDENCE,
    MAX_CONFIDENCE,
    MIN_CONFIDENCE,
)
from ..markdown import Markdown, Plain, escaped, placeholders
from ..node.edge_vision_node.protocol import (
    Command,
    Detected,
    DetectRequest,
    LiveRequest,
    MotionThresholds,
    Picture,
    Sensitivity,
    redact,
)
from ..runtime.settings import chosen, thresholds
from .areas import AreaFlow
from .forms import FormSection, misfits, number, optional, required, unfold
from .preview import async_see

FIELD_LABEL: Final = "label"
FIELD_MIN_SIZE: Final = "min_size"
FIELD_MAX_SIZE: Final = "max_size"
SECTION_NUMBERS: Final = "numbers"
# Fields of `MotionThresholds`: minimum, maximum, step and unit in the form.
NUMBERS: Final = {
    "least_difference": (1.0, 100.0, 0.5, None),
    "noise_factor": (1.0, 20.0, 0.1, None),
    "least_area": (0.005, 10.0, 0.005, PERCENTAGE),
}
_WIDTH: Final = 640
# Detections from this confidence on are shown, too, to see the confidence of ignored objects.
_SHOWN_FROM: Final = 20.0


class DetailFlow(AreaFlow):
    """The steps for details; `_data` is the new data of the subentry."""

    # The object whose limits are being set.
    _limited = ""

    # --- Single objects --------------------------------------------------------------------------

    async def async_step_objects(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show the current detections and limits."""
        limits = self._data.get(CONF_LIMITS, {})
        return self.async_show_menu(
            step_id="objects",
            menu_options=["limit", "objects", "save"],
            description_placeholders=placeholders(
                picture=await self._detected(),
                limits=Markdown(
                    "\n".join(
                        f"- {escaped(label.capitalize())}: {_in_words(item)}"
                        for label, item in limits.items()
                    )
                    or "none"
                ),
            ),
        )

    async def async_step_limit(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Select the object, if there is more than one."""
        labels = self._data[CONF_LABELS]
        if user_input is not None or len(labels) == 1:
            self._limited = user_input[FIELD_LABEL] if user_input is not None else labels[0]
            return await self.async_step_limits()
        options = [SelectOptionDict(value=label, label=label.capitalize()) for label in labels]
        choice = SelectSelector(SelectSelectorConfig(options=options))
        return self.async_show_form(
            step_id="limit",
            data_schema=vol.Schema(required(FIELD_LABEL, choice, self._limited, labels[0])),
            last_step=False,
        )

    async def async_step_limits(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Set the limits of one object; empty ones are removed."""
        errors = misfits(user_input or {})
        given = self._data.get(CONF_LIMITS, {})
        before = given.get(self._limited, {})
        usual = self._data.get(CONF_CONFIDENCE, DEFAULT_CONFIDENCE)
        schema = vol.Schema(
            {
                **optional(
                    CONF_CONFIDENCE,
                    number(MIN_CONFIDENCE, MAX_CONFIDENCE, unit=PERCENTAGE),
                    before.get("confidence", usual),
                ),
                **optional(FIELD_MIN_SIZE, _SIZE, _as_percent(before.get("min_area", 0.0))),
                **optional(FIELD_MAX_SIZE, _SIZE, _as_percent(before.get("max_area", 1.0))),
            }
        )
        if user_input is not None and not errors:
            limits = _limits(user_input)
            if limits.get("confidence") == usual and "confidence" not in before:
                del limits["confidence"]  # use that of the camera, even if it changes
            if limits.get("min_area", 0.0) < limits.get("max_area", 1.0):
                kept = {**given, self._limited: limits}
                self._data = {
                    **self._data,
                    CONF_LIMITS: {name: item for name, item in kept.items() if item},
                }
                return await self.async_step_objects()
            errors[FIELD_MAX_SIZE] = "sizes_crossed"
        return self.async_show_form(
            step_id="limits",
            data_schema=self.add_suggested_values_to_schema(schema, user_input),
            errors=errors,
            description_placeholders={
                "label": Plain(self._limited.capitalize()),
                "misfits": await self._misfits("limits", user_input),
            },
            last_step=False,
        )

    async def _detected(self) -> Markdown:
        """Return the picture of the camera with detections as Markdown, or why there is none."""
        data = self._data
        try:
            self._still = await async_see(self._hub, data, or_still=True)
            engine, accelerator = self._hub.node.place_for(
                model := chosen(data, CONF_MODEL),
                chosen(data, CONF_ENGINE),
                chosen(data, CONF_ACCELERATOR),
            )
            masks = await self._privacy_masks()
            request = DetectRequest(
                model=model,
                engine=engine,
                accelerator=accelerator,
                labels=tuple(data[CONF_LABELS]),
                confidence=_SHOWN_FROM,
                annotate=True,
                privacy_masks=masks.polygons,
                mask_aspects=masks.aspects,
            )
            found, jpeg = await self._hub.node.async_request_picture(
                Command.DETECT, request, Detected, picture=self._still
            )
        except (HomeAssistantError, NodeRequestError) as err:
            return escaped(f"({redact(str(err))})")
        seen = [
            f"- {escaped(item.label.capitalize())}: {item.confidence:.0f} %,"
            f" size {_percent(item.box.area)}"
            for item in found.objects
        ]
        return Markdown("\n".join([self._show(jpeg), "", *seen]))

    # --- Movement --------------------------------------------------------------------------------

    async def async_step_motion(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show the current view of the motion gate."""
        return self.async_show_menu(
            step_id="motion",
            menu_options=["motion_settings", "motion", "save"],
            description_placeholders=placeholders(picture=await self._moving()),
        )

    async def async_step_motion_settings(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Select a sensitivity or enter numbers."""
        errors = misfits(user_input or {})
        if user_input is not None and not errors:
            numbers = {
                field: value / (100 if unit == PERCENTAGE else 1)
                for field, (_, _, _, unit) in NUMBERS.items()
                if (value := user_input[SECTION_NUMBERS].get(field)) is not None
            }
            self._data = {
                **self._data,
                CONF_SENSITIVITY: user_input[CONF_SENSITIVITY],
                CONF_MOTION: numbers,
            }
            return await self.async_step_motion()
        given = self._data.get(CONF_MOTION, {})
        numbers_fields: dict[Any, Any] = {}
        for field, (low, high, step, unit) in NUMBERS.items():
            value = round(given[field] * (100 if unit else 1), 4) if field in given else None
            numbers_fields |= optional(field, number(low, high, step, unit=unit), value)
        sensitivity = SelectSelector(
            SelectSelectorConfig(options=list(Sensitivity), translation_key="sensitivity")
        )
        word = self._data.get(CONF_SENSITIVITY)
        schema = vol.Schema(
            {
                **required(CONF_SENSITIVITY, sensitivity, word, Sensitivity.MEDIUM),
                vol.Required(SECTION_NUMBERS): FormSection(numbers_fields, unfolded=bool(given)),
            }
        )
        return self.async_show_form(
            step_id="motion_settings",
            data_schema=unfold(self.add_suggested_values_to_schema(schema, user_input), errors),
            errors=errors,
            description_placeholders=placeholders(
                **_shown(thresholds(self._data)),
                misfits=await self._misfits("motion_settings", user_input),
            ),
            last_step=False,
        )

    async def _moving(self) -> Markdown:
        """Return the view of the motion gate as Markdown, or why there is none."""
        request = LiveRequest(
            pipeline_id=self._get_reconfigure_subentry().subentry_id, max_width=_WIDTH, motion=True
        )
        try:
            _, jpeg = await self._hub.node.async_request_picture(Command.LIVE, request, Picture)
        except NodeRequestError as err:
            return escaped(f"({redact(str(err))})")
        return self._show(jpeg)


_SIZE: Final = number(0, 100, 0.01, unit=PERCENTAGE)


def _as_percent(share: float) -> float:
    """Return a share for the form, rounded to remove arithmetic errors."""
    return round(share * 100, 4)


def _limits(form: Mapping[str, Any]) -> dict[str, float]:
    """Return the input for the subentry: sizes as shares, without empty values."""
    limits: dict[str, float] = {}
    if (confidence := form.get(CONF_CONFIDENCE)) is not None:
        limits["confidence"] = float(confidence)
    for field, key, nothing in ((FIELD_MIN_SIZE, "min_area", 0), (FIELD_MAX_SIZE, "max_area", 100)):
        if (size := form.get(field)) is not None and size != nothing:
            limits[key] = size / 100
    return limits


def _in_words(limits: Mapping[str, float]) -> str:
    words = []
    if "confidence" in limits:
        words.append(f"from {limits['confidence']:.0f} %")
    if "min_area" in limits:
        words.append(f"size from {_percent(limits['min_area'])}")
    if "max_area" in limits:
        words.append(f"size up to {_percent(limits['max_area'])}")
    return ", ".join(words)


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"


def _shown(numbers: MotionThresholds) -> dict[str, str]:
    return {
        "least_difference": f"{numbers.least_difference:g}",
        "noise_factor": f"{numbers.noise_factor:g}",
        "least_area": _percent(numbers.least_area),
    }
