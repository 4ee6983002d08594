"""The small interface behind which every inference engine stands."""

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
        model_id: for messages.
        paths: role ("model", "param", "bin", …) → file.
        inputs, outputs: tensor names, in the order in which the head knows them. The first input
            takes the picture.
        constants: input → (dtype, value) of inputs that are the same for every frame.
        dtype: of the picture: "float32", or "uint8" for pixels as they are.
        cache: folder of these very files in which an engine may keep what it compiled from them;
            None: nowhere.
    """

    model_id: str
    paths: Mapping[str, Path]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    dtype: str = "float32"
    cache: Path | None = None

    def path(self, role: str) -> Path:
        """Return the file of a role. Raises `ModelError` where the model has none."""
        try:
            return self.paths[role]
        except KeyError:
            raise ModelError(f"{self.model_id} has no {role!r} file for this engine") from None

    def constant_inputs(self) -> dict[str, NDArray[Any]]:
        """Return the inputs that are the same for every frame."""
        return {name: np.asarray(value, dtype) for name, (dtype, value) in self.constants.items()}


def cannot_use(engine: Engine, err: Exception | str) -> EngineMissingError:
    """Return what to say of an engine whose package cannot be imported.

    Where it is not installed, whether it could be is more to the point than Python's own words.
    """
    if isinstance(err, ModuleNotFoundError) and err.name in engine.modules:
        return EngineMissingError(why_missing(engine.id, engine.name))
    return EngineMissingError(f"{engine.name} cannot be used here: {err}")


class Session(Protocol):
    """A model loaded on an accelerator. Used by one thread at a time.

    `batches`: it says that it takes several pictures at once.
    """

    batches: bool

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the model on one picture [1, …] (float32, or uint8 for a quantised model).

        The outputs come in the manifest's order; quantised ones come back as float32 in their
        real units. Raises `InferenceError`.
        """

    def close(self) -> None:
        """Give the memory back; the session is of no use afterwards."""


class Engine(Protocol):
    """An inference runtime. Its package is imported when it is first asked for, not before.

    `modules`: what its package may be imported as; without any of them it is not installed.
    """

    id: str
    name: str
    modules: tuple[str, ...]

    def version(self) -> str:
        """Return the package's version. Raises `EngineMissingError` where it cannot be used."""

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the accelerators that are really here, best first."""

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
    """Load with a folder for compiled engines; what is in it may spoil the loading.

    A driver or an engine that was updated may refuse what its predecessor compiled. But a failure
    may also have nothing to do with it, and compiling takes up to a quarter of an hour. So what
    was kept is moved aside and comes back unless the model loads without it.

    Args:
        cache: `EngineFiles.cache`.
        engine: id and version. What other versions compiled for this accelerator is deleted when
            this one has loaded.
        accelerator: each has a folder of its own.
        load: loads, given the folder (there already) or None.
    """
    if cache is None:
        return load(None)
    engine_id, version = engine
    start, end = _as_name(f"{engine_id}-"), _as_name(f"-{accelerator}")
    folder = cache / f"{start}{_as_name(version)}{end}"
    aside = cache / f".{folder.name}"
    try:
        _restore(aside, folder)  # from a process that was ended in the middle
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as err:
        _LOGGER.warning("No compiled engines are kept: %s", err)
        return load(None)
    try:
        session = load(folder)
    except NodeError as err:
        if not used:
            raise
        _LOGGER.warning("The compiled engine in %s is made anew: %s", folder, err)
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
    """Keep what native code writes to stderr to ourselves. For one thread of a process at a time.

    With the log level "debug" it is shown.
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
    """Return how many threads one inference gets: more than four gain little on these models."""
    return min(4, usable_cores())
