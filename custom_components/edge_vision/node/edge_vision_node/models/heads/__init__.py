"""Heads: pure functions that turn the raw tensors of a model into results, one file per family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...findings import Result
from . import (
    blaze,
    classification,
    detr,
    embedding,
    end_to_end,
    fastestdet,
    finished,
    landmarks,
    movenet,
    nanodet,
    segmentation,
    ssd,
    ssd_postprocess,
    yolo_nas,
    yolov5,
    yolov8,
    yolox,
    yunet,
)

# (outputs in the order of the manifest, minimum score 0-1) → result
Head = Callable[[Sequence[NDArray[np.float32]], float], Result]

# `head.type` → (the manifest's `head`, (width, height) of the model's input) → head
_BUILDERS: dict[str, Callable[[Mapping[str, Any], tuple[int, int]], Head]] = {
    "blaze": blaze.build,
    "classification": classification.build,
    "detr": detr.build,
    "embedding": embedding.build,
    "end_to_end": end_to_end.build,
    "fastestdet": fastestdet.build,
    "finished": finished.build,
    "landmarks": landmarks.build,
    "movenet": movenet.build,
    "nanodet": nanodet.build,
    "segmentation": segmentation.build,
    "ssd": ssd.build,
    "ssd_postprocess": ssd_postprocess.build,
    "yolo_nas": yolo_nas.build,
    "yolov5": yolov5.build,
    "yolov8": yolov8.build,
    "yolox": yolox.build,
    "yunet": yunet.build,
}
HEAD_TYPES = tuple(_BUILDERS)


def build_head(spec: Mapping[str, Any], size: tuple[int, int]) -> Head:
    """Return the head described by the `head` of a manifest.

    `size` is the width and height of the model's input, for families with pixel coordinates.
    Raises `ModelError`.
    """
    kind = spec.get("type")
    if kind not in _BUILDERS:
        raise ModelError(f"Unknown head {kind!r}; this version supports {', '.join(_BUILDERS)}")
    return _BUILDERS[kind](spec, size)
