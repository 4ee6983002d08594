"""Detection on and off."""

from __future__ import annotations

from typing import Any, override

from homeassistant.components.switch import SwitchEntity, SwitchEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import PipelineEntity, async_add_pipeline_entities
from .runtime.runtime import EdgeVisionConfigEntry

PARALLEL_UPDATES = 0

DETECTION = SwitchEntityDescription(key="detection", translation_key="detection")


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    await async_add_pipeline_entities(
        entry, lambda runtime, pipeline: [DetectionSwitch(runtime, pipeline, DETECTION)]
    )


class DetectionSwitch(PipelineEntity, SwitchEntity):
    """Detection of a pipeline; the state is kept over restarts."""

    @property
    @override
    def available(self) -> bool:
        """Return True: it can be changed while the node is disconnected."""
        return True

    @property
    @override
    def is_on(self) -> bool:
        """Return whether detection is on."""
        return self.pipeline.enabled

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Turn detection on."""
        self.runtime.pipelines.async_set_enabled(self.pipeline, True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Turn detection off."""
        self.runtime.pipelines.async_set_enabled(self.pipeline, False)
