"""What a tracker knows of labels: which a model takes for each other, and which are alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

# A van is a car in one frame and a truck in the next, and is one object all the same.
_ALIKE = (
    ("car", "truck", "bus", "van"),
    ("bicycle", "motorcycle"),
    ("cat", "dog"),
    ("horse", "cow", "sheep"),
)
_LIVING = frozenset(
    ("person", "face", "bird", "cat", "dog", "horse", "sheep", "cow", "bear", "elephant", "zebra")
)


class Kinds:
    """A model's labels, by their indices."""

    def __init__(self, alike: Sequence[int] = (), living: Sequence[int] = ()) -> None:
        """Take for each class the first one that it is taken for, and those that live.

        Without any, each class is a kind of its own, and none lives.
        """
        self._alike = np.array(alike, dtype=np.intp)
        self._living = frozenset(living)

    @classmethod
    def of(cls, labels: Sequence[str]) -> Self:
        """Read a model's labels (those of COCO and their like)."""
        number = {label: index for index, label in reversed(list(enumerate(labels)))}
        first = {
            label: min(number[other] for other in group if other in number)
            for group in _ALIKE
            for label in group
            if label in number
        }
        return cls(
            [first.get(label, index) for index, label in enumerate(labels)],
            [index for index, label in enumerate(labels) if label in _LIVING],
        )

    def kind(self, class_ids: NDArray[np.integer]) -> NDArray[np.intp]:
        """Return the kinds of [N] classes: two of one kind may be the same object."""
        found = class_ids.astype(np.intp)
        return self._alike[found] if len(self._alike) else found

    def lives(self, class_id: int) -> bool:
        """Return whether it comes and goes by itself, unlike a car, which is parked."""
        return class_id in self._living
