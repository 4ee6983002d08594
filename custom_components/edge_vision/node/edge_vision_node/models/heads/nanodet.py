"""NanoDet and NanoDet-Plus: class scores and distributions of the distances to four edges.

Source: the NanoDet-Plus head of the official repository (RangiLyu/nanodet), exported by its
`tools/export_onnx.py`; Li et al., "Generalized Focal Loss" (2020).

Output: float32 [1, N, C + 4 * bins]: class scores (already 0-1), then for left, top, right and
bottom the logits of a distribution over 0 … bins - 1 strides, for the cells of the grids of all
strides, from fine to coarse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import (
    expected_distances,
    grid,
    normalized,
    read_spec,
    strongest,
    suppressed,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class NanoDetSpec:
    """The manifest's `head` for this family.

    `classes`: C. `bins`: one more than the model's `reg_max`. `offset`: position of the point in
    its cell, as a share of the stride: 0 in NanoDet-Plus, 0.5 in the first NanoDet.
    """

    classes: int
    strides: tuple[int, ...] = (8, 16, 32, 64)
    bins: int = 8
    offset: float = 0.0
    iou_threshold: float = 0.6


class NanoDetHead:
    """Decodes [predictions float32 [1, N, C + 4 * bins]]."""

    def __init__(self, spec: NanoDetSpec, size: tuple[int, int]) -> None:
        """Prepare the grid for an input of `size` (width, height)."""
        self._spec = spec
        self._size = size
        cells, self._strides = grid(size, spec.strides)
        self._points = (cells + np.float32(spec.offset)) * self._strides

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        classes, bins = self._spec.classes, self._spec.bins
        (predictions,) = tensors(outputs, (len(self._points), classes + 4 * bins))
        rows = strongest(predictions[:, :classes].max(axis=1), min_score)
        found = predictions[rows]
        class_ids = found[:, :classes].argmax(axis=1)
        scores = found[np.arange(len(rows)), class_ids]
        distances = expected_distances(found[:, classes:], bins) * self._strides[rows]
        points = self._points[rows]
        boxes = np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1)
        candidates = Detections(normalized(boxes, self._size), scores, class_ids.astype(np.int32))
        return suppressed(candidates, self._spec.iou_threshold)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> NanoDetHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return NanoDetHead(read_spec(NanoDetSpec, spec), size)
