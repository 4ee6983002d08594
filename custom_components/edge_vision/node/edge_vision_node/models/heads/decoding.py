"""Functions shared by the heads: checked outputs, grids, box formats, candidates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...detections import Detections, non_maximum_suppression
from ...errors import InferenceError, ModelError
from ...protocol import ProtocolError, read

# Limits the time of suppression in crowded frames. A dense head has about ten candidates for each
# object, so this is enough for a hundred objects.
MAX_CANDIDATES = 1000
MAX_DETECTIONS = 100
MAX_CLASSES = 100_000
_MOST_STRIDE = 1024
_MOST_CELLS = 2_000_000
# Minimum side of a box around keypoints, as a share of the frame.
_LEAST_BODY = 0.005

_SpecT = TypeVar("_SpecT")


def read_spec(cls: type[_SpecT], spec: Mapping[str, Any]) -> _SpecT:
    """Return the parameters of a head from the `head` of a manifest. Raises `ModelError`."""
    try:
        return read(cls, dict(spec))
    except ProtocolError as err:
        raise ModelError(f"The manifest's head is incomplete: {err}") from err


def one_of(what: str, value: str, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`. Raises `ModelError`."""
    if value not in choices:
        raise ModelError(f"Unknown {what} {value!r}; this version supports {', '.join(choices)}")
    return value


def tensors(
    outputs: Sequence[NDArray[Any]], *shapes: tuple[int | None, ...]
) -> list[NDArray[np.float32]]:
    """Return the outputs of one picture as float32, without the batch dimension.

    `shapes` are the expected shapes without the batch; None means any length. Exporters may add
    dimensions of length 1 or omit the batch; both are accepted. Raises `InferenceError` for a
    different number of outputs, a different shape, or numbers that are not finite.
    """
    wanted = [(1, *shape) for shape in shapes]
    fitted = [_fitted(*pair) for pair in zip(outputs, wanted, strict=False)]
    if len(outputs) != len(wanted) or any(item is None for item in fitted):
        found = ", ".join(str(tuple(output.shape)) for output in outputs)
        expected = ", ".join(str(want).replace("None", "?") for want in wanted)
        raise InferenceError(
            f"The model's outputs {found} do not fit its manifest, which expects {expected}"
        )
    arrays = [np.asarray(item[0], dtype=np.float32) for item in fitted if item is not None]
    for array in arrays:
        check_finite(array)
    return arrays


def _fitted(output: NDArray[Any], wanted: tuple[int | None, ...]) -> NDArray[Any] | None:
    """Return an output in the wanted shape, or None if it does not fit.

    It may have additional dimensions of length 1, or none for the batch.
    """
    if output.ndim == len(wanted) - 1:
        output = output[np.newaxis]
    ones = [axis for axis, side in enumerate(output.shape) if side == 1]
    for dropped in itertools.combinations(ones, max(output.ndim - len(wanted), 0)):
        shape = [side for axis, side in enumerate(output.shape) if axis not in dropped]
        if len(shape) == len(wanted) and all(
            want is None or got == want for got, want in zip(shape, wanted, strict=True)
        ):
            return output.reshape(shape)
    return None


def vector(outputs: Sequence[NDArray[Any]], length: int) -> NDArray[np.float32]:
    """Return the only output, a vector [1, length], possibly with more dimensions of length 1.

    Raises `InferenceError` as `tensors` does.
    """
    if len(outputs) == 1 and outputs[0].size == length:
        outputs = [outputs[0].reshape(1, length)]
    return tensors(outputs, (length,))[0]


def check_finite(array: NDArray[np.float32]) -> None:
    """Raise `InferenceError` if a number is NaN or infinite."""
    if not np.isfinite(array).all():
        raise InferenceError("The model returned numbers that are not finite")


