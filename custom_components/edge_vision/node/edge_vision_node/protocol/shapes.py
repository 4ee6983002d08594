"""Shapes that several messages share: boxes, areas, and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .wire import ProtocolError


class Task(StrEnum):
    """What a model is for."""

    DETECTION = "detection"
    CLASSIFICATION = "classification"
    POSE = "pose"
    FACE = "face"
    EMBEDDING = "embedding"
    SEGMENTATION = "segmentation"


# Tasks that find objects, of which there are more or fewer.
TASKS_WITH_OBJECTS = (Task.DETECTION, Task.POSE, Task.FACE)
# What a classification says where nothing is certain enough, and a pose where nobody is there.
NO_ANSWER = "none"


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle, normalised to the full frame (0-1, origin top left)."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def area(self) -> float:
        """Return its share of the frame, 0-1."""
        return max(0.0, self.x_max - self.x_min) * max(0.0, self.y_max - self.y_min)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in the frame (0-1, origin top left)."""

    x: float
    y: float


def check_polygons(polygons: Iterable[Sequence[Point]]) -> None:
    """Raise `ProtocolError` where one has no area that could be drawn."""
    for points in polygons:
        if len(points) < 3:
            raise ProtocolError("A polygon has three corners or more")
        if not all(-1 <= value <= 2 for point in points for value in (point.x, point.y)):
            raise ProtocolError("A polygon lies within the frame: its corners are from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A part of the frame that an object is in when its bottom centre is.

    `labels`: empty means all. `confidence`: the lowest in this zone, in percent, None for the
    usual. `loitering_s`: how long an object may stay before that is an event; None for ever.
    `counting`: whether the number of objects in it makes events.
    """

    name: str
    points: tuple[Point, ...]
    labels: tuple[str, ...] = ()
    confidence: float | None = None
    loitering_s: float | None = None
    counting: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that objects cross: "in" from its left to its right as seen from start to end."""

    name: str
    start: Point
    end: Point
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Keypoint:
    """A named point of an object, a joint or a feature of a face (0-1, origin top left)."""

    name: str
    x: float
    y: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """One object in one frame; `posture` of a body: standing, sitting, lying or unclear.

    In live video: `track_id` is the same over frames, `zones` names those it stands in, and
    `stationary` tells that it has not moved for a while.
    """

    label: str
    confidence: float
    box: Box
    keypoints: tuple[Keypoint, ...] = ()
    posture: str | None = None
    track_id: int | None = None
    zones: tuple[str, ...] = ()
    stationary: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How sure a model is of one label for the whole frame; `area` is its share of it, 0-1."""

    label: str
    confidence: float
    area: float | None = None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a model found in one frame; which of these it fills depends on its task."""

    objects: tuple[DetectedObject, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelPresence:
    """What the presence rule holds true of one label after a look."""

    present: bool
    count: int
    confidence: float | None = None
