"""What is followed survives a restart: who was there, where, and who has crossed a line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.protocol import (
    Kind,
    Line,
    ObjectLimits,
    Phase,
    Point,
    Zone,
    decode_text,
    encode_text,
    read,
    write,
)
from edge_vision_node.rules.scene import SceneState
from edge_vision_node.rules.scene_rules import SceneConfig
from edge_vision_node.tracking.follower import Follower, end_all, end_labels, labels_in
from hypothesis import given, settings
from hypothesis import strategies as st

LEFT = Zone(name="Left", points=tuple(Point(x=x, y=y) for x, y in ((0, 0), (0.5, 0), (0.5, 1))))
WATCH = SceneConfig(
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


@pytest.mark.parametrize(
    ("disturbed", "changed", "worth"),
    [
        ([[0.4, 0.1, 0.6, 0.4]], False, 1),  # within something larger
        ([[0.6, 0.1, 0.8, 0.4]], False, 0),
        ([], False, 0),
        (None, False, 0),
        ([[0.0, 0.0, 1.0, 1.0]], True, 0),  # nobody can tell what moves
    ],
)
def test_who_is_doubtful_is_worth_looks_where_something_moves(
    disturbed: list[list[float]] | None, worth: int, *, changed: bool
) -> None:
    follower = Follower(WATCH, ("person",))
    found = replace(seen(0.5), scores=np.array([0.55], np.float32))
    moving = None if disturbed is None else np.array(disturbed, np.float64).reshape(-1, 4)
    follower.step(found, 0.0, disturbed=moving, changed=changed)
    assert len(follower.moving) == worth


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
    ended, rest = end_all(WATCH, snapshot, 1000.0)
    there = [item.track_id for item in before.objects]
    assert {(event.kind, event.phase, event.label) for event in ended} == {
        (Kind.ZONE, Phase.END, "person"),
        (Kind.OBJECT, Phase.END, "person"),
    }
    assert [event.item.track_id for event in ended if event.kind == Kind.OBJECT and event.item] == (
        there
    )
    after = Follower(replace(WATCH, labels=()), ("human",))
    assert after.restore(rest, 1000.0) == []
    assert after.rules.line_totals == before.rules.line_totals
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


def test_what_is_to_be_drawn_was_seen_in_that_very_frame_with_its_box_there() -> None:
    follower = Follower(WATCH, ("person",))
    for number in range(6):
        follower.step(seen(0.2 + 0.01 * number, 0.7), number / 5)
    # One of them goes on quickly, the other is not seen, and still followed.
    found = seen(0.28)
    follower.step(found, 1.2)
    assert len(follower.objects) == 2
    (item,) = follower.seen
    box = (item.box.x_min, item.box.y_min, item.box.x_max, item.box.y_max)
    assert box == pytest.approx(found.boxes[0].tolist(), abs=1e-4)
    # One that counted is less sure than what was asked for in this frame.
    found.scores[:] = 0.3
    follower.step(found, 1.4)
    assert len(follower.objects) == 2
    assert follower.seen == []
    # Nobody looked at all.
    follower.step(Detections.none(), 1.6, np.empty((0, 4)))
    assert follower.seen == []


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just([[]]),
)


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to everything in plain data."""
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


_SNAPSHOT = json.dumps({**walked()[0].snapshot(), "pictures": [[1, "01JDX"]]})


@settings(max_examples=300, deadline=None, database=None)
@given(data=st.data())
def test_whatever_is_in_a_snapshot_the_camera_goes_on(data: st.DataObject) -> None:
    snapshot = json.loads(_SNAPSHOT)
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from([*_places(snapshot)]))
        owner = snapshot
        for key in way[:-1]:
            owner = owner[key]
        owner[way[-1]] = copy.deepcopy(data.draw(_ODD))  # it may get into itself otherwise
    follower = Follower(WATCH, ("person",))
    events = follower.restore(snapshot, 5.0)
    for number in range(4):
        events += follower.step(seen(0.45, 0.2 + 0.02 * number), 5.2 + number / 5)
    for event in events:
        assert encode_text(write(event))
    assert read(SceneState, decode_text(encode_text(follower.snapshot()))["rules"])
    end_all(WATCH, snapshot, 7.0)
    end_labels(WATCH, snapshot, ["person"], 7.0)
    labels_in(snapshot)
