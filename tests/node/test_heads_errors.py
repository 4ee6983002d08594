"""All heads: invalid outputs are errors, never empty results; finding nothing is no error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.errors import InferenceError, ModelError
from edge_vision_node.models.heads import HEAD_TYPES, build_head

from .heads import SAMPLES

every_head = pytest.mark.parametrize("name", SAMPLES)
finders = pytest.mark.parametrize(
    "name",
    [name for name in SAMPLES if name not in ("classification", "embedding", "segmentation")],
)


def sample(name: str, seed: int = 0) -> tuple[Any, list[Any]]:
    spec, size, make = SAMPLES[name]
    return build_head(spec, size), make(np.random.default_rng(seed))


def test_every_head_is_here() -> None:
    # the raw SSD head has a separate file
    assert {spec["type"] for spec, _, _ in SAMPLES.values()} | {"ssd"} == set(HEAD_TYPES)


@every_head
def test_outputs_that_fit_are_read_and_not_changed(name: str) -> None:
    head, outputs = sample(name)
    before = [output.copy() for output in outputs]
    result = head(outputs, 0.4)
    for output, copy in zip(outputs, before, strict=True):
        np.testing.assert_array_equal(output, copy)
    if isinstance(result, Detections):
        assert len(result) > 0
        assert (result.boxes.dtype, result.boxes.shape) == (np.float32, (len(result), 4))
        assert (result.scores.dtype, result.class_ids.dtype) == (np.float32, np.int32)
        assert ((result.boxes >= 0) & (result.boxes <= 1)).all()
        assert (result.scores >= 0.4 - 1e-6).all() and (result.scores <= 1 + 1e-6).all()
        assert (np.diff(result.scores) <= 0).all()


@every_head
def test_one_output_too_many_or_too_few(name: str) -> None:
    head, outputs = sample(name)
    with pytest.raises(InferenceError):
        head([*outputs, outputs[0]], 0.4)
    with pytest.raises(InferenceError):
        head(outputs[:-1], 0.4)


@every_head
def test_every_output_of_another_shape(name: str) -> None:
    head, outputs = sample(name)
    for i, output in enumerate(outputs):
        wrongs = [output[..., np.newaxis].repeat(2, -1)]
        if len(outputs) > 1 or len(output) == 1:  # otherwise, its first side is the number of rows
            wrongs.append(np.concatenate([output, output]))
        for wrong in wrongs:
            with pytest.raises(InferenceError):
                head([*outputs[:i], wrong, *outputs[i + 1 :]], 0.4)


@every_head
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_every_output_with_a_number_that_is_not_finite(name: str, number: float) -> None:
    head, outputs = sample(name)
    for i, output in enumerate(outputs):
        for place in range(0, output.size, max(1, output.size // 7)):
            wrong = output.astype(np.float32)
            wrong.flat[place] = number
            with pytest.raises(InferenceError):
                head([*outputs[:i], wrong, *outputs[i + 1 :]], 0.4)


@finders
def test_nothing_is_an_empty_answer(name: str) -> None:
    head, outputs = sample(name)
    nothing = [np.zeros_like(output) for output in outputs]
    logits = {"blaze": 1, "detr": 0, "landmarks": 1, "movenet_raw": 2}
    if (place := logits.get(name)) is not None:
        nothing[place] = nothing[place] - 20
    found = head(nothing, 0.4)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    if found.keypoints is not None:
        assert found.keypoints.shape[0] == 0 and found.keypoints.shape[2] == 3


@finders
def test_a_crowd_is_bounded(name: str) -> None:
    head, outputs = sample(name)
    assert len(head(outputs, 0.001)) <= 100


@pytest.mark.parametrize("name", [n for n, (s, _, _) in SAMPLES.items() if "classes" in s])
def test_a_manifest_without_its_parameters_is_refused(name: str) -> None:
    spec, size, _ = SAMPLES[name]
    with pytest.raises(ModelError, match=r"incomplete.*classes is missing"):
        build_head({"type": spec["type"]}, size)


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "classification", "classes": 3, "score": "maybe"},
        {"type": "detr", "classes": 3, "form": "baked"},
        {"type": "detr", "classes": 3, "score": "maybe"},
        {"type": "detr", "classes": 3, "class_ids": [3]},
        {"type": "segmentation", "classes": 3, "form": "polygon"},
        {"type": "segmentation", "classes": 3, "layout": "HW"},
        {"type": "ssd_postprocess", "classes": 3, "class_ids": [-1]},
        {"type": "landmarks", "points": 3, "values": 4},
        {"type": "landmarks", "points": 3, "keep": [3]},
        {"type": "blaze", "keypoints": 4, "strides": [8], "circle": [0]},
        {"type": "blaze", "keypoints": 4, "strides": [8], "circle": [0, 4]},
        {"type": "yolox", "classes": "eighty"},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        build_head(spec, (64, 64))


@pytest.mark.parametrize("name", ["detr_decoded", "end_to_end", "ssd_postprocess"])
def test_a_class_that_the_manifest_does_not_know_is_an_error(name: str) -> None:
    head, outputs = sample(name)
    if name == "end_to_end":
        outputs[0][..., 5] = 99
    else:
        outputs[0 if name == "detr_decoded" else 1][:] = 99
    with pytest.raises(InferenceError, match="returned class"):
        head(outputs, 0.4)


def test_a_width_beyond_all_numbers_is_an_error() -> None:
    head, outputs = sample("yolox")
    outputs[0][..., 2] = 1000
    with pytest.raises(InferenceError, match="not finite"):
        head(outputs, 0.4)
