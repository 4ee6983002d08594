"""Crops for models that need a face or body of their own: where they lie, and how they are cut.

A detector finds the place. The crop is a square around it, rotated so that its content is upright.
Sources: the graphs of MediaPipe 0.10 that do the same, face_landmark's `face_detection_front_
detection_to_roi`, pose_landmark's `pose_detection_to_roi`, and their calculators DetectionsToRects,
AlignmentPointsRects and RectTransformation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..detections import Detections
from ..errors import ModelError
from ..models.manifest import CropSpec


@dataclass(frozen=True)
class Crop:
    """A square of a picture: center and side in pixels, rotated clockwise by `turn` radians."""

    center: tuple[float, float]
    side: float
    turn: float

    @property
    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return matrix [2, 2] and offset [2] from 0-1 of the crop to pixels of the picture."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        matrix = np.array([[cos, -sin], [sin, cos]]) * self.side
        return matrix, np.array(self.center) - matrix @ [0.5, 0.5]

    def cut(self, image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the crop as uint8 RGB [H, W, 3]; beyond the picture its edge is repeated.

        Args:
            image: RGB.
            size: width and height of the crop in pixels.
        """
        matrix, offset = self._affine
        columns, rows = ((np.arange(count) + 0.5) / count for count in size)
        grid = np.stack(np.meshgrid(columns, rows), axis=-1)
        places = grid @ matrix.T + offset - 0.5  # of pixel centers
        pixels = np.asarray(image)
        limits = np.array([pixels.shape[1], pixels.shape[0]]) - 1
        low = np.floor(places).astype(np.intp)
        share = (places - low)[..., np.newaxis].astype(np.float32)
        x0, y0 = np.moveaxis(np.clip(low, 0, limits), -1, 0)
        x1, y1 = np.moveaxis(np.clip(low + 1, 0, limits), -1, 0)
        upper = pixels[y0, x0] * (1 - share[..., 0, :]) + pixels[y0, x1] * share[..., 0, :]
        lower = pixels[y1, x0] * (1 - share[..., 0, :]) + pixels[y1, x1] * share[..., 0, :]
        blended = upper * (1 - share[..., 1, :]) + lower * share[..., 1, :]
        result: NDArray[np.uint8] = np.rint(blended).astype(np.uint8)
        return result

    def to_picture(self, points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return keypoints [N, K, 3] of the crop (x, y in 0-1) in coordinates of the picture.

        Args:
            points: x, y and score; the score is kept.
            size: width and height of the picture in pixels.
        """
        matrix, offset = self._affine
        result = points.copy()
        result[..., :2] = (points[..., :2] @ matrix.T + offset) / np.array(size)
        return result


def find_crops(found: Detections, spec: CropSpec, size: tuple[int, int], most: int) -> list[Crop]:
    """Return the crops around the best detections, best first.

    Args:
        found: of the detector that `spec` names, with its keypoints.
        spec: where a crop lies relative to a detection.
        size: width and height of the picture in pixels.
        most: how many to return at most.

    Raises:
        ModelError: the detector lacks the keypoints that `spec` names.
    """
    pixels = np.array(size)
    crops: list[Crop] = []
    for index in range(min(len(found), most)):
        points = None if found.keypoints is None else found.keypoints[index]
        if points is None or len(points) <= max(spec.start, spec.end):
            raise ModelError(f"{spec.detector} does not find the points that mark a crop")
        start, end = points[spec.start, :2] * pixels, points[spec.end, :2] * pixels
        if spec.around == "circle":
            center, side = start, 2 * math.dist(start, end)
        else:
            corners = found.boxes[index].reshape(2, 2) * pixels
            center, side = corners.mean(axis=0), float((corners[1] - corners[0]).max())
        if side < 1:
            continue
        angle = math.atan2(-(end[1] - start[1]), end[0] - start[0])
        turn = math.radians(spec.angle) - angle
        turn -= 2 * math.pi * math.floor((turn + math.pi) / (2 * math.pi))  # from -pi to pi
        crops.append(Crop((float(center[0]), float(center[1])), side * spec.scale, turn))
    return crops
