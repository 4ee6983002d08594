"""Heads: pure functions from a model's raw tensors to results, one file per model family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...results import Result
from . import ssd

# (outputs in the manifest's order, lowest score of interest 0-1) → result
Head = Callable[[Sequence[NDArray[np.float32]], float], Result]

_BUILDERS: dict[str, Callable[[Mapping[str, Any]], Head]] = {"ssd": ssd.build}


def build_head(spec: Mapping[str, Any]) -> Head:
    """Return the head that a manifest's `head` describes. Raises `ModelError`."""
    kind = spec.get("type")
    if kind not in _BUILDERS:
        raise ModelError(f"Unknown head {kind!r}; this version knows {', '.join(_BUILDERS)}")
    return _BUILDERS[kind](spec)
