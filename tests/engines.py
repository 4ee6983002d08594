"""Which engines are installed here: what a test needs, and what it runs on.

On Home Assistant OS there is ncnn only. What says something of every engine runs on each that is
here, or where that would take long on one; a test for an engine that is not here is skipped.
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
# The engine for whatever does not depend on it.
ENGINE = HERE[0] if HERE else "ncnn"


def needs(*engines: str) -> pytest.MarkDecorator:
    """Skip a test where one of these engines is not installed."""
    missing = [name for name in engines if name not in HERE]
    return pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")


# For `pytest.mark.parametrize("engine", ENGINES)`: those that `small_models` makes models for.
ENGINES = [pytest.param(name, marks=needs(name)) for name in ("ncnn", "onnxruntime")]
