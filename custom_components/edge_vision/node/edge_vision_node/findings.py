"""The results of heads for a frame, as arrays and for messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .detections import Detections
from .protocol import ClassScore, Findings, Task

_MOST_CLASSES = 5
_MOST_AREAS = 100
_SHOWN_NUMBERS = 3


@dataclass(frozen=True, eq=False)
class Classification:
    """A classification of the whole frame.

    Attributes:
        scores: float32 [C], 0-1, one for each label of the model.
    """

    scores: NDArray[np.float32]

    def of_classes(self, class_ids: NDArray[np.int32] | None) -> Classification:
        """Return the scores of some classes only, or all if None."""
        if class_ids is None:
            return self
        kept = np.isin(np.arange(len(self.scores)), class_ids)
        return Classification(np.where(kept, self.scores, np.float32(0)))


@dataclass(frozen=True, eq=False)
class Embedding:
    """A vector that is close to those of similar pictures.

    Attributes:
        vector: float32 [D], of length 1.
    """

    vector: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A class for every cell of a grid over the frame.

    Attributes:
        class_map: int32 [H, W], index into the model's labels; -1 is background.
    """

    class_map: NDArray[np.int32]


Result = Detections | Classification | Embedding | Segmentation


def findings(
    result: Result, labels: Sequence[str], keypoint_names: Sequence[str], min_score: float
) -> Findings:
    """Return a result for messages.

    Classes are those of at least `min_score` (0-1), best first, at most five. For a segmentation,
    they are the largest hundred, and confidence and area of a class are its share of the frame.
    """
    if isinstance(result, Detections):
        return Findings(objects=result.objects(labels, keypoint_names))
    if isinstance(result, Classification):
        best = np.argsort(-result.scores, kind="stable")[:_MOST_CLASSES]
        return Findings(
            classes=tuple(
                ClassScore(label=labels[i], confidence=round(float(result.scores[i]) * 100, 1))
                for i in best.tolist()
                if result.scores[i] >= min_score
            )
        )
    if isinstance(result, Segmentation):
        counts = np.bincount(result.class_map[result.class_map >= 0], minlength=len(labels))
        shares = counts / result.class_map.size
        return Findings(
            classes=tuple(
                ClassScore(
                    label=labels[i],
                    confidence=round(float(shares[i]) * 100, 1),
                    area=round(float(shares[i]), 4),
                )
                for i in np.argsort(-shares, kind="stable")[:_MOST_AREAS].tolist()
                if counts[i]
            )
        )
    return Findings(embedding=tuple(result.vector.tolist()))


def in_words(found: Findings, task: str) -> str:
    """Return the findings as a line of text, with "nothing" only for tasks that can tell this."""
    if task == Task.EMBEDDING:
        start = ", ".join(f"{number:.3f}" for number in found.embedding[:_SHOWN_NUMBERS])
        return f"a vector of {len(found.embedding)} numbers: {start}, …"
    if task == Task.SEGMENTATION:
        shares = [f"{item.label} {item.confidence:g}% of the picture" for item in found.classes]
        return ", ".join(shares) or "no part of the picture is of any class"
    seen = [(item.label, item.confidence) for item in found.objects]
    seen += [(item.label, item.confidence) for item in found.classes]
    text = ", ".join(f"{label} {confidence:.0f}%" for label, confidence in seen)
    return text or ("nothing certain" if task == Task.CLASSIFICATION else "nothing")
