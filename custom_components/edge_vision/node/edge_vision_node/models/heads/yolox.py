"""YOLOX: anchor-free boxes with objectness.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021"; exported by the official repository's
`tools/export_onnx.py`, without or with `--decode_in_inference`.

Output: float32 [1, N, 5 + C]: x, y, w, h, objectness and class scores (both already 0-1), for the
cells of the grids of all strides, from fine to coarse. Raw boxes are relative to their cell: the
center is (x + column) * stride, the width exp(w) * stride. Decoded boxes are in input pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import corners, grid, normalized, read_spec, strongest, suppressed, tensors


@dataclass(frozen=True, kw_only=True)
class YoloxSpec:
    """The manifest's `head` for this family.

    `classes`: C. `decoded`: whether the graph of the model decodes the boxes.
    """

    classes: int
    strides: tuple[int, ...] = (8, 16, 32)
    decoded: bool = False
    iou_threshold: float = 0.45


class YoloxHead:
    """Decodes [predictions float32 [1, N, 5 + C]]."""

    def __init__(self, spec: YoloxSpec, size: tuple[int, int]) -> None:
        """Prepare the grid for an input of `size` (width, height)."""
        self._spec = spec
        self._size = size
        self._cells, self._strides = grid(size, spec.strides)

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        shape = (len(self._cells), 5 + self._spec.classes)
        (predictions,) = tensors(outputs, shape)
        rows, scores, class_ids = objects(predictions, min_score)
        found = predictions[rows]
        centers, sizes = found[:, :2], found[:, 2:4]
        if not self._spec.decoded:
            strides = self._strides[rows]
            centers = (centers + self._cells[rows]) * strides
            with np.errstate(over="ignore"):  # normalized() refuses what is not finite
                sizes = np.exp(sizes) * strides
        boxes = normalized(corners(centers, sizes), self._size)
        return suppressed(Detections(boxes, scores, class_ids), self._spec.iou_threshold)


def objects(
    predictions: NDArray[np.float32], min_score: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.int32]]:
    """Return the rows of predictions [N, 5 + C] that contain objects, with score and best class.

    The score is objectness times class score.
    """
    # A score is never higher than its objectness, which alone rules out nearly all rows.
    rows = np.flatnonzero(predictions[:, 4] >= min_score)
    classes = predictions[rows, 5:]
    class_ids = classes.argmax(axis=1)
    scores = predictions[rows, 4] * classes[np.arange(len(rows)), class_ids]
    chosen = strongest(scores, min_score)
    return rows[chosen], scores[chosen], class_ids[chosen].astype(np.int32)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> YoloxHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return YoloxHead(read_spec(YoloxSpec, spec), size)
