"""A pipeline: configuration, loaded model and counters of one camera."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from ..errors import NodeError
from ..protocol import NO_ANSWER, NodeEvent, PipelineConfig, PipelineState, PipelineStatus, Task
from ..rules.answer import HeldAnswer
from ..rules.objects import Limits
from ..rules.presence import Presence
from ..storage.archive import History
from ..workers.lane import Place


class Pipeline:
    """Configuration, loaded model, rules and counters of one pipeline. Used from the event loop."""

    def __init__(self, config: PipelineConfig, picture_at: datetime | None) -> None:
        """Start without a model; `picture_at` is when the last event's picture was taken."""
        self.config = config
        self.limits = Limits(config.confidence, config.limits)
        self.picture_at = picture_at
        # Called when there is a newer picture of an event.
        self.on_picture: Callable[[], None] | None = None
        # Whether the pipeline has been removed: a look that is under way comes too late.
        self.removed = False
        self.place: Place | None = None
        self.error: NodeError | None = None
        # While its model is being loaded.
        self.loading: asyncio.Task[None] | None = None
        # Why it does not run where it was wanted, but runs.
        self.fallback_from: str | None = None
        self.class_ids: list[int] = []
        # Looks of one pipeline take their turn here, so that the rules see them in order.
        self.turn = asyncio.Lock()
        self.presence = Presence(config.labels, config.looks_to_clear)
        # Labels of what was followed in live video and goes on in stills; and of what has ended
        # in them, which is still to be told.
        self.inherited: set[str] = set()
        self.outlived: set[str] = set()
        self.held = HeldAnswer(config.looks_to_clear)
        self._last_answer: NodeEvent | None = None
        # What the newest events were about, for each of the two has objects of its own: stills or
        # live video; None where nobody knows.
        self.told_of: Literal["stills", "live"] | None = None
        self.elsewhere = False
        self.looks = 0
        self.failures = 0
        self.dropped = 0
        self.last_detection_at: str | None = None

    def reconfigure(self, config: PipelineConfig) -> bool:
        """Take a new configuration; what is present stays present where it still is of interest.

        Returns whether it is to run elsewhere, or another model.
        """
        before, held = self.presence.state, self.held.answer
        moved = _wanted_place(config) != _wanted_place(self.config)
        same_model = config.model == self.config.model
        posture = self.place is not None and self.place.model.manifest.task == Task.POSE
        # What was seen at another camera ends with the first look at this one.
        self.elsewhere = self.elsewhere or config.camera != self.config.camera
        self.config = config
        self.limits = Limits(config.confidence, config.limits)
        if moved:
            self.place = self.error = self.fallback_from = None
        self.outlived |= {label for label in self.inherited if not self._wants(label)}
        self.inherited -= self.outlived
        self.presence = Presence(config.labels, config.looks_to_clear)
        self._restore_presence(
            {label: item.count for label, item in before.items() if item.present}
        )
        self.held = HeldAnswer(config.looks_to_clear)
        if held is not None and same_model and (posture or self._wants(held.label)):
            self.held.restore(held.label, held.confidence)
        return moved

    def restore(self, history: History) -> None:
        """Take up what held before a restart."""
        self._restore_presence(history.present)
        self._last_answer = history.answer

    def _restore_presence(self, counts: dict[str, int]) -> None:
        self.presence.restore({label: n for label, n in counts.items() if self._wants(label)})

    def _wants(self, label: str) -> bool:
        labels = self.config.labels
        return not labels or label in labels or label == NO_ANSWER

    def use(self, place: Place, fallback_from: str | None = None) -> None:
        """Take a loaded model, in `fallback_from`'s stead where that says what was wanted.

        Raises `ModelError` where it lacks a label of the configuration.
        """
        self.class_ids = place.model.class_ids(self.config.labels)
        self.place, self.error, self.fallback_from = place, None, fallback_from
        last, self._last_answer = self._last_answer, None
        if last is not None and last.model == place.model.id:
            posture = place.model.manifest.task == Task.POSE
            if posture or self._wants(last.label):
                self.held.restore(last.label, last.confidence)

    def fail(self, error: NodeError) -> None:
        """Note that the model cannot be used."""
        self.place, self.error, self.fallback_from = None, error, None

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
            presence=self.presence.state,
            last_detection_at=self.last_detection_at,
            picture_at=self.picture_at.isoformat() if self.picture_at else None,
            fallback_from=self.fallback_from,
        )

    def note_picture(self, at: datetime) -> None:
        """Note when the last event's picture was taken."""
        self.picture_at = at
        if self.on_picture is not None:
            self.on_picture()

    def inherit(self, counts: Mapping[str, int]) -> None:
        """Take up what was followed in live video: it is there until stills do not show it."""
        self.inherited = set(counts)
        self.presence.restore(counts)

    def outlive(self) -> None:
        """End with the next look what was followed and goes on."""
        if gone := self.inherited | self.outlived:
            self.forget_presence()
            self.outlived = gone

    def forget_presence(self) -> None:
        """Know nothing of what is there."""
        self.presence = Presence(self.config.labels, self.config.looks_to_clear)
        self.inherited, self.outlived = set(), set()


def _wanted_place(config: PipelineConfig) -> tuple[object, ...]:
    return config.model, config.engine, config.accelerator, config.allow_fallback
