"""Real models for tests of single engines, without a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.engines.base import EngineFiles
from edge_vision_node.models.store import ModelStore
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import TEST_DATA

MODELS = TEST_DATA / "models"
MOBILENET = ("mobilenet_v2_1.0_224_quant.tflite", "input", "MobilenetV2/Predictions/Softmax")
BUNDLED_ONNX = ModelStore().get(None).folder / "model.onnx"


def default_model(cache: Path | None = None) -> EngineFiles:
    """Return the ONNX file of the default model, which several engines can read."""
    return EngineFiles(
        model="ssd",
        paths={"model": BUNDLED_ONNX},
        inputs=("image",),
        outputs=("boxes", "logits"),
        cache=cache,
    )


def tflite(
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dtype: str = "uint8",
    role: str = "model",
) -> EngineFiles:
    """Return a model from the test data; skip the test if it is not available."""
    if not MODELS.is_dir():
        pytest.skip("the larger test data are not here (../shared/testdata)")
    return EngineFiles(
        model=Path(name).stem,
        paths={role: MODELS / name},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        dtype=dtype,
    )


def picture(name: str, size: int) -> NDArray[np.uint8]:
    """Return a test picture as uint8 [1, size, size, 3]; skip the test without the test data."""
    if not MODELS.is_dir():
        pytest.skip("the larger test data are not here (../shared/testdata)")
    with Image.open(TEST_DATA / "images" / name) as image:
        return np.asarray(image.convert("RGB").resize((size, size)))[np.newaxis]


def noise(shape: tuple[int, ...] = (1, 300, 300, 3)) -> NDArray[np.float32]:
    """Return reproducible numbers from -1 to 1."""
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
