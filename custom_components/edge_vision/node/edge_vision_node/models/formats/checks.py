"""Checks of the files of a model before an engine loads them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ...engines.base import EngineFiles
from ...errors import ModelError
from ..manifest import Model
from .model_file import ModelFile
from .reading import read_model_file

# Roles of files that this project can read; others (.hef) can only be read by their engine.
_READABLE = ("model", "edgetpu", "param")


def check_model(model: Model, engine: str) -> None:
    """Check the files of a model for an engine. Raises `ModelError`."""
    check_files(model.files(engine), model.folder)


def check_files(files: EngineFiles, folder: Path) -> None:
    """Raise `ModelError` if a file is damaged, absurd, or refers to files outside `folder`."""
    for role, path in files.paths.items():
        if role in _READABLE and path.suffix.lower() != ".hef":
            content = read_model_file(path)
            check_external(content, folder, {item.name for item in files.paths.values()})


def check_external(content: ModelFile, folder: Path, known: set[str]) -> None:
    """Raise `ModelError` if a file refers to weights that do not belong to the model.

    `known`: names of the files of the model; their digests are in its manifest.
    """
    for location in content.external:
        path = PurePosixPath(location)
        plain = location and path.name == location and PureWindowsPath(location).name == location
        if not plain or location in (".", ".."):
            raise ModelError(
                f"The model was rejected: it refers to {location!r}, which is outside its folder"
            )
        target = folder / location
        if target.is_symlink() or not target.is_file():
            raise ModelError(f"The weights {location} of the model are missing; add this file, too")
        if location not in known:
            raise ModelError(f"The weights {location} of the model are not in its manifest")
