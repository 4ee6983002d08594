"""From what is found in each frame to what there is to tell: tracker and rules of one camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detections import Detections
from .protocol import Box, ProtocolError, read
from .rules.objects import Limits
from .rules.scene import RuleEvent, SceneObject
from .rules.video import VideoRules, Watch
from .tracking.association import Floats
from .tracking.tracker import Settings, Track, Tracker

_VERSION = 1


class Follower:
    """Follows the objects of one camera and says what happens. Time is passed in, in seconds."""

    def __init__(self, watch: Watch, labels: tuple[str, ...]) -> None:
        """Start with an empty picture; `labels` are the model's."""
        lowest = min(
            Limits(watch.confidence, watch.limits).lowest,
            *(zone.confidence for zone in watch.zones if zone.confidence is not None),
            100.0,
        )
        self.settings = Settings.for_confidence(lowest / 100)
        self.rules = VideoRules(watch)
        self._limits = {
            "confidence": watch.confidence,
            **{label: asdict(item) for label, item in watch.limits.items()},
        }
        self.labels = labels
        self._tracker = Tracker(self.settings)
        self.tracks: list[Track] = []

    @property
    def confidence(self) -> float:
        """Return the lowest confidence of a detection that is of use, a percentage."""
        return self.settings.low * 100

    @property
    def moving(self) -> Floats:
        """Return the boxes of what is followed and not known to stand still: [N, 4]."""
        boxes = [track.box for track in self.tracks if not track.stationary]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    @property
    def objects(self) -> list[SceneObject]:
        """Return what is followed and counts, the most confident first."""
        return self.rules.objects

    def step(
        self,
        detections: Detections,
        at: float,
        looked: NDArray[np.floating[Any]] | None = None,
        disturbed: NDArray[np.floating[Any]] | None = None,
    ) -> list[RuleEvent]:
        """Take in a frame (see `Tracker.step`); return what is new."""
        self.tracks = self._tracker.step(detections, at, looked, disturbed)
        return self.rules.step(
            [scene_object(track, self.labels) for track in self.tracks if track.confirmed], at
        )

    def snapshot(self) -> dict[str, Any]:
        """Return as plain data what has to survive a restart."""
        return {
            "version": _VERSION,
            "labels": list(self.labels),
            "limits": self._limits,
            "next_id": self._tracker.next_id,
            "tracks": self._tracker.snapshot(),
            "objects": [asdict(item) for item in self.objects],
            "zones": {
                name: [item.track_id for item in members]
                for name, members in self.rules.zone_members.items()
            },
            "lines": [
                [line, label, direction, total]
                for line, totals in self.rules.line_totals.items()
                for (label, direction), total in totals.items()
            ],
        }

    def restore(self, snapshot: Mapping[str, Any], at: float) -> bool:
        """Take up a snapshot of the same model; return whether it was one.

        What is gone meanwhile is told as gone once its place has been looked at.
        """
        try:
            # Whatever comes of the rest: a number means one object for ever.
            self._tracker = Tracker(self.settings, int(snapshot["next_id"]))
            if snapshot["version"] != _VERSION or tuple(snapshot["labels"]) != self.labels:
                return False
            objects = [_read_object(item) for item in snapshot["objects"]]
            zones = {str(k): [int(n) for n in v] for k, v in snapshot["zones"].items()}
            best = {int(item["id"]): 100 * float(item["best_score"]) for item in snapshot["tracks"]}
            totals: dict[str, dict[tuple[str, str], int]] = {}
            for line, label, direction, total in snapshot["lines"]:
                totals.setdefault(str(line), {})[str(label), str(direction)] = int(total)
            self._tracker.restore(snapshot["tracks"], at)
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        same_limits = snapshot.get("limits", self._limits) == self._limits
        self.rules.restore(objects, zones, totals, at, None if same_limits else best)
        return True


def scene_object(track: Track, labels: tuple[str, ...]) -> SceneObject:
    """Return a track as rules want it."""
    x_min, y_min, x_max, y_max = (round(float(value), 4) for value in track.box)
    return SceneObject(
        track_id=track.id,
        label=labels[track.class_id],
        confidence=round(track.score * 100, 1),
        box=Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max),
        stationary=track.stationary,
        returned=track.returned,
    )


def _read_object(data: object) -> SceneObject:
    try:
        return read(SceneObject, data)
    except ProtocolError as err:
        raise ValueError(str(err)) from None
