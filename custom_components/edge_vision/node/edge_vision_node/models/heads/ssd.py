"""SSD with raw outputs: box encodings relative to anchors, and class logits.

Sources: Liu et al., "SSD: Single Shot MultiBox Detector" (2016); anchors and box coder as in the
TensorFlow Object Detection API (multiple-grid anchors, faster-rcnn box coder).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections, non_maximum_suppression
from ...errors import InferenceError
from .decoding import read_spec

# More candidates than this are noise; limits the time for crowded frames.
_MAX_CANDIDATES = 400
_MAX_DETECTIONS = 100


@dataclass(frozen=True, kw_only=True)
class AnchorSpec:
    """Anchors over several square grids, from fine to coarse.

    Scales are distributed evenly from `min_scale` to `max_scale` over the grids. Each cell of a
    grid has one anchor per aspect ratio (width : height), and one of `interpolated_aspect_ratio`
    at the geometric mean of the scales of this grid and the next. With `reduce_lowest`, the finest
    grid has only three: `lowest_scale` at 1:1, and its own scale at 2:1 and 1:2.
    """

    grid_sizes: tuple[int, ...]
    min_scale: float
    max_scale: float
    aspect_ratios: tuple[float, ...]
    interpolated_aspect_ratio: float
    reduce_lowest: bool
    lowest_scale: float


@dataclass(frozen=True, kw_only=True)
class SsdSpec:
    """The manifest's `head` for this family.

    `class_ids`: column of the logits for each label. `box_scales`: divisors of ty, tx, th, tw.
    """

    class_ids: tuple[int, ...]
    box_scales: tuple[float, ...]
    anchors: AnchorSpec
    iou_threshold: float = 0.6


def make_anchors(spec: AnchorSpec) -> NDArray[np.float32]:
    """Return anchors as float32 [N, 4]: center y, center x, height, width, normalized."""
    count = len(spec.grid_sizes)
    scales = [*np.linspace(spec.min_scale, spec.max_scale, count).tolist(), 1.0]
    layers = []
    for i, grid in enumerate(spec.grid_sizes):
        if i == 0 and spec.reduce_lowest:
            shapes = [(spec.lowest_scale, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[i], ratio) for ratio in spec.aspect_ratios]
            between = math.sqrt(scales[i] * scales[i + 1])
            shapes.append((between, spec.interpolated_aspect_ratio))
        sizes = np.array([(scale / math.sqrt(r), scale * math.sqrt(r)) for scale, r in shapes])
        centers = (np.arange(grid) + 0.5) / grid
        layer = np.empty((grid, grid, len(shapes), 4), dtype=np.float32)
        layer[..., 0] = centers[:, np.newaxis, np.newaxis]
        layer[..., 1] = centers[np.newaxis, :, np.newaxis]
        layer[..., 2:] = sizes
        layers.append(layer.reshape(-1, 4))
    return np.concatenate(layers)


class SsdHead:
    """Decodes [boxes float32 [1, N, 4], logits float32 [1, N, C]]."""

    def __init__(self, spec: SsdSpec) -> None:
        """Prepare the anchors and the columns of the labels."""
        self._anchors = make_anchors(spec.anchors)
        # column of the logits → class ID; -1 for columns without a label (background, gaps)
        self._class_of_column = np.full(max(spec.class_ids) + 1, -1, dtype=np.int32)
        self._class_of_column[list(spec.class_ids)] = np.arange(len(spec.class_ids))
        self._box_scales = np.asarray(spec.box_scales, dtype=np.float32)
        self._iou_threshold = spec.iou_threshold

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the detections that score at least `min_score` (0-1, both ends excluded)."""
        encodings, logits = outputs[0][0], outputs[1][0]
        columns = len(self._class_of_column)
        if encodings.shape != self._anchors.shape or logits.shape != (len(encodings), columns):
            raise InferenceError(
                f"The model's outputs {encodings.shape} and {logits.shape} do not fit its"
                f" {len(self._anchors)} anchors and {columns} columns"
            )
        if not np.isfinite(logits).all():
            raise InferenceError("The model returned numbers that are not finite")
        # Comparing logits avoids computing the sigmoid of everything that is not kept. Searching a
        # flat array is several times faster than searching in two dimensions.
        flat = np.flatnonzero(logits >= math.log(min_score / (1 - min_score)))
        rows, column = np.divmod(flat, columns)
        class_ids = self._class_of_column[column]
        labeled = class_ids >= 0
        rows, class_ids = rows[labeled], class_ids[labeled]
        chosen = logits.ravel()[flat[labeled]]
        if len(chosen) > _MAX_CANDIDATES:
            best = np.argpartition(-chosen, _MAX_CANDIDATES)[:_MAX_CANDIDATES]
            rows, class_ids, chosen = rows[best], class_ids[best], chosen[best]
        candidates = Detections(
            self._decode_boxes(encodings[rows], self._anchors[rows]),
            (1 / (1 + np.exp(-chosen))).astype(np.float32),
            class_ids,
        )
        found = non_maximum_suppression(candidates, self._iou_threshold, _MAX_DETECTIONS)
        return found.in_frame()

    def _decode_boxes(
        self, encodings: NDArray[np.float32], anchors: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        scaled = encodings / self._box_scales
        center = scaled[:, :2] * anchors[:, 2:] + anchors[:, :2]
        half = np.exp(scaled[:, 2:]) * anchors[:, 2:] / 2
        # y, x order → x_min, y_min, x_max, y_max
        corners = [(center - half)[:, ::-1], (center + half)[:, ::-1]]
        boxes: NDArray[np.float32] = np.concatenate(corners, axis=1)
        np.clip(boxes, 0, 1, out=boxes)
        return boxes


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> SsdHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return SsdHead(read_spec(SsdSpec, spec))
