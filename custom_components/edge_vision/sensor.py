"""Counts per label, what a pipeline is doing, and how pipeline and node are doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    EntityCategory,
    UnitOfFrequency,
    UnitOfInformation,
    UnitOfTemperature,
    UnitOfTime,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .const import PipelineProblem
from .entity import NodeEntity, PipelineEntity, async_add_pipeline_entities
from .node.edge_vision_node.protocol import SlowedBy
from .runtime.event_words import text
from .runtime.node import EntryNode
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime

PARALLEL_UPDATES = 0

# Measurements of every single look would be too many states.
_MEASURE_EVERY_S = 10.0
_MAX_STATE_CHARS = 255


@dataclass(frozen=True, kw_only=True)
class PipelineSensorDescription(SensorEntityDescription):
    """A sensor of a pipeline."""

    value: Callable[[PipelineRuntime], StateType]


@dataclass(frozen=True, kw_only=True)
class NodeSensorDescription(SensorEntityDescription):
    """A sensor of a node. `exists`: whether the node provides the value."""

    value: Callable[[EntryNode], StateType]
    attributes: Callable[[EntryNode], Mapping[str, Any]] | None = None
    exists: Callable[[EntryNode], bool] = lambda _node: True


def _hardware(node: EntryNode) -> str | None:
    if node.info is None:
        return None
    hardware = node.info.hardware
    return (hardware.board or hardware.cpu)[:_MAX_STATE_CHARS]


def _hardware_attributes(node: EntryNode) -> dict[str, Any]:
    if node.info is None:
        return {}
    hardware = node.info.hardware
    return {
        "cpu": hardware.cpu,
        "cores": hardware.cores,
        "machine": hardware.machine,
        "engines": {item.name: item.version for item in node.info.engines if item.version},
        "accelerators": sorted({a.name for item in node.info.engines for a in item.accelerators}),
    }


COUNT = SensorEntityDescription(
    key="count", translation_key="count", state_class=SensorStateClass.MEASUREMENT
)

ZONE_COUNT = SensorEntityDescription(
    key="count", translation_key="zone_count", state_class=SensorStateClass.MEASUREMENT
)
CROSSINGS = {
    direction: SensorEntityDescription(
        key=f"crossings_{direction}",
        translation_key=translation_key,
        state_class=SensorStateClass.TOTAL_INCREASING,
    )
    for direction, translation_key in (("in", "crossings_in"), ("out", "crossings_out"))
}

_SLOWED_BY: dict[str, str] = {
    SlowedBy.MODEL: "slowed_by_model",
    SlowedBy.DECODING: "slowed_by_decoding",
}

STATUS = PipelineSensorDescription(
    key="status",
    translation_key="status",
    device_class=SensorDeviceClass.ENUM,
    options=["looking", "slowed", "on_request", "off", *PipelineProblem],
    value=lambda pipeline: pipeline.activity,
)

MEASUREMENTS = (
    PipelineSensorDescription(
        key="inference_time",
        translation_key="inference_time",
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.MILLISECONDS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda pipeline: pipeline.look.inference_ms if pipeline.look else None,
    ),
    PipelineSensorDescription(
        key="latency",
        translation_key="latency",
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.MILLISECONDS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda pipeline: pipeline.latency_ms if pipeline.look else None,
    ),
    PipelineSensorDescription(
        key="look_rate",
        translation_key="look_rate",
        device_class=SensorDeviceClass.FREQUENCY,
        native_unit_of_measurement=UnitOfFrequency.HERTZ,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda pipeline: pipeline.looks_per_second,
    ),
    PipelineSensorDescription(
        key="dropped_frames",
        translation_key="dropped_frames",
        state_class=SensorStateClass.TOTAL_INCREASING,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda pipeline: pipeline.dropped,
    ),
)

NODE_SENSORS = (
    NodeSensorDescription(
        key="hardware",
        translation_key="hardware",
        entity_category=EntityCategory.DIAGNOSTIC,
        value=_hardware,
        attributes=_hardware_attributes,
    ),
    NodeSensorDescription(
        key="memory",
        translation_key="memory",
        device_class=SensorDeviceClass.DATA_SIZE,
        native_unit_of_measurement=UnitOfInformation.BYTES,
        suggested_unit_of_measurement=UnitOfInformation.MEBIBYTES,
        suggested_display_precision=0,
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda node: node.status.memory_bytes if node.status else None,
        exists=lambda node: node.status is not None and node.status.memory_bytes is not None,
    ),
    NodeSensorDescription(
        key="temperature",
        translation_key="temperature",
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        suggested_display_precision=0,
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda node: node.status.temperature_c if node.status else None,
        exists=lambda node: node.status is not None and node.status.temperature_c is not None,
    ),
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of the node and of every pipeline."""
    runtime = entry.runtime_data
    async_add_entities(
        NodeSensor(runtime, description)
        for description in NODE_SENSORS
        if description.exists(runtime.node)
    )
    await async_add_pipeline_entities(entry, _make)


