"""Purpose-specific triggers, such as "when a person enters the porch", based on the bus event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast, override

import voluptuous as vol
from homeassistant.const import CONF_OPTIONS, CONF_TARGET
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.trigger import (
    Trigger,
    TriggerActionRunner,
    TriggerConfig,
    TriggerNotTriggeredReporter,
)
from homeassistant.helpers.typing import ConfigType

from .const import EVENT_DETECTION
from .node.edge_vision_node.protocol import Kind, Phase
from .runtime.automation_targets import among, async_pipelines_in, same

CONF_LABEL = "label"
CONF_ZONE = "zone"
CONF_LINE = "line"
CONF_DIRECTION = "direction"
CONF_CONFIDENCE = "confidence"
DIRECTIONS = ("in", "out")

_LABEL = {vol.Optional(CONF_LABEL): vol.All(cv.ensure_list, [cv.string])}
_ZONE = {vol.Optional(CONF_ZONE): cv.string}
_CONFIDENCE = {vol.Optional(CONF_CONFIDENCE): vol.All(vol.Coerce(float), vol.Range(min=0, max=100))}


class DetectionTrigger(Trigger):
    """Trigger for some events `edge_vision_detection` of some cameras."""

    options: ClassVar[dict[Any, Any]]

    @classmethod
    @override
    async def async_validate_config(cls, hass: HomeAssistant, config: ConfigType) -> ConfigType:
        """Validate the configuration of a trigger."""
        schema = vol.Schema(
            {
                vol.Required(CONF_TARGET): cv.TARGET_FIELDS,
                vol.Required(CONF_OPTIONS, default={}): cls.options,
            }
        )
        return cast(ConfigType, schema(config))

    def __init__(self, hass: HomeAssistant, config: TriggerConfig) -> None:
        """Initialize the trigger."""
        super().__init__(hass, config)
        self._target = config.target or {}
        self._options = config.options or {}

    @override
    async def async_attach_runner(
        self,
        run_action: TriggerActionRunner,
        did_not_trigger: TriggerNotTriggeredReporter | None = None,
    ) -> CALLBACK_TYPE:
        """Attach the trigger."""

        @callback
        def take(event: Event) -> None:
            data = event.data
            # Look up the cameras each time, because areas and labels can change.
            if self._is_meant(data) and data["pipeline_id"] in async_pipelines_in(
                self._hass, self._target
            ):
                run_action({"event": event}, data.get("message", data["label"]), event.context)

        return self._hass.bus.async_listen(EVENT_DETECTION, take)

    def _is_meant(self, data: Mapping[str, Any]) -> bool:
        options = self._options
        return (
            among(options.get(CONF_LABEL), data["label"])
            and data["confidence"] >= options.get(CONF_CONFIDENCE, 0)
            and self._fits(data)
        )

    def _fits(self, data: Mapping[str, Any]) -> bool:
        raise NotImplementedError

    def _is_in_zone(self, data: Mapping[str, Any], phase: Phase) -> bool:
        """Return whether an object appears or is gone, in the picture or in the configured zone."""
        zone = self._options.get(CONF_ZONE)
        kind = Kind.OBJECT if zone is None else Kind.ZONE
        fits = data["kind"] == kind and data["phase"] == phase
        return fits and same(zone, data["zone"])


class ObjectDetected(DetectionTrigger):
    """Trigger when an object appears or enters a zone."""

    options: ClassVar = {**_LABEL, **_ZONE, **_CONFIDENCE}

    @override
    def _fits(self, data: Mapping[str, Any]) -> bool:
        return self._is_in_zone(data, Phase.START)


class ObjectGone(DetectionTrigger):
    """Trigger when an object is gone or has left a zone."""

    options: ClassVar = {**_LABEL, **_ZONE}

    @override
    def _fits(self, data: Mapping[str, Any]) -> bool:
        return self._is_in_zone(data, Phase.END)


class Loitering(DetectionTrigger):
    """Trigger when an object stays in a zone for too long."""

    options: ClassVar = {**_LABEL, **_ZONE}

    @override
    def _fits(self, data: Mapping[str, Any]) -> bool:
        fits = data["kind"] == Kind.LOITERING and data["phase"] == Phase.START
        return fits and same(self._options.get(CONF_ZONE), data["zone"])


class LineCrossed(DetectionTrigger):
    """Trigger when an object crosses a line."""

    options: ClassVar = {
        **_LABEL,
        vol.Optional(CONF_LINE): cv.string,
        vol.Optional(CONF_DIRECTION): vol.In(DIRECTIONS),
    }

    @override
    def _fits(self, data: Mapping[str, Any]) -> bool:
        return data["kind"] == Kind.LINE and all(
            same(self._options.get(key), data[key]) for key in (CONF_LINE, CONF_DIRECTION)
        )


TRIGGERS: dict[str, type[Trigger]] = {
    "object_detected": ObjectDetected,
    "object_gone": ObjectGone,
    "loitering": Loitering,
    "line_crossed": LineCrossed,
}


async def async_get_triggers(_hass: HomeAssistant) -> dict[str, type[Trigger]]:
    """Return the triggers."""
    return TRIGGERS
