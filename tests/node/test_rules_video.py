"""The rules over live video: objects, zones, lines, cooldown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edge_vision_node.protocol import (
    Box,
    Kind,
    Line,
    LineTotal,
    ObjectLimits,
    Phase,
    Point,
    Zone,
    read,
    write,
)
from edge_vision_node.rules.scene import RuleEvent, Scene, SceneObject, SceneState, Stay, inside
from edge_vision_node.rules.scene_rules import SceneConfig, SceneRules
from hypothesis import given
from hypothesis import strategies as st

LEFT_HALF = (Point(x=0, y=0), Point(x=0.5, y=0), Point(x=0.5, y=1), Point(x=0, y=1))
RIGHT_HALF = Zone(
    name="right", points=(Point(x=0.5, y=0), Point(x=1, y=0), Point(x=1, y=1), Point(x=0.5, y=1))
)
UP_THE_MIDDLE = {"start": Point(x=0.5, y=1.0), "end": Point(x=0.5, y=0.0)}


def person(x: float, y: float = 0.8, track: int = 1, **more: Any) -> SceneObject:
    """Return somebody whose feet are at a place."""
    box = Box(x_min=x - 0.05, y_min=y - 0.3, x_max=x + 0.05, y_max=y)
    return SceneObject(
        track_id=track,
        label=more.pop("label", "person"),
        confidence=more.pop("confidence", 90.0),
        box=box,
        **more,
    )


class Rules(SceneRules):
    def look(self, objects: list[SceneObject], at: float) -> list[RuleEvent]:
        return self.step(Scene(at=at, objects=objects))


def rules(**config: Any) -> Rules:
    return Rules(SceneConfig(labels=config.pop("labels", ("person",)), **config))


def told(events: list[RuleEvent]) -> list[tuple[str, str, int]]:
    return [(event.kind, event.phase, event.count) for event in events]


class TestObjects:
    def test_each_is_told_once_and_when_it_is_gone(self) -> None:
        rule = rules()
        assert told(rule.look([person(0.2)], 0)) == [("object", "start", 1)]
        assert rule.look([person(0.3)], 0.2) == []
        assert told(rule.look([person(0.3), person(0.7, track=2)], 0.4)) == [("object", "start", 2)]
        (gone,) = rule.look([person(0.7, track=2)], 0.6)
        assert told([gone]) == [("object", "end", 1)]
        assert gone.item is not None and gone.item.track_id == 1

    def test_one_that_comes_to_a_stop_and_moves_on_is_an_update(self) -> None:
        rule = rules()
        rule.look([person(0.2)], 0)
        assert told(rule.look([person(0.2, stationary=True)], 9)) == [("object", "update", 1)]
        assert told(rule.look([person(0.2)], 10)) == [("object", "update", 1)]

    def test_it_counts_once_it_was_sure_and_large_enough_and_then_stays(self) -> None:
        rule = rules(
            confidence=60.0,
            limits={
                "dog": ObjectLimits(confidence=80.0),
                "person": ObjectLimits(min_area=0.02, max_area=0.9),
            },
        )
        assert rule.look([person(0.2, confidence=59.0)], 0) == []
        assert rule.look([person(0.2, label="dog", confidence=70.0)], 0.1) == []
        tiny = SceneObject(
            track_id=3,
            label="person",
            confidence=99.0,
            box=Box(x_min=0, y_min=0, x_max=0.1, y_max=0.1),
        )
        huge = replace(tiny, box=Box(x_min=0, y_min=0, x_max=1, y_max=0.95))
        assert rule.look([tiny, huge], 0.2) == []
        assert told(rule.look([person(0.2, confidence=61.0)], 0.3)) == [("object", "start", 1)]
        assert rule.look([person(0.2, confidence=30.0)], 0.4) == []
        assert rule.presence["person"].count == 1

    def test_presence_is_unknown_before_the_first_look_and_none_after_an_empty_one(self) -> None:
        rule = rules()
        assert rule.presence == {}
        rule.look([], 0)
        assert not rule.presence["person"].present

    def test_what_was_told_before_a_restart_is_not_told_again(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF),))
        state = SceneState(
            objects=(person(0.2),), zones={"left": (Stay(track_id=1, stayed_s=0.0),)}
        )
        assert rule.restore(write(state), 0) == []
        assert rule.look([person(0.2)], 1) == []
        assert rule.zone_presence["left"]["person"].count == 1
        assert told(rule.look([], 2)) == [("zone", "end", 0), ("object", "end", 0)]


class TestZones:
    def test_the_feet_decide_and_an_edge_does_not_flutter(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF),))
        rule.look([person(0.6)], 0)
        for i in range(20):  # trembling on the edge
            assert rule.look([person(0.49 if i % 2 else 0.51)], 0.1 * (i + 1)) == []
        assert rule.look([person(0.51)], 2.5) == []
        assert rule.look([person(0.4)], 3.0) == []
        assert rule.look([person(0.4)], 3.2) == []
        (entered,) = rule.look([person(0.4)], 3.5)
        assert (entered.kind, entered.phase, entered.zone) == (Kind.ZONE, Phase.START, "left")
        assert rule.zones_of(1) == ("left",)

    @pytest.mark.parametrize("fps", [1, 5, 25])
    def test_who_stands_on_the_edge_has_entered_once(self, fps: int) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF),))
        random = np.random.default_rng(0)
        heard = [
            event.phase
            for number in range(120 * fps)
            for event in rule.look([person(0.5 + random.normal(0, 0.008))], number / fps)
            if event.kind == Kind.ZONE
        ]
        assert heard in ([], [Phase.START])

    def test_a_number_that_was_not_told_before_a_restart_is_told_after_it(self) -> None:
        zone = Zone(name="left", points=LEFT_HALF, counting=True)
        before, after = rules(zones=(zone,)), rules(zones=(zone,))
        for tenth in range(8):
            before.look([person(0.2)], tenth / 10)
        assert before.zones_of(1) == ("left",)
        after.restore(json.loads(json.dumps(before.state())), 10)
        heard = [event for n in range(5) for event in after.look([person(0.2)], 10 + n)]
        assert [(event.kind, event.count) for event in heard] == [(Kind.COUNT, 1)]

    def test_what_was_hidden_in_a_zone_has_not_entered_it_anew(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF, loitering_s=10),))
        for second in range(20):
            rule.look([person(0.2)], second)
        rule.look([], 21)
        back = rule.look([person(0.2, returned=True)], 30)
        assert [(event.kind, event.phase) for event in back] == [
            (Kind.OBJECT, Phase.UPDATE),
            (Kind.ZONE, Phase.UPDATE),
            (Kind.LOITERING, Phase.UPDATE),
        ]
        assert all(not rule.look([person(0.2, returned=True)], 31 + n) for n in range(20))

    def test_slow_looks_need_fewer_of_them(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF),))
        assert told(rule.look([person(0.2)], 0)) == [("object", "start", 1)]
        assert told(rule.look([person(0.2)], 1.0)) == [("zone", "start", 1)]

    def test_labels_and_confidence_of_its_own(self) -> None:
        zone = Zone(name="left", points=LEFT_HALF, labels=("dog",), confidence=95.0)
        rule = rules(labels=("person", "dog"), zones=(zone,))
        dog = {"label": "dog", "track": 2}
        for i in range(5):
            events = rule.look([person(0.2), person(0.2, **dog)], i)
            assert all(event.kind != Kind.ZONE for event in events)
        rule.look([person(0.2, confidence=96.0, **dog)], 6)
        events = rule.look([person(0.2, confidence=96.0, **dog)], 7)
        assert [event.label for event in events if event.kind == Kind.ZONE] == ["dog"]

    def test_who_stays_too_long_loiters_until_they_leave(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF, loitering_s=10),))
        heard = []
        for second in range(30):
            heard += rule.look([person(0.2 if second < 20 else 0.8)], second)
        assert [(event.kind, event.phase) for event in heard if event.kind == Kind.LOITERING] == [
            (Kind.LOITERING, Phase.START),
            (Kind.LOITERING, Phase.END),
        ]

    def test_who_stands_too_long_is_told_though_no_look_shows_them(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF, loitering_s=10),))
        for at in (0, 1, 2):
            rule.look([person(0.3)], at)
        assert rule.look([person(0.3, seen=False)], 12) == []
        events = rule.look([person(0.3, stationary=True, seen=False)], 13)
        assert ("loitering", "start", 1) in told(events)

    def test_a_number_that_does_not_hold_is_not_told(self) -> None:
        rule = rules(zones=(Zone(name="left", points=LEFT_HALF, counting=True),))
        heard: list[RuleEvent] = []
        for tick in range(100):  # ten a second; the second person is only seen now and then
            crowd = [person(0.2), *([person(0.3, track=2)] if tick % 7 == 0 else [])]
            heard += rule.look(crowd, tick / 10)
        counts = [event.count for event in heard if event.kind == Kind.COUNT]
        assert counts == [1]


class TestLines:
    @pytest.mark.parametrize(("way", "direction"), [((0.3, 0.7), "in"), ((0.7, 0.3), "out")])
    def test_a_crossing_has_a_direction_and_a_total(
        self, way: tuple[float, float], direction: str
    ) -> None:
        rule = rules(lines=(Line(name="gate", **UP_THE_MIDDLE),))
        rule.look([person(way[0])], 0)
        (crossing,) = rule.look([person(way[1])], 1)
        assert (crossing.kind, crossing.direction, crossing.total) == (Kind.LINE, direction, 1)
        assert rule.line_totals == {"gate": {("person", direction): 1}}

    @given(st.lists(st.floats(-0.011, 0.011), max_size=30))
    def test_trembling_on_it_counts_for_nothing(self, offsets: list[float]) -> None:
        rule = rules(lines=(Line(name="gate", **UP_THE_MIDDLE),))
        rule.look([person(0.4)], 0)
        heard = [rule.look([person(0.5 + offset)], 1 + i) for i, offset in enumerate(offsets)]
        assert not any(heard)

    @pytest.mark.parametrize("fps", [2, 5, 25])
    def test_who_stands_on_it_is_not_counted(self, fps: int) -> None:
        across = Line(name="gate", start=Point(x=0, y=0.8), end=Point(x=1, y=0.8))
        rule = rules(lines=(Line(name="up", **UP_THE_MIDDLE), across))
        random = np.random.default_rng(0)
        for number in range(120 * fps):
            x, y = random.normal(0, (0.006, 0.009))
            rule.look([person(0.5 + x, 0.8 + y)], number / fps)
        assert not any(rule.line_totals.values())

    def test_who_crosses_while_the_node_is_restarted_is_counted(self) -> None:
        line = Line(name="gate", **UP_THE_MIDDLE)
        before, after = rules(lines=(line,)), rules(lines=(line,))
        before.look([person(0.3)], 0)
        after.restore(json.loads(json.dumps(before.state())), 10)
        assert [event.kind for event in after.look([person(0.7)], 10)] == [Kind.LINE]

    def test_nobody_crosses_or_enters_where_they_only_should_be(self) -> None:
        rule = rules(lines=(Line(name="gate", **UP_THE_MIDDLE),), zones=(RIGHT_HALF,))
        rule.look([person(0.3)], 0)
        events = [
            event
            for number in range(1, 10)
            for event in rule.look([person(0.3 + number / 20, seen=False)], number)
        ]
        assert events == []
        # Who is there again over there has gone across.
        seen = [event.kind for at in (10, 11) for event in rule.look([person(0.8)], at)]
        assert seen == ["line", "zone"]

    def test_a_line_that_is_moved_past_somebody_was_not_crossed_by_them(self) -> None:
        before = rules(lines=(Line(name="gate", **UP_THE_MIDDLE),))
        before.look([person(0.3)], 0)
        swapped = {"start": UP_THE_MIDDLE["end"], "end": UP_THE_MIDDLE["start"]}
        moved = {"start": Point(x=0.1, y=1.0), "end": Point(x=0.1, y=0.0)}
        for place in (swapped, moved):
            after = rules(lines=(Line(name="gate", **place),))
            after.restore(before.state(), 1)
            assert after.look([person(0.31)], 1) == []

    def test_past_its_end_is_not_across_it(self) -> None:
        short = Line(name="gate", start=Point(x=0.5, y=0.5), end=Point(x=0.5, y=0.1))
        rule = rules(lines=(short,))
        rule.look([person(0.3, y=0.9)], 0)
        assert rule.look([person(0.7, y=0.9)], 1) == []

    def test_totals_go_on_after_a_restart(self) -> None:
        rule = rules(lines=(Line(name="gate", **UP_THE_MIDDLE),))
        total = LineTotal(line="gate", label="person", direction="in", total=41)
        rule.restore(write(SceneState(lines=(total,))), 0)
        rule.look([person(0.3)], 1)
        assert [event.total for event in rule.look([person(0.7)], 2)] == [42]


class TestCooldown:
    def test_beginnings_within_it_are_left_out_and_so_are_their_ends(self) -> None:
        rule = rules(cooldown_s=60)
        assert told(rule.look([person(0.2)], 0)) == [("object", "start", 1)]
        assert told(rule.look([], 10)) == [("object", "end", 0)]
        assert rule.look([person(0.2, track=2)], 20) == []
        assert rule.presence["person"].present  # states are not cooled down
        assert rule.look([], 30) == []
        assert told(rule.look([person(0.2, track=3)], 61)) == [("object", "start", 1)]


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_point_is_in_a_rectangle_when_its_coordinates_are(x: float, y: float) -> None:
    rectangle = (
        Point(x=0.25, y=0.25),
        Point(x=0.75, y=0.25),
        Point(x=0.75, y=0.5),
        Point(x=0.25, y=0.5),
    )
    edges = {0.25, 0.5, 0.75}
    if x not in edges and y not in edges:
        assert inside(rectangle, Point(x=x, y=y)) == (0.25 < x < 0.75 and 0.25 < y < 0.5)


class Ledger:
    """What has begun and not ended."""

    def __init__(self) -> None:
        self.open: set[tuple[str, int, str | None]] = set()

    def take(self, events: list[RuleEvent]) -> None:
        for event in events:
            if event.phase == Phase.INSTANT or event.item is None:
                continue
            this = (event.kind, event.item.track_id, event.zone)
            if event.phase == Phase.START:
                assert this not in self.open
                self.open.add(this)
            elif event.phase == Phase.END:
                self.open.remove(this)


class TestSymmetry:
    """Whatever happens, restarts and changes included: what begins ends, once."""

    @given(
        moves=st.lists(
            st.tuples(
                st.lists(st.sampled_from([0.05, 0.2, 0.45, 0.55, 0.8]), max_size=3),
                st.sampled_from(["", "restart", "other zones", "other cooldown", "other model"]),
            ),
            max_size=25,
        )
    )
    def test_every_start_has_one_end(self, moves: list[tuple[list[float], str]]) -> None:
        right = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
        zones = [
            (Zone(name="left", points=LEFT_HALF, loitering_s=1.0),),
            (
                Zone(name="right", points=tuple(Point(x=x, y=y) for x, y in right)),
                Zone(name="left", points=LEFT_HALF, loitering_s=2.5),
            ),
            (),
        ]
        cooldowns, settings = [0.0, 3.0], {"zones": zones[0], "cooldown_s": 0.0}
        rule, at = rules(**settings), 0.0
        ledger = Ledger()

        def see(xs: list[float]) -> None:
            nonlocal at
            for _ in range(3):
                at += 0.3
                people = [person(x, track=number) for number, x in enumerate(xs, 10 * epoch)]
                ledger.take(rule.look(people, at))

        epoch = 1
        for number, (xs, what) in enumerate(moves):
            see(xs)
            if not what:
                continue
            state = rule.state()
            if what == "other zones":
                settings["zones"] = zones[number % 3]
            elif what == "other cooldown":
                settings["cooldown_s"] = cooldowns[number % 2]
            rule, at = rules(**settings), at + 5.0
            if what == "other model":
                ledger.take(rule.end(read(SceneState, state), at))
                epoch += 1
            else:
                ledger.take(rule.restore(state, at))
        see([])
        assert ledger.open == set()
