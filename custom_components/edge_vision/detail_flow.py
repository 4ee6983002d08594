"""Details of a saved camera: limits of single objects, and what counts as movement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import voluptuous as vol
from homeassistant.config_entries import SubentryFlowResult
from homeassistant.const import PERCENTAGE
from homeassistant.data_entry_flow import section
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
)

from .area_flow import AreaFlow
from .client import NodeError
from .const import (
    CONF_ACCELERATOR,
    CONF_CONFIDENCE,
    CONF_ENGINE,
    CONF_LABELS,
    CONF_LIMITS,
    CONF_MODEL,
    CONF_MOTION,
    CONF_SENSITIVITY,
    MAX_CONFIDENCE,
    MIN_CONFIDENCE,
)
from .node.edge_vision_node.protocol import (
    Command,
    Detected,
    DetectRequest,
    LiveRequest,
    MotionThresholds,
    Picture,
    Sensitivity,
)
from .node_log import redact
from .seeing import async_see
from .settings import chosen, thresholds

FIELD_LABEL: Final = "label"
FIELD_MIN_SIZE: Final = "min_size"
FIELD_MAX_SIZE: Final = "max_size"
SECTION_NUMBERS: Final = "numbers"
# Fields of `MotionThresholds`: lowest, highest, step and unit in the form.
NUMBERS: Final = {
    "least_difference": (1.0, 100.0, 0.5, None),
    "noise_factor": (1.0, 20.0, 0.1, None),
    "least_area": (0.005, 10.0, 0.005, PERCENTAGE),
}
_WIDTH: Final = 640
# Shown besides what counts, so that one sees how sure the model is of what does not.
_SHOWN_FROM: Final = 20.0


class DetailFlow(AreaFlow):
    """The steps about details; `_data` is what a subentry will hold."""

    # --- Single objects --------------------------------------------------------------------------

    async def async_step_objects(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show what is seen now and which limits there are."""
        limits = self._data.get(CONF_LIMITS, {})
        return self.async_show_menu(
            step_id="objects",
            menu_options=["limit", "objects", "save"],
            description_placeholders={
                "picture": await self._detected(),
                "limits": "\n".join(
                    f"- {label.capitalize()}: {_in_words(item)}" for label, item in limits.items()
                )
                or "none",
            },
        )

    async def async_step_limit(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Set the limits of one object; empty fields take them away."""
        errors: dict[str, str] = {}
        labels = self._data[CONF_LABELS]
        schema = vol.Schema(
            {
                vol.Required(FIELD_LABEL, default=labels[0]): SelectSelector(
                    SelectSelectorConfig(
                        options=[
                            SelectOptionDict(value=label, label=label.capitalize())
                            for label in labels
                        ]
                    )
                ),
                vol.Optional(CONF_CONFIDENCE): _number(
                    MIN_CONFIDENCE, MAX_CONFIDENCE, 1, PERCENTAGE
                ),
                vol.Optional(FIELD_MIN_SIZE): _number(0, 100, 0.01, PERCENTAGE),
                vol.Optional(FIELD_MAX_SIZE): _number(0, 100, 0.01, PERCENTAGE),
            }
        )
        if user_input is not None:
            limits = _limits(user_input)
            if limits.get("min_area", 0.0) >= limits.get("max_area", 1.0):
                errors[FIELD_MAX_SIZE] = "sizes_crossed"
                schema = self.add_suggested_values_to_schema(schema, user_input)
            else:
                label = user_input[FIELD_LABEL]
                kept = {**self._data.get(CONF_LIMITS, {}), label: limits}
                self._data = {
                    **self._data,
                    CONF_LIMITS: {name: item for name, item in kept.items() if item},
                }
                return await self.async_step_objects()
        return self.async_show_form(
            step_id="limit", data_schema=schema, errors=errors, last_step=False
        )

    async def _detected(self) -> str:
        """Return the camera's picture with all that is found, as Markdown; or why there is none."""
        data = self._data
        try:
            self._still = await async_see(self._hub, data, or_still=True)
            request = DetectRequest(
                model=(model := chosen(data, CONF_MODEL)),
                engine=self._hub.engine_for(model, chosen(data, CONF_ENGINE)),
                accelerator=chosen(data, CONF_ACCELERATOR),
                labels=tuple(data[CONF_LABELS]),
                confidence=_SHOWN_FROM,
                annotate=True,
                privacy_masks=self._privacy_masks(),
            )
            found, jpeg = await self._hub.async_request_picture(
                Command.DETECT, request, Detected, picture=self._still
            )
        except (HomeAssistantError, NodeError) as err:
            return f"({redact(str(err))})"
        seen = [
            f"- {item.label.capitalize()}: {item.confidence:.0f} %, size {_percent(item.box.area)}"
            for item in found.objects
        ]
        return "\n".join([self._show(jpeg), "", *seen])

    # --- Movement --------------------------------------------------------------------------------

    async def async_step_motion(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show what the motion gate sees just now."""
        return self.async_show_menu(
            step_id="motion",
            menu_options=["motion_settings", "motion", "save"],
            description_placeholders={"picture": await self._moving()},
        )

    async def async_step_motion_settings(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Choose a word, or numbers."""
        if user_input is not None:
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
        numbers_schema = {
            vol.Optional(
                field,
                description={
                    "suggested_value": round(given[field] * (100 if unit else 1), 4)
                    if field in given
                    else None
                },
            ): _number(low, high, step, unit)
            for field, (low, high, step, unit) in NUMBERS.items()
        }
        sensitivity = SelectSelector(
            SelectSelectorConfig(options=list(Sensitivity), translation_key="sensitivity")
        )
        schema = {
            vol.Required(
                CONF_SENSITIVITY, default=self._data.get(CONF_SENSITIVITY, Sensitivity.MEDIUM)
            ): sensitivity,
            vol.Required(SECTION_NUMBERS): section(
                vol.Schema(numbers_schema), {"collapsed": not given}
            ),
        }
        return self.async_show_form(
            step_id="motion_settings",
            data_schema=vol.Schema(schema),
            description_placeholders=_shown(thresholds(self._data)),
            last_step=False,
        )

    async def _moving(self) -> str:
        """Return what the motion gate sees, as Markdown; or why it sees nothing."""
        request = LiveRequest(
            pipeline_id=self._get_reconfigure_subentry().subentry_id, max_width=_WIDTH, motion=True
        )
        try:
            _, jpeg = await self._hub.async_request_picture(Command.LIVE, request, Picture)
        except NodeError as err:
            return f"({redact(str(err))})"
        return self._show(jpeg)


def _number(low: float, high: float, step: float, unit: str | None) -> NumberSelector:
    config = NumberSelectorConfig(min=low, max=high, step=step, mode=NumberSelectorMode.BOX)
    if unit is not None:
        config["unit_of_measurement"] = unit
    return NumberSelector(config)


def _limits(form: Mapping[str, Any]) -> dict[str, float]:
    """Return the form's answers as a subentry holds them: sizes as shares, and no empty ones."""
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
