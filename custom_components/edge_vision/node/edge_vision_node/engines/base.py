"""The small interface behind which every inference engine stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..protocol import AcceleratorInfo

CPU = AcceleratorInfo(id="cpu", name="CPU")


@dataclass(frozen=True)
class EngineFiles:
    """The files of one model for one engine, checked and ready to load.

    Attributes:
        model_id: for messages.
        paths: role ("model", "param", "bin", …) → file.
        inputs, outputs: tensor names, in the order in which the head knows them. The first input
            takes the picture.
        constants: input → (dtype, value) of inputs that are the same for every frame.
    """

    model_id: str
    paths: Mapping[str, Path]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, tuple[str, Any]] = field(default_factory=dict)


class Session(Protocol):
    """A model loaded on an accelerator. Used by one thread at a time."""

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the model on one picture (float32, or uint8 for a quantised model).

        The outputs come in the manifest's order; quantised ones come back as float32 in their
        real units. Raises `InferenceError`.
        """

    def close(self) -> None:
        """Give the memory back; the session is of no use afterwards."""


class Engine(Protocol):
    """An inference runtime. Its package is imported when it is first asked for, not before."""

    id: str
    name: str

    def version(self) -> str:
        """Return the package's version. Raises `EngineMissingError` where it cannot be used."""

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the accelerators that are really here, best first."""

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a model.

        Raises `EngineMissingError`, `AcceleratorError` or `ModelError`.
        """


def usable_cores() -> int:
    """Return how many cores this process may use (containers and affinity included)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def default_threads() -> int:
    """Return how many threads one inference gets: more than four gain little on these models."""
    return min(4, usable_cores())
