"""Where is looked, and what several parts of a frame make of one object."""

from __future__ import annotations

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.inference.merge import merge
from edge_vision_node.inference.planner import EFFORTS, Planner, tiles
from edge_vision_node.protocol import Thoroughness
from edge_vision_node.tracking.association import Floats
from hypothesis import given, settings
from hypothesis import strategies as st

NOTHING = np.empty((0, 4))
FRAME, MODEL = (1280, 720), (300, 300)
WHOLE = [0.0, 0.0, 1.0, 1.0]


def boxes(*items: tuple[float, float, float, float]) -> Floats:
    return np.array(items, dtype=np.float64).reshape(-1, 4)


def planner(look: str = Thoroughness.BALANCED) -> Planner:
    return Planner(look, FRAME, MODEL)


def inside(box: Floats, part: Floats) -> bool:
    return bool((part[:2] <= box[:2]).all() and (box[2:] <= part[2:]).all())


@pytest.mark.parametrize("look", list(Thoroughness))
def test_the_first_frame_is_looked_at_whole_and_a_calm_one_seldom(look: str) -> None:
    plan = planner(look)
    whole = [plan.plan(n / 10, NOTHING, NOTHING).whole for n in range(101)]
    assert whole[0]
    assert sum(whole) == 1 + round(10 / EFFORTS[Thoroughness(look)].idle_every_s)


def test_who_is_small_is_looked_at_closely_and_in_the_shape_of_the_model() -> None:
    plan, far = planner(), boxes((0.5, 0.4, 0.52, 0.48))
    plan.plan(0.0, NOTHING, NOTHING)
    (part,) = plan.plan(0.1, NOTHING, far).boxes
    assert inside(far[0], part)
    width, height = (part[2:] - part[:2]) * FRAME
    assert width == pytest.approx(height)
    assert 200 < height < 360


def test_who_is_in_a_larger_movement_is_looked_at_as_closely_as_alone() -> None:
    plan, far = planner(), boxes((0.9, 0.14, 0.94, 0.27))
    around = boxes((0.88, 0.14, 0.98, 0.34))
    plan.plan(0.0, NOTHING, NOTHING)
    alone, both = planner(), plan
    alone.plan(0.0, NOTHING, NOTHING)
    part = both.plan(0.1, around, far).boxes[0]
    assert inside(far[0], part)
    assert part[3] - part[1] == pytest.approx(np.ptp(alone.plan(0.1, NOTHING, far).boxes[0][1::2]))


def test_who_is_large_is_looked_at_in_the_whole_frame() -> None:
    plan, near = planner(), boxes((0.3, 0.2, 0.6, 0.9))
    for number in range(5):
        assert plan.plan(number / 10, NOTHING, near).boxes.tolist() == [WHOLE]


@pytest.mark.parametrize("frame", [(1280, 720), (768, 576), (1920, 1080)])
@pytest.mark.parametrize("height", [0.2, 0.24, 0.28])
@pytest.mark.parametrize("look", [Thoroughness.BALANCED, Thoroughness.THOROUGH])
def test_who_is_a_fifth_to_a_third_of_the_frame_has_a_part_while_looks_are_left(
    frame: tuple[int, int], height: float, look: str
) -> None:
    width = 0.4 * height * frame[1] / frame[0]
    person = boxes((0.6, 0.4, 0.6 + width, 0.4 + height))
    # Found by its movement, and followed afterwards.
    for moving, followed in ((person, NOTHING), (NOTHING, person)):
        plan = Planner(look, frame, MODEL)
        plan.plan(0.0, NOTHING, NOTHING)
        (part,) = plan.plan(0.1, moving, followed).boxes
        assert inside(person[0], part)
        assert height / (part[3] - part[1]) > 0.27
        across, down = (part[2:] - part[:2]) * frame
        assert across == pytest.approx(down)  # nothing is distorted
        # With the whole frame, when that is due, the part comes too.
        again = plan.plan(1.1, moving, followed)
        assert again.whole
        assert inside(person[0], again.boxes[-1])
        assert 2 <= len(again.boxes) <= EFFORTS[Thoroughness(look)].most


def test_with_one_look_a_large_part_is_no_better_than_the_whole_frame() -> None:
    plan, person = planner(Thoroughness.ECONOMICAL), boxes((0.6, 0.4, 0.66, 0.68))
    assert all(plan.plan(n / 5, NOTHING, person).boxes.tolist() == [WHOLE] for n in range(5))


