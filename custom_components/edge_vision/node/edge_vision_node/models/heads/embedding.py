"""Embeddings: vectors that are close to those of similar pictures.

Output: float32 [1, D], possibly with more dimensions of length 1: the features before the last
layer of a network. They are scaled to length 1, so that the dot product of two is their cosine
similarity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InferenceError, ModelError
from ...findings import Embedding
from .decoding import read_spec, vector

# Every result contains all of them; the largest models in use have 4096.
MOST_DIMENSIONS = 16_384


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpec:
    """The manifest's `head` for this family. `dimensions`: D."""

    dimensions: int


class EmbeddingHead:
    """Reads [float32 [1, D]]."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        """Check the parameters."""
        if not 1 <= spec.dimensions <= MOST_DIMENSIONS:
            raise ModelError(
                f"An embedding can have 1 to {MOST_DIMENSIONS} numbers, not {spec.dimensions}"
            )
        self._dimensions = spec.dimensions

    def __call__(self, outputs: Sequence[NDArray[np.float32]], _min_score: float) -> Embedding:
        """Return the vector; the minimum score is ignored."""
        values = vector(outputs, self._dimensions)
        # Scale by the largest number first, because squares of float32 overflow early.
        largest = np.abs(values).max()
        if largest == 0:
            raise InferenceError("The model returned only zeros, which have no direction")
        values = values / largest
        return Embedding(values / np.linalg.norm(values))


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> EmbeddingHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return EmbeddingHead(read_spec(EmbeddingSpec, spec))
