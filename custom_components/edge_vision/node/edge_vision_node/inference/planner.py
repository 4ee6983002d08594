"""Plans which parts of a frame a model runs on: the whole frame now and then, and small parts.

A model's input has a few hundred pixels, whatever the camera has. A person who is 40 pixels high in
a 1280x720 frame is 17 high at 300x300: too small to be found. In a part of the frame, the same
person keeps all the pixels of the camera. Large objects gain nothing from that; the whole frame is
enough for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..protocol import Thoroughness
from ..tracking.association import Floats, areas, contained

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])


@dataclass(frozen=True)
class Effort:
    """The limits of a setting.

    Attributes:
        most: runs of the model per frame.
        whole_every_s: longest time between runs on the whole frame while something moves or is
            followed.
        idle_every_s: the same while nothing moves and nothing is followed.
        tiles: columns and rows of tiles, one of which is added to each run on the whole frame;
            (1, 1) for none.
        largest: height or width of the largest parts. Larger objects use the whole frame.
    """

    most: int
    whole_every_s: float
    idle_every_s: float
    tiles: tuple[int, int] = (1, 1)
    largest: float = 1.0


EFFORTS = {
    # Instead of a large part, its only run per frame uses the whole frame, which shows more.
    Thoroughness.ECONOMICAL: Effort(1, 1.0, 5.0, largest=0.7),
    Thoroughness.BALANCED: Effort(3, 1.0, 2.0),
    Thoroughness.THOROUGH: Effort(6, 0.5, 1.0, (2, 2)),
}

# Share of a part's height or width that an object should have: enough to be found, and little
# enough for the part to show its surroundings, which the model needs, and its neighbors.
_SHARE = 0.3
# A part may be smaller than the model's input by this; enlarging it further shows nothing new. New
# objects must be enlarged more than known ones to be found.
_LEAST_OF_INPUT, _LEAST_TO_FIND = 0.8, 0.5
# Number of part sizes between one and twice it. Few sizes are faster: setting up a scaler for a
# size takes as long as scaling.
_SIZES = 8
# Share of a part: the margin that an object needs to be seen whole.
_MARGIN = 0.04
_TILE_OVERLAP = 0.2
# Movement belongs to followed objects if they, a little enlarged, cover this share of it.
_EXPLAINED = 0.5
_GROWN = np.array([-0.2, -0.2, 0.2, 0.2])
# Number of past parts that are remembered, so that objects take turns.
_REMEMBERED = 24
# An object that stands still while the motion detection learns the scene becomes part of it. Small
# ones are found by running once on each of these tiles meanwhile.
_SWEEP = (2, 2)


@dataclass(frozen=True, eq=False)
class Plan:
    """The parts of one frame to run on.

    Attributes:
        boxes: float64 [N, 4], normalized; N is 0 if nothing is due.
        whole: whether the first one is the whole frame.
    """

    boxes: Floats
    whole: bool


# When the whole frame was last planned, whether the newest plan had it, the next tile, recent
# parts, and how many tiles are left of a sweep.
_Past = tuple[float | None, bool, int, list[tuple[float, Floats]], int]


class Planner:
    """Plans for one camera. Time is passed in."""

    def __init__(self, look: str | Effort, frame: tuple[int, int], model: tuple[int, int]) -> None:
        """Prepare for frames of a width and height in pixels, and for a model's input likewise."""
        self.effort = look if isinstance(look, Effort) else EFFORTS[Thoroughness(look)]
        self._model = model
        self._tiles = tiles(*self.effort.tiles)
        self._sweep = self._tiles if len(self._tiles) > 1 else tiles(*_SWEEP)
        self._to_sweep = len(self._sweep)
        self._tile = 0
        self._whole_at: float | None = None
        self._whole = False
        self._looked: list[tuple[float, Floats]] = []
        self._before: _Past = (None, False, 0, [], self._to_sweep)
        self.resize(frame)

    def resize(self, frame: tuple[int, int]) -> None:
        """Continue with frames of another size."""
        # Parts have the model's shape, so that nothing is distorted.
        self._shape = (self._model[0] / frame[0]) / (self._model[1] / frame[1])
        self._input = self._model[1] / frame[1]

    def plan(self, at: float, moving: Floats, followed: Floats, *, unsure: bool = False) -> Plan:
        """Return the parts of a frame to run on.

        Args:
            at: time of the frame in seconds.
            moving: [N, 4] where something moves.
            followed: [M, 4] boxes of followed objects that deserve parts of their own, most
                urgent first.
            unsure: whether motion is unknown, which requires the whole frame.
        """
        self._before = self._whole_at, self._whole, self._tile, self._looked, self._to_sweep
        if not unsure:
            self._to_sweep = len(self._sweep)
        new = _unexplained(moving, followed)
        # A part that fits an object also shows what moves around it. A part that fits the movement
        # would show the object from afar.
        around = contained(new, followed).max(axis=1, initial=0.0) >= _EXPLAINED
        interest = np.concatenate((new[~around], followed, new[around]))
        least = np.full(len(interest), _LEAST_OF_INPUT)
        if self.effort.most > 1:  # a single part should show more of the frame
            least[: np.count_nonzero(~around)] = _LEAST_TO_FIND
        heights = self._heights(interest, least)
        small = heights <= self.effort.largest / max(1.0, self._shape)
        every_s = self.effort.whole_every_s if len(interest) else self.effort.idle_every_s
        since = None if self._whole_at is None else at - self._whole_at
        due = unsure or since is None or since >= every_s
        if due and self.effort.most == 1 and small.any() and not unsure and since is not None:
            # If frames are that far apart, every second one is for small objects.
            due = not self._whole
        whole = due or not small.all()
        boxes = [WHOLE[0]] if whole else []
        if due and len(self._tiles) > 1:
            boxes.append(self._tiles[self._tile])
            self._tile = (self._tile + 1) % len(self._tiles)
        boxes += self._parts(interest[small], heights[small], self.effort.most - len(boxes))
        if unsure:
            for _ in range(min(self.effort.most - len(boxes), self._to_sweep)):
                boxes.append(self._sweep[self._tile])
                self._tile = (self._tile + 1) % len(self._sweep)
                self._to_sweep -= 1
        self._whole = whole
        if whole:
            self._whole_at = at
        self._looked = [*self._looked, *((at, box) for box in boxes)][-_REMEMBERED:]
        return Plan(np.array(boxes).reshape(-1, 4), whole)

    def undo(self) -> None:
        """Discard the newest plan, which could not be executed; what was due stays due."""
        self._whole_at, self._whole, self._tile, self._looked, self._to_sweep = self._before

    def _heights(self, boxes: Floats, least: Floats) -> Floats:
        """Return how high a part around each of [N, 4] should be: [N].

        `least` [N]: its minimum height, as a share of the model's input.
        """
        size = boxes[:, 2:] - boxes[:, :2]
        needed = np.maximum(size[:, 1], size[:, 0] / self._shape) / _SHARE
        smallest = least * self._input
        times = np.maximum(needed / smallest, 1.0)
        result: Floats = smallest * 2 ** (np.ceil(np.log2(times) * _SIZES) / _SIZES)
        return result

    def _parts(self, boxes: Floats, heights: Floats, most: int) -> list[Floats]:
        """Return up to `most` parts, those of the boxes that have waited longest first.

        Boxes that have waited equally long keep their order.
        """
        parts: list[Floats] = []
        waiting = np.argsort(self._last_looks(boxes), kind="stable")
        centres = _centres(boxes)
        while len(waiting) and len(parts) < most:
            first = waiting[0]
            height = float(heights[first])
            extent = (min(height * self._shape, 1.0), min(height, 1.0))
            gaps = np.abs(centres[waiting] - centres[first]).max(axis=1)
            # Far smaller objects would be too small in this part.
            alike = 2 * heights[waiting] >= height
            nearest = [n for n in np.argsort(gaps, kind="stable").tolist() if alike[n] and n]
            left, top, right, bottom = boxes[first].tolist()
            room_x, room_y = (side * (1 - 2 * _MARGIN) for side in extent)
            taken = [0]
            # Plain numbers are faster than numpy for four values.
            for number, box in zip(nearest, boxes[waiting[nearest]].tolist(), strict=True):
                low_x, low_y = min(left, box[0]), min(top, box[1])
                high_x, high_y = max(right, box[2]), max(bottom, box[3])
                if high_x - low_x <= room_x and high_y - low_y <= room_y:
                    left, top, right, bottom = low_x, low_y, high_x, high_y
                    taken.append(number)
            x = min(max((left + right - extent[0]) / 2, 0.0), 1 - extent[0])
            y = min(max((top + bottom - extent[1]) / 2, 0.0), 1 - extent[1])
            parts.append(np.array([x, y, x + extent[0], y + extent[1]]))
            waiting = np.delete(waiting, taken)
        return parts

    def _last_looks(self, boxes: Floats) -> Floats:
        """Return when each of [N, 4] was last in a small part: [N]."""
        looked = np.array([part for _, part in self._looked]).reshape(-1, 4)
        close = (looked[:, 2:] - looked[:, :2] < 1).any(axis=1)
        at = np.array([at for at, _ in self._looked])[close]
        looked, centres = looked[close], _centres(boxes)[:, None]
        inside = ((looked[:, :2] <= centres) & (centres <= looked[:, 2:])).all(axis=2)
        result: Floats = np.where(inside, at, -np.inf).max(axis=1, initial=-np.inf)
        return result


def _unexplained(moving: Floats, followed: Floats) -> Floats:
    """Return the movement that followed objects do not explain (swinging legs, blobs of groups)."""
    grown = followed + np.tile(followed[:, 2:] - followed[:, :2], 2) * _GROWN
    low = np.maximum(moving[:, None, :2], grown[None, :, :2])
    extent = np.maximum(np.minimum(moving[:, None, 2:], grown[None, :, 2:]) - low, 0)
    explained = (extent[..., 0] * extent[..., 1]).sum(axis=1)
    result: Floats = moving[explained < _EXPLAINED * areas(moving)]
    return result


def _centres(boxes: Floats) -> Floats:
    result: Floats = (boxes[:, :2] + boxes[:, 2:]) / 2
    return result


def tiles(columns: int, rows: int) -> Floats:
    """Return overlapping tiles that cover the frame, [columns * rows, 4]."""
    width = (1 + _TILE_OVERLAP) / (columns + _TILE_OVERLAP)
    height = (1 + _TILE_OVERLAP) / (rows + _TILE_OVERLAP)
    return np.array(
        [
            [x, y, x + width, y + height]
            for y in np.linspace(0, 1 - height, rows)
            for x in np.linspace(0, 1 - width, columns)
        ]
    )
