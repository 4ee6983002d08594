"""What is there now at a camera: the one place that keeps it and says what has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import StorageError
from ..protocol import (
    TASKS_WITH_OBJECTS,
    Kind,
    LabelPresence,
    NodeEvent,
    Phase,
    PipelineConfig,
    read,
    write,
)
from ..rules.answer import AnswerRule, AnswerState
from ..rules.presence import PresenceRule, PresenceState, Present
from ..rules.scene import RuleEvent, Scene
from ..storage.archive import Archive
from ..tracking.follower import Follower, end_all, end_labels, labels_in
from .handover import Held, HeldAnswer, Situation, hand_over, keep, recall, scene_config, wants

_READ_AGAIN_EVERY_S = 10.0
# What is there is that of the newest event of these.
CHANGES = (Kind.OBJECT, Kind.CLASSIFICATION)


class Memory:
    """What is there at one pipeline's camera, and the rules that say so.

    Used from the event loop, by one look at a time.
    """

    def __init__(self, pipeline_id: str, archive: Archive) -> None:
        """Initialize with nothing known; see `load`."""
        self._pipeline_id = pipeline_id
        self._archive = archive
        self._held = Held()
        self._situation: Situation | None = None
        self._presence = PresenceRule((), 1)
        self._answer = AnswerRule(1)
        self.follower: Follower | None = None
        # Ends that are not reported yet.
        self._ended: list[RuleEvent] = []
        self._as_of: str | None = None
        # What was there before is not overwritten until it has been read.
        self._loaded = False
        self._tried_at: float | None = None

    @property
    def pictures(self) -> Sequence[Any]:
        """Return which events' pictures show the objects, as that was written."""
        return self._held.pictures

    @property
    def answer(self) -> str | None:
        """Return what holds of the whole picture; None if nothing does."""
        held = self._answer.answer
        return held.label if held else None

    def presence(self, config: PipelineConfig) -> dict[str, LabelPresence]:
        """Return what holds of each label; only of what is present before the first look."""
        now = self._situation
        if now is not None and now.config is config:
            if self.follower is not None:
                return self.follower.rules.presence
            return self._presence.presence
        if config.video is not None:
            return {}
        held = self._state()
        present = {label: Present(count=n) for label, n in labels_in(held.scene).items()}
        present |= held.present
        return {
            label: LabelPresence(present=True, count=item.count, confidence=item.confidence)
            for label, item in present.items()
            if wants(config, label)
        }

    # --- Reading ---------------------------------------------------------------------------------

    async def load(self, config: PipelineConfig) -> None:
        """Read what was there before, if that is possible now."""
        try:
            snapshot, history = await self._archive.held(self._pipeline_id)
        except StorageError:
            return
        self._loaded, self._as_of = True, history.newest
        self._take_up_late(recall(snapshot, history, config))

    def _take_up_late(self, before: Held) -> None:
        """Take up what was there before, also if looks have begun without it."""
        now = self._situation
        if now is None:
            self._held = before
            return
        at = time.monotonic()
        held, ended = hand_over(before, now, at)
        if self.follower is not None:
            # Objects that are still there have other numbers by now.
            more, scene = end_all(scene_config(now.config), held.scene, at)
            self.follower.add_totals(scene)
            ended += more
        else:
            known = {label for label, item in self._presence.presence.items() if item.present}
            self._held = replace(self._held, scene=held.scene)
            self._presence.restore(
                _state_of({k: v for k, v in held.present.items() if k not in known})
            )
        self._ended += ended

    # --- Looking ---------------------------------------------------------------------------------

    async def enter(self, now: Situation, at: float) -> None:
        """Get ready for a look; `at` is its time in seconds. See `hand_over`."""
        if not self._loaded and (
            self._tried_at is None or at - self._tried_at >= _READ_AGAIN_EVERY_S
        ):
            self._tried_at = at
            await self.load(now.config)
        if now.is_like(self._situation):
            return
        held, ended = hand_over(self._state(), now, at)
        self._held, self._situation = held, now
        self._ended += ended
        self._presence = PresenceRule(now.config.labels, now.config.looks_to_clear)
        self._presence.restore(_state_of(held.present))
        self._answer = AnswerRule(now.config.looks_to_clear)
        if held.answer is not None:
            self._answer.restore(write(held.answer.state))
        self.follower = None
        if now.follows:
            # A number means one object for ever, and which there were is not known yet.
            first_id = 1 if self._loaded else int(time.time())
            self.follower = Follower(scene_config(now.config), now.labels, first_id, now.keypoints)
            self._ended += self.follower.restore(held.scene, at)

    def step(self, scene: Scene) -> list[RuleEvent]:
        """Take in what a look at a whole picture shows; return what is new."""
        events: list[RuleEvent] = []
        now = self._situation
        assert now is not None  # by `enter`
        if not now.live and now.task in TASKS_WITH_OBJECTS:
            for event in self._presence.step(scene):
                if event.phase == Phase.END and event.label in labels_in(self._held.scene):
                    events += self._end_followed(now.config, event.label, scene.at)
                else:
                    events.append(event)
        return [*events, *self._answer.step(scene)]

    def _end_followed(self, config: PipelineConfig, label: str, at: float) -> list[RuleEvent]:
        """Return the ends of what was followed before there were stills."""
        ended, rest = end_labels(scene_config(config), self._held.scene, [label], at)
        self._held = replace(self._held, scene=rest)
        return ended

    def take_ended(self) -> list[RuleEvent]:
        """Return the ends that are not reported yet; the caller reports them."""
        ended, self._ended = self._ended, []
        return ended

    # --- Writing ---------------------------------------------------------------------------------

    def record(
        self, events: Sequence[NodeEvent] = (), pictures: Sequence[Any] | None = None
    ) -> tuple[str, str] | None:
        """Return the pipeline and what is there now, to be written with these events.

        None if what was there before has not been read, or its ends have not been reported.
        """
        for event in events:
            if event.kind in CHANGES:
                self._as_of = event.event_id
        if pictures is not None:
            self._held = replace(self._held, pictures=pictures)
        if not self._loaded or self._ended or self._situation is None:
            return None
        return self._pipeline_id, keep(self._state(), self._as_of)

    def _state(self) -> Held:
        """Return what is there now."""
        now = self._situation
        if now is None:
            return self._held
        answer = self._answer.state()
        follower = self.follower
        return replace(
            self._held,
            present=read(PresenceState, self._presence.state()).labels,
            scene=self._held.scene if follower is None else follower.snapshot(),
            answer=HeldAnswer(state=read(AnswerState, answer), model=now.model) if answer else None,
        )


def _state_of(present: Mapping[str, Present]) -> dict[str, Any]:
    return write(PresenceState(labels=dict(present)))
