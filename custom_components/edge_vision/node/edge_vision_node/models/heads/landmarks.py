"""Landmarks of the face or body that fills the input: MediaPipe's face mesh and BlazePose.

Sources: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs"
(2019); Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking" (2020); the options
of MediaPipe's TensorsToLandmarksCalculator in its face_landmark and pose_landmark modules.

Outputs: landmarks float32 [1, N * V], possibly with dimensions of length 1 in between: for each of
N points x and y in pixels of the input, depth, and, if V = 5, the logits of "visible" and of "in
the picture"; and a number for the presence of a face or body.
The input is a crop around the box of a detector, enlarged by half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from ...errors import InferenceError, ModelError
from .decoding import around, normalized_keypoints, one_of, read_spec, sigmoid, vector


@dataclass(frozen=True, kw_only=True)
class LandmarksSpec:
    """The manifest's `head` for this family.

    `points`: N. `values`: V, 3 or 5. `keep`: the points to keep, in the order of the manifest's
    `keypoints`; all if empty. `presence`: "sigmoid" if the last output is a logit, "none" if it is
    a score (0-1). The box of a face or body encloses all N points, or the first `box_points`.
    """

    points: int
    values: int = 3
    keep: tuple[int, ...] = ()
    presence: str = "sigmoid"
    box_points: int | None = None


class LandmarksHead:
    """Reads [landmarks float32 [1, N * V], presence float32 [1, 1]]."""

    def __init__(self, spec: LandmarksSpec, size: tuple[int, int]) -> None:
        """Prepare for an input of `size` (width, height)."""
        if spec.values not in (3, 5):
            raise ModelError("The landmarks in the manifest must have 3 or 5 values")
        if not all(0 <= point < spec.points for point in spec.keep):
            raise ModelError(f"keep in the manifest must be 0 to {spec.points - 1}")
        self._sigmoid = one_of("presence", spec.presence, ("sigmoid", "none")) == "sigmoid"
        self._keep = list(spec.keep or range(spec.points))
        self._box_points = spec.box_points or spec.points
        self._spec = spec
        self._size = size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the face or body with its landmarks, if there is one."""
        return self.found(*self.read(outputs), min_score).in_frame()

    def read(
        self, outputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return all points [1, N, 3], x and y as 0-1 of the input, and the score [1]."""
        if len(outputs) != 2:
            raise InferenceError(
                f"The model returned {len(outputs)} outputs, but its manifest expects 2"
            )
        landmarks = vector(outputs[:1], self._spec.points * self._spec.values)
        presence = vector(outputs[1:], 1)
        score = sigmoid(presence) if self._sigmoid else np.clip(presence, 0, 1)
        landmarks = landmarks.reshape(self._spec.points, self._spec.values)
        points = np.empty((1, self._spec.points, 3), dtype=np.float32)
        points[0, :, :2] = landmarks[:, :2]
        # The score of a point is its visibility or, without that, the score of the whole.
        points[0, :, 2] = sigmoid(landmarks[:, 3]) if self._spec.values == 5 else score
        return normalized_keypoints(points, self._size), score

    def found(
        self, points: NDArray[np.float32], score: NDArray[np.float32], min_score: float
    ) -> Detections:
        """Return the result of `read` as a detection with a box around the points.

        It is empty if the score is below `min_score`. The points may have been moved from a crop
        into the picture before.
        """
        found = Detections(
            around(points[:, : self._box_points], 0),
            score,
            np.zeros(1, dtype=np.int32),
            points[:, self._keep],
        )
        return found.keep(found.scores >= min_score)


def build(spec: Mapping[str, Any], size: tuple[int, int]) -> LandmarksHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return LandmarksHead(read_spec(LandmarksSpec, spec), size)
