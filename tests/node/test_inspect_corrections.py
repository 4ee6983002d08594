"""Your own models: corrections by the user are used and kept."""

from __future__ import annotations

from typing import Any

import pytest
from edge_vision_node.errors import ModelError
from edge_vision_node.models.store import DEFAULT_MODEL

from tests.engines import needs

from .inspection import DEFAULT, Bench, image, out


@needs("onnxruntime")
async def test_what_is_proposed_can_be_corrected(bench: Bench) -> None:
    found = await bench.look_at(
        [image(416)],
        [out(1, 3549, 8)],
        corrections={
            "name": "Parts",
            "input.colour": "RGB",
            "input.scale": [0.5, 0.5, 0.5],
            "head.iou_threshold": 0.3,
            "labels": ["a", "b", "c"],
        },
        save_as="parts",
    )
    assert found.problem is None
    manifest = bench.store.get("parts").manifest
    assert (manifest.name, manifest.input.colour) == ("Parts", "RGB")
    assert manifest.input.scale == (0.5, 0.5, 0.5)
    assert manifest.head == {"type": "yolox", "classes": 3, "iou_threshold": 0.3}
    assert bench.store.get("parts").labels == ("a", "b", "c")


@needs("onnxruntime")
async def test_a_head_can_be_named_for_what_is_not_recognised(bench: Bench) -> None:
    tensors = ([image(64)], [out(1, 33, 5, 7)])
    unknown = await bench.look_at(*tensors)
    assert unknown.proposal is None
    corrections = {
        "task": "segmentation",
        "head.type": "segmentation",
        "head.classes": 33,
        "labels": [f"kind {i}" for i in range(33)],
    }
    found = await bench.look_at(*tensors, corrections=corrections)
    assert found.problem is None
    assert found.findings is not None
    assert found.findings.classes[0].label == "kind 0"


@needs("onnxruntime")
@pytest.mark.parametrize(
    ("corrections", "reason"),
    [
        ({"engines.onnxruntime.files": {}}, "engines.onnxruntime.files cannot be corrected"),
        ({"id": "x"}, "id cannot be corrected"),
        ({"input.width": 10**6}, "numbers of pixels from 8 to 4096"),
        ({"input.colour": "HSV"}, "Unknown input colour 'HSV'"),
        ({"head.type": "nonsense"}, "Unknown head 'nonsense'"),
        ({"head.classes": "many"}, "incomplete"),
        ({"task": "fortune telling"}, "fortune telling"),
        ({"labels": "person"}, "a list of texts"),
        ({"head.type": "yolov8"}, "do not fit its manifest"),
    ],
)
async def test_a_wrong_correction_says_why_and_nothing_is_saved(
    bench: Bench, corrections: dict[str, Any], reason: str
) -> None:
    found = await bench.look_at(
        [image(416)], [out(1, 3549, 85)], corrections=corrections, save_as="mine"
    )
    assert found.problem is not None
    assert reason in found.problem
    assert found.saved is None
    assert "mine" not in bench.store.models


@pytest.mark.parametrize(
    ("model_id", "reason"),
    [
        ("../escape", "is not a valid ID"),
        ("Big Letters", "is not a valid ID"),
        (DEFAULT_MODEL, "is used by a model included with Edge Vision"),
        ("candidate", "is used by"),
        ("yolox_nano", "yolox_nano is used by a model of the catalog"),
    ],
)
async def test_an_id_must_be_free_and_plain(bench: Bench, model_id: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        await bench.look(DEFAULT / "model.onnx", save_as=model_id)


async def test_a_model_of_ones_own_is_replaced_only_when_that_is_asked_for(bench: Bench) -> None:
    tensors = ([image(416)], [out(1, 3549, 8)])
    await bench.look_at(*tensors, save_as="mine", corrections={"name": "First"})
    with pytest.raises(ModelError, match="You already have a model mine; choose another"):
        await bench.look_at(*tensors, save_as="mine", corrections={"name": "Second"})
    assert bench.store.get("mine").manifest.name == "First"
    await bench.look_at(*tensors, save_as="mine", corrections={"name": "Second"}, replace=True)
    assert bench.store.get("mine").manifest.name == "Second"
