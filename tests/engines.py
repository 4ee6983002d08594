"""The installed engines, for tests that need a specific engine or run on several.

On Home Assistant OS, there is only ncnn. Tests for all engines run on every installed one, or on a
single one if they take long; tests for a missing engine are skipped.
"""

from __future__ import annotations

import importlib.util

import pytest

PACKAGES = {
    "ncnn": "ncnn",
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert",
    "openvino": "openvino",
}
HERE = [name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is not None]
# The engine for tests that do not depend on it.
ENGINE = HERE[0] if HERE else "ncnn"


def needs(*engines: str) -> pytest.MarkDecorator:
    """Skip a test if one of these engines is not installed."""
    missing = [name for name in engines if name not in HERE]
    return pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")


# For `pytest.mark.parametrize("engine", ENGINES)`: the engines that `small_models` supports.
ENGINES = [pytest.param(name, marks=needs(name)) for name in ("ncnn", "onnxruntime")]
