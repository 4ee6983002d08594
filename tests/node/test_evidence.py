"""Which of an object's pictures is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from edge_vision_node.cameras.messages import CameraFrame
from edge_vision_node.pipelines.best_picture import BestPictures, Shot
from edge_vision_node.protocol import Box, DetectedObject, Kind, NodeEvent, Phase
from edge_vision_node.rules.scene import RuleEvent, SceneObject

BOX = Box(x_min=0.2, y_min=0.2, x_max=0.4, y_max=0.6)
LARGER = Box(x_min=0.2, y_min=0.2, x_max=0.6, y_max=0.9)
PERSON = DetectedObject(track_id=7, label="person", confidence=80, box=BOX)
BEGAN = NodeEvent(
    event_id="A" * 26,
    pipeline_id="p",
    kind=Kind.OBJECT,
    phase=Phase.START,
    label="person",
    confidence=80,
    count=1,
    box=BOX,
    model="m",
    model_version="1",
    engine="e",
    accelerator="cpu",
    pattern="live",
    captured_at="2026-01-01T00:00:00+00:00",
    inference_ms=1,
    track_id=7,
    evidence="A" * 26,
)


class Scene:
    """Stands in for a camera: frames of a known sharpness, and which of them are kept."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self._tasks: list[Coroutine[Any, Any, None]] = []
        self._sharpness: list[float] = []
        self.keeper = BestPictures(self.save, lambda _event_ids, work: self._tasks.append(work))

    async def sharpness(self, frame: int, regions: tuple[Box, ...]) -> tuple[float, ...]:
        return (self._sharpness[frame],) * len(regions)

    async def picture(self, frame: int) -> tuple[None, bytes]:
        return None, str(frame).encode()

    async def save(self, shot: Shot) -> None:
        assert shot.subject in shot.shown
        self.kept.append(int(shot.jpeg))

    def shows(self, *frames: tuple[float, Box], began: bool = True, seen: bool = True) -> list[int]:
        """Return which are kept of frames of a sharpness and with the object in a box."""
        for sharpness, box in frames:
            number = len(self._sharpness)
            self._sharpness.append(sharpness)
            frame = CameraFrame(
                number=number,
                captured_at="2026-01-01T00:00:00+00:00",
                captured_monotonic=float(number),
                width=640,
                height=360,
                decode_ms=1,
                motion_ms=1,
                motions=(),
            )
            shown = (replace(PERSON, box=box),) if seen else ()
            events = (BEGAN,) if began else ()
            self.keeper.look(self, frame, (7,), events, shown)  # type: ignore[arg-type]
            began = False
            while self._tasks:
                asyncio.run(self._tasks.pop())
        return self.kept


@pytest.mark.parametrize("level", [100, 1000, 5000])
def test_the_sharper_picture_is_kept_however_sharp_the_scene_is(level: float) -> None:
    assert Scene().shows((level * 0.2, BOX), (level, BOX), (level * 0.2, BOX)) == [0, 1]


def test_a_little_sharper_is_no_reason_and_noise_is_none() -> None:
    assert Scene().shows((1000, BOX), (1100, BOX)) == [0]
    assert Scene().shows((0, BOX), (5, BOX)) == [0]


def test_a_much_larger_picture_is_kept_unless_it_is_blurred() -> None:
    assert Scene().shows((1000, BOX), (900, LARGER)) == [0, 1]
    assert Scene().shows((1000, BOX), (50, LARGER)) == [0]


def test_a_frame_that_does_not_show_the_object_is_no_picture_of_it() -> None:
    scene = Scene()
    assert scene.shows((100, BOX)) == [0]
    assert scene.shows((1000, LARGER), began=False, seen=False) == [0]


def test_pictures_of_before_a_restart_stay() -> None:
    before, after = Scene(), Scene()
    assert before.shows((10, BOX)) == [0]
    after.keeper.restore(before.keeper.snapshot())
    assert after.shows((1000, LARGER), began=False) == []


def test_an_event_names_a_picture_only_where_there_will_be_one() -> None:
    scene = Scene()
    item = SceneObject(track_id=7, label="person", confidence=80, box=BOX)
    event = RuleEvent(kind=Kind.LOITERING, phase=Phase.START, label="person", count=1, item=item)
    assert scene.keeper.evidence(event, "B" * 26, ()) is None
    assert scene.keeper.evidence(event, "B" * 26, (PERSON,)) == "B" * 26
    assert scene.keeper.evidence(replace(event, phase=Phase.END), "B" * 26, (PERSON,)) is None
    scene.shows((100, BOX))
    assert scene.keeper.evidence(event, "B" * 26, ()) == BEGAN.event_id
