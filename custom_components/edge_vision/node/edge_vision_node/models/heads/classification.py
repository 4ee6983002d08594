"""Classification: one score for each label.

Output: float32 [1, C], or with further dimensions of length 1: logits, or scores (0-1) of a model
whose graph ends in a softmax or in sigmoids. Quantised outputs come from the engine in their real
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

# Of a quantised or half-precision score that should be 0 or 1.
_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class ClassificationSpec:
    """The manifest's `head` for this family.

    `classes`: C. `score`: how scores come from the output: "none" (they are scores), "softmax", or
    "sigmoid" for labels that do not exclude each other.
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
        """Return the score of every label, whatever it is: who reads them picks the best."""
        values = vector(outputs, self._classes)
        if self._score == "softmax":
            return Classification(softmax(values))
        if self._score == "sigmoid":
            return Classification(sigmoid(values))
        if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
            raise InferenceError(
                f"The model's scores reach from {values.min():.3g} to {values.max():.3g}, not from"
                " 0 to 1: its manifest should say softmax or sigmoid"
            )
        return Classification(np.clip(values, 0, 1))


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> ClassificationHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return ClassificationHead(read_spec(ClassificationSpec, spec))
