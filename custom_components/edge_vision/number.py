"""Number entities: the minimum confidence."""

from __future__ import annotations

from typing import override

from homeassistant.components.number import NumberEntity, NumberEntityDescription, NumberMode
from homeassistant.const import PERCENTAGE, EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import CONF_CONFIDENCE, MAX_CONFIDENCE, MIN_CONFIDENCE
from .entity import PipelineEntity, async_add_pipeline_entities
from .runtime.runtime import EdgeVisionConfigEntry

PARALLEL_UPDATES = 0

CONFIDENCE = NumberEntityDescription(
    key="confidence",
    translation_key="confidence",
    entity_category=EntityCategory.CONFIG,
    native_unit_of_measurement=PERCENTAGE,
    native_min_value=MIN_CONFIDENCE,
    native_max_value=MAX_CONFIDENCE,
    native_step=1,
    mode=NumberMode.SLIDER,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    await async_add_pipeline_entities(
        entry, lambda runtime, pipeline: [ConfidenceNumber(runtime, pipeline, CONFIDENCE)]
    )


class ConfidenceNumber(PipelineEntity, NumberEntity):
    """The minimum confidence of a pipeline; a change takes effect with the next look."""

    _object_name: str | None = "minimum confidence"

    @property
    @override
    def available(self) -> bool:
        """Return True: the setting can be changed while the node is disconnected."""
        return True

    @property
    @override
    def native_value(self) -> float:
        """Return the setting, in percent."""
        return self.pipeline.settings.confidence

    @override
    async def async_set_native_value(self, value: float) -> None:
        """Change the setting; the update listener of the entry configures the node."""
        entry = self.runtime.entry
        subentry = entry.subentries[self.pipeline.pipeline_id]
        self.hass.config_entries.async_update_subentry(
            entry, subentry, data={**subentry.data, CONF_CONFIDENCE: value}
        )
