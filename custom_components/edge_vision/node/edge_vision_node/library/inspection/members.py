"""Finds the files of a model in an archive or folder: the model, files beside it, its labels.

Files that systems and tools leave in archives are ignored: macOS's resource forks, Windows' caches,
and READMEs and licenses, which are text like labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from ...errors import ModelError
from ...models import labels
from ...models.formats import strangers
from ...models.formats.reading import MODEL_SUFFIXES
from ..unpack import ARCHIVE_SUFFIXES

_ARCHIVES = (*ARCHIVE_SUFFIXES, ".7z", ".rar", ".xz", ".bz2", ".zst")
_JUNK = frozenset({"__macosx", "__pycache__", "thumbs.db", "desktop.ini"})
_DOCUMENTS = (
    *("readme", "read_me", "license", "licence", "licens", "copying", "notice", "changelog"),
    *("changes", "authors", "contributing", "requirements", "citation", "disclaimer", "history"),
    *("copyright", "terms", "eula", "howto", "how_to", "manual", "instructions", "about", "info"),
    *("install", "version", "usage", "release"),
)
# Anywhere in a name, unless it is about license plates or labels.
_DOCUMENT_WORDS = ("readme", "license", "licence", "lizenz", "liesmich", "copyright", "notice")
_NO_DOCUMENTS = ("plate", "label", "class", "names", "categories")
# Files beside a model that are no weights.
_NO_WEIGHTS = (".txt", ".csv", ".names", ".labels", ".lst", ".pbtxt", ".jpg", ".jpeg", ".png")
_NAMED = ("label", "class", "names", "coco", "objects", "categories", "metadata", "data.yaml")
# Beside a Hailo model, it describes how to read that.
_DESCRIPTION = ".json"


def is_junk(name: str) -> bool:
    """Return whether this is a system file or hidden."""
    parts = PurePosixPath(name).parts
    hidden = (part for part in parts if part.startswith(".") and part != "..")
    return any(hidden) or any(part.lower() in _JUNK for part in parts)


def is_document(name: str) -> bool:
    """Return whether this is documentation."""
    path = PurePosixPath(name)
    if path.suffix.lower() in (".md", ".rst", ".html", ".pdf"):
        return True
    plain = path.name.lower()
    if any(word in plain for word in _NO_DOCUMENTS):
        return False
    return plain.startswith(_DOCUMENTS) or any(
        word in plain.replace(" ", "").replace("_", "") for word in _DOCUMENT_WORDS
    )


def the_model(name: str, files: Sequence[str]) -> str:
    """Return the model's file among those of an archive or folder. Raises `ModelError`."""
    files = [file for file in files if not is_junk(file)]
    models = [file for file in files if PurePosixPath(file).suffix.lower() in MODEL_SUFFIXES]
    if not models and (what := strangers.by_members(files)) is not None:
        raise ModelError(strangers.refusal(name, what))
    nested = [file for file in files if PurePosixPath(file).suffix.lower() in _ARCHIVES]
    if not models and nested:
        raise ModelError(
            f"{name} contains another archive, {PurePosixPath(nested[0]).name}; unpack it and use"
            " the files inside"
        )
    strange = next((what for file in files if (what := strangers.by_suffix(file))), None)
    if not models and strange is not None:
        raise ModelError(strangers.refusal(name, strange))
    if len(models) != 1:
        known = models or [file for file in files if not is_document(file)]
        names = ", ".join(PurePosixPath(item).name for item in known[:10]) or "nothing"
        raise ModelError(f"{name} should contain one model; it contains {names}")
    return models[0]


def labels_of(model: str, files: Iterable[str]) -> list[str]:
    """Return the files that may hold a model's labels, the most likely first."""
    path = PurePosixPath(model)
    ranked = []
    for file in files:
        item = PurePosixPath(file)
        if is_junk(file) or is_document(file) or item.suffix.lower() not in labels.SUFFIXES:
            continue
        if item.suffix.lower() == _DESCRIPTION and path.suffix.lower() == ".hef":
            continue
        named = is_named_for_labels(file, model)
        plain = item.suffix.lower() in (".txt", ".names", ".labels")
        ranked.append((not named, item.parent != path.parent, not plain, file))
    return [file for *_, file in sorted(ranked)]


def is_named_for_labels(file: str, model: str) -> bool:
    """Return whether a file's name says that it holds labels."""
    item = PurePosixPath(file)
    return any(word in item.name.lower() for word in _NAMED) or (
        item.stem == PurePosixPath(model).stem
    )


def beside(model: str, files: Iterable[str]) -> list[str]:
    """Return the files beside a model that may belong to it: weights and descriptions."""
    folder = PurePosixPath(model).parent
    return [
        file
        for file in files
        if PurePosixPath(file).parent == folder
        and file != model
        and not is_junk(file)
        and not is_document(file)
        and PurePosixPath(file).suffix.lower() not in (*MODEL_SUFFIXES, *_NO_WEIGHTS)
    ]