def _make(runtime: EntryRuntime, pipeline: PipelineRuntime) -> list[PipelineEntity]:
    return [
        StatusSensor(runtime, pipeline, STATUS),
        *(LabelCount(runtime, pipeline, COUNT, label) for label in pipeline.counted_labels),
        *(
            LabelCount(runtime, pipeline, ZONE_COUNT, label, zone)
            for label, zone in pipeline.counted_in_zones
        ),
        *(
            Crossings(runtime, pipeline, line, direction)
            for line in pipeline.lines
            for direction in CROSSINGS
        ),
        *(Measurement(runtime, pipeline, description) for description in MEASUREMENTS),
    ]


class LabelCount(PipelineEntity, SensorEntity):
    """The number of objects of a label."""

    @property
    @override
    def native_value(self) -> int | None:
        """Return the number; None before the first look."""
        return self.presence.count if self.presence else None


class Crossings(PipelineEntity, SensorEntity):
    """How many objects have crossed a line in one direction; which ones is in the attributes."""

    def __init__(
        self, runtime: EntryRuntime, pipeline: PipelineRuntime, line: str, direction: str
    ) -> None:
        """Initialize the sensor for one direction of a line."""
        super().__init__(runtime, pipeline, CROSSINGS[direction])
        self._line, self._direction = line, direction
        assert self._attr_unique_id is not None
        self._attr_unique_id += f"_{line}"
        self._attr_translation_placeholders = {"line": line}
        self._object_name = f"{line} {direction}"

    @property
    def _totals(self) -> dict[str, int] | None:
        if (look := self.pipeline.live_look) is None or not look.presence:
            return None
        return {
            item.label: item.total
            for item in look.lines
            if item.line == self._line and item.direction == self._direction
        }

    @property
    @override
    def native_value(self) -> int | None:
        """Return the number; None without live video."""
        return None if (totals := self._totals) is None else sum(totals.values())

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return the number per label."""
        return {"labels": self._totals or {}}


class PipelineSensor(PipelineEntity, SensorEntity):
    """A sensor whose description says where its value comes from."""

    def __init__(
        self,
        runtime: EntryRuntime,
        pipeline: PipelineRuntime,
        description: PipelineSensorDescription,
    ) -> None:
        """Initialize the sensor."""
        super().__init__(runtime, pipeline, description)
        self._value = description.value

    @property
    @override
    def native_value(self) -> StateType:
        """Return the value."""
        return self._value(self.pipeline)


class StatusSensor(PipelineSensor):
    """The activity or the problem of a pipeline."""

    @property
    @override
    def available(self) -> bool:
        """Return True: the state shows problems, too."""
        return True

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return the source of pictures, and the reason and time of a problem."""
        pipeline = self.pipeline
        activity = pipeline.activity
        is_problem = activity == pipeline.problem
        slowed_by = pipeline.slowed_by if activity == "slowed" else None
        reason = pipeline.problem_text if is_problem else pipeline.stills_because
        if slowed_by is not None:
            reason = text(self.hass, _SLOWED_BY.get(slowed_by, ""))
        return {
            "source": pipeline.source,
            "slowed_by": slowed_by,
            "reason": reason,
            "since": pipeline.problem_since if is_problem else None,
        }


class Measurement(PipelineSensor):
    """A measurement of the newest looks, updated at intervals."""

    _written_at = 0.0
    _written_available: bool | None = None

    @override
    async def async_added_to_hass(self) -> None:
        """Subscribe to the pipeline; Home Assistant writes the first state after this."""
        await super().async_added_to_hass()
        self._written_at, self._written_available = time.monotonic(), self._measured

    @property
    def _measured(self) -> bool:
        return self.available and self.pipeline.look is not None

    @callback
    @override
    def _async_pipeline_changed(self) -> None:
        now = time.monotonic()
        if self._measured == self._written_available and now - self._written_at < _MEASURE_EVERY_S:
            return
        self._written_at, self._written_available = now, self._measured
        self.async_write_ha_state()


class NodeSensor(NodeEntity, SensorEntity):
    """A sensor of a node."""

    def __init__(self, runtime: EntryRuntime, description: NodeSensorDescription) -> None:
        """Initialize the sensor."""
        super().__init__(runtime, description)
        self._value = description.value
        self._attributes = description.attributes

    @property
    @override
    def native_value(self) -> StateType:
        """Return the value."""
        return self._value(self.runtime.node)

    @property
    @override
    def extra_state_attributes(self) -> Mapping[str, Any] | None:
        """Return the attributes."""
        return self._attributes(self.runtime.node) if self._attributes else None
