"""How what is there at a camera goes on: between stills and live video, models and restarts.

Stills show that there are three people; live video follows these three. What is there goes on when
a camera changes from one to the other, when the node restarts, and when settings change, and it
ends if nothing would ever show that it has gone. `hand_over` decides that, for every
combination. Pure: plain data in, plain data out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..models.manifest import Model
from ..protocol import (
    NO_ANSWER,
    TASKS_WITH_OBJECTS,
    Kind,
    Phase,
    PipelineConfig,
    ProtocolError,
    Task,
    decode_text,
    read,
    write,
)
from ..rules.answer import AnswerState
from ..rules.presence import PresenceState, Present
from ..rules.scene import RuleEvent
from ..rules.scene_rules import SceneConfig
from ..storage.archive import History
from ..tracking.follower import end_all, end_labels, labels_in

_LOGGER = logging.getLogger(__name__)

# In what is written, beside what the follower writes. Earlier versions read what they know of it:
# `left` says that stills have been looked at since.
_CAMERA, _LEFT, _PICTURES, _PRESENT, _ANSWER, _AS_OF = _OWN = (
    "camera",
    "left",
    "pictures",
    "present",
    "answer",
    "as_of",
)


@dataclass(frozen=True, kw_only=True)
class HeldAnswer:
    """What a model says of the whole picture."""

    state: AnswerState
    model: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is there.

    Attributes:
        camera: where; None if that is not known.
        live: whether live video was watched last.
        present: what stills show.
        scene: what live video follows (`Follower.snapshot`), also while stills are looked at; the
            objects in it have not ended. Empty if nothing was ever followed.
        pictures: which events' pictures show its objects, see `BestPictures.snapshot`.
        answer: what holds of the whole picture; None if nothing does.
    """

    camera: str | None = None
    live: bool = False
    present: Mapping[str, Present] = field(default_factory=dict)
    scene: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Any] = ()
    answer: HeldAnswer | None = None


@dataclass(frozen=True, kw_only=True)
class Situation:
    """How a camera is looked at from now on; `labels` and `keypoints` are the model's names."""

    config: PipelineConfig
    task: str
    model: str
    labels: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: PipelineConfig, model: Model) -> Situation:
        """Return how a pipeline looks with a model."""
        manifest = model.manifest
        return cls(
            config=config,
            task=manifest.task,
            model=model.id,
            labels=model.labels,
            keypoints=tuple(manifest.keypoints),
        )

    @property
    def live(self) -> bool:
        """Return whether live video is watched."""
        return self.config.video is not None

    @property
    def follows(self) -> bool:
        """Return whether objects are followed."""
        return self.live and self.task in TASKS_WITH_OBJECTS

    def is_like(self, other: Situation | None) -> bool:
        """Return whether nothing has to be handed over between the two."""
        # Settings are compared as a whole: one by one, at each frame, would take too long.
        return (
            other is not None
            and self.config is other.config
            and (self.task, self.model) == (other.task, other.model)
            and (self.labels, self.keypoints) == (other.labels, other.keypoints)
        )


def scene_config(config: PipelineConfig) -> SceneConfig:
    """Return what rules look for in a pipeline's live video."""
    return SceneConfig(
        labels=config.labels,
        confidence=config.confidence,
        limits=config.limits,
        zones=config.zones,
        lines=config.lines,
        cooldown_s=config.cooldown_s,
    )


def wants(config: PipelineConfig, label: str) -> bool:
    """Return whether a pipeline is about a label."""
    return not config.labels or label in config.labels or label == NO_ANSWER


