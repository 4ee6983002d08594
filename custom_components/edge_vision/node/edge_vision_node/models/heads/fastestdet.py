"""FastestDet: one small grid of objectness, box and classes.

Source: the official repository (dog-qiuqiu/FastestDet) and its ONNX export.

Output: float32 [1, 5 + C, rows, columns]: objectness (0-1), x, y, width, height, class scores
(0-1). The center is (tanh(x) + column) / columns, the width sigmoid(width) of the input. The score
is objectness ** 0.6 * class score ** 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import corners, normalized, read_spec, sigmoid, strongest, suppressed, tensors


@dataclass(frozen=True, kw_only=True)
class FastestDetSpec:
    """The manifest's `head` for this family. `classes`: C."""

    classes: int
    iou_threshold: float = 0.45


class FastestDetHead:
    """Decodes [predictions float32 [1, 5 + C, rows, columns]]."""

    def __init__(self, spec: FastestDetSpec) -> None:
        """Initialize the head; the grid is that of the output."""
        self._spec = spec

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        (output,) = tensors(outputs, (5 + self._spec.classes, None, None))
        rows, columns = output.shape[1:]
        predictions = output.reshape(len(output), -1)
        scores = np.maximum(predictions[0], 0) ** np.float32(0.6)
        scores *= np.maximum(predictions[5:].max(axis=0), 0) ** np.float32(0.4)
        chosen = strongest(scores, min_score)
        found = predictions[:, chosen].T
        y, x = np.divmod(chosen, columns)
        cells = np.stack([x, y], axis=1).astype(np.float32)
        shape = np.array([columns, rows], dtype=np.float32)
        centers = (np.tanh(found[:, 1:3]) + cells) / shape
        candidates = Detections(
            normalized(corners(centers, sigmoid(found[:, 3:5]))),
            scores[chosen],
            found[:, 5:].argmax(axis=1).astype(np.int32),
        )
        return suppressed(candidates, self._spec.iou_threshold)


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> FastestDetHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return FastestDetHead(read_spec(FastestDetSpec, spec))
