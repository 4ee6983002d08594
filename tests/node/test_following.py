"""What is followed survives a restart: who was there, where, and who has crossed a line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.following import Follower
from edge_vision_node.protocol import Kind, Line, ObjectLimits, Phase, Point, Zone
from edge_vision_node.rules.video import Watch

LEFT = Zone(name="Left", points=tuple(Point(x=x, y=y) for x, y in ((0, 0), (0.5, 0), (0.5, 1))))
WATCH = Watch(
    labels=("person",),
    zones=(LEFT,),
    lines=(Line(name="Gate", start=Point(x=0.6, y=1), end=Point(x=0.6, y=0)),),
)


def seen(*xs: float) -> Detections:
    """Return a person at each place."""
    boxes = [[x - 0.04, 0.1, x + 0.04, 0.3] for x in xs]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(xs), 0.95, np.float32),
        np.zeros(len(xs), np.int32),
    )


def walked() -> tuple[Follower, float]:
    """Return a follower that saw one come and go, one cross the line, and one stand still."""
    follower, at = Follower(WATCH, ("person",)), 0.0
    for number in range(60):
        at = number / 5
        walker = [0.9 - 0.01 * number] if number < 55 else []
        follower.step(seen(0.45, *walker, *([0.75] if number < 5 else [])), at)
    return follower, at


def test_a_restart_tells_nothing_twice_and_forgets_no_total() -> None:
    before, _ = walked()
    snapshot = json.loads(json.dumps(before.snapshot()))
    (total,) = before.rules.line_totals["Gate"].values()
    assert total == 1
    after = Follower(WATCH, ("person",))
    assert after.restore(snapshot, 1000.0) == []
    assert [item.track_id for item in after.objects] == [item.track_id for item in before.objects]
    assert after.rules.zone_members == before.rules.zone_members != {"Left": []}
    assert after.rules.line_totals == before.rules.line_totals
    assert after.step(seen(0.45), 1000.2) == []
    # Who is new has a number that nobody ever had.
    used = {track.id for track in before.tracks} | set(range(1, before.snapshot()["next_id"]))
    events = after.step(seen(0.45, 0.9), 1000.4)
    assert [(event.kind, event.phase) for event in events] == [(Kind.OBJECT, Phase.START)]
    assert events[0].item is not None
    assert events[0].item.track_id not in used


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 99},
        {"labels": None},
        {"tracks": [{"id": "x"}]},
        {"tracks": [{"id": 1, "class_id": 7, "best_score": 1}]},
        {"rules": {"objects": [{}]}},
        {"rules": 3},
        {"next_id": "many"},
    ],
)
def test_a_snapshot_that_does_not_fit_is_left_alone(damage: dict[str, object]) -> None:
    before, _ = walked()
    after = Follower(WATCH, ("person",))
    assert after.restore({**before.snapshot(), **damage}, 5.0) == []
    assert after.objects == []
    assert after.step(seen(0.45), 5.2)


def test_who_is_below_limits_that_are_new_is_told_as_gone() -> None:
    before, _ = walked()
    snapshot = json.loads(json.dumps(before.snapshot()))
    for limits in (ObjectLimits(confidence=96), ObjectLimits(min_area=0.1)):
        after = Follower(replace(WATCH, limits={"person": limits}), ("person",))
        assert after.restore(snapshot, 1000.0) == []
        events = after.step(seen(0.45), 1000.2)
        assert {(event.kind, event.phase) for event in events} == {
            (Kind.ZONE, Phase.END),
            (Kind.OBJECT, Phase.END),
        }
        assert after.objects == []
    # Limits that it meets change nothing.
    after = Follower(
        replace(WATCH, limits={"person": ObjectLimits(confidence=90, max_area=0.5)}), ("person",)
    )
    assert after.restore(snapshot, 1000.0) == []
    assert after.step(seen(0.45), 1000.2) == []


def test_what_another_model_told_ends_and_its_numbers_are_not_used_again() -> None:
    before, _ = walked()
    snapshot = json.loads(json.dumps(before.snapshot()))
    after = Follower(replace(WATCH, labels=()), ("human",))
    ended = after.restore(snapshot, 1000.0)
    there = [item.track_id for item in before.objects]
    assert {(event.kind, event.phase, event.label) for event in ended} == {
        (Kind.ZONE, Phase.END, "person"),
        (Kind.OBJECT, Phase.END, "person"),
    }
    assert [event.item.track_id for event in ended if event.kind == Kind.OBJECT and event.item] == (
        there
    )
    (event,) = [event for event in after.step(seen(0.7), 1000.2) if event.kind == Kind.OBJECT]
    assert event.item is not None
    assert event.item.track_id >= snapshot["next_id"]


def test_a_zone_that_is_removed_while_somebody_is_in_it_ends_and_an_unwanted_object_does() -> None:
    before, _ = walked()
    snapshot = json.loads(json.dumps(before.snapshot()))
    without = Follower(replace(WATCH, zones=()), ("person",))
    ended = without.restore(snapshot, 1000.0)
    assert len(ended) == len(before.rules.zone_members["Left"]) > 0
    assert {(event.kind, event.phase, event.zone) for event in ended} == {
        (Kind.ZONE, Phase.END, "Left")
    }
    assert without.step(seen(0.45), 1000.2) == []
    unwanted = Follower(replace(WATCH, labels=("dog",)), ("person",))
    assert unwanted.restore(snapshot, 1000.0) == []
    ended_now = unwanted.step(seen(), 1000.2)
    assert {(event.kind, event.phase) for event in ended_now} >= {(Kind.OBJECT, Phase.END)}
    assert unwanted.objects == []
