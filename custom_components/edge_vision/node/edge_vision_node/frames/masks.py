"""Privacy masks: areas that are black in every picture.

Masks are drawn on a still, and have to hold on live video, whose pictures may have another shape.
Nothing says what such a camera does, and there are three ways: it squeezes the same view into the
other shape (most secondary streams), it cuts the view to that shape, or it cut the still and shows
more now. A picture may also be turned. Each of these puts a mask in another place, and all of them
are black: a mask hides too much rather than too little. Zones and lines stay where they were drawn,
as if the view was squeezed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..protocol import Point

Polygon = tuple[Point, ...]
_Moved = Callable[[Point], Point]

# Sizes of streams are rounded: 640x352 is 16:9 all the same.
_SAME_SHAPE = math.log(1.03)


@dataclass(frozen=True)
class Masks:
    """Polygons whose corners are in 0-1 of the picture that they were drawn on.

    `aspects` are the widths of such pictures by their heights, as far as they are known. Which
    polygon is of which picture is not, so each of them is moved in every way.
    """

    polygons: tuple[Polygon, ...] = ()
    aspects: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to hide."""
        return bool(self.polygons)

    def on(self, width: int, height: int) -> tuple[Polygon, ...]:
        """Return the polygons that hide the same places in a picture of that many pixels."""
        moves = [move for aspect in self.aspects for move in _readings(aspect, width / height)]
        places = (
            tuple(move(point) for point in polygon)
            for move in moves or [_as_drawn]
            for polygon in self.polygons
        )
        return tuple(dict.fromkeys(places))


NO_MASKS = Masks()


def burn(image: Image.Image, masks: Masks) -> None:
    """Blacken areas of an image, in place."""
    draw_polygons(ImageDraw.Draw(image), masks, image.size, "black")


def draw_polygons(
    draw: ImageDraw.ImageDraw, masks: Masks, size: tuple[int, int], fill: str | int
) -> None:
    """Fill masks with a color on a picture of a size in pixels."""
    width, height = size
    for mask in masks.on(width, height):
        draw.polygon([(point.x * width, point.y * height) for point in mask], fill)


def _readings(drawn: float, shown: float) -> Sequence[_Moved]:
    """Return how places may have moved from a picture of one aspect to one of another."""
    if abs(math.log(shown / drawn)) <= _SAME_SHAPE:
        return [_as_drawn]
    if (drawn > 1) == (shown > 1):
        return [_as_drawn, *_cuts(drawn, shown)]
    turned: list[_Moved] = [_as_drawn]
    for turn in (_clockwise, _counterclockwise):
        turned.append(turn)
        if abs(math.log(shown * drawn)) > _SAME_SHAPE:
            turned += [_then(turn, cut) for cut in _cuts(1 / drawn, shown)]
    return turned


def _cuts(drawn: float, shown: float) -> list[_Moved]:
    """Return where places are if the middle of one picture is the other one."""
    ratio = shown / drawn
    # The wider one lacks what is above and below, or the narrower one what is at the sides.
    return [
        lambda point: Point(x=point.x, y=(point.y - 0.5) * ratio + 0.5),
        lambda point: Point(x=(point.x - 0.5) / ratio + 0.5, y=point.y),
    ]


def _as_drawn(point: Point) -> Point:
    return point


def _clockwise(point: Point) -> Point:
    return Point(x=1 - point.y, y=point.x)


def _counterclockwise(point: Point) -> Point:
    return Point(x=point.y, y=1 - point.x)


def _then(first: _Moved, second: _Moved) -> _Moved:
    return lambda point: second(first(point))
