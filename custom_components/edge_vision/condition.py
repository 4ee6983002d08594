"""A condition in words: "a person is on the porch"."""

from __future__ import annotations

from typing import Any, Unpack, cast, override

import voluptuous as vol
from homeassistant.const import CONF_OPTIONS, CONF_TARGET
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.condition import Condition, ConditionCheckParams, ConditionConfig
from homeassistant.helpers.typing import ConfigType

from .automations import async_pipelines_in
from .evidence import find_hub
from .node.edge_vision_node.protocol import LabelPresence

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


class ObjectIsPresent(Condition):
    """An object is there now, or in a zone. A camera that cannot look has nothing there."""

    @classmethod
    @override
    async def async_validate_config(cls, hass: HomeAssistant, config: ConfigType) -> ConfigType:
        """Check a condition as somebody has written it."""
        return cast(ConfigType, _SCHEMA(config))

    def __init__(self, hass: HomeAssistant, config: ConditionConfig) -> None:
        """Take the cameras and what of them."""
        super().__init__(hass, config)
        self._target = config.target or {}
        self._options = config.options or {}

    @override
    def _async_check(self, **kwargs: Unpack[ConditionCheckParams]) -> bool:
        labels = self._options.get(CONF_LABEL)
        return any(
            item.present and (not labels or label in labels)
            for pipeline_id in async_pipelines_in(self._hass, self._target)
            for label, item in self._presence(pipeline_id).items()
        )

    def _presence(self, pipeline_id: str) -> dict[str, LabelPresence]:
        hub = find_hub(self._hass, pipeline_id)
        look = hub.pipelines[pipeline_id].look if hub else None
        if look is None:
            return {}
        zone: Any = self._options.get(CONF_ZONE)
        return look.presence if zone is None else look.zones.get(zone, {})


async def async_get_conditions(_hass: HomeAssistant) -> dict[str, type[Condition]]:
    """Return the condition."""
    return {"object_is_present": ObjectIsPresent}
