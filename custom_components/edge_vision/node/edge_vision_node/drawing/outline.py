"""Draws zones, lines, masks and a grid on pictures."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageChops, ImageDraw

from ..frames.masks import Masks, burn
from ..protocol import OutlineRequest, Point
from .lettering import Text

# Black areas of a JPEG are not quite black.
_JPEG_NOISE = 48
_GRID = (255, 255, 255, 96)
_ZONE, _LINE, _MOTION_MASK = (64, 160, 255), (255, 176, 32), (128, 128, 128)


def hide(image: Image.Image, masks: Masks) -> bool:
    """Blacken areas of an image in place; return whether they were not black before."""
    before = image.copy()
    burn(image, masks)
    changed = ImageChops.difference(before, image).point(lambda value: 255 * (value > _JPEG_NOISE))
    return changed.getbbox() is not None


def outline(image: Image.Image, request: OutlineRequest) -> None:
    """Draw zones, lines, masks and a grid on an image in place."""
    draw = ImageDraw.Draw(image, "RGBA")
    width = max(2, round(max(image.size) / 320))

    def pixels(points: Iterable[Point]) -> list[tuple[float, float]]:
        return [(point.x * (image.width - 1), point.y * (image.height - 1)) for point in points]

    burn(image, Masks(request.privacy_masks))
    _grid(draw, image.size)
    for mask in request.motion_masks:
        _polygon(draw, pixels(mask), _MOTION_MASK, width)
    for zone in request.zones:
        corners = pixels(zone.points)
        _polygon(draw, corners, _ZONE, width)
        _name(draw, corners[0], zone.name, image.size)
    for line in request.lines:
        start, end = pixels((line.start, line.end))
        draw.line((start, end), fill=_LINE, width=2 * width)
        # The arrow points "in": to the right, as seen from start to end.
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        across = (start[1] - end[1], end[0] - start[0])
        tip = (middle[0] + across[0] / 5, middle[1] + across[1] / 5)
        draw.line((middle, tip), fill=_LINE, width=width)
        draw.circle(tip, 2 * width, fill=_LINE)
        _name(draw, tip, f"{line.name}: in", image.size)


def _name(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: tuple[int, int]
) -> None:
    Text.of(text, max(11, max(size) // 40)).draw(draw, place, "white", "black")


def _grid(draw: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    """Draw a line at every tenth, and a number at every second one."""
    width, letters = max(1, max(size) // 640), max(12, max(size) // 36)
    for tenth in range(1, 10):
        x, y = tenth * size[0] // 10, tenth * size[1] // 10
        draw.line((x, 0, x, size[1]), fill=_GRID, width=width)
        draw.line((0, y, size[0], y), fill=_GRID, width=width)
        if tenth % 2 == 0:
            for place in ((x + 3, 2), (3, y + 2)):
                Text.of(f"0.{tenth}", letters).draw(draw, place, "white", "black")


def _polygon(
    draw: ImageDraw.ImageDraw,
    corners: list[tuple[float, float]],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    draw.polygon(corners, fill=(*colour, 56), outline=(*colour, 255), width=width)
