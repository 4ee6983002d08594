"""Semantic segmentation: a class for every cell of a grid over the input.

Sources: Long et al., "Fully Convolutional Networks for Semantic Segmentation" (2015); for a single
channel, the model card of MediaPipe's Selfie Segmentation.

The output is one of
    "classes": a score or logit for each class, float32 [1, C, H, W] or [1, H, W, C]; the best wins;
    "map": class numbers [1, H, W], possibly with a channel of length 1;
    "mask": the score (0-1) of one class against the background, with a channel of length 1;
    "mask_logits": the logit of that score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InferenceError
from ...findings import Segmentation
from .decoding import checked_classes, class_of_column, logit, one_of, read_spec, tensors

_FORMS = ("classes", "map", "mask", "mask_logits")


@dataclass(frozen=True, kw_only=True)
class SegmentationSpec:
    """The manifest's `head` for this family.

    `classes`: C; 1 for a mask. `class_ids`: the model's class for each label, if they differ;
    classes without a label are background. `layout`: layout of the output, NCHW or NHWC.
    """

    classes: int
    form: str = "classes"
    class_ids: tuple[int, ...] = ()
    layout: str = "NCHW"


class SegmentationHead:
    """Reads the only output; see the module."""

    def __init__(self, spec: SegmentationSpec) -> None:
        """Check the parameters and prepare the labels of the model's classes."""
        self._form = one_of("form of a segmentation", spec.form, _FORMS)
        self._channel = 0 if one_of("layout", spec.layout, ("NCHW", "NHWC")) == "NCHW" else -1
        self._class_of_column = class_of_column(spec.class_ids, spec.classes)

    def __call__(self, outputs: Sequence[NDArray[np.float32]], min_score: float) -> Segmentation:
        """Return the class of every cell. `min_score` only applies to masks."""
        channels = len(self._class_of_column) if self._form == "classes" else 1
        outputs = [self._with_channel(output) for output in outputs]
        shape = (channels, None, None) if self._channel == 0 else (None, None, channels)
        (values,) = tensors(outputs, shape)
        if self._form == "classes":
            return Segmentation(self._class_of_column[values.argmax(axis=self._channel)])
        values = values.squeeze(self._channel)
        if self._form == "map":
            columns = checked_classes(values.ravel(), len(self._class_of_column))
            return Segmentation(self._class_of_column[columns].reshape(values.shape))
        if self._form == "mask" and (values.min() < -0.01 or values.max() > 1.01):
            raise InferenceError(
                f"The mask's scores range from {values.min():.3g} to {values.max():.3g} instead of"
                ' 0 to 1: its manifest should say "mask_logits"'
            )
        lowest = min_score if self._form == "mask" else logit(min_score)
        return Segmentation(np.where(values >= lowest, np.int32(0), np.int32(-1)))

    def _with_channel(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._form == "map" and output.ndim == 3:
            return np.expand_dims(output, 1 if self._channel == 0 else -1)
        return output


def build(spec: Mapping[str, Any], _size: tuple[int, int]) -> SegmentationHead:
    """Return the head for a manifest's `head`. Raises `ModelError`."""
    return SegmentationHead(read_spec(SegmentationSpec, spec))
