"""What is there now, and how it goes on between stills and live video."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping

from ..errors import StorageError
from ..protocol import Kind, NodeEvent, Phase, PipelineConfig, ProtocolError, decode_text
from ..rules.scene import RuleEvent
from ..rules.scene_rules import Watch
from ..storage.archive import Archive
from ..tracking.follower import end_all, end_labels, labels_in
from .telling import Moment

_LOGGER = logging.getLogger(__name__)

# In what is kept of what was followed: all of that has ended, and stills have been looked at since.
CAMERA = "camera"
LEFT = "left"


def watch_of(config: PipelineConfig) -> Watch:
    """Return what rules look for in a pipeline's live video."""
    return Watch(
        labels=config.labels,
        confidence=config.confidence,
        limits=config.limits,
        zones=config.zones,
        lines=config.lines,
        cooldown_s=config.cooldown_s,
    )


def read_snapshot(snapshot: str) -> dict[str, object]:
    """Return what was followed before; nothing if that cannot be read."""
    try:
        return decode_text(snapshot)
    except ProtocolError as err:
        _LOGGER.warning("What was followed before cannot be read: %s", err)
        return {}


def end_presence(moment: Moment, besides: Collection[str] = ()) -> list[NodeEvent]:
    """Return the ends of what stills have shown, `besides` what was followed before them."""
    presence = moment.pipeline.presence
    events = [
        moment.event(Kind.OBJECT, Phase.END, label, 0, presence.last_confidence(label))
        for label, item in presence.state.items()
        if item.present and label not in besides
    ]
    moment.pipeline.forget_presence()
    return events


def _leave(config: PipelineConfig, snapshot: str) -> tuple[list[RuleEvent], Mapping[str, int], str]:
    """Return what comes of what was followed, now that there are stills.

    Returns:
        the ends of what was followed at another camera; label → how many go on, until stills do
        not show them; and what there is to remember.
    """
    before = read_snapshot(snapshot)
    if before.get(CAMERA, config.camera) == config.camera:
        return [], labels_in(before), json.dumps({**before, LEFT: True})
    ended, data = end_all(watch_of(config), before, time.monotonic())
    return ended, {}, json.dumps({**data, LEFT: True})


async def leave_live(
    moment: Moment, archive: Archive
) -> tuple[list[NodeEvent], tuple[str, str] | None]:
    """Return the ends of what was followed before there were stills, and what to keep."""
    pipeline = moment.pipeline
    pipeline_id = pipeline.config.pipeline_id
    if pipeline.told_of == "stills" or pipeline.config.video is not None:
        return [], None
    try:
        snapshot = await archive.followed(pipeline_id)
    except StorageError:
        return [], None  # once it can be read
    pipeline.told_of = "stills"
    if snapshot is None:
        return [], None
    ended, go_on, left = _leave(pipeline.config, snapshot)
    if ended:
        pipeline.forget_presence()
    pipeline.inherit(go_on)
    return [moment.rule_event(event) for event in ended], (pipeline_id, left)


async def end_outlived(
    moment: Moment, archive: Archive, followed: tuple[str, str] | None
) -> tuple[list[NodeEvent], tuple[str, str] | None]:
    """Return the ends of what was followed and stills show no more, and what to keep."""
    pipeline = moment.pipeline
    pipeline_id = pipeline.config.pipeline_id
    try:
        snapshot = followed[1] if followed else await archive.followed(pipeline_id)
    except StorageError:
        return [], followed  # once it can be read
    labels, pipeline.outlived = pipeline.outlived, set()
    if snapshot is None:
        return [], None
    before, watch = read_snapshot(snapshot), watch_of(pipeline.config)
    ended, data = end_labels(watch, before, labels, time.monotonic())
    return [moment.rule_event(event) for event in ended], (pipeline_id, json.dumps(data))
