"""From what is found in each frame to what there is to tell: tracker and rules of one camera."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections, keypoints_of
from ..protocol import Box, ProtocolError, read, write
from ..rules.objects import Limits, count_labels
from ..rules.scene import RuleEvent, Scene, SceneObject, SceneState
from ..rules.scene_rules import SceneConfig, SceneRules
from .association import Floats, covered
from .kinds import Kinds
from .tracker import Settings, Track, Tracker

_VERSION = 2
# Movement that covers so much of a box is that of what is in it.
_MOVES = 0.5
# So that numbers are exact wherever they are read.
_MOST_TRACKS = 2**53


class Follower:
    """Follows the objects of one camera and says what happens. Time is passed in, in seconds."""

    def __init__(
        self,
        config: SceneConfig,
        labels: tuple[str, ...],
        first_id: int = 1,
        keypoints: tuple[str, ...] = (),
    ) -> None:
        """Start with an empty scene.

        Args:
            config: what rules look for.
            labels: of the model.
            first_id: the number of the first object.
            keypoints: names of the model's keypoints.
        """
        lowest = min(
            Limits(config.confidence, config.limits).lowest,
            *(zone.confidence for zone in config.zones if zone.confidence is not None),
            100.0,
        )
        self.settings = Settings.for_confidence(lowest / 100)
        self._config = config
        self.rules = SceneRules(config)
        self._limits = {
            "confidence": config.confidence,
            "labels": {label: asdict(item) for label, item in config.limits.items()},
        }
        self.labels = labels
        self._keypoints = keypoints
        self._wanted = config.labels
        self._kinds = Kinds.of(labels)
        self._tracker = Tracker(self.settings, first_id, self._kinds)
        self.tracks: list[Track] = []
        self._disturbed: Floats | None = None

    @property
    def confidence(self) -> float:
        """Return the lowest confidence of a detection that is of use, a percentage."""
        return self.settings.low * 100

    @property
    def moving(self) -> Floats:
        """Return the boxes of what is followed and not known to stand still: [N, 4].

        Doubtful ones come first: the next look decides about them. One that is too doubtful to be
        reported soon gets a look of its own only if something moves there: it would be looked at
        anyway, but less closely if several objects move together.
        """
        begin = self.settings.begin
        worth = [
            track
            for track in self.tracks
            if not track.stationary
            and (track.confirmed or track.best_score >= begin or self._moves(track))
        ]
        worth.sort(key=lambda track: track.confirmed)
        return np.array([track.box for track in worth], dtype=np.float64).reshape(-1, 4)

    @property
    def objects(self) -> list[SceneObject]:
        """Return what is followed and counts, the most confident first."""
        return self.rules.objects

    @property
    def seen(self) -> list[SceneObject]:
        """Return what counts and the newest frame itself shows, the most confident first.

        Boxes are where the model found it in that frame, and only what is sure and large enough
        there is among them.
        """
        found = {track.id: track.found for track in self.tracks if track.found is not None}
        return [
            replace(item, box=_box(found[item.track_id]))
            for item in self.objects
            if item.track_id in found and self.rules.allow(item)
        ]

    def step(
        self,
        detections: Detections,
        at: float,
        looked: NDArray[np.floating[Any]] | None = None,
        disturbed: NDArray[np.floating[Any]] | None = None,
        *,
        changed: bool = False,
    ) -> list[RuleEvent]:
        """Take in a frame (see `Tracker.step`); return what is new."""
        self._disturbed = None if disturbed is None or changed else disturbed.astype(np.float64)
        self.tracks = self._tracker.step(detections, at, looked, disturbed, changed=changed)
        objects = [self._object(track, detections) for track in self.tracks if track.confirmed]
        return self.rules.step(Scene(at=at, objects=objects))

    def _object(self, track: Track, detections: Detections) -> SceneObject:
        item = scene_object(track, self.labels)
        if detections.keypoints is None or track.detection is None:
            return item
        points = detections.keypoints[track.detection].tolist()
        return replace(item, keypoints=keypoints_of(points, self._keypoints))

    def _moves(self, track: Track) -> bool:
        """Return whether something moved in the newest frame where a track is."""
        if self._disturbed is None:
            return False
        return bool(covered(track.box[None], self._disturbed)[0] >= _MOVES)

    def _wants(self, class_id: int) -> bool:
        return not self._wanted or self.labels[class_id] in self._wanted

    def snapshot(self) -> dict[str, Any]:
        """Return as plain data what has to survive a restart."""
        return {
            "version": _VERSION,
            "labels": list(self.labels),
            "limits": self._limits,
            "next_id": self._tracker.next_id,
            "tracks": self._tracker.snapshot(),
            "rules": self.rules.state(),
        }

    def restore(self, snapshot: Mapping[str, Any], at: float) -> list[RuleEvent]:
        """Take up a snapshot; return the ends of what is not looked for any more.

        What has gone meanwhile ends once its place has been looked at. Of another model's snapshot
        only numbers and totals are taken up. One that makes no sense is left alone.
        """
        try:
            # Whatever comes of the rest: a number means one object for ever.
            self._tracker = Tracker(self.settings, _number(snapshot["next_id"]), self._kinds)
            if snapshot["version"] != _VERSION:
                return []
            if tuple(snapshot["labels"]) != self.labels:
                return self.rules.restore({"lines": snapshot["rules"]["lines"]}, at)
            for item in snapshot["tracks"]:
                _check_track(item, len(self.labels))
            best = {int(item["id"]): 100 * float(item["best_score"]) for item in snapshot["tracks"]}
            # Nothing would ever show that what is not looked for any more has gone.
            tracks = [item for item in snapshot["tracks"] if self._wants(int(item["class_id"]))]
            self._tracker.restore(tracks, at)
            same_limits = snapshot["limits"] == self._limits
            return self.rules.restore(snapshot["rules"], at, None if same_limits else best)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            self._tracker = Tracker(self.settings, self._tracker.next_id, self._kinds)
            self.rules = SceneRules(self._config)
            return []

    def add_totals(self, snapshot: Mapping[str, Any]) -> None:
        """Add the totals of a snapshot."""
        with suppress(KeyError, ProtocolError):
            self.rules.add_totals(read(SceneState, snapshot["rules"]).lines)


def end_all(
    config: SceneConfig, snapshot: Mapping[str, Any], at: float
) -> tuple[list[RuleEvent], dict[str, Any]]:
    """Return the ends of everything that a snapshot holds, and the snapshot without it."""
    try:
        state = read(SceneState, snapshot["rules"])
    except (KeyError, ProtocolError):
        return [], {**snapshot, "tracks": [], "rules": write(SceneState())}
    ended = SceneRules(config).end(state, at)
    return ended, {**snapshot, "tracks": [], "rules": write(SceneState(lines=state.lines))}


def end_labels(
    config: SceneConfig, snapshot: Mapping[str, Any], labels: Collection[str], at: float
) -> tuple[list[RuleEvent], dict[str, Any]]:
    """Return the ends of everything of some labels in a snapshot, and the snapshot without it."""
    try:
        state = read(SceneState, snapshot["rules"])
        gone = {item.track_id for item in state.objects if item.label in labels}
        tracks = [item for item in snapshot["tracks"] if item["id"] not in gone]
    except (LookupError, TypeError, ProtocolError):
        return [], dict(snapshot)

    def part(*, of_gone: bool) -> SceneState:
        return replace(
            state,
            objects=tuple(item for item in state.objects if (item.track_id in gone) == of_gone),
            zones={
                zone: tuple(stay for stay in stays if (stay.track_id in gone) == of_gone)
                for zone, stays in state.zones.items()
            },
        )

    ended = SceneRules(config).end(part(of_gone=True), at)
    return ended, {**snapshot, "tracks": tracks, "rules": write(part(of_gone=False))}


def labels_in(snapshot: Mapping[str, Any]) -> dict[str, int]:
    """Return label → how many of it a snapshot holds."""
    try:
        return count_labels(read(SceneState, snapshot["rules"]).objects)
    except (KeyError, ProtocolError):
        return {}


def _number(value: Any) -> int:
    """Return a track's number. Raises `ValueError` where it is none."""
    if (number := int(value)) != value or not 0 <= number <= _MOST_TRACKS:
        raise ValueError(f"{value!r} is no track's number")
    return number


def _check_track(item: Mapping[str, Any], classes: int) -> None:
    """Raise where a track in a snapshot is not one."""
    _number(item["id"])
    if not 0 <= int(item["class_id"]) < classes:
        raise ValueError("a class that the model does not have")
    if not all(0.0 <= float(item[name]) <= 1.0 for name in ("score", "best_score")):
        raise ValueError("a score that is none")
    if not all(-1.0 <= float(value) <= 2.0 for value in item["box"]):
        raise ValueError("a box far outside of the frame")


def scene_object(track: Track, labels: tuple[str, ...]) -> SceneObject:
    """Return a track as rules want it."""
    return SceneObject(
        track_id=track.id,
        label=labels[track.class_id],
        confidence=round(track.score * 100, 1),
        box=_box(track.box),
        stationary=track.stationary,
        returned=track.returned,
        seen=track.seen,
    )


def _box(corners: Floats) -> Box:
    x_min, y_min, x_max, y_max = (round(float(value), 4) for value in np.clip(corners, 0.0, 1.0))
    return Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
