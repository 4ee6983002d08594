"""What a model's files are checked for before any engine sees them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ...engines.base import EngineFiles
from ...errors import ModelError
from ..manifest import Model
from .model_file import ModelFile
from .reading import read_model_file

# Roles whose files this project can read; others (.hef) are for their engine alone.
_READABLE = ("model", "edgetpu", "param")


def check_model(model: Model, engine: str) -> None:
    """Check the files that a model has for an engine. Raises `ModelError`."""
    check_files(model.files(engine), model.folder)


def check_files(files: EngineFiles, folder: Path) -> None:
    """Raise `ModelError` where a file is damaged, absurd, or reaches out of the model's folder."""
    for role, path in files.paths.items():
        if role in _READABLE and path.suffix.lower() != ".hef":
            content = read_model_file(path)
            check_external(content, folder, {item.name for item in files.paths.values()})


def check_external(content: ModelFile, folder: Path, known: set[str]) -> None:
    """Raise `ModelError` where a file reads its weights from a place that is not the model's.

    `known`: names of the files that belong to the model, whose digests its manifest names.
    """
    for location in content.external:
        path = PurePosixPath(location)
        plain = location and path.name == location and PureWindowsPath(location).name == location
        if not plain or location in (".", ".."):
            raise ModelError(
                f"The model wants to read {location!r}, outside its own folder, and is refused"
            )
        target = folder / location
        if target.is_symlink() or not target.is_file():
            raise ModelError(f"The model's weights {location} are missing; bring them along")
        if location not in known:
            raise ModelError(f"The model's weights {location} are not in its manifest")