def rows_of(outputs: Sequence[NDArray[Any]]) -> int | None:
    """Return the number of rows of the first output, or None if it has no such dimension."""
    return int(outputs[0].shape[1]) if len(outputs) and outputs[0].ndim > 1 else None


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)), without overflow for any x."""
    result: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * values))
    return result.astype(np.float32, copy=False)


def softmax(values: NDArray[np.float32], axis: int = -1) -> NDArray[np.float32]:
    """Return exp(x) / sum(exp(x)) along an axis."""
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=axis, keepdims=True)
    return result


def logit(score: float) -> float:
    """Return the x whose sigmoid is `score` (0-1, both ends excluded)."""
    return float(np.log(score / (1 - score)))


def grid(
    size: tuple[int, int], strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cells of feature maps over an input of `size` (width, height), in pixels.

    The maps are in the order of `strides` and the cells of a map row by row, with one more row or
    column if the stride does not divide the size.

    Returns:
        float32 [N, 2]: column and row of each cell; float32 [N, 1]: the stride of the cell.
    """
    cells, sizes = [], []
    if not all(1 <= stride <= _MOST_STRIDE for stride in strides):
        raise ModelError(f"The strides in the manifest must be 1 to {_MOST_STRIDE} pixels")
    if sum(-(-size[0] // s) * -(-size[1] // s) for s in strides) > _MOST_CELLS:
        raise ModelError("The strides in the manifest result in more cells than any model has")
    for stride in strides:
        columns, rows = -(-size[0] // stride), -(-size[1] // stride)
        y, x = np.divmod(np.arange(rows * columns), columns)
        cells.append(np.stack([x, y], axis=1))
        sizes.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def corners(centers: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return boxes [N, 4] x_min, y_min, x_max, y_max from centers and sizes, both [N, 2] x, y."""
    half = sizes / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def expected_distances(logits: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return the expected distances [N, 4] of distributions [N, 4 * bins] over 0, 1, … bins - 1.

    Li et al., "Generalized Focal Loss" (2020), section 3.2.
    """
    weights = softmax(logits.reshape(-1, 4, bins))
    result: NDArray[np.float32] = weights @ np.arange(bins, dtype=np.float32)
    return result


def strongest(scores: NDArray[np.float32], lowest: float) -> NDArray[np.intp]:
    """Return the indices of scores [N] of at least `lowest`, limited to the best ones."""
    chosen = np.flatnonzero(scores >= lowest)
    if len(chosen) > MAX_CANDIDATES:
        best = np.argpartition(-scores[chosen], MAX_CANDIDATES)[:MAX_CANDIDATES]
        chosen = chosen[best]
    return chosen


def normalized(
    boxes: NDArray[np.float32], size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Return boxes [N, 4] divided by `size` (None: they are already normalized).

    Raises `InferenceError` if a number is not finite.
    """
    check_finite(boxes)
    if size is None:
        return boxes
    result: NDArray[np.float32] = np.divide(boxes, np.array(size * 2), dtype=np.float32)
    return result


def normalized_keypoints(
    points: NDArray[np.float32], size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Return keypoints [N, K, 3] with x and y normalized by `size`; scores are kept.

    Keypoints may be outside the frame: a model guesses the position of a hidden foot.
    """
    check_finite(points)
    if size is None:
        return points
    result: NDArray[np.float32] = np.divide(points, np.array((*size, 1)), dtype=np.float32)
    return result


def around(points: NDArray[np.float32], min_score: float) -> NDArray[np.float32]:
    """Return the box [1, 4] of one set of keypoints [1, K, 3].

    It encloses the points that score at least `min_score`, and always the best three. Even points
    on a line, such as those of a lying body, result in a box with an area.
    """
    scores = points[0, :, 2]
    third = np.sort(scores)[-3:][0]
    chosen = points[0, scores >= min(min_score, third), :2]
    least, largest = chosen.min(axis=0), chosen.max(axis=0)
    wider = np.maximum(_LEAST_BODY - (largest - least), 0) / 2
    box: NDArray[np.float32] = np.concatenate([least - wider, largest + wider])
    return box[np.newaxis].astype(np.float32, copy=False)


def suppressed(candidates: Detections, iou_threshold: float) -> Detections:
    """Return the candidates left after non-maximum suppression, best first, within the frame."""
    # Boxes are cut to the frame later: the parts outside distinguish two objects at an edge.
    candidates = candidates.keep(candidates.upright)
    return non_maximum_suppression(candidates, iou_threshold, MAX_DETECTIONS).in_frame()


def best_first(detections: Detections) -> Detections:
    """Return the detections of a model with built-in suppression, best first, within the frame."""
    found = detections.in_frame()
    return found.keep(np.argsort(-found.scores, kind="stable")[:MAX_DETECTIONS])


def class_of_column(class_ids: Sequence[int], columns: int) -> NDArray[np.int32]:
    """Return the label of each class of a model, and -1 for classes without a label.

    `class_ids` is the model's class for each label, or empty if they are the same.
    Raises `ModelError`.
    """
    if not 0 < columns <= MAX_CLASSES:
        raise ModelError(f"A model can have 1 to {MAX_CLASSES} classes, not {columns}")
    if not class_ids:
        return np.arange(columns, dtype=np.int32)
    if not all(0 <= class_id < columns for class_id in class_ids):
        raise ModelError(f"The class_ids in the manifest must be 0 to {columns - 1}")
    labels = np.full(columns, -1, dtype=np.int32)
    labels[list(class_ids)] = np.arange(len(class_ids))
    return labels


def checked_classes(values: NDArray[np.float32], classes: int) -> NDArray[np.int32]:
    """Return class numbers [N] as int32. Raises `InferenceError` if one is out of range."""
    class_ids = values.astype(np.int32)
    if len(values) and not (class_ids.min() >= 0 and class_ids.max() < classes):
        strange = class_ids.max() if class_ids.min() >= 0 else class_ids.min()
        raise InferenceError(
            f"The model returned class {strange}, but only {classes} classes are known: its labels"
            " belong to another model, or some are missing"
        )
    return class_ids
