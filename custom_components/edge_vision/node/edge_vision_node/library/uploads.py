"""Files that a hub uploads in parts, or that lie in the folder for new models."""

from __future__ import annotations

import re
from pathlib import Path

from ulid_transform import ulid_now

from ..errors import ModelError
from ..models.labels import SUFFIXES
from ..protocol import Uploaded
from .download import MAX_MODEL_BYTES, require_space, writing
from .unpack import remove_folder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +()-]{0,127}")
_ID = re.compile(r"[0-9A-Z]{26}")
# A .json may be the description of a Hailo model.
_LABELS = tuple(suffix for suffix in SUFFIXES if suffix != ".json")
_MOST_UPLOADS = 4
_MOST_FILES = 8


class Uploads:
    """A folder with a folder for each upload. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Start empty; files of an earlier process are deleted with the next upload."""
        self._folder = folder
        self._ids: list[str] = []

    def append(self, upload: str | None, name: str, offset: int, data: bytes) -> Uploaded:
        """Append a part to a file. Raises `ModelError` if it is out of order, or `StorageError`."""
        if not _NAME.fullmatch(name):
            raise ModelError(f"{name!r} is not a file name")
        if upload is None:
            upload = self._begin()
        folder = self._require(upload)
        path = folder / name
        size = path.stat().st_size if path.exists() else 0
        if offset == 0:
            size = 0
        if offset != size:
            raise ModelError(f"Expected the part of {name} at {size}, got that at {offset}")
        others = [item for item in folder.iterdir() if item != path]
        total = sum(item.stat().st_size for item in others) + size + len(data)
        if len(others) >= _MOST_FILES or total > MAX_MODEL_BYTES:
            raise ModelError(
                f"An upload has {_MOST_FILES} files and {MAX_MODEL_BYTES >> 20} MiB at most"
            )
        require_space(folder, len(data))
        with writing(name), path.open("ab" if offset else "wb") as file:
            file.write(data)
        return Uploaded(upload=upload, size=size + len(data))

    def _begin(self) -> str:
        if not self._ids:
            remove_folder(self._folder)
        while len(self._ids) >= _MOST_UPLOADS:
            self.remove(self._ids[0])
        upload = ulid_now()
        with writing("An upload"):
            (self._folder / upload).mkdir(parents=True)
        self._ids.append(upload)
        return upload

    def _require(self, upload: str) -> Path:
        if not _ID.fullmatch(upload) or upload not in self._ids:
            raise ModelError(f"There is no upload {upload!r}; it may have expired")
        return self._folder / upload

    def folder(self) -> tuple[str, Path]:
        """Return a new empty folder and its id, for a download."""
        upload = self._begin()
        return upload, self._folder / upload

    def find(self, upload: str, name: str | None) -> tuple[Path, Path | None]:
        """Return the model's file and the labels of an upload. Raises `ModelError`."""
        files = sorted(self._require(upload).iterdir())
        labels = [path for path in files if path.suffix.lower() in _LABELS]
        if name is None:
            beside = (*_LABELS, ".bin", ".json")
            others = [path for path in files if path.suffix.lower() not in beside]
            if len(others) != 1:
                names = ", ".join(path.name for path in files) or "nothing"
                raise ModelError(f"Specify the model file; there are {names}")
            model = others[0]
        else:
            model = named(self._folder / upload, name)
        if not labels and model.suffix.lower() != ".hef":
            labels = [path for path in files if path.suffix.lower() == ".json"]
        return model, next((path for path in labels if path != model), None)

    def remove(self, upload: str) -> None:
        """Delete an upload."""
        if upload in self._ids:
            self._ids.remove(upload)
            remove_folder(self._folder / upload)


def named(folder: Path, name: str) -> Path:
    """Return a file of a folder by its name. Raises `ModelError`."""
    path = folder / name
    if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
        raise ModelError(f"There is no file {name!r}")
    return path


def labels_beside(path: Path) -> Path | None:
    """Return the label file beside a model's file, with the same name and a suffix such as .txt."""
    for suffix in _LABELS:
        for name in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
            if name.is_file() and not name.is_symlink():
                return name
    return None
