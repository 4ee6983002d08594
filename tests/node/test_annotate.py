"""Drawings on pictures: boxes of exactly this frame, with the object of the event highlighted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edge_vision_node.drawing.boxes import annotate
from edge_vision_node.drawing.lettering import Text
from edge_vision_node.protocol import Box, DetectedObject
from PIL import Image, ImageDraw

GREY = Image.new("RGB", (640, 360), (90, 90, 90))
LEFT = DetectedObject(
    label="person", confidence=90.0, box=Box(x_min=0.1, y_min=0.3, x_max=0.3, y_max=0.9)
)
RIGHT = replace(LEFT, box=Box(x_min=0.6, y_min=0.3, x_max=0.8, y_max=0.9))


def drawn(*objects: DetectedObject, about: tuple[DetectedObject, ...] | None = None) -> Any:
    """Return where a picture with objects differs from the one without."""
    return (np.asarray(annotate(GREY, objects, subjects=about)) != np.asarray(GREY)).any(axis=2)


def test_what_the_picture_is_about_stands_out() -> None:
    where = drawn(LEFT, RIGHT, about=(RIGHT,))
    left, right = where[:, :320], where[:, 320:]
    assert right.sum() > 3 * left.sum() > 0
    # Without an object of the event, all are drawn alike.
    alike = drawn(LEFT, RIGHT)
    assert abs(int(alike[:, :320].sum()) - int(alike[:, 320:].sum())) < 300


@pytest.mark.parametrize(
    "corners",
    [
        (0.8, 0.9, 0.6, 0.3),
        (0.5, 0.5, 0.5, 0.5),
        (-3.0, -1.0, 7.0, 2.0),
        (math.nan, 0.1, math.inf, 0.5),
        (1.0, 1.0, 1.0, 1.0),
        (0.999, 0.0, 1.0, 0.001),
    ],
)
@pytest.mark.parametrize("size", [(640, 360), (1, 1), (3, 2000)])
def test_no_box_loses_the_picture(corners: tuple[float, ...], size: tuple[int, int]) -> None:
    names = ("x_min", "y_min", "x_max", "y_max")
    item = replace(LEFT, box=Box(**dict(zip(names, corners, strict=True))))
    image = Image.new("RGB", size, (90, 90, 90))
    for about in (None, (item,), (RIGHT,)):
        result = annotate(image, (item, RIGHT), subjects=about)
        assert result.size == size


WORDS = [
    "person",
    "Größe Łódź Việt",
    "человек",
    "άνθρωπος",
    "人 汽车",
    "自転車 カメラ",
    "고양이",
    "שלום",
    "سيارة",
    "หมา",
    "हिरन",
    "\N{GRINNING FACE}",
]


@pytest.mark.parametrize("word", WORDS)
def test_labels_of_any_script_are_drawn(word: str) -> None:
    with_label, without = (
        np.asarray(annotate(GREY, (replace(LEFT, label=label),))) for label in (word, "x")
    )
    assert (with_label != without).any()
    # Another label results in another picture: it is not drawn as the box for missing glyphs.
    text = Text.of(word, 20)
    other = Text.of(word[:-1] + chr(ord(word[-1]) + 1), 20)
    assert 0 < text.width < 400
    assert not np.array_equal(_written(text), _written(other))


def _written(text: Text) -> Any:
    image = Image.new("L", (400, 40))
    text.draw(ImageDraw.Draw(image), (0, 0), "white")
    pixels = np.asarray(image)
    assert pixels.any()
    return pixels


@pytest.mark.parametrize(
    "word", ["", "\n\t\0", "\ud800", "\u202eabc", "\U0010ffff" * 500, "a" * 10**5]
)
def test_what_is_no_word_is_written_all_the_same(word: str) -> None:
    assert annotate(GREY, (replace(LEFT, label=word),)).size == GREY.size


def test_words_from_right_to_left_are_turned_and_numbers_are_not() -> None:
    assert "".join(Text.of("שלום 12%", 12).parts) == "םולש 12%"
