"""The interface of inference engines."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineMissingError, ModelError, NodeError
from ..hardware.host import usable_cores
from ..protocol import AcceleratorInfo
from .packages import why_missing

_LOGGER = logging.getLogger(__name__)

_Session = TypeVar("_Session")

CPU = AcceleratorInfo(id="cpu", name="CPU")


@dataclass(frozen=True)
class EngineFiles:
    """The files of one model for one engine, checked and ready to load.

    Attributes:
        model: name of the model, for messages.
        paths: role ("model", "param", "bin", …) → file.
        inputs, outputs: tensor names, in the order expected by the head. The first input takes the
            picture.
        constants: input → (dtype, value) of inputs that are the same for every frame.
        dtype: dtype of the picture: "float32", or "uint8" for unchanged pixels.
        cache: folder where an engine may store what it compiled from these files, or None.
    """

    model: str
    paths: Mapping[str, Path]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    dtype: str = "float32"
    cache: Path | None = None

    def path(self, role: str) -> Path:
        """Return the file of a role. Raises `ModelError` if there is none."""
        try:
            return self.paths[role]
        except KeyError:
            raise ModelError(f"{self.model} has no {role!r} file for this engine") from None

    def constant_inputs(self) -> dict[str, NDArray[Any]]:
        """Return the inputs that are the same for every frame."""
        return {name: np.asarray(value, dtype) for name, (dtype, value) in self.constants.items()}


def cannot_use(engine: Engine, err: Exception | str) -> EngineMissingError:
    """Return the error for an engine whose package cannot be imported.

    If it is not installed, the message says whether it can be, instead of quoting the import error.
    """
    if isinstance(err, ModuleNotFoundError) and err.name in engine.modules:
        return EngineMissingError(why_missing(engine.id, engine.name))
    return EngineMissingError(f"{engine.name} cannot be used here: {err}")


class Session(Protocol):
    """A model loaded on an accelerator. Used by one thread at a time.

    `batches`: whether it accepts several pictures at once.
    """

    batches: bool

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the model on one picture [1, …] (float32, or uint8 for a quantized model).

        The outputs are in the order of the manifest; quantized ones are converted to float32 in
        their real units. Raises `InferenceError`.
        """

    def close(self) -> None:
        """Free the memory. The session cannot be used afterwards."""


class Engine(Protocol):
    """An inference runtime. Its package is imported when it is needed for the first time.

    `modules`: names of modules of its package; without any of them, it is not installed.
    """

    id: str
    name: str
    modules: tuple[str, ...]

    def version(self) -> str:
        """Return the version of the package. Raises `EngineMissingError` if it cannot be used."""

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the accelerators of this machine, best first."""

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a model.

        Raises `EngineMissingError`, `AcceleratorError` or `ModelError`.
        """


def with_cache(
    cache: Path | None,
    engine: tuple[str, str],
    accelerator: str,
    load: Callable[[Path | None], _Session],
) -> _Session:
    """Load a model with a folder for compiled engines, and retry without its old content.

    An updated driver or engine may reject what the previous version compiled. A failure can also
    have other reasons, and compiling takes up to a quarter of an hour. Therefore the old content is
    only deleted if the model loads without it, and restored otherwise.

    Args:
        cache: `EngineFiles.cache`.
        engine: ID and version. Once the model is loaded, the content compiled by other versions
            for this accelerator is deleted.
        accelerator: each accelerator has its own folder.
        load: function that loads the model, given the existing folder or None.
    """
    if cache is None:
        return load(None)
    engine_id, version = engine
    start, end = _as_name(f"{engine_id}-"), _as_name(f"-{accelerator}")
    folder = cache / f"{start}{_as_name(version)}{end}"
    aside = cache / f".{folder.name}"
    try:
        _restore(aside, folder)  # left by a process that was killed
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as err:
        _LOGGER.warning("Compiled engines cannot be cached: %s", err)
        return load(None)
    try:
        session = load(folder)
    except NodeError as err:
        if not used:
            raise
        _LOGGER.warning("The compiled engine in %s is rebuilt: %s", folder, err)
        folder.rename(aside)
        folder.mkdir()
        try:
            session = load(folder)
        except NodeError:
            _restore(aside, folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    for path in cache.glob(f"{start}*{end}"):
        if path != folder:
            shutil.rmtree(path, ignore_errors=True)
    return session


def _as_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _restore(aside: Path, folder: Path) -> None:
    if aside.exists():
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


@contextmanager
def native_output_off() -> Iterator[None]:
    """Suppress what native code writes to stderr. Only for one thread of a process at a time.

    With the log level "debug", it is not suppressed.
    """
    if _LOGGER.isEnabledFor(logging.DEBUG):
        yield
        return
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def default_threads() -> int:
    """Return the number of threads for one inference; more than four gain little."""
    return min(4, usable_cores())