def test_new_movement_comes_first_and_nobody_has_to_wait_for_ever() -> None:
    plan = planner()
    known = boxes(*((x, y, x + 0.02, y + 0.08) for x in (0.05, 0.35, 0.65) for y in (0.05, 0.55)))
    flag = boxes((0.9, 0.9, 0.92, 0.98))
    plan.plan(0.0, NOTHING, NOTHING)
    assert inside(flag[0], plan.plan(0.2, flag, known).boxes[0])
    looks_at_known = [0] * len(known)
    for number in range(2, 42):
        parts = plan.plan(number / 5, flag, known).boxes
        assert len(parts) <= 3
        close = [part for part in parts if part.tolist() != WHOLE]
        for i, person in enumerate(known):
            looks_at_known[i] += any(inside(person, part) for part in close)
    assert min(looks_at_known) >= 8  # once a second


def test_somebody_new_and_very_small_is_enlarged_more_than_one_who_is_known() -> None:
    tiny = boxes((0.5, 0.3, 0.51, 0.34))
    heights = []
    for moving, followed in ((tiny, NOTHING), (NOTHING, tiny)):
        plan = planner()
        plan.plan(0.0, NOTHING, NOTHING)
        (part,) = plan.plan(0.1, moving, followed).boxes
        heights.append(float(part[3] - part[1]))
    assert heights[0] < 0.7 * heights[1]


def test_neighbours_share_a_part_and_movement_of_who_is_followed_needs_none() -> None:
    plan = planner()
    plan.plan(0.0, NOTHING, NOTHING)
    group = boxes((0.5, 0.4, 0.52, 0.48), (0.53, 0.41, 0.55, 0.49), (0.47, 0.4, 0.49, 0.48))
    legs = boxes((0.5, 0.46, 0.52, 0.48), (0.47, 0.4, 0.55, 0.49))
    assert len(plan.plan(0.1, legs, group).boxes) == 1
    stranger = boxes((0.9, 0.4, 0.92, 0.48))
    assert len(plan.plan(0.2, stranger, group).boxes) == 2


@given(
    st.lists(
        st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.1), st.floats(0.01, 0.1)),
        max_size=15,
    ),
    st.sampled_from(list(Thoroughness)),
)
@settings(max_examples=60, deadline=None)
def test_parts_lie_in_the_frame_and_are_never_too_many(
    items: list[tuple[float, float, float, float]], look: Thoroughness
) -> None:
    moving = boxes(*((x, y, x + w, y + h) for x, y, w, h in items))
    plan = planner(look)
    for number in range(4):
        parts = plan.plan(number / 10, moving, NOTHING).boxes
        assert len(parts) <= EFFORTS[look].most
        assert (parts >= 0).all()
        assert (parts <= 1 + 1e-9).all()
        assert (parts[:, 2:] > parts[:, :2]).all()


def test_when_there_are_too_many_they_take_turns() -> None:
    plan = planner(Thoroughness.ECONOMICAL)
    corners = boxes(*((x, y, x + 0.02, y + 0.08) for x in (0.05, 0.9) for y in (0.05, 0.85)))
    # In the eight looks after the first, which is a whole one, each corner has two.
    turns = [0] * 4
    for number in range(9):
        (part,) = plan.plan(number / 10, corners, NOTHING).boxes
        if part.tolist() != WHOLE:
            for i, corner in enumerate(corners):
                turns[i] += inside(corner, part)
    assert turns == [2, 2, 2, 2]


def test_where_nobody_can_tell_what_moves_the_whole_is_looked_at() -> None:
    plan = planner()
    assert all(plan.plan(n / 10, NOTHING, NOTHING, unsure=True).whole for n in range(5))


@pytest.mark.parametrize("look", ["balanced", "thorough"])
def test_who_stands_there_while_the_gate_learns_is_looked_at_closely(look: str) -> None:
    plan = planner(look)
    plans = [plan.plan(n / 10, NOTHING, NOTHING, unsure=True) for n in range(30)]
    assert max(len(item.boxes) for item in plans) <= plan.effort.most
    swept = [tuple(box) for item in plans for box in item.boxes[1:]]
    for tile in map(tuple, tiles(2, 2)):
        assert tile in swept
    # A camera that keeps the gate from learning costs no more than before.
    assert look == "thorough" or len(swept) == 4
    # After it has learnt, it may begin anew.
    assert not len(plan.plan(3.0, NOTHING, NOTHING).boxes[1:]) or look == "thorough"
    again = plan.plan(3.1, NOTHING, NOTHING, unsure=True)
    assert len(again.boxes) > 1
    plan.undo()
    assert (plan.plan(3.2, NOTHING, NOTHING, unsure=True).boxes == again.boxes).all()


