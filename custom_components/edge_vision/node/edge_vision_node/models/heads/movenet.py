"""MoveNet, single pose: the keypoints of the one person in the middle of attention.

Source: the model card "MoveNet.SinglePose" (Google, 2021).

Output: float32 [1, 1, 17, 3]: y, x (normalised) and score of COCO's 17 keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from .decoding import around, in_frame, normalised_keypoints, read_spec, tensors


@dataclass(frozen=True, kw_only=True)
class MoveNetSpec:
    """The manifest's `head` for this family.

    `keypoint_score`: keypoints of at least this score (0-1) make the person's box.
    """

    keypoints: int = 17
    keypoint_score: float = 0.2


class MoveNetHead:
    """Reads [float32 [1, 1, K, 3]]."""

    def __init__(self, spec: MoveNetSpec) -> None:
        """Keep the parameters."""
        self._spec = spec

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the person, or nobody.

        The model gives no score for the person. It is the mean of the better half of the
        keypoints: half a body in the picture is a person, three lucky points are not.
        """
        (output,) = tensors(outputs, (1, self._spec.keypoints, 3))
        keypoints = normalised_keypoints(output[..., [1, 0, 2]])
        scores = np.sort(keypoints[0, :, 2])[::-1]
        person = scores[: (len(scores) + 1) // 2].mean()
        found = Detections(
            around(keypoints, self._spec.keypoint_score),
            np.array([person], dtype=np.float32),
            np.zeros(1, dtype=np.int32),
            keypoints,
        )
        return in_frame(found.keep(found.scores >= min_score))


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> MoveNetHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return MoveNetHead(read_spec(MoveNetSpec, spec))
