"""Posture from keypoints."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from edge_vision_node.protocol import Box, DetectedObject, Keypoint
from edge_vision_node.rules.posture import Posture, posture, with_postures
from hypothesis import given
from hypothesis import strategies as st

SIDE = 1000

# Middle of the joint → x, y.
STANDING = {"shoulder": (0.5, 0.2), "hip": (0.5, 0.5), "knee": (0.5, 0.7), "ankle": (0.5, 0.9)}
SITTING = {"shoulder": (0.5, 0.3), "hip": (0.5, 0.6), "knee": (0.7, 0.62), "ankle": (0.7, 0.85)}
LYING = {"shoulder": (0.2, 0.8), "hip": (0.5, 0.8), "knee": (0.7, 0.8), "ankle": (0.9, 0.8)}


def body(
    joints: Mapping[str, tuple[float, float]], confidence: float = 90.0, breadth: float = 0.04
) -> tuple[Keypoint, ...]:
    return tuple(
        Keypoint(name=f"{side}_{joint}", x=x + shift, y=y, confidence=confidence)
        for joint, (x, y) in joints.items()
        for side, shift in (("left", breadth), ("right", -breadth))
    )


@pytest.mark.parametrize(
    ("joints", "expected"),
    [
        (STANDING, Posture.STANDING),
        (SITTING, Posture.SITTING),
        (LYING, Posture.LYING),
        # Facing the camera on a chair: the thigh points at it and looks short.
        (STANDING | {"knee": (0.5, 0.6), "ankle": (0.5, 0.85)}, Posture.SITTING),
        # In an armchair, the knees are higher than the hips.
        (SITTING | {"knee": (0.65, 0.5)}, Posture.SITTING),
        # Bent forward a little.
        (STANDING | {"shoulder": (0.65, 0.25)}, Posture.STANDING),
        # On the side along a slope.
        (LYING | {"shoulder": (0.2, 0.65)}, Posture.LYING),
        # Head down, as on a slide.
        ({"shoulder": (0.2, 0.9), "hip": (0.6, 0.7), "knee": (0.8, 0.6)}, Posture.LYING),
    ],
)
def test_clear_cases(joints: Mapping[str, tuple[float, float]], expected: Posture) -> None:
    assert posture(body(joints), SIDE, SIDE) is expected


@pytest.mark.parametrize("missing", ["shoulder", "hip", "knee"])
def test_what_is_not_seen_is_not_guessed(missing: str) -> None:
    joints = {joint: at for joint, at in STANDING.items() if joint != missing}
    assert posture(body(joints), SIDE, SIDE) is Posture.UNCLEAR


def test_a_lying_body_needs_no_knees() -> None:
    joints = {joint: at for joint, at in LYING.items() if joint in ("shoulder", "hip")}
    assert posture(body(joints), SIDE, SIDE) is Posture.LYING


def test_keypoints_that_the_model_guesses_do_not_count() -> None:
    assert posture(body(STANDING, confidence=10.0), SIDE, SIDE) is Posture.UNCLEAR
    assert posture((), SIDE, SIDE) is Posture.UNCLEAR


def test_one_side_is_enough() -> None:
    left = tuple(point for point in body(SITTING) if point.name.startswith("left"))
    assert posture(left, SIDE, SIDE) is Posture.SITTING


def test_a_wide_frame_does_not_lay_anybody_down() -> None:
    """Upright by 45 degrees in normalised numbers is nearly flat in a frame of 32:9."""
    leaning = {"shoulder": (0.4, 0.3), "hip": (0.6, 0.5), "knee": (0.6, 0.7)}
    assert posture(body(leaning), 1000, 1000) is Posture.STANDING
    assert posture(body(leaning), 3200, 900) is Posture.LYING


def test_each_body_has_its_own() -> None:
    bodies = [
        DetectedObject(
            label="person",
            confidence=90.0,
            box=Box(x_min=0, y_min=0, x_max=1, y_max=1),
            keypoints=body(joints),
        )
        for joints in (STANDING, LYING)
    ]
    found = with_postures(bodies, SIDE, SIDE)
    assert [item.posture for item in found] == ["standing", "lying"]
    assert [item.keypoints for item in found] == [item.keypoints for item in bodies]


NUMBER = st.floats(-0.5, 1.5, allow_nan=False)


@given(
    st.dictionaries(
        st.sampled_from([point.name for point in body(STANDING)]), st.tuples(NUMBER, NUMBER)
    ),
    st.integers(1, 4096),
    st.integers(1, 4096),
)
def test_whatever_the_model_says_there_is_an_answer(
    points: dict[str, tuple[float, float]], width: int, height: int
) -> None:
    keypoints = [Keypoint(name=name, x=x, y=y, confidence=50.0) for name, (x, y) in points.items()]
    assert posture(keypoints, width, height) in Posture


@given(
    st.sampled_from([STANDING, SITTING, LYING]),
    st.floats(-0.3, 0.3),
    st.floats(-0.3, 0.3),
    st.floats(0.2, 3),
)
def test_where_and_how_large_a_body_is_does_not_matter(
    joints: Mapping[str, tuple[float, float]], right: float, down: float, size: float
) -> None:
    moved = {joint: (x * size + right, y * size + down) for joint, (x, y) in joints.items()}
    expected = posture(body(joints), SIDE, SIDE)
    assert posture(body(moved, breadth=0.04 * size), SIDE, SIDE) is expected


@given(st.sampled_from([STANDING, SITTING, LYING]))
def test_a_mirror_does_not_matter(joints: Mapping[str, tuple[float, float]]) -> None:
    mirrored = {joint: (1 - x, y) for joint, (x, y) in joints.items()}
    assert posture(body(mirrored), SIDE, SIDE) is posture(body(joints), SIDE, SIDE)


@given(st.floats(0, 35), st.booleans())
def test_a_body_may_lean_a_good_deal_and_lie_on_a_slope(degrees: float, fallen: bool) -> None:
    angle = math.radians(90 - degrees if fallen else degrees)

    def along(distance: float) -> tuple[float, float]:
        return 0.5 + distance * math.sin(angle), 0.5 - distance * math.cos(angle)

    joints = {"shoulder": along(0.3), "hip": along(0), "knee": along(-0.2)}
    expected = Posture.LYING if fallen else Posture.STANDING
    assert posture(body(joints, breadth=0), SIDE, SIDE) is expected
