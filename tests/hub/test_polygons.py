"""Which corners make an area that one can be inside of."""

from __future__ import annotations

import random
from typing import Any

import pytest

from custom_components.edge_vision.areas import (
    BadShape,
    area,
    as_text,
    crosses_itself,
    line_from,
    mask_from,
    name_of,
    parse_points,
    points_of,
    zone_from,
)

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
    assert len(mask_from({"points": text})) == kept


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
        mask_from({"points": text})


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


ZONE = {"name": " Gate ", "points": SQUARE, "labels": ["person"], "counting": False}


def test_a_zone_is_what_was_entered_with_its_name_trimmed() -> None:
    zone = zone_from({**ZONE, "confidence": 60, "loitering_s": 5}, 60)
    assert (zone["name"], len(zone["points"])) == ("Gate", 4)
    assert (zone["labels"], zone["counting"]) == (["person"], False)
    assert (zone["confidence"], zone["loitering_s"]) == (60, 5)
    assert zone_from(ZONE, 60)["confidence"] is None
    assert points_of(zone) == parse_points(as_text(zone["points"]))


@pytest.mark.parametrize(
    ("changed", "why", "field"),
    [
        ({"name": " "}, "no_name", "name"),
        ({"name": "a@b"}, "no_name", "name"),
        ({"name": "x" * 51}, "long_name", "name"),
        ({"confidence": 59}, "below_the_camera", "confidence"),
        ({"points": "0.1,0.1 0.2,0.2"}, "too_few_points", "points"),
        ({"points": "a,b"}, "not_points", "points"),
        ({"points": "0.1 0.2"}, "not_points", "points"),
        ({"points": "0.1,1.1 0.2,0.2 0.3,0.5"}, "outside", "points"),
    ],
)
def test_what_is_no_zone_says_why_and_in_which_field(
    changed: dict[str, Any], why: str, field: str
) -> None:
    with pytest.raises(BadShape, match=f"^{why}$") as caught:
        zone_from({**ZONE, **changed}, 60)
    assert caught.value.field == field


@pytest.mark.parametrize("points", ["0.1,0.1", "0.1,0.1 0.104,0.1", "0,0 1,1 0,1"])
def test_a_line_has_two_ends_that_are_apart(points: str) -> None:
    line = line_from({"name": "Drive", "points": "0.1,0.1 0.9,0.5"})
    assert points_of(line) == [{"x": 0.1, "y": 0.1}, {"x": 0.9, "y": 0.5}]
    assert name_of(line) == "Drive"
    with pytest.raises(BadShape, match=r"^not_a_line$"):
        line_from({"name": "Drive", "points": points})
