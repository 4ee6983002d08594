"""Classification: one score for each label.

Output: float32 [1, C], possibly with more dimensions of length 1: logits, or scores (0-1) if the
graph ends in a softmax or in sigmoids. The engine converts quantized outputs to their real
units. Example: Sandler et al., "MobileNetV2" (2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InferenceError
from ...findings import Classification
from .decoding import one_of, read_spec, sigmoid, softmax, vector

# How far a quantized or half-precision score may be outside 0-1.
_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class ClassificationSpec:
    """The manifest's `head` for this family.

    `classes`: C. `score`: how to compute scores from the output: "none" (the output has scores),
    "softmax", or "sigmoid" for labels that do not exclude each other.
    """

    classes: int
    score: str = "none"


class ClassificationHead:
    """Reads [float32 [1, C]]."""

    def __init__(self, spec: ClassificationSpec) -> None:
        """Check the parameters."""
        self._score = one_of("score", spec.score, ("none", "softmax", "sigmoid"))
        self._classes = spec.classes

    def __call__(self, outputs: Sequence[NDArray[np.float32]], _min_score: float) -> Classification:
        """Return the scores of all labels, including low ones; the caller picks the best."""
        values = vector(outputs, self._classes)
        if self._score == "softmax":
            return Classification(softmax(values))
        if self._score == "sigmoid":
            return Classification(sigmoid(values))
        if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
            raise InferenceError(
                f"The model's scores range from {values.min():.3g} to {values.max():.3g} instead of"
                " 0 to 1: its manifest should say softmax or sigmoid"
            )
        return Classification(np.clip(values, 0, 1))


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> ClassificationHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return ClassificationHead(read_spec(ClassificationSpec, spec))
