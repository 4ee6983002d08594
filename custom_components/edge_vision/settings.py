"""What the user has chosen for a pipeline, read from its subentry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from homeassistant.config_entries import ConfigSubentry

from .const import (
    AUTO,
    CONF_ACCELERATOR,
    CONF_ALLOW_FALLBACK,
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_ENGINE,
    CONF_LABELS,
    CONF_MODEL,
    CONF_ONLY_ON_REQUEST,
    CONF_PATTERN,
    CONF_SCAN_INTERVAL,
    DEFAULT_CONFIDENCE,
    DEFAULT_SCAN_INTERVAL,
    PATTERN_FULL_EDGE,
)
from .node.edge_vision_node.protocol import PipelineConfig

# An object that one still misses is not gone; but who asks for a single look means that look.
_LOOKS_TO_CLEAR = 2
_LOOKS_TO_CLEAR_ON_REQUEST = 1


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """A pipeline as the user wants it. `model`, `engine`, `accelerator`: None is "automatic"."""

    name: str
    camera: str
    model: str | None
    engine: str | None
    accelerator: str | None
    allow_fallback: bool
    pattern: str
    labels: tuple[str, ...]
    confidence: float
    only_on_request: bool
    scan_interval_s: float

    @classmethod
    def of(cls, subentry: ConfigSubentry) -> Self:
        """Read a subentry."""
        data = subentry.data
        return cls(
            name=subentry.title,
            camera=data[CONF_CAMERA],
            model=_chosen(data, CONF_MODEL),
            engine=_chosen(data, CONF_ENGINE),
            accelerator=_chosen(data, CONF_ACCELERATOR),
            allow_fallback=bool(data.get(CONF_ALLOW_FALLBACK, False)),
            pattern=data.get(CONF_PATTERN, PATTERN_FULL_EDGE),
            labels=tuple(data.get(CONF_LABELS, ())),
            confidence=float(data.get(CONF_CONFIDENCE, DEFAULT_CONFIDENCE)),
            only_on_request=bool(data.get(CONF_ONLY_ON_REQUEST, False)),
            scan_interval_s=float(data.get(CONF_SCAN_INTERVAL, DEFAULT_SCAN_INTERVAL)),
        )

    @property
    def needs_reload(self) -> tuple[object, ...]:
        """Return what entities and devices are made from; all else can change while they live."""
        return (self.name, self.camera, self.labels)

    def config(self, pipeline_id: str, node_engine: str) -> PipelineConfig:
        """Return it as the node wants it; "automatic" is the engine chosen for the node.

        The node itself would take the first that is installed, which may be another.
        """
        return PipelineConfig(
            pipeline_id=pipeline_id,
            name=self.name,
            model=self.model,
            engine=self.engine or node_engine,
            accelerator=self.accelerator,
            labels=self.labels,
            confidence=self.confidence,
            looks_to_clear=_LOOKS_TO_CLEAR_ON_REQUEST if self.only_on_request else _LOOKS_TO_CLEAR,
            pattern=self.pattern,
            allow_fallback=self.allow_fallback,
        )


def _chosen(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key, AUTO)
    return None if value == AUTO else str(value)
