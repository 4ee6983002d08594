"""Which corners make an area that one can be inside of."""

from __future__ import annotations

import random

import pytest

from custom_components.edge_vision.areas import area, crosses_itself
from custom_components.edge_vision.flows.areas import BadShape, _corners

SQUARE = "0.1,0.1 0.9,0.1 0.9,0.9 0.1,0.9"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (SQUARE, 4),
        ("0.1,0.9 0.9,0.9 0.9,0.1 0.1,0.1", 4),  # the other way round
        (f"{SQUARE} 0.1,0.1", 4),  # closed
        ("0.1,0.1 0.1,0.1 0.9,0.1 0.9,0.9 0.9,0.9 0.1,0.9", 4),  # pressed twice
        ("0.1,0.1 0.3,0.1 0.5,0.1 0.9,0.1 0.9,0.9 0.1,0.9", 6),  # corners along an edge
        ("0,0 1,0 1,1 0.5,0.2 0,1", 5),  # not convex
        ("0.1,0.1 0.3,0.1 0.3,0.3 0.7,0.3 0.7,0.1 0.9,0.1 0.9,0.9 0.1,0.9", 8),  # a notch
        ("0,0 0.5,0.999 1,0", 3),
        ("0,0 0.02,0 0,0.02", 3),
    ],
)
def test_what_makes_an_area(text: str, kept: int) -> None:
    assert len(_corners({"points": text})) == kept


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.1,0.1 0.9,0.9 0.9,0.1 0.1,0.9", "crossing"),  # a bow tie, of no area in sum
        ("0.1,0.1 0.9,0.8 0.9,0.1 0.1,0.9", "crossing"),  # one of some
        ("0,0 0.5,0.5 1,0 1,1 0.5,0.5 0,1", "crossing"),  # two triangles with a corner in common
        ("0,0 1,0 1,1 0.5,0 0,1", "crossing"),  # a corner on an edge
        ("0,0 1,0 1,1 0.3,1 0.3,-0.0 0.2,1 0,1", "crossing"),  # likewise, from inside
        ("0,0 0.5,0 0.5,0.5 0.9,0.5 0.5,0.5 0,0.5", "crossing"),  # a spike
        ("0.1,0.1 0.9,0.1 0.2,0.1 0.5,0.9", "crossing"),  # there and back on an edge
        ("0.5,0 0.8,0.9 0,0.3 1,0.3 0.2,0.9", "crossing"),  # a star
        (f"{SQUARE} {SQUARE}", "crossing"),  # twice round
        ("0.1,0.1 0.5,0.5 0.9,0.9", "no_area"),
        ("0.1,0.1 0.9,0.9 0.5,0.5 0.3,0.3", "no_area"),
        ("0.1,0.2 0.3,0.2 0.7,0.2", "no_area"),
        ("0.1,0.1 0.101,0.1 0.101,0.101", "no_area"),  # smaller than a pixel of most pictures
        ("0.1,0.1 0.1,0.1 0.9,0.1 0.9,0.1", "too_few_points"),
        ("0.1,0.1 0.1,0.1 0.1,0.1", "too_few_points"),
        ("0.1,0.1", "too_few_points"),
        ("", "too_few_points"),
    ],
)
def test_what_makes_none_says_why(text: str, why: str) -> None:
    with pytest.raises(BadShape, match=f"^{why}$"):
        _corners({"points": text})


def test_crossing_is_found_wherever_it_begins_and_whichever_way_it_goes() -> None:
    dice = random.Random(4)
    for _ in range(300):
        corners = [
            (dice.randint(0, 10) / 10, dice.randint(0, 10) / 10) for _ in range(dice.randint(3, 7))
        ]
        if any(a == b for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)):
            continue
        said = {
            crosses_itself([*order[turn:], *order[:turn]])
            for order in (corners, corners[::-1])
            for turn in range(len(corners))
        }
        assert len(said) == 1, corners
        if said == {False} and len(corners) == 3:
            assert area(corners) > 0