def recall(snapshot: str | None, history: History, config: PipelineConfig) -> Held:
    """Return what was there when that was last written.

    What an earlier version has written does not hold what stills showed and what was answered, and
    what is older than the newest event (an earlier version was used in between) is not true any
    more: the log says it then.
    """
    data: Mapping[str, Any] = {_LEFT: True}
    try:
        data = decode_text(snapshot) if snapshot is not None else data
    except ProtocolError as err:
        _LOGGER.warning("What was there before cannot be read: %s", err)
        data = {_LEFT: config.video is None}  # most likely
    camera, pictures = data.get(_CAMERA), data.get(_PICTURES)
    held = Held(
        camera=camera if isinstance(camera, str) else None,
        live=not data.get(_LEFT),
        scene={key: value for key, value in data.items() if key not in _OWN},
        pictures=pictures if isinstance(pictures, list) else (),
    )
    if _AS_OF in data and history.newest in (None, data[_AS_OF]):
        try:
            present = read(PresenceState, {"labels": data.get(_PRESENT)}).labels
            answer = data.get(_ANSWER)
            return replace(
                held, present=present, answer=read(HeldAnswer, answer) if answer else None
            )
        except ProtocolError as err:
            _LOGGER.warning("What stills showed before cannot be read: %s", err)
    last = history.answer
    return replace(
        held,
        # Live video has reported each object, and these are in the scene.
        present={}
        if held.live
        else {
            label: Present(count=count)
            for label, count in history.present.items()
            # Earlier versions forgot what was not wanted any more.
            if wants(config, label)
        },
        answer=HeldAnswer(
            state=AnswerState(label=last.label, confidence=last.confidence), model=last.model
        )
        if last is not None
        else None,
    )


def hand_over(held: Held, now: Situation, at: float) -> tuple[Held, list[RuleEvent]]:
    """Return what is there for the looks to come, and the ends of what is not looked for any more.

    | what was there        | stills with objects  | live video with objects | without objects |
    |-----------------------|----------------------|-------------------------|-----------------|
    | shown by stills       | goes on              | ends; is found again    | ends            |
    | followed              | goes on, as shown    | goes on                 | ends            |
    | the same elsewhere    | ends                 | ends                    | ends            |
    | followed, other model | goes on, as shown    | ends                    | ends            |
    | an unwanted label     | ends                 | ends with the next look | ends            |
    | an answer             | goes on if it is that of the same model, and wanted              |

    Numbers of objects and totals of lines go on; totals only at the same camera. `at` is now, in
    seconds.
    """
    config = scene_config(now.config)
    followed = labels_in(held.scene)
    elsewhere = None not in (held.camera, now.config.camera) and held.camera != now.config.camera
    ended: list[RuleEvent] = []
    present, scene = dict(held.present), dict(held.scene)
    stays = not elsewhere and now.task in TASKS_WITH_OBJECTS
    other_model = now.follows and scene.get("labels") != list(now.labels)
    if scene and (not stays or other_model):
        ended, scene = end_all(config, scene, at)
    elif not now.live and (
        unwanted := [label for label in followed if not wants(now.config, label)]
    ):
        ended, scene = end_labels(config, scene, unwanted, at)
    if scene and elsewhere:
        scene["rules"] = {}
    if now.live or not stays:
        # What is followed as well has had its end, or has it later.
        ended += [_end(label, item) for label, item in present.items() if label not in followed]
        present = {}
    else:
        shown = {label: Present(count=count) for label, count in labels_in(scene).items()}
        for label in [label for label in present if not wants(now.config, label)]:
            item = present.pop(label)
            ended += [] if label in followed else [_end(label, item)]
        present = shown | present
    answer = held.answer
    if answer is not None:
        wanted = now.task == Task.POSE or wants(now.config, answer.state.label)
        answer = answer if wanted and answer.model == now.model else None
    held = Held(
        camera=now.config.camera,
        live=now.live,
        present=present,
        scene=scene,
        pictures=held.pictures,
        answer=answer,
    )
    return held, ended


def _end(label: str, item: Present) -> RuleEvent:
    return RuleEvent(
        kind=Kind.OBJECT,
        phase=Phase.END,
        label=label,
        count=0,
        confidence=item.confidence or 0.0,
    )


def keep(held: Held, as_of: str | None) -> str:
    """Return what is there as it is written; `as_of` is the newest event that it knows."""
    data = {
        **held.scene,
        _PICTURES: list(held.pictures),
        _PRESENT: write(PresenceState(labels=dict(held.present)))["labels"],
        _ANSWER: write(held.answer) if held.answer else None,
        _AS_OF: as_of,
    }
    if held.camera is not None:
        data[_CAMERA] = held.camera
    if not held.live:
        data[_LEFT] = True
    return json.dumps(data)
