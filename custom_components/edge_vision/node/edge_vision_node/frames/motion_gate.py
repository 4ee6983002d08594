"""The motion gate: detects whether and where something moves, far cheaper than a model.

Brightness is averaged over cells of some pixels and compared with a running average of each cell,
relative to the cell's usual flicker (Wren et al., "Pfinder", 1997, with a mean absolute deviation
instead of the variance). Before that, a change of brightness of the whole picture is removed, so
that a cloud is no motion. If something changed, the picture is shifted to where it fits the
background best, so that a shaking camera is no motion either; if much remains, cells are also
compared with their neighbors in the background. A change of nearly everything (light switched on,
night mode, another view) says nothing about motion: the gate is calibrating then, and the whole
frame has to be used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..protocol import MotionThresholds

_Cells = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MotionResult:
    """The motion in a frame.

    Attributes:
        moving: whether something moves, in `boxes`.
        calibrating: motion is unknown, which is different from no motion.
        share: changed share of the frame (0-1).
        boxes: float64 [N, 4], x_min, y_min, x_max, y_max, normalized, largest first.
    """

    moving: bool
    calibrating: bool
    share: float
    boxes: NDArray[np.float64]


# Rows of samples, two per cell. More do not improve detection.
_SAMPLE_ROWS = 180
# Seconds in which the background adopts a change; moving cells take longer.
_LEARN_S, _LEARN_MOVING_S = 4.0, 40.0
_NOISE_S = 8.0
_FIRST_NOISE, _MOST_NOISE = 3.0, 25.0
# Seconds of learning at the start, and the gap after which it learns again.
_CALIBRATE_S, _LEAST_FRAMES, _GAP_S = 1.0, 4, 10.0
# Changed shares: up to this, the camera may have shaken; from this on, it is another scene.
_SHAKE_SHARE, _SCENE_SHARE, _REST_SHARE = 0.03, 0.35, 0.12
# How many of nine cells in a square must have changed for the middle one to count.
_LEAST_NEIGHBOURS = 3
# Below this changed share, or this shift, the camera was steady. Otherwise: tries, the largest
# shift in cells, and the error of a shift in pixels. Cells that are off by more gray levels do not
# count for the shift.
_STEADY_SHARE, _STEADY_PIXELS = 0.001, 0.1
_SHIFTS, _MOST_CELLS, _SLACK_PIXELS, _MOST_OFF = 5, 3, 1.0, 100.0
# Added to the mean square of a gradient per pixel: a flat picture shows no shift.
_FLAT = 0.01
_TILE = 4
_MOST_BOXES = 24
_WEATHER_PARTS, _WEATHER_FACTOR = 14, 6
_NO_BOXES = np.empty((0, 4))


class MotionGate:
    """Detects motion of one camera. Not safe for several threads."""

    def __init__(
        self,
        thresholds: MotionThresholds,
        ignore: Sequence[Sequence[tuple[float, float]]] = (),
        hide: Sequence[Sequence[tuple[float, float]]] = (),
    ) -> None:
        """Start without a background.

        Motion in the polygons (0-1) `ignore` and `hide` does not count; `view` hides `hide`.
        """
        self._thresholds = thresholds
        self._ignore = ignore
        self._hide = hide
        self._shape: tuple[int, int] | None = None
        self._background: _Cells = np.empty((0, 0), np.float32)
        self._noise: _Cells = self._background
        self._cells: _Cells = self._background
        self._counts: _Mask = np.empty((0, 0), np.bool_)
        self._hidden: _Mask = self._counts
        self._changed: _Mask = self._counts
        self._boxes: NDArray[np.float64] = _NO_BOXES
        self._at = 0.0
        self._learning_since = 0.0
        self._frames = 0

    def step(
        self, grey: NDArray[np.uint8], at: float, keep: NDArray[np.float64] | None = None
    ) -> MotionResult:
        """Return the motion in a frame.

        Args:
            grey: uint8 [H, W] brightness; it may be a view with gaps, and its size may change.
            at: its time in seconds.
            keep: [M, 4] boxes (0-1) of followed objects, which never become background.
        """
        step = max(1, round(min(grey.shape) / _SAMPLE_ROWS))
        cells = _averaged(grey, step)
        dt, self._at = at - self._at, at
        if grey.shape != self._shape or dt > _GAP_S:
            self._begin(grey.shape, cells, at)
        self._frames += 1
        threshold = np.maximum(
            self._thresholds.least_difference, self._thresholds.noise_factor * self._noise
        )
        light = self._light(cells)
        difference = np.abs(cells * light - self._background)
        changed = (difference > threshold) & self._counts
        share = before = _share(changed)
        if share > _STEADY_SHARE and (found := self._steadied(grey, step, cells, light)):
            steadied, slack = found
            closer = np.abs(steadied * light - self._background)
            fewer = (closer > threshold + slack) & self._counts
            if _share(fewer) < share:
                cells, difference, changed = steadied, closer, fewer
                share = before = _share(changed)
        self._cells = cells
        if share > _SHAKE_SHARE:
            changed = self._without_shake(changed, cells * light, threshold)
            share = _share(changed)
        if share > _SCENE_SHARE or (before > _SCENE_SHARE and share > _REST_SHARE):
            self._begin(grey.shape, cells, at)
            changed = np.zeros_like(changed)
        self._learn(difference, changed, dt, keep)
        learning = at - self._learning_since < _CALIBRATE_S or self._frames < _LEAST_FRAMES
        self._changed = _without_specks(changed)
        self._boxes = _NO_BOXES if learning else self._find()
        return MotionResult(len(self._boxes) > 0, learning, share, self._boxes)

    def _begin(self, shape: tuple[int, ...], cells: _Cells, at: float) -> None:
        """Use a frame as the background."""
        if cells.shape != self._background.shape:
            self._noise = np.full(cells.shape, _FIRST_NOISE, np.float32)
            self._hidden = _grown(_rasterised(self._hide, cells.shape))
            self._counts = ~(_rasterised(self._ignore, cells.shape) | self._hidden)
        self._shape = (shape[0], shape[1])
        self._background = cells.copy()
        self._learning_since, self._frames = at, 0

    def _light(self, cells: _Cells) -> np.float32:
        """Return the factor that brings cells to the background's brightness."""
        now, before = _median(cells), _median(self._background)
        if min(now, before) < 8.0:  # nearly black: a ratio would amplify noise
            return np.float32(1)
        return np.float32(min(max(before / now, 0.6), 1.6))

    def _steadied(
        self, grey: NDArray[np.uint8], step: int, cells: _Cells, light: np.float32
    ) -> tuple[_Cells, _Cells] | None:
        """Return the cells shifted to where the camera was before, and their uncertainty.

        None if the camera was steady. The shift is found by iterated least squares over the
        gradient of all cells (Lucas and Kanade, "An iterative image registration technique",
        1981).
        """
        if min(cells.shape) <= 2 * _MOST_CELLS:
            return None
        size = 2 * step
        down, across = np.zeros_like(cells), np.zeros_like(cells)
        np.subtract(self._background[2:], self._background[:-2], out=down[1:-1])
        np.subtract(self._background[:, 2:], self._background[:, :-2], out=across[:, 1:-1])
        down /= 2 * size
        across /= 2 * size
        yy, xx = float(np.vdot(down, down)), float(np.vdot(across, across))
        xy = float(np.vdot(down, across))
        # A direction without gradients is not shifted.
        yy, xx = yy + _FLAT * cells.size, xx + _FLAT * cells.size
        shift = (0, 0)
        for _ in range(_SHIFTS):
            off = np.clip(cells * light - self._background, -_MOST_OFF, _MOST_OFF)
            by_y, by_x = float(np.vdot(down, off)), float(np.vdot(across, off))
            rest_y = (xx * by_y - xy * by_x) / (yy * xx - xy * xy)
            rest_x = (yy * by_x - xy * by_y) / (yy * xx - xy * xy)
            wanted = round(shift[0] - rest_y), round(shift[1] - rest_x)
            if wanted == shift:
                if shift == (0, 0) and max(abs(rest_y), abs(rest_x)) < _STEADY_PIXELS:
                    return None
                rest: _Cells = np.float32(rest_y) * down + np.float32(rest_x) * across
                cells = cells - rest / light
                break
            if max(map(abs, wanted)) > _MOST_CELLS * size:
                break
            shift = wanted
            cells = self._shifted(grey, step, shift)
        return cells, _SLACK_PIXELS * (np.abs(down) + np.abs(across))

    def _shifted(self, grey: NDArray[np.uint8], step: int, shift: tuple[int, int]) -> _Cells:
        """Return the cells of a picture shifted to (y, x), with the background beyond its edges."""
        first = [math.ceil(max(-value, 0) / (2 * step)) for value in shift]
        top, left = (2 * step * n + value for n, value in zip(first, shift, strict=True))
        cells = self._background.copy()
        within = cells[first[0] :, first[1] :]
        seen = _averaged(grey[top:, left:], step)[: within.shape[0], : within.shape[1]]
        within[: seen.shape[0], : seen.shape[1]] = seen
        return cells

    def _without_shake(self, changed: _Mask, levelled: _Cells, threshold: _Cells) -> _Mask:
        """Return the changes that small shifts of the picture do not explain."""
        padded = np.pad(self._background, 1, mode="edge")
        rows, columns = changed.shape
        low = np.full_like(levelled, np.inf)
        high = np.full_like(levelled, -np.inf)
        for y in range(3):
            for x in range(3):
                near = padded[y : y + rows, x : x + columns]
                np.minimum(low, near, out=low)
                np.maximum(high, near, out=high)
        # After a shift by part of a cell, a value lies between those of its neighbors.
        beyond = np.maximum(low - levelled, levelled - high)
        result: _Mask = changed & (beyond > threshold)
        return result

    def _learn(
        self, difference: _Cells, changed: _Mask, dt: float, keep: NDArray[np.float64] | None
    ) -> None:
        quick = np.float32(1 - math.exp(-max(dt, 0.0) / _LEARN_S))
        slow = np.float32(1 - math.exp(-max(dt, 0.0) / _LEARN_MOVING_S))
        rate = np.where(changed, slow, quick)
        calm = np.float32(1 - math.exp(-max(dt, 0.0) / _NOISE_S))
        # Motion is no noise, but lasting flicker (rain, leaves) slowly becomes noise.
        calmly = np.where(changed, calm * np.float32(0.1), calm)
        rows, columns = changed.shape
        for x_min, y_min, x_max, y_max in () if keep is None else keep.tolist():
            part = (
                slice(int(y_min * rows), math.ceil(y_max * rows)),
                slice(int(x_min * columns), math.ceil(x_max * columns)),
            )
            rate[part] = calmly[part] = 0
        self._background += rate * (self._cells - self._background)
        self._noise += calmly * (np.minimum(difference, _MOST_NOISE) - self._noise)
        np.maximum(self._noise, 0.5, out=self._noise)

    def _find(self) -> NDArray[np.float64]:
        """Return boxes around changed cells in the same or adjacent tiles."""
        rows, columns = self._changed.shape
        ys, xs = np.nonzero(self._changed)
        if not len(ys):
            return _NO_BOXES
        # Tiles of a row have consecutive numbers, with a gap between rows.
        across = columns // _TILE + 2
        tiles = ys // _TILE * across + xs // _TILE
        order = np.argsort(tiles, kind="stable")
        tiles, ys, xs = tiles[order], ys[order], xs[order]
        first = np.flatnonzero(np.diff(tiles, prepend=tiles[0] - 2) > 1)
        last = np.append(first[1:], len(tiles)) - 1
        groups: dict[int, tuple[int, int, int, int, int]] = {}
        for group, count, x_min, y_min, x_max, y_max in zip(
            _together(tiles[first].tolist(), tiles[last].tolist(), across),
            (last - first + 1).tolist(),
            np.minimum.reduceat(xs, first).tolist(),
            np.minimum.reduceat(ys, first).tolist(),
            np.maximum.reduceat(xs, first).tolist(),
            np.maximum.reduceat(ys, first).tolist(),
            strict=True,
        ):
            cells, left, top, right, bottom = groups.get(group, (0, columns, rows, 0, 0))
            groups[group] = (
                cells + count,
                min(left, x_min),
                min(top, y_min),
                max(right, x_max + 1),
                max(bottom, y_max + 1),
            )
        found = [
            (cells, [left / columns, top / rows, right / columns, bottom / rows])
            for cells, left, top, right, bottom in groups.values()
        ]
        found.sort(key=lambda item: item[0], reverse=True)
        # Many areas that move at the same time, most of them tiny: this is weather.
        weather = _WEATHER_FACTOR if len(found) >= _WEATHER_PARTS else 1
        least = self._thresholds.least_area * rows * columns * weather
        boxes = [box for cells, box in found[:_MOST_BOXES] if cells >= least]
        return np.array(boxes).reshape(-1, 4)

    def view(self) -> NDArray[np.uint8]:
        """Return the gate's view, uint8 RGB [rows, columns, 3], one pixel per cell.

        Changes are red, ignored areas dark, hidden ones black, boxes yellow.
        """
        grey = np.clip(self._cells, 0, 255).astype(np.uint8)
        grey = np.where(self._counts, grey, grey // 3)
        grey[self._hidden] = 0
        image = np.stack([grey] * 3, axis=2)
        image[self._changed] = (255, 48, 32)
        picture = Image.fromarray(image)
        draw = ImageDraw.Draw(picture)
        for x_min, y_min, x_max, y_max in self._boxes.tolist():
            right, bottom = x_max * picture.width - 1, y_max * picture.height - 1
            box = (x_min * picture.width, y_min * picture.height, right, bottom)
            draw.rectangle(box, outline=(255, 220, 0))
        return np.asarray(picture)


def _together(first: list[int], last: list[int], across: int) -> list[int]:
    """Return the number of the group that each run of tiles belongs to.

    Args:
        first: number of the first tile of each run, ascending.
        last: number of the last one.
        across: difference between the numbers of a tile and of the one below.
    """
    groups = list(range(len(first)))

    def group_of(number: int) -> int:
        while groups[number] != number:
            number = groups[number]
        return number

    above = 0
    for number, (begin, end) in enumerate(zip(first, last, strict=True)):
        while last[above] < begin - across - 1:
            above += 1
        other = above
        while first[other] <= end - across + 1:
            mine, its = group_of(number), group_of(other)
            groups[max(mine, its)] = min(mine, its)
            other += 1
    return [group_of(number) for number in groups]


def _averaged(grey: NDArray[np.uint8], step: int) -> _Cells:
    """Return the mean brightness of cells of two by two samples, `step` pixels apart."""
    half, cell = step // 2, 2 * step
    if min(grey.shape) < half + step + 1:
        grey = np.pad(grey, ((0, cell), (0, cell)), mode="edge")
    rows, columns = ((size - half - step - 1) // cell + 1 for size in grey.shape)
    # Rows first, because they are contiguous in memory.
    upper, lower = grey[half::cell][:rows], grey[half + step :: cell][:rows]
    pairs = np.add(upper, lower, dtype=np.uint16)
    left, right = pairs[:, half::cell][:, :columns], pairs[:, half + step :: cell][:, :columns]
    result: _Cells = (left + right) * np.float32(0.25)
    return result


def _median(cells: _Cells) -> float:
    """Return the median of a quarter of the cells, twice as fast as numpy's."""
    some = cells[::2, ::2].ravel()
    middle = len(some) // 2
    return float(np.partition(some, middle)[middle])


def _share(changed: _Mask) -> float:
    return float(np.count_nonzero(changed)) / max(changed.size, 1)


def _without_specks(changed: _Mask) -> _Mask:
    """Return the changed cells that have changed neighbors."""
    if not changed.any():
        return changed
    padded = np.zeros((changed.shape[0] + 2, changed.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = changed
    rows = padded[:-2] + padded[1:-1]
    rows += padded[2:]
    near = rows[:, :-2] + rows[:, 1:-1]
    near += rows[:, 2:]
    result: _Mask = changed & (near >= _LEAST_NEIGHBOURS)
    return result


def _grown(mask: _Mask) -> _Mask:
    """Return a mask with all its neighbors, because cells at its edge are partly masked."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    result: _Mask = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return result


def _rasterised(polygons: Sequence[Sequence[tuple[float, float]]], shape: tuple[int, ...]) -> _Mask:
    image = Image.new("1", (shape[1], shape[0]))
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        draw.polygon([(x * shape[1], y * shape[0]) for x, y in polygon], fill=1)
    return np.asarray(image, dtype=np.bool_)
