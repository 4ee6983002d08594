"""Types shared by several messages: boxes, areas, and findings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .wire import ProtocolError


class Task(StrEnum):
    """The task of a model."""

    DETECTION = "detection"
    CLASSIFICATION = "classification"
    POSE = "pose"
    FACE = "face"
    EMBEDDING = "embedding"
    SEGMENTATION = "segmentation"


# Tasks that find a variable number of objects.
TASKS_WITH_OBJECTS = (Task.DETECTION, Task.POSE, Task.FACE)
# Result of a classification without a confident class, and of a pose without a body.
NO_ANSWER = "none"
_MOST_ASPECT = 100.0
# Shapes of pictures that the masks of one camera were drawn on.
MAX_ASPECTS = 16


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle, normalized to the full frame (0-1, origin top left)."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def area(self) -> float:
        """Return the share of the frame that it covers, 0-1."""
        return max(0.0, self.x_max - self.x_min) * max(0.0, self.y_max - self.y_min)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point in the frame (0-1, origin top left)."""

    x: float
    y: float


def check_polygons(polygons: Iterable[Sequence[Point]]) -> None:
    """Raise `ProtocolError` if a polygon has no area that can be drawn."""
    for points in polygons:
        if len(points) < 3:
            raise ProtocolError("A polygon has three corners or more")
        if not all(-1 <= value <= 2 for point in points for value in (point.x, point.y)):
            raise ProtocolError("A polygon lies within the frame: its corners are from 0 to 1")


def check_aspects(aspects: Collection[float]) -> None:
    """Raise `ProtocolError` if no picture has one of these widths by its height, or for many."""
    if len(aspects) > MAX_ASPECTS:
        raise ProtocolError(f"Pictures of more than {MAX_ASPECTS} shapes")
    for aspect in aspects:
        if not 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT:
            raise ProtocolError(f"No picture is {aspect:g} times as wide as it is high")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A part of the frame; an object is in it if the center of its lower edge is.

    `labels`: empty means all. `confidence`: the minimum in this zone, in percent, or None for that
    of the pipeline. `loitering_s`: time after which an object that stays is an event, or None.
    `counting`: whether changes of the number of objects are events.
    """

    name: str
    points: tuple[Point, ...]
    labels: tuple[str, ...] = ()
    confidence: float | None = None
    loitering_s: float | None = None
    counting: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that objects cross: "in" is from left to right, as seen from start to end."""

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
    """An object in a frame; the `posture` of a body is standing, sitting, lying or unclear.

    For live video, `track_id` is the same in all frames, `zones` are the names of the zones that it
    is in, and `stationary` means that it has not moved for a while.
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
    """The confidence of one label for the whole frame; `area` is its share of the frame, 0-1."""

    label: str
    confidence: float
    area: float | None = None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The findings of a model in one frame; the task determines which fields are set."""

    objects: tuple[DetectedObject, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelPresence:
    """The state of the presence rule for one label after a frame."""

    present: bool
    count: int
    confidence: float | None = None
