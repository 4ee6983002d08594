"""Archives from strangers: members come out as plain files of one folder, or not at all."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import ModelError
from .download import MAX_MODEL_BYTES, require_space, writing

MAX_MEMBERS = 64
# A package that holds a model among thousands of other files: they are counted, not written.
_MAX_LISTED = 20_000
_MAX_LISTED_BYTES = 4 * MAX_MODEL_BYTES
_CHUNK_BYTES = 1024 * 1024

_Member = zipfile.ZipInfo | tarfile.TarInfo


class Archive:
    """A zip or tar file, opened for reading."""

    def __init__(self, file: zipfile.ZipFile | tarfile.TarFile) -> None:
        """Read the table of contents. Raises `ModelError` where it is too long."""
        self._file = file
        self._members: dict[str, _Member] = {}
        total = 0
        for member in _listed(file):
            total += _size(member)
            # Summed up as the table is read: a compressed tar is unpacked on the way to its end.
            if len(self._members) >= _MAX_LISTED or total > _MAX_LISTED_BYTES:
                raise ModelError("The archive has too many members, or unpacks to too much")
            self._members[_name(member)] = member

    @property
    def files(self) -> tuple[str, ...]:
        """Return the members that are not folders."""
        return tuple(name for name, member in self._members.items() if not _is_folder(member))

    def extract(self, name: str, target: Path, max_bytes: int = MAX_MODEL_BYTES) -> None:
        """Write one member. Raises `ModelError` where it is no plain file, or too large."""
        member = self._members.get(name)
        if member is None:
            raise ModelError(f"The archive has no {name}")
        if not _is_plain(member):
            raise ModelError(f"{name} in the archive is a link or a device, not a file")
        size = _size(member)
        if size > max_bytes:
            raise ModelError(f"{name} in the archive has {size} bytes; the limit is {max_bytes}")
        require_space(target.parent, size)
        with writing(target.name), self._open(member) as source, target.open("wb") as file:
            left = size  # what the table of contents says is a promise; hold the archive to it
            while chunk := source.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise ModelError(f"{name} in the archive is larger than it says")
                file.write(chunk)

    def extract_all(self, folder: Path) -> list[Path]:
        """Write all members side by side, whatever folders the archive has; returns the files.

        Raises `ModelError` for paths that lead elsewhere, links, too many or too large members.
        """
        names = self.files
        if len(names) > MAX_MEMBERS:
            raise ModelError(f"The archive has {len(names)} files; {MAX_MEMBERS} are the most")
        total = 0
        targets: dict[str, str] = {}
        for name in names:
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise ModelError(f"The archive wants to write to {name!r}, outside its folder")
            if path.name in targets:
                raise ModelError(f"The archive has two files named {path.name}")
            targets[path.name] = name
            total += _size(self._members[name])
        if total > MAX_MODEL_BYTES:
            raise ModelError(
                f"The archive unpacks to {total >> 20} MiB; the limit is {MAX_MODEL_BYTES >> 20}"
            )
        for short, name in targets.items():
            self.extract(name, folder / short)
        return [folder / short for short in targets]

    def _open(self, member: _Member) -> IO[bytes]:
        if isinstance(self._file, zipfile.ZipFile):
            assert isinstance(member, zipfile.ZipInfo)
            return self._file.open(member)
        assert isinstance(member, tarfile.TarInfo)
        source = self._file.extractfile(member)
        assert source is not None  # plain files have content
        return source


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or tar archive. A .tflite with metadata is none."""
    if path.suffix.lower() in (".tflite", ".onnx"):
        return False
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a zip or tar file. Raises `ModelError` where it is none, or damaged."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                yield Archive(packed)
        else:
            with tarfile.open(path) as packed_tar:
                yield Archive(packed_tar)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as err:
        raise ModelError(f"The archive {path.name} is damaged: {err}") from err
    except (NotImplementedError, RuntimeError) as err:  # other compression, or a password
        raise ModelError(f"The archive {path.name} cannot be read: {err}") from err


def remove_folder(folder: Path) -> None:
    """Delete a folder that may be gone already."""
    shutil.rmtree(folder, ignore_errors=True)


def _listed(file: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    if isinstance(file, zipfile.ZipFile):
        yield from file.infolist()
    else:
        yield from file


def _name(member: _Member) -> str:
    return member.filename if isinstance(member, zipfile.ZipInfo) else member.name


def _size(member: _Member) -> int:
    return member.file_size if isinstance(member, zipfile.ZipInfo) else member.size


def _is_folder(member: _Member) -> bool:
    return member.is_dir() if isinstance(member, zipfile.ZipInfo) else member.isdir()


def _is_plain(member: _Member) -> bool:
    if isinstance(member, tarfile.TarInfo):
        return member.isreg()
    mode = member.external_attr >> 16
    return mode == 0 or stat.S_IFMT(mode) in (0, stat.S_IFREG)
