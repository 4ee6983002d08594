"""Live video with models other than detectors: bodies and faces are followed as objects are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from edge_vision_node.protocol import (
    EvidenceRequest,
    Kind,
    Line,
    LiveRequest,
    NodeEvent,
    Phase,
    Point,
    Task,
    Zone,
)

from tests.live_camera import mjpeg_camera
from tests.node.test_live import EVERYWHERE, Watcher, pipeline, until, watcher
from tests.small_models import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    add_classification,
    add_face,
    add_landmarks,
    add_pose,
    painted,
)

pytestmark = pytest.mark.usefixtures("socket_enabled")

ZONE = Zone(name="Everywhere", points=EVERYWHERE, loitering_s=1.0, counting=True)


GATE = Line(name="Gate", start=Point(x=0.53, y=1.0), end=Point(x=0.53, y=0.0))


def of_kind(it: Watcher, kind: Kind) -> list[NodeEvent]:
    return [event for event in it.events if event.kind == kind]


async def test_bodies_are_followed_over_lines_and_in_zones_and_are_counted(tmp_path: Path) -> None:
    model = add_pose(tmp_path / "models")
    async with mjpeg_camera(painted(BLACK)) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, model=model, labels=(), zones=(ZONE,), lines=(GATE,)))
        await until(lambda: it.looks)
        assert it.looks[-1].task == Task.POSE
        assert it.looks[-1].zones == {"Everywhere": {}}
        assert it.events == []
        camera.picture = painted(RED)
        await until(lambda: of_kind(it, Kind.COUNT) and of_kind(it, Kind.LOITERING))
        await until(lambda: it.looks[-1].answer == "standing")
        (start,) = of_kind(it, Kind.OBJECT)
        assert (start.phase, start.label) == (Phase.START, "person")
        assert start.track_id
        for kind in (Kind.ZONE, Kind.LOITERING, Kind.COUNT):
            (event,) = of_kind(it, kind)
            assert (event.zone, event.track_id) == ("Everywhere", start.track_id)
        assert it.looks[-1].zones["Everywhere"]["person"].count == 1
        (body,) = it.looks[-1].objects
        assert (body.posture, len(body.keypoints)) == ("standing", 17)
        assert body.zones == ("Everywhere",)
        # Whoever sits down sits on the other side of the line.
        camera.picture = painted(GREEN)
        await until(lambda: it.looks[-1].answer == "sitting")
        (crossing,) = of_kind(it, Kind.LINE)
        assert (crossing.track_id, crossing.line) == (start.track_id, "Gate")
        assert [item.total for item in it.looks[-1].lines] == [1]
        answers = of_kind(it, Kind.CLASSIFICATION)
        assert [event.label for event in answers] == ["standing", "sitting"]
        # They have pictures, with the body drawn in.
        request = EvidenceRequest(event_id=answers[-1].evidence or "")
        _, drawn = await it.node.pictures.evidence(request)
        _, clean = await it.node.pictures.evidence(replace(request, clean=True))
        assert drawn != clean
        _, view = await it.node.previews.live_view(LiveRequest(pipeline_id="porch"))
        assert view
        camera.picture = painted(BLACK)
        await until(lambda: it.looks[-1].answer == "none")
        await until(lambda: it.looks[-1].objects == (), 120)
        ended = {event.kind for event in it.events if event.phase == Phase.END}
        assert ended == {Kind.OBJECT, Kind.ZONE, Kind.LOITERING}


async def test_each_face_is_followed(tmp_path: Path) -> None:
    model = add_face(tmp_path / "models")
    async with mjpeg_camera(painted(GREEN)) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, model=model, labels=()))
        await until(lambda: len(of_kind(it, Kind.OBJECT)) == 2)
        faces = {event.track_id for event in it.events}
        assert len(faces) == 2
        await it.frames(5)
        assert {item.track_id for item in it.looks[-1].objects} == faces
        assert it.looks[-1].answer is None


async def test_a_model_that_looks_for_its_own_parts_follows_what_it_finds(tmp_path: Path) -> None:
    model = add_landmarks(tmp_path / "models")
    async with mjpeg_camera(painted(RED)) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, model=model, labels=(), zones=(ZONE,)))
        await until(lambda: of_kind(it, Kind.ZONE))
        numbers = {event.track_id for event in it.events}
        assert None not in numbers
        await until(lambda: it.looks[-1].objects and it.looks[-1].objects[0].keypoints)


async def test_the_answer_about_a_whole_picture_has_no_objects(tmp_path: Path) -> None:
    model = add_classification(tmp_path / "models")
    async with mjpeg_camera(painted(RED)) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, model=model, labels=()))
        await until(lambda: it.looks and it.looks[-1].answer == "red")
        camera.picture = painted(BLUE)
        await until(lambda: it.looks[-1].answer == "blue")
        assert {event.kind for event in it.events} == {Kind.CLASSIFICATION}
        assert it.looks[-1].presence == {}
    # What was answered is known after a restart, and not told again.
    async with mjpeg_camera(painted(BLUE)) as camera, watcher(tmp_path) as it:
        await it.watch(pipeline(camera, model=model, labels=()))
        await until(lambda: it.looks)
        assert it.looks[-1].answer == "blue"
        assert it.events == []
