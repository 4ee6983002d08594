"""A pipeline: configuration, loaded model and counters of one camera."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from ..errors import NodeError
from ..frames.masks import Masks
from ..protocol import PipelineConfig, PipelineState, PipelineStatus
from ..rules.objects import Limits
from ..workers.lane import ModelSite
from .memory import Memory


class Pipeline:
    """Configuration, loaded model, memory and counters of one pipeline.

    Used from the event loop.
    """

    def __init__(
        self, config: PipelineConfig, memory: Memory, picture_at: datetime | None = None
    ) -> None:
        """Start without a model; `picture_at` is when the last event's picture was taken."""
        self.config = config
        self.memory = memory
        self.limits = Limits(config.confidence, config.limits)
        self.picture_at = picture_at
        # Called when there is a newer picture of an event.
        self.on_picture: Callable[[], None] | None = None
        # Whether the pipeline has been removed: a look that is under way comes too late.
        self.removed = False
        self.place: ModelSite | None = None
        self.error: NodeError | None = None
        # While its model is being loaded.
        self.loading: asyncio.Task[None] | None = None
        # Why it does not run where it was wanted, but runs.
        self.fallback_from: str | None = None
        self.class_ids: list[int] = []
        # Looks of one pipeline take their turn here, so that the rules see them in order.
        self.turn = asyncio.Lock()
        self.looks = 0
        self.failures = 0
        self.dropped = 0
        self.last_detection_at: str | None = None

    @property
    def masks(self) -> Masks:
        """Return what has to be hidden in every picture."""
        return Masks(self.config.privacy_masks, self.config.mask_aspects)

    def reconfigure(self, config: PipelineConfig) -> bool:
        """Take a new configuration; return whether it wants another model or place."""
        moved = _wanted_place(config) != _wanted_place(self.config)
        self.config = config
        self.limits = Limits(config.confidence, config.limits)
        if moved:
            self.place = self.error = self.fallback_from = None
        return moved

    def use(self, place: ModelSite, fallback_from: str | None = None) -> None:
        """Take a loaded model; `fallback_from` says in a sentence what was wanted instead.

        Raises `ModelError` if it lacks a label of the configuration.
        """
        self.class_ids = place.model.class_ids(self.config.labels)
        self.place, self.error, self.fallback_from = place, None, fallback_from

    def fail(self, error: NodeError) -> None:
        """Note that the model cannot be used."""
        self.place, self.error, self.fallback_from = None, error, None

    def note_picture(self, at: datetime) -> None:
        """Note when the last event's picture was taken."""
        self.picture_at = at
        if self.on_picture is not None:
            self.on_picture()

    @property
    def status(self) -> PipelineStatus:
        """Return how the pipeline is doing."""
        place = self.place
        state = PipelineState.READY if place else PipelineState.LOADING
        if self.error is not None:
            state = PipelineState.FAILED
        return PipelineStatus(
            pipeline_id=self.config.pipeline_id,
            state=state,
            error_code=self.error.code if self.error else None,
            error=str(self.error) if self.error else None,
            model=place.model.id if place else None,
            model_version=place.model.manifest.version if place else None,
            engine=place.engine if place else None,
            accelerator=place.accelerator if place else None,
            looks=self.looks,
            failures=self.failures,
            dropped=self.dropped,
            presence=self.memory.presence(self.config),
            last_detection_at=self.last_detection_at,
            picture_at=self.picture_at.isoformat() if self.picture_at else None,
            fallback_from=self.fallback_from,
        )


def _wanted_place(config: PipelineConfig) -> tuple[object, ...]:
    return config.model, config.engine, config.accelerator, config.allow_fallback
