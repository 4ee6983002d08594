"""The models of a node: bundled ones, and those in its data folder."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError, UnknownModelError
from ..plain_files import read_plain
from ..protocol import MAX_HEADER_BYTES
from .manifest import MANIFEST_NAME, RESERVED, Model, load_model
from .names import clean

_LOGGER = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "ssd_mobilenet_v2_coco"
SELF_TEST_PICTURE = BUNDLED / "selftest.jpg"
SELF_TEST_EXPECTATION = BUNDLED / "selftest.json"
# The labels of all models are sent in one message, and may use half of it.
MAX_LABEL_CHARS = MAX_HEADER_BYTES // 2
# File beside the folders of versions that names the one in use.
CURRENT = "current"
_MOST_POINTER_BYTES = 1024
_MOST_FOLDERS = 1000
_MOST_REASON_CHARS = 500


class ModelStore:
    """Finds models in folders; models of later folders replace those with the same id.

    A folder holds `<name>/model.json`, or `<id>/<version>/model.json` with `<id>/current` naming
    the version in use. Earlier versions are kept for a rollback.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Read the manifests. Damaged ones are skipped; `damaged` has the reasons."""
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
                    require_room(model, models.values())
                    if model.id in models:
                        _require_files(model)  # it would replace an intact one
                except ModelError as err:
                    damaged[path] = clean(str(err), _MOST_REASON_CHARS)
                    if path not in self.damaged:
                        _LOGGER.warning("Model ignored: %s", damaged[path])
                except Exception as err:  # one bad folder must not affect the others
                    damaged[path] = clean(
                        f"{path}: {type(err).__name__}: {err}", _MOST_REASON_CHARS
                    )
                    if path not in self.damaged:
                        _LOGGER.exception("Model ignored: %s", path)
                else:
                    models[model.id] = model
        self.models = {key: with_detector(model, models) for key, model in models.items()}
        self.damaged = damaged

    def get(self, model_id: str | None) -> Model:
        """Return a model; None is the default one. Raises `UnknownModelError`."""
        wanted = model_id or DEFAULT_MODEL
        try:
            return self.models[wanted]
        except KeyError:
            known = ", ".join(sorted(self.models)) or "none"
            raise UnknownModelError(f"No model {wanted!r}; this node has: {known}") from None

    def prune(self, cache: Path) -> None:
        """Delete compiled models whose files no model here has."""
        used = {
            model.cache_name(engine)
            for model in self.models.values()
            for engine in model.manifest.engines
        }
        for folder in cache.glob("*"):
            if folder.name not in used:
                shutil.rmtree(folder, ignore_errors=True)


def with_detector(model: Model, models: Mapping[str, Model]) -> Model:
    """Return a model with the detector of its crops, if it uses crops and that is installed."""
    crops = model.manifest.crops
    return model if crops is None else replace(model, detector=models.get(crops.detector))


def require_room(model: Model, others: Iterable[Model]) -> None:
    """Raise `ModelError` if a model's labels do not fit into a message with those of others.

    Otherwise no model could be reported to the hub.
    """
    models = [model, *(other for other in others if other.id != model.id)]
    if sum(item.label_chars for item in models) > MAX_LABEL_CHARS:
        raise ModelError(
            f"{model.manifest.name} and the existing models have more than {MAX_LABEL_CHARS >> 20}"
            " MiB of labels; shorten its labels, or remove another model"
        )


def _require_files(model: Model) -> None:
    """Raise `ModelError` if a file of a model is missing or has another size."""
    for engine in model.manifest.engines.values():
        for file in engine.files.values():
            path = model.folder / file.path
            try:
                held = path.lstat()
            except (OSError, ValueError) as err:
                reason = err.strerror if isinstance(err, OSError) else str(err)
                raise ModelError(f"{path}: {reason}") from err
            if not stat.S_ISREG(held.st_mode) or held.st_size != file.size:
                raise ModelError(f"{path} is damaged: it is not the file of {file.size} bytes")


def is_bundled(model: Model) -> bool:
    """Return whether a model is bundled, and so trusted as the code is."""
    return model.folder.parent == BUNDLED


def use_version(folder: Path, version: str) -> None:
    """Make `version` of the id with this folder the one in use."""
    pointer = folder / CURRENT
    temporary = pointer.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"{version}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(pointer)


def _model_folders(folder: Path) -> Iterator[Path]:
    """Return the folders of the versions in use."""
    for path in sorted(folder.glob("[!.]*"))[:_MOST_FOLDERS]:
        try:
            # Also if it is no regular file: reading it says what is wrong.
            if os.path.lexists(path / MANIFEST_NAME):
                yield path
            elif (version := _version_in_use(path)) is not None:
                yield version
        except OSError as err:
            _LOGGER.warning("%s cannot be looked into: %s", path, err.strerror)


def _version_in_use(folder: Path) -> Path | None:
    versions = [
        path.parent
        for path in folder.glob(f"[!.]*/{MANIFEST_NAME}")
        if path.parent.name.lower() not in RESERVED
    ][:_MOST_FOLDERS]
    try:
        wanted = read_plain(folder / CURRENT, _MOST_POINTER_BYTES).decode().strip()
    except (OSError, ValueError):
        wanted = ""
    for version in versions:
        if version.name == wanted:
            return version
    # Without a pointer, for example after copying a folder: the newest.
    return max(versions, key=lambda path: path.stat().st_mtime, default=None)
