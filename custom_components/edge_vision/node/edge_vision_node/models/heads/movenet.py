"""MoveNet, single pose: the keypoints of the most prominent person.

Sources: the model card "MoveNet.SinglePose" (Google, 2021); Zhou et al., "Objects as Points"
(2019) for the decoding; the end of TensorFlow Hub's graph singlepose/lightning/4 for the constants.

The outputs have one of two forms:

- decoded: float32 [1, 1, K, 3]: y, x (normalized) and score of COCO's K = 17 keypoints;
- raw, for engines without the operators for decoding. On a grid of H x W cells: logits of a
  person's center [1, 1, H, W]; the expected offset of each keypoint from such a center
  [1, 2 K, H, W] (y and x in cells); logits of the keypoints [1, K, H, W]; and the position of each
  keypoint in its cell [1, 2 K, H, W] (y and x in cells).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import around, normalized_keypoints, read_spec, sigmoid, tensors

# The distance in cells from the expected position at which a score counts half.
_TOLERANCE = 1.8


@dataclass(frozen=True, kw_only=True)
class MoveNetSpec:
    """The manifest's `head` for this family.

    `keypoint_score`: the box of a person encloses keypoints that score at least this (0-1).
    """

    keypoints: int = 17
    keypoint_score: float = 0.2


class MoveNetHead:
    """Reads [float32 [1, 1, K, 3]], or the four raw outputs."""

    def __init__(self, spec: MoveNetSpec) -> None:
        """Initialize the head."""
        self._spec = spec

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the person, if there is one.

        The model has no score for the person. It is computed as the mean of the better half of the
        keypoints: half a body in the picture is a person, three random points are not.
        """
        if len(outputs) == 4:
            keypoints = normalized_keypoints(self._decoded(outputs))
        else:
            (output,) = tensors(outputs, (1, self._spec.keypoints, 3))
            keypoints = normalized_keypoints(output[..., [1, 0, 2]])
        scores = np.sort(keypoints[0, :, 2])[::-1]
        person = scores[: (len(scores) + 1) // 2].mean()
        found = Detections(
            around(keypoints, self._spec.keypoint_score),
            np.array([person], dtype=np.float32),
            np.zeros(1, dtype=np.int32),
            keypoints,
        )
        return found.keep(found.scores >= min_score).in_frame()

    def _decoded(self, outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return keypoints float32 [1, K, 3] x, y (normalized), score from the raw outputs.

        Centers close to the center of the picture are preferred. For each keypoint, cells close to
        the position expected from that center are preferred.
        """
        count = self._spec.keypoints
        height, width = outputs[0].shape[2:] if outputs[0].ndim == 4 else (None, None)
        middle, expected, scores, offsets = tensors(
            outputs,
            (1, height, width),
            (2 * count, height, width),
            (count, height, width),
            (2 * count, height, width),
        )
        sides = np.array(middle.shape[1:])
        centered = sigmoid(middle) / _distances(sides, sides[np.newaxis] // 2)
        _, y, x = np.unravel_index(centered.argmax(), centered.shape)
        places = expected[:, y, x].reshape(count, 2) + np.array([y, x])
        scores = sigmoid(scores)
        near = scores / _distances(sides, places)
        rows, columns = np.unravel_index(near.reshape(count, -1).argmax(axis=1), near.shape[1:])
        numbers = np.arange(count)
        inside = offsets.reshape(count, 2, *sides)[numbers, :, rows, columns]
        found = (np.stack([rows, columns], axis=1) + inside) / sides
        points = np.column_stack([found[:, ::-1], scores[numbers, rows, columns]])
        return points.astype(np.float32)[np.newaxis]


def _distances(sides: NDArray[np.intp], places: NDArray[Any]) -> NDArray[np.float32]:
    """Return the distances [N, H, W] of all cells from `places` [N, 2] y, x, plus the tolerance."""
    y, x = (
        (np.arange(side, dtype=np.float32) - place[:, np.newaxis].astype(np.float32)) ** 2
        for side, place in zip(sides, places.T, strict=True)
    )
    result: NDArray[np.float32] = np.sqrt(y[:, :, np.newaxis] + x[:, np.newaxis]) + _TOLERANCE
    return result


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> MoveNetHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return MoveNetHead(read_spec(MoveNetSpec, spec))
