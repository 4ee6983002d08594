"""Several parts of a frame at once: the same results, and only if this is faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import FILLS, Detections
from edge_vision_node.inference.runner import Prepared, Runner
from edge_vision_node.models.manifest import load_model
from numpy.typing import NDArray

from tests.engines import needs
from tests.small_models import add_face, let_batch

pytestmark = needs("onnxruntime")  # ncnn accepts only one picture at a time

COLOURS = ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0, 1.0, 0), (1.0, 0, 0), (0, 1.0, 0))
# One face in red pictures, two in green ones, none in blue ones.
FACES = [1, 2, 0, 2, 1, 2]


def pictures() -> list[Prepared]:
    """Return tensors of one color each."""
    return [
        Prepared(
            np.tile(np.array(colour, np.float32).reshape(1, 3, 1, 1), (1, 1, 16, 16)),
            FILLS,
            16,
            16,
            0.0,
        )
        for colour in COLOURS
    ]


def loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, times_ms: dict[int, float], *, open_size: bool
) -> tuple[Runner, list[int]]:
    """Return a runner with given measurements, and the sizes of the batches that it runs."""
    model = add_face(folder)
    if open_size:
        let_batch(folder, model)

    def measured(_: Runner, tensor: NDArray[Any], _runs: int) -> float:
        return times_ms[len(tensor)]

    monkeypatch.setattr(Runner, "measure", measured)
    runner = Runner(load_model(folder / model), "onnxruntime", "cpu")
    sizes: list[int] = []
    infer = runner.infer

    def counted(tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        sizes.append(len(tensor))
        return infer(tensor)

    monkeypatch.setattr(runner, "infer", counted)
    return runner, sizes


@pytest.mark.parametrize(
    ("open_size", "times_ms", "expected"),
    [
        (True, {1: 10.0, 4: 20.0}, [4, 2]),
        (True, {1: 10.0, 4: 39.0}, [1] * 6),
        (False, {}, [1] * 6),
    ],
    ids=["quicker", "no quicker", "one at a time"],
)
def test_parts_run_at_once_where_that_is_quicker_and_answer_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_size: bool,
    times_ms: dict[int, float],
    expected: list[int],
) -> None:
    runner, sizes = loaded(tmp_path, monkeypatch, times_ms, open_size=open_size)
    results, spent_ms = runner.run_all(pictures(), 50.0)
    assert sizes == expected
    assert spent_ms > 0
    found = [result for result in results if isinstance(result, Detections)]
    assert [len(item) for item in found] == FACES
    alone, _ = runner.run(pictures()[1], 50.0)
    assert isinstance(alone, Detections)
    assert np.allclose(alone.boxes, found[5].boxes)
