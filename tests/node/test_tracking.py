"""The tracker: identities over frames, stationary objects, and gone objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.tracking.association import assign, covered, overlaps
from edge_vision_node.tracking.kinds import Kinds
from edge_vision_node.tracking.tracker import Track, Tracker
from hypothesis import given
from hypothesis import strategies as st

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
NOWHERE = np.empty((0, 4))


def seen(
    *places: tuple[float, float], score: float | Sequence[float] = 0.9, label: int = 0
) -> Detections:
    """Return boxes with 1/10 of the width and 1/4 of the height of the frame around points."""
    centres = np.array(places, dtype=np.float32).reshape(-1, 2)
    half = np.array([0.05, 0.125], dtype=np.float32)
    boxes = np.concatenate((centres - half, centres + half), axis=1)
    scores = np.broadcast_to(np.float32(score), len(boxes)).copy()
    return Detections(boxes, scores, np.full(len(boxes), label, np.int32))


def follow(
    tracker: Tracker,
    frames: Iterable[Detections],
    fps: float = 5.0,
    start: float = 0.0,
    **more: Any,
) -> list[list[Track]]:
    """Return the confirmed tracks of every frame."""
    return [
        [track for track in tracker.step(found, start + number / fps, **more) if track.confirmed]
        for number, found in enumerate(frames)
    ]


def ids(tracks: Sequence[Track]) -> list[int]:
    return sorted(track.id for track in tracks)


class TestConfirmation:
    def test_a_very_sure_look_is_enough(self) -> None:
        assert ids(follow(Tracker(), [seen((0.5, 0.5), score=0.9)])[0]) == [1]

    def test_otherwise_the_second_one_confirms(self) -> None:
        shown = follow(Tracker(), [seen((0.5, 0.5), score=0.7)] * 2)
        assert [ids(tracks) for tracks in shown] == [[], [1]]

    def test_doubtful_looks_alone_never_do(self) -> None:
        shown = follow(Tracker(), [seen((0.5, 0.5), score=0.45)] * 50)
        assert not any(shown)

    def test_noise_that_comes_and_goes_is_not_followed(self) -> None:
        frames = [seen((0.5, 0.5), score=0.7) if n % 9 == 0 else seen() for n in range(90)]
        assert not any(follow(Tracker(), frames))


class TestFollowing:
    @pytest.mark.parametrize("fps", [3.0, 5.0, 15.0, 30.0])
    def test_two_who_cross_keep_their_numbers(self, fps: float) -> None:
        steps = round(4 * fps)
        ways = np.linspace(0.1, 0.9, steps)
        frames = [seen((x, 0.4), (1 - x, 0.62)) for x in ways]
        last = follow(Tracker(), frames, fps)[-1]
        places = {track.id: float(track.box[0]) for track in last}
        assert ids(last) == [1, 2]
        assert places[1] > places[2]

    @pytest.mark.parametrize("fps", [2.0, 5.0, 10.0, 25.0])
    @pytest.mark.parametrize("after", [-1.0, 0.0, 2.0])
    def test_who_turns_or_stops_has_no_box_that_lags(self, fps: float, after: float) -> None:
        # Slightly more than a box per second (walking), then back, standing still, or running.
        speed, count = 0.15 / fps, round(2 * fps)
        ways = 0.2 + speed * np.concatenate((np.arange(count), count - 1 + after * np.arange(1, 4)))
        tracker = Tracker()
        for number, x in enumerate(ways):
            found = seen((x, 0.5))
            (track,) = tracker.step(found, number / fps)
            assert overlaps(track.box[None], found.boxes.astype(np.float64))[0, 0] > 0.8

    def test_what_trembles_is_averaged(self) -> None:
        random = np.random.default_rng(0)
        trembling = 0.5 + random.normal(0, 0.004, 100)
        tracker, centres = Tracker(), []
        for number, x in enumerate(trembling):
            (track,) = tracker.step(seen((x, 0.5)), number / 10)
            centres.append(float(track.box[0] + track.box[2]) / 2)
        assert np.std(centres[20:]) < 0.8 * np.std(trembling[20:])

    def test_who_is_hidden_for_a_second_comes_out_as_the_same(self) -> None:
        ways = np.linspace(0.1, 0.9, 40)  # eight seconds
        frames = [seen() if 18 <= n < 23 else seen((x, 0.5)) for n, x in enumerate(ways)]
        shown = follow(Tracker(), frames)
        assert {track.id for tracks in shown for track in tracks} == {1}

    def test_doubtful_looks_keep_a_track_alive(self) -> None:
        frames = [seen((0.5, 0.5))] * 3 + [seen((0.5, 0.5), score=0.3)] * 50
        assert ids(follow(Tracker(), frames)[-1]) == [1]

    def test_frames_come_when_they_come(self) -> None:
        tracker, at = Tracker(), 0.0
        for dt in (0.2, 0.2, 0.7, 0.05, 1.1, 0.2, 0.4):
            at += dt
            tracks = tracker.step(seen((0.2 + 0.1 * at, 0.5)), at)
            assert ids(tracks) == [1]

    def test_who_has_left_is_gone_after_three_seconds(self) -> None:
        shown = follow(Tracker(), [seen((0.5, 0.5))] * 5 + [seen()] * 17)
        assert [bool(tracks) for tracks in shown] == [True] * 20 + [False] * 2

    def test_who_was_walking_out_has_left_sooner_and_is_not_who_comes_in_next(self) -> None:
        frames = [seen((0.5 + 0.03 * n, 0.5)) for n in range(16)] + [seen()] * 10
        frames += [seen((0.95 - 0.03 * n, 0.5)) for n in range(5)]
        shown = follow(Tracker(), frames)
        assert [ids(tracks) for tracks in shown[:18]] == [[1]] * 18
        assert ids(shown[24]) == []
        assert ids(shown[-1]) == [2]

    def test_a_small_one_whose_boxes_tremble_and_is_often_missed_is_one(self) -> None:
        random = np.random.default_rng(0)
        for _ in range(10):
            frames = []
            for number in range(100):
                place = np.array([0.2 + 0.005 * number, 0.5]) + random.normal(0, [0.01, 0.01])
                there = random.random() < 0.5
                frames.append(seen(tuple(place), score=0.7) if there else seen())
            shown = follow(Tracker(), frames)
            assert {track.id for tracks in shown for track in tracks} == {1}

    @pytest.mark.parametrize("fps", [0.2, 0.5, 1.0, 2.0, 5.0])
    @pytest.mark.parametrize("score", [0.52, 0.66, 0.84])
    def test_who_is_found_in_every_frame_is_told_at_every_rate(
        self, fps: float, score: float
    ) -> None:
        shown = follow(Tracker(), [seen((0.5, 0.5), score=score)] * 20, fps)
        assert [ids(tracks) for tracks in shown[12:]] == [[1]] * 8

    def test_what_is_doubtful_and_found_now_and_then_is_nobody(self) -> None:
        random = np.random.default_rng(0)
        frames = [
            seen((0.5, 0.5), score=0.55) if random.random() < 0.6 else seen() for _ in range(200)
        ]
        assert not any(follow(Tracker(), frames))

    def test_a_van_that_is_a_car_and_a_truck_in_turn_is_one_object(self) -> None:
        car, truck = range(2)
        random = np.random.default_rng(0)
        tracker = Tracker(kinds=Kinds.of(("car", "truck")))
        told = set()
        for number in range(600):
            label = truck if random.random() < 0.2 else car
            found = seen((0.5, 0.5), score=random.uniform(0.6, 0.84), label=label)
            told |= {
                (track.id, track.class_id)
                for track in tracker.step(found, number / 5, disturbed=NOWHERE)
                if track.confirmed
            }
        assert len(told) == 1
        # Both in the same frame are one object, too; a person is a different one.
        both = np.array([[0.4, 0.4, 0.5, 0.6]] * 3, dtype=np.float32)
        found = Detections(both, np.array([0.9, 0.8, 0.9], np.float32), np.array([0, 1, 2]))
        tracker = Tracker(kinds=Kinds.of(("car", "truck", "person")))
        assert sorted(track.class_id for track in tracker.step(found, 0.0)) == [0, 2]

    def test_the_upper_half_of_somebody_is_not_somebody_else_from_the_first_frame_on(self) -> None:
        boxes = np.array([[0.4, 0.2, 0.5, 0.44], [0.4, 0.2, 0.5, 0.7]], dtype=np.float32)
        found = Detections(boxes, np.array([0.8, 0.92], np.float32), np.zeros(2, np.int32))
        assert all(ids(tracks) == [1] for tracks in follow(Tracker(), [found] * 20))

    def test_who_comes_out_from_behind_somebody_is_not_new(self) -> None:
        frames = []
        for number in range(40):
            near, far = 0.2 + 0.02 * number, 0.8 - 0.02 * number
            hidden = abs(near - far) < 0.1
            frames.append(seen((near, 0.52)) if hidden else seen((near, 0.52), (far, 0.5)))
        last = follow(Tracker(), frames)[-1]
        assert {track.id: round(float(track.box[0]), 1) for track in last} == {1: 0.9, 2: 0.0}

    def test_what_the_model_sees_twice_is_told_once(self) -> None:
        twice = [seen((0.5, 0.5)), seen((0.5, 0.5), (0.53, 0.54), score=(0.9, 0.7))]
        assert all(ids(tracks) == [1] for tracks in follow(Tracker(), twice * 10))

    def test_a_second_one_close_by_of_whom_the_model_is_sure_is_told(self) -> None:
        frames = [seen((0.5, 0.5)), seen((0.5, 0.5), (0.54, 0.5), score=0.9)]
        assert ids(follow(Tracker(), frames)[-1]) == [1, 2]

    def test_classes_do_not_mix(self) -> None:
        tracker = Tracker()
        follow(tracker, [seen((0.5, 0.5))] * 3)
        (dog,) = [t for t in follow(tracker, [seen((0.5, 0.5), label=1)], start=1)[0] if t.seen]
        assert (dog.id, dog.class_id) == (2, 1)

    def test_what_nobody_looked_at_was_not_missed(self) -> None:
        tracker = Tracker()
        follow(tracker, [seen((0.8, 0.5))] * 3)
        left = np.array([[0.0, 0.0, 0.5, 1.0]])
        assert ids(follow(tracker, [seen()] * 50, start=1, looked=left)[-1]) == [1]
        assert follow(tracker, [seen()] * 20, start=12, looked=WHOLE)[-1] == []


class TestStandingStill:
    def park(self, tracker: Tracker) -> Track:
        random = np.random.default_rng(0)
        trembling = [seen((0.5 + x, 0.5)) for x in random.normal(0, 0.002, 75)]
        (car,) = follow(tracker, trembling)[-1]
        assert car.stationary
        return car

    def test_it_stays_the_same_while_nothing_moves_there(self) -> None:
        tracker = Tracker()
        self.park(tracker)
        night = [
            tracker.step(seen(), 20.0 + 60 * minute, disturbed=NOWHERE) for minute in range(600)
        ]
        assert all(ids(tracks) == [1] for tracks in night)
        (car,) = tracker.step(seen((0.5, 0.5)), 40_000.0, disturbed=NOWHERE)
        assert (car.id, car.stationary, car.returned) == (1, True, False)

    def test_it_has_left_when_something_moved_there_and_it_is_not_seen(self) -> None:
        tracker = Tracker()
        self.park(tracker)
        there = np.array([[0.4, 0.4, 0.6, 0.6]])
        tracker.step(seen(), 20.0, disturbed=there)
        shown = follow(tracker, [seen()] * 30, start=20.2, disturbed=NOWHERE)
        assert ids(shown[0]) == [1]
        assert shown[-1] == []

    def test_what_is_there_again_is_the_same_one_returned(self) -> None:
        tracker = Tracker()
        self.park(tracker)
        assert follow(tracker, [seen()] * 40, start=20)[-1] == []
        (car,) = tracker.step(seen((0.5, 0.5)), 60.0)
        assert (car.id, car.returned, car.confirmed) == (1, True, True)

    @pytest.mark.parametrize(
        ("alive", "away_s", "same"),
        [
            (False, 9.5 * 3600, True),
            (False, 25 * 3600, False),
            (True, 10, True),  # someone passed in front of it
            (True, 30, False),  # the person at the door is someone else
        ],
    )
    def test_a_place_is_remembered_for_a_night_and_that_of_the_living_for_moments(
        self, alive: bool, away_s: float, same: bool
    ) -> None:
        kinds = Kinds(living=(0,) if alive else ())
        tracker, at = Tracker(kinds=kinds), 0.0
        for number in range(60):
            at = float(number)
            tracker.step(seen((0.5, 0.5)), at, disturbed=NOWHERE)
        # Something passes in the dark, and nothing is detected there after that.
        for _ in range(8):
            at += 1.0
            left = tracker.step(seen(), at)
        assert left == []
        again = Tracker(kinds=kinds)
        again.restore(json.loads(json.dumps(tracker.snapshot())), at)  # the node is restarted
        (track,) = again.step(seen((0.5, 0.5)), at + away_s, disturbed=NOWHERE)
        assert (track.id == 1, track.returned) == (same, same)

    def test_a_change_of_the_whole_scene_is_no_movement(self) -> None:
        tracker = Tracker()
        self.park(tracker)
        at = 15.2
        tracker.step(seen(), at, disturbed=NOWHERE, changed=True)  # night mode
        for _ in range(50):
            at += 1.0
            (car,) = tracker.step(seen(), at, disturbed=NOWHERE)
        # But an object that is not seen for a minute after that may be out of the picture.
        for _ in range(20):
            at += 1.0
            left = tracker.step(seen(), at, disturbed=NOWHERE)
        assert (car.id, left) == (1, [])

    def test_nobody_stays_who_is_not_seen_for_minutes_and_a_parked_car_does(self) -> None:
        for alive in (True, False):
            tracker = Tracker(kinds=Kinds(living=(0,) if alive else ()))
            self.park(tracker)
            at = 15.2
            for _ in range(400):
                at += 1.0
                left = tracker.step(seen(), at, disturbed=NOWHERE)
            assert bool(left) is not alive
            if alive:  # a person who stands there an hour later is someone else
                (other,) = tracker.step(seen((0.5, 0.5)), at + 3600, disturbed=NOWHERE)
                assert not other.returned

    def test_a_camera_of_one_frame_in_four_seconds_does_not_lose_whom_one_frame_misses(
        self,
    ) -> None:
        tracker = Tracker()
        for number in range(6):
            tracker.step(seen((0.3 + 0.02 * number, 0.5)), 4.0 * number)
        assert ids(tracker.step(seen(), 24.0)) == [1]
        assert ids(tracker.step(seen((0.44, 0.5)), 28.0)) == [1]
        assert ids(tracker.step(seen(), 32.0)) == [1]
        assert tracker.step(seen(), 36.0) == []

    def test_it_moves_on_as_the_same(self) -> None:
        tracker = Tracker()
        self.park(tracker)
        shown = follow(tracker, [seen((0.5 + 0.02 * n, 0.5)) for n in range(15)], start=15.2)
        assert all(ids(tracks) == [1] for tracks in shown)
        assert not shown[-1][0].stationary


class TestRestart:
    def test_tracks_go_on_and_numbers_are_not_used_again(self) -> None:
        before = Tracker()
        follow(before, [seen((0.2, 0.5), (0.7, 0.5))] * 5)
        kept = json.loads(json.dumps(before.snapshot()))
        after = Tracker()
        after.restore(kept, 100.0)
        tracks = after.step(seen((0.21, 0.5), (0.7, 0.5), (0.45, 0.5)), 100.2)
        assert ids(tracks) == [1, 2, 3]

    def test_hours_later_what_is_where_it_was_is_the_same(self) -> None:
        before = Tracker()
        follow(before, [seen((0.2, 0.5))] * 5)
        after = Tracker()
        after.restore(before.snapshot(), 100.0)
        assert ids(after.step(seen((0.21, 0.5)), 20_000.0)) == [1]

    def test_damaged_snapshots_are_left_out(self) -> None:
        tracker = Tracker()
        bad = {"id": 1, "class_id": 0, "score": 1, "best_score": 1, "stationary": False}
        bad |= {"stood_s": 0, "remembered_s": None}
        tracker.restore([{**bad, "box": [0.5, 0.5, 0.1, 0.1]}, {**bad, "box": [0, 0, 1]}], 0.0)
        assert tracker.step(seen(), 0.1) == []


class TestAssociation:
    def test_overlap_and_cover(self) -> None:
        one, other = np.array([[0, 0, 2, 2]], float), np.array([[1, 1, 3, 3]], float)
        assert overlaps(one, other)[0, 0] == pytest.approx(1 / 7)
        assert covered(one, other)[0] == pytest.approx(1 / 4)
        assert covered(one, NOWHERE)[0] == 0

    @given(st.integers(0, 4), st.integers(0, 4), st.randoms(use_true_random=False))
    def test_each_is_assigned_at_most_once_and_together_they_fit_best(
        self, rows: int, columns: int, random: Any
    ) -> None:
        similarity = np.array([[random.random() for _ in range(columns)] for _ in range(rows)])
        similarity = similarity.reshape(rows, columns)
        left, right = assign(similarity, 0.3)
        assert len(set(left.tolist())) == len(left) == len(set(right.tolist()))
        assert all(similarity[left, right] >= 0.3)
        gains = np.concatenate((np.maximum(similarity - 0.3, 0), np.zeros((rows, rows))), axis=1)
        best = max(
            sum(gains[row, column] for row, column in enumerate(choice))
            for choice in permutations(range(columns + rows), rows)
        )
        assert (similarity[left, right] - 0.3).sum() == pytest.approx(best)

    def test_who_stands_in_the_way_of_two_goes_to_the_one_who_has_no_other(self) -> None:
        left, right = assign(np.array([[0.9, 0.8], [0.85, 0.0]]), 0.3)
        assert dict(zip(left.tolist(), right.tolist(), strict=True)) == {0: 1, 1: 0}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=5)
        ),
        max_size=12,
    )
)
def test_whatever_is_seen_boxes_are_sane(frames: list[tuple[float, list[Any]]]) -> None:
    tracker, at = Tracker(), 0.0
    for dt, places in frames:
        at += dt
        for track in tracker.step(seen(*places), at):
            assert np.isfinite(track.box).all()
            assert (track.box >= 0).all() and (track.box <= 1).all()
