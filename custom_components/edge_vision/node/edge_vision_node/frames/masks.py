"""Privacy masks: areas that are black in every picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..protocol import Point

# Polygons, their corners in 0-1 of the picture.
Masks = tuple[tuple[Point, ...], ...]


def burn(image: Image.Image, masks: Sequence[Sequence[Point]]) -> None:
    """Blacken areas of an image, in place."""
    draw = ImageDraw.Draw(image)
    for mask in masks:
        draw.polygon([(point.x * image.width, point.y * image.height) for point in mask], "black")
