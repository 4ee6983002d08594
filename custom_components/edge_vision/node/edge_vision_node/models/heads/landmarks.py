"""Landmarks of the one face or body that fills the input: MediaPipe's face mesh and BlazePose.

Sources: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs"
(2019); Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking" (2020); the options
of MediaPipe's TensorsToLandmarksCalculator in its face_landmark and pose_landmark modules.

Outputs: landmarks float32 [1, N * V], also with dimensions of length 1 between: for each of N
points x and y in pixels of the input, depth, and with V = 5 the logits of "visible" and of "in the
picture"; and one number that tells whether there is a face or body at all.
These models see a crop that a detector found: half as large again as its box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections
from ...errors import InferenceError, ModelError
from .decoding import around, normalised_keypoints, one_of, read_spec, sigmoid, vector


@dataclass(frozen=True, kw_only=True)
class LandmarksSpec:
    """The manifest's `head` for this family.

    `points`: N. `values`: V, 3 or 5. `keep`: which points are of interest, in the order of the
    manifest's `keypoints`; all where it is empty. `presence`: "sigmoid" where the last output is a
    logit, "none" where it is a score (0-1). The box of a face or body goes round all N points, or
    round the first `box_points` of them.
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
            raise ModelError("The manifest's head has landmarks of neither 3 nor 5 values")
        if not all(0 <= point < spec.points for point in spec.keep):
            raise ModelError(f"The manifest's keep must be in 0 to {spec.points - 1}")
        self._sigmoid = one_of("presence", spec.presence, ("sigmoid", "none")) == "sigmoid"
        self._keep = list(spec.keep or range(spec.points))
        self._box_points = spec.box_points or spec.points
        self._spec = spec
        self._size = size

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Detections:
        """Return the one face or body with its landmarks, or none."""
        return self.found(*self.read(outputs), min_score).in_frame()

    def read(
        self, outputs: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return all points [1, N, 3], x and y in 0-1 of the input, and the score [1]."""
        if len(outputs) != 2:
            raise InferenceError(f"The model gave {len(outputs)} outputs; its manifest expects 2")
        landmarks = vector(outputs[:1], self._spec.points * self._spec.values)
        presence = vector(outputs[1:], 1)
        score = sigmoid(presence) if self._sigmoid else np.clip(presence, 0, 1)
        landmarks = landmarks.reshape(self._spec.points, self._spec.values)
        points = np.empty((1, self._spec.points, 3), dtype=np.float32)
        points[0, :, :2] = landmarks[:, :2]
        # A point is as sure as it is visible; without that, as the whole is.
        points[0, :, 2] = sigmoid(landmarks[:, 3]) if self._spec.values == 5 else score
        return normalised_keypoints(points, self._size), score

    def found(
        self, points: NDArray[np.float32], score: NDArray[np.float32], min_score: float
    ) -> Detections:
        """Return what `read` gave as a detection, its box round the points; none below the score.

        The points may have been moved from a crop into the picture meanwhile.
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
