"""The DETR family: RT-DETR, D-FINE, RF-DETR and other transformers that predict sets.

Sources: Carion et al., "End-to-End Object Detection with Transformers" (2020); Zhao et al.,
"DETRs Beat YOLOs on Real-time Object Detection" (2024); Peng et al., "D-FINE" (2024); Robinson
et al., "RF-DETR" (2025).

Outputs, in one of two forms:
    "raw": logits float32 [1, Q, C] and boxes float32 [1, Q, 4] center x, center y, width, height,
        normalized. Class scores are sigmoids of the logits; a query may have several classes.
    "decoded": labels [1, Q], boxes [1, Q, 4] corners, scores float32 [1, Q] (0-1), as in the
        official exports of RT-DETR and D-FINE. Their second input, the size of the picture, is a
        constant in the manifest: width and height of the input, so that boxes are in its pixels.
No suppression is needed: the queries of the model do not repeat each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import (
    best_first,
    checked_classes,
    class_of_column,
    corners,
    logit,
    normalized,
    one_of,
    read_spec,
    rows_of,
    sigmoid,
    softmax,
    strongest,
    tensors,
)


@dataclass(frozen=True, kw_only=True)
class DetrSpec:
    """The manifest's `head` for this family.

    `classes`: C. `class_ids`: the model's class for each label, if they differ (RF-DETR uses
    the category IDs of COCO). `form`: "raw" or "decoded". `score`, for the raw form: "sigmoid", or
    "softmax" for the first DETR, whose last class means "no object".
    """

    classes: int
    class_ids: tuple[int, ...] = ()
    form: str = "raw"
    score: str = "sigmoid"


class DetrHead:
    """Decodes [logits, boxes], or reads [labels, boxes, scores]."""

    def __init__(self, spec: DetrSpec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height)."""
        self._decoded = one_of("form of outputs", spec.form, ("raw", "decoded")) == "decoded"
        self._softmax = one_of("score", spec.score, ("sigmoid", "softmax")) == "softmax"
        self._columns = spec.classes
        self._class_of_column = class_of_column(spec.class_ids, spec.classes)
        self._size = size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score`."""
        found = (self._read if self._decoded else self._decode)(outputs, min_score)
        return best_first(found.keep(found.class_ids >= 0))

    def _read(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        count = rows_of(outputs)
        labels, boxes, scores = tensors(outputs, (count,), (count, 4), (count,))
        chosen = strongest(scores, min_score)
        columns = checked_classes(labels[chosen], self._columns)
        return Detections(
            normalized(boxes[chosen], self._size), scores[chosen], self._class_of_column[columns]
        )

    def _decode(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        logits, boxes = tensors(outputs, (None, self._columns), (rows_of(outputs), 4))
        columns = self._columns
        if self._softmax:
            flat = softmax(logits)[:, :-1].ravel()
            columns -= 1
            chosen = strongest(flat, min_score)
            scores = flat[chosen]
        else:
            flat = logits.ravel()
            chosen = strongest(flat, logit(min_score))
            scores = sigmoid(flat[chosen])
        queries, class_ids = np.divmod(chosen, columns)
        found = boxes[queries]
        return Detections(
            normalized(corners(found[:, :2], found[:, 2:])),
            scores,
            self._class_of_column[class_ids],
        )


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> DetrHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return DetrHead(read_spec(DetrSpec, spec), size)
