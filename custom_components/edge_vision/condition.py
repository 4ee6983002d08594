"""Purpose-specific conditions, such as "a person is on the porch"."""

from __future__ import annotations

from typing import Unpack, cast, override

import voluptuous as vol
from homeassistant.const import CONF_OPTIONS, CONF_TARGET
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.condition import Condition, ConditionCheckParams, ConditionConfig
from homeassistant.helpers.typing import ConfigType

from .const import DOMAIN
from .runtime.automation_targets import among, async_pipelines_in, same
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import find_runtime

CONF_LABEL = "label"
CONF_ZONE = "zone"

_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_TARGET): cv.TARGET_FIELDS,
        vol.Required(CONF_OPTIONS, default={}): {
            vol.Optional(CONF_LABEL): vol.All(cv.ensure_list, [cv.string]),
            vol.Optional(CONF_ZONE): cv.string,
        },
    }
)


class _ObjectCondition(Condition):
    """Condition on the objects in the pictures of some cameras, or in one of their zones."""

    @classmethod
    @override
    async def async_validate_config(cls, hass: HomeAssistant, config: ConfigType) -> ConfigType:
        """Validate the configuration of a condition."""
        return cast(ConfigType, _SCHEMA(config))

    def __init__(self, hass: HomeAssistant, config: ConditionConfig) -> None:
        """Initialize the condition."""
        super().__init__(hass, config)
        self._target = config.target or {}
        options = config.options or {}
        self._labels: list[str] = options.get(CONF_LABEL) or []
        self._zone: str | None = options.get(CONF_ZONE)

    def _pipelines(self) -> list[PipelineRuntime | None]:
        """Return the targeted cameras, with None for those that are not running."""
        entries = self._hass.config_entries.async_entries(DOMAIN)
        ours = {subentry_id for entry in entries for subentry_id in entry.subentries}
        return [
            runtime.pipelines[pipeline_id]
            if (runtime := find_runtime(self._hass, pipeline_id))
            else None
            for pipeline_id in async_pipelines_in(self._hass, self._target) & ours
        ]

    def _is_present(self, pipeline: PipelineRuntime | None) -> bool:
        if pipeline is None or (look := pipeline.look) is None:
            return False
        zones = [look.presence]
        if self._zone is not None:
            zones = [there for name, there in look.zones.items() if same(self._zone, name)]
        return any(
            item.present and among(self._labels, label)
            for there in zones
            for label, item in there.items()
        )

    def _is_watched(self, pipeline: PipelineRuntime | None) -> bool:
        """Return whether the camera detects the configured objects in the configured place."""
        if pipeline is None or (look := pipeline.look) is None:
            return False
        labels = set(pipeline.counted_labels)
        if self._zone is not None:
            zones = [zone for zone in look.zones if same(self._zone, zone)]
            labels = {label for label, zone in pipeline.counted_in_zones if zone in zones}
        return bool(labels) and all(
            any(same(wanted, label) for label in labels) for wanted in self._labels
        )


class ObjectIsPresent(_ObjectCondition):
    """Condition that an object is present; not met by unavailable cameras."""

    @override
    def _async_check(self, **kwargs: Unpack[ConditionCheckParams]) -> bool:
        return any(self._is_present(pipeline) for pipeline in self._pipelines())


class ObjectIsAbsent(_ObjectCondition):
    """Condition that all cameras have analyzed a picture, and there is no such object."""

    @override
    def _async_check(self, **kwargs: Unpack[ConditionCheckParams]) -> bool:
        pipelines = self._pipelines()
        return bool(pipelines) and all(
            self._is_watched(pipeline) and not self._is_present(pipeline) for pipeline in pipelines
        )


async def async_get_conditions(_hass: HomeAssistant) -> dict[str, type[Condition]]:
    """Return the conditions."""
    return {"object_is_present": ObjectIsPresent, "object_is_absent": ObjectIsAbsent}
