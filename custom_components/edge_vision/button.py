"""Buttons of a node."""

from __future__ import annotations

from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .api.client import NodeCommandError, NodeRequestError
from .const import DOMAIN
from .entity import NodeEntity
from .node.edge_vision_node.protocol import ErrorCode
from .runtime.runtime import EdgeVisionConfigEntry

PARALLEL_UPDATES = 0

BENCHMARK = ButtonEntityDescription(
    key="benchmark", translation_key="benchmark", entity_category=EntityCategory.DIAGNOSTIC
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one button."""
    async_add_entities([BenchmarkButton(entry.runtime_data, BENCHMARK)])


class BenchmarkButton(NodeEntity, ButtonEntity):
    """Measures how fast models run on everything here: the default one and those in use."""

    @override
    async def async_press(self) -> None:
        """Run the benchmark. The figures are shown in the cameras' settings and diagnostics."""
        try:
            await self.runtime.async_benchmark()
        except NodeCommandError as err:
            if err.code == ErrorCode.BUSY:
                raise ServiceValidationError(
                    translation_domain=DOMAIN, translation_key="benchmark_running"
                ) from err
            raise self._failed(err) from err
        except NodeRequestError as err:
            raise self._failed(err) from err

    @staticmethod
    def _failed(err: NodeRequestError) -> HomeAssistantError:
        return HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="benchmark_failed",
            translation_placeholders={"reason": str(err)},
        )
