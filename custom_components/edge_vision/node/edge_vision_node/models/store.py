"""The models that a node holds: those that come with it, and those in its data folder."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError, UnknownModelError
from .manifest import MANIFEST_NAME, Model, load_model

_LOGGER = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "ssd_mobilenet_v2_coco"
SELF_TEST_PICTURE = BUNDLED / "selftest.jpg"
SELF_TEST_EXPECTATION = BUNDLED / "selftest.json"
# Beside the folders of an id's versions: a file that names the one in use.
CURRENT = "current"


class ModelStore:
    """Finds models in folders; a later folder's model hides an earlier one of the same id.

    A folder holds `<name>/model.json`, or `<id>/<version>/model.json` with `<id>/current` naming
    the version in use. The versions before it stay, to go back to.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Read the manifests. A damaged one is left out, and its reason kept in `damaged`."""
        self._folders = (BUNDLED, *folders)
        self.models: dict[str, Model] = {}
        self.damaged: dict[Path, str] = {}
        self.reload()

    def reload(self) -> None:
        """Read the folders again."""
        models: dict[str, Model] = {}
        damaged: dict[Path, str] = {}
        for folder in self._folders:
            for path in _model_folders(folder):
                try:
                    model = load_model(path)
                except ModelError as err:
                    damaged[path] = str(err)
                    if path not in self.damaged:
                        _LOGGER.warning("Model left out: %s", err)
                else:
                    models[model.id] = model
        self.models = {key: with_detector(model, models) for key, model in models.items()}
        self.damaged = damaged

    def get(self, model_id: str | None) -> Model:
        """Return a model, the default one for None. Raises `UnknownModelError`."""
        wanted = model_id or DEFAULT_MODEL
        try:
            return self.models[wanted]
        except KeyError:
            known = ", ".join(sorted(self.models)) or "none"
            raise UnknownModelError(f"No model {wanted!r}; this node holds: {known}") from None

    def prune(self, cache: Path) -> None:
        """Delete from the folder of compiled engines those of files that no model here has."""
        used = {
            model.cache_name(engine)
            for model in self.models.values()
            for engine in model.manifest.engines
        }
        for folder in cache.glob("*"):
            if folder.name not in used:
                shutil.rmtree(folder, ignore_errors=True)


def with_detector(model: Model, models: Mapping[str, Model]) -> Model:
    """Return a model with the one that finds its crops, where it wants some and that is there."""
    crops = model.manifest.crops
    return model if crops is None else replace(model, detector=models.get(crops.detector))


def is_bundled(model: Model) -> bool:
    """Return whether a model came with the package, so that it is as trusted as the code."""
    return model.folder.parent == BUNDLED


def use_version(folder: Path, version: str) -> None:
    """Make `version` the one in use of the id whose folder this is."""
    pointer = folder / CURRENT
    temporary = pointer.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"{version}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(pointer)


def _model_folders(folder: Path) -> Iterator[Path]:
    """Return the folder of each model's version in use."""
    for path in sorted(folder.glob("[!.]*")):
        if (path / MANIFEST_NAME).is_file():
            yield path
        elif (version := _version_in_use(path)) is not None:
            yield version


def _version_in_use(folder: Path) -> Path | None:
    versions = [path.parent for path in folder.glob(f"[!.]*/{MANIFEST_NAME}")]
    try:
        wanted = (folder / CURRENT).read_text("utf-8").strip()
    except (OSError, ValueError):
        wanted = ""
    for version in versions:
        if version.name == wanted:
            return version
    # Without a pointer, as after copying a folder by hand: what came last.
    return max(versions, key=lambda path: path.stat().st_mtime, default=None)