def test_tiles_cover_the_frame_and_overlap() -> None:
    four = tiles(2, 2)
    assert four.min() == 0
    assert four.max() == pytest.approx(1)
    assert four[0, 2] - four[1, 0] == pytest.approx(0.2 / 2.2)


# --- Merging -------------------------------------------------------------------------------------


def found(*items: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    return Detections(
        np.array([box for box, *_ in items], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in items], np.float32),
        np.array([class_id for *_, class_id in items], np.int32),
    )


LEFT, RIGHT = (0.0, 0.0, 0.55, 1.0), (0.45, 0.0, 1.0, 1.0)
ACROSS = (0.3, 0.2, 0.7, 0.9)


def test_a_piece_gives_way_to_the_object_even_where_it_is_surer() -> None:
    whole = found((ACROSS, 0.6, 0))
    left, right = found(((0.3, 0.2, 0.55, 0.9), 0.8, 0)), found(((0.45, 0.2, 0.7, 0.9), 0.9, 0))
    merged = merge([whole, left, right], boxes(tuple(WHOLE), LEFT, RIGHT))
    assert merged.boxes.tolist() == [pytest.approx(ACROSS)]


def test_a_piece_alone_is_better_than_nothing_but_doubtful() -> None:
    merged = merge([found(((0.3, 0.2, 0.55, 0.9), 0.8, 0)), found()], boxes(LEFT, RIGHT))
    assert merged.scores.tolist() == pytest.approx([0.4])


def test_a_piece_in_the_only_part_is_as_doubtful() -> None:
    piece = found(((0.3, 0.2, 0.55, 0.9), 0.8, 0))
    assert merge([piece], boxes(LEFT)).scores.tolist() == pytest.approx([0.4])
    assert merge([piece], boxes(tuple(WHOLE))).scores.tolist() == pytest.approx([0.8])


def test_an_object_at_the_edge_of_the_frame_is_not_cut() -> None:
    merged = merge([found(((0.0, 0.2, 0.2, 1.0), 0.8, 0)), found()], boxes(LEFT, RIGHT))
    assert merged.scores.tolist() == pytest.approx([0.8])


def test_the_closer_look_tells_where_a_small_object_is() -> None:
    part = (0.4, 0.3, 0.7, 0.6)
    far, near = (0.5, 0.4, 0.53, 0.46), (0.505, 0.4, 0.53, 0.47)
    merged = merge([found((far, 0.7, 0)), found((near, 0.7, 0))], boxes(tuple(WHOLE), part))
    assert merged.boxes.tolist() == [pytest.approx(near)]


def test_two_people_who_are_one_box_from_afar_are_two() -> None:
    part = (0.4, 0.3, 0.7, 0.7)
    one, other = (0.50, 0.4, 0.53, 0.52), (0.525, 0.4, 0.555, 0.52)
    between = (0.512, 0.4, 0.543, 0.52)
    merged = merge(
        [found((between, 0.8, 0)), found((one, 0.9, 0), (other, 0.9, 0))],
        boxes(tuple(WHOLE), part),
    )
    assert sorted(merged.boxes.tolist()) == [pytest.approx(one), pytest.approx(other)]


def test_what_a_closer_look_has_not_shown_all_of_or_not_found_stays() -> None:
    part = (0.4, 0.3, 0.7, 0.7)
    beside, alone = (0.36, 0.35, 0.5, 0.65), (0.62, 0.35, 0.66, 0.5)
    merged = merge(
        [found((beside, 0.8, 0), (alone, 0.7, 0)), found(((0.45, 0.35, 0.58, 0.65), 0.9, 0))],
        boxes(tuple(WHOLE), part),
    )
    assert len(merged) == 3


def test_other_classes_and_other_places_stay() -> None:
    every = [
        found((ACROSS, 0.9, 0), (ACROSS, 0.8, 1)),
        found(((0.05, 0.1, 0.25, 0.8), 0.7, 0)),
    ]
    merged = merge(every, boxes(tuple(WHOLE), LEFT))
    assert merged.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert merged.class_ids.tolist() == [0, 1, 0]


def test_nothing_found_anywhere_is_nothing() -> None:
    assert len(merge([found(), found()], boxes(tuple(WHOLE), LEFT))) == 0
    assert len(merge([found()], boxes(tuple(WHOLE)))) == 0
