"""Unpacks untrusted archives: members become regular files of one folder, or none at all."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import ModelError
from ..models import labels
from ..models.formats.reading import MODEL_SUFFIXES
from .download import MAX_MODEL_BYTES, require_space, writing

MAX_MEMBERS = 64
# Suffixes of packed models.
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz")
# A package may hold a model among thousands of other files, which are not written.
_MAX_LISTED = 20_000
_MAX_LISTED_BYTES = 4 * MAX_MODEL_BYTES
_CHUNK_BYTES = 1024 * 1024
_MOST_AT_ONCE = 4 * 1024 * 1024
# The last record of a zip with the longest comment, and the table of twenty thousand members.
_END_BYTES = 22 + 65535
_MAX_TABLE_BYTES = 8 * 1024 * 1024
_ENCRYPTED = 0x1
_LOWERED = frozenset({*MODEL_SUFFIXES, *labels.SUFFIXES, ".bin"})
# Other methods need as much memory as the archive says.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)

_Member = zipfile.ZipInfo | tarfile.TarInfo


class ArchiveFile:
    """A zip or tar file, opened for reading.

    Names have slashes, whichever system the archive was made on.
    """

    def __init__(self, file: zipfile.ZipFile | tarfile.TarFile) -> None:
        """Read the table of contents. Raises `ModelError` if it is too long."""
        self._file = file
        self._members: dict[str, _Member] = {}
        total = 0
        for member in _listed(file):
            total += _size(member)
            # Summed while reading: a compressed tar is unpacked on the way to its end.
            if len(self._members) >= _MAX_LISTED or total > _MAX_LISTED_BYTES:
                raise ModelError(
                    "The archive has too many members, or is too large when unpacked: more than"
                    f" {_MAX_LISTED} or {_MAX_LISTED_BYTES >> 20} MiB"
                )
            self._members[_name(member).replace("\\", "/")] = member

    @property
    def files(self) -> tuple[str, ...]:
        """Return the members that are not folders."""
        return tuple(
            name
            for name, member in self._members.items()
            if not _is_folder(member) and not name.endswith("/")
        )

    def extract(self, name: str, target: Path, max_bytes: int = MAX_MODEL_BYTES) -> None:
        """Write one member. Raises `ModelError` if it is not a regular file, or too large."""
        member = self._members.get(name)
        if member is None:
            raise ModelError(f"The archive has no {name}")
        if isinstance(member, zipfile.ZipInfo):
            if member.flag_bits & _ENCRYPTED:
                raise ModelError(
                    f"The archive is protected with a password ({name}); pack it again without one"
                )
            if member.compress_type not in _METHODS:
                raise ModelError(
                    f"{name} in the archive uses an unsupported compression; pack it again as an"
                    " ordinary .zip"
                )
        if not _is_plain(member):
            raise ModelError(f"{name} in the archive is a link or a device, not a file")
        size = _size(member)
        if size > max_bytes:
            raise ModelError(f"{name} in the archive has {size} bytes; the limit is {max_bytes}")
        require_space(target.parent, size)
        with writing(target.name), self._open(member) as source, target.open("wb") as file:
            left = size  # the table of contents may be wrong
            while chunk := source.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise ModelError(f"{name} in the archive is larger than declared")
                file.write(chunk)

    def extract_these(self, names: Sequence[str], folder: Path) -> None:
        """Write members into one folder, whatever folders the archive has.

        Suffixes are lowercased. Raises `ModelError` for paths that lead elsewhere, links, and too
        many or too large members.
        """
        if len(names) > MAX_MEMBERS:
            raise ModelError(f"The archive has {len(names)} files; the maximum is {MAX_MEMBERS}")
        total = 0
        targets: dict[str, str] = {}
        for name in names:
            path = PurePosixPath(name)
            first = path.parts[0] if path.parts else ""  # "." has no parts
            if path.is_absolute() or ".." in path.parts or ":" in first or not path.name:
                raise ModelError(f"The archive contains {name!r}, which is outside its folder")
            short = plain_name(path.name)
            if short in targets:
                raise ModelError(f"The archive contains two files with the name {short}")
            targets[short] = name
            total += _size(self._members[name])
        if total > MAX_MODEL_BYTES:
            raise ModelError(
                f"The archive unpacks to {total >> 20} MiB; the limit is {MAX_MODEL_BYTES >> 20}"
            )
        for short, name in targets.items():
            self.extract(name, folder / short)

    def _open(self, member: _Member) -> IO[bytes]:
        if isinstance(self._file, zipfile.ZipFile):
            assert isinstance(member, zipfile.ZipInfo)
            return self._file.open(member)
        assert isinstance(member, tarfile.TarInfo)
        source = self._file.extractfile(member)
        assert source is not None  # regular files have content
        return source


def plain_name(name: str) -> str:
    """Return a file's name with its suffix in lower case."""
    suffix = PurePosixPath(name).suffix
    if suffix.lower() not in _LOWERED:
        return name
    return name.removesuffix(suffix) + suffix.lower()


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or tar archive; a .tflite with metadata is not.

    Raises `ModelError` for a hostile tar file.
    """
    if path.suffix.lower() == ".tflite":
        return False
    try:
        if path.suffix.lower() == ".onnx":  # renamed; weights may look like one
            with path.open("rb") as file:
                return file.read(4) == b"PK\x03\x04"
        if zipfile.is_zipfile(path):
            return True
        with _open_tar(path):
            return True
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False


@contextmanager
def open_archive(path: Path) -> Iterator[ArchiveFile]:
    """Open a zip or tar file. Raises `ModelError` if it is neither, damaged or hostile."""
    try:
        if zipfile.is_zipfile(path):
            _require_short_table(path)
            with zipfile.ZipFile(path) as packed:
                yield ArchiveFile(packed)
        else:
            with _open_tar(path) as packed_tar:
                yield ArchiveFile(packed_tar)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as err:
        raise ModelError(f"The archive {path.name} is damaged or cut short: {err}") from err
    except (NotImplementedError, RuntimeError, UnicodeDecodeError) as err:
        raise ModelError(f"The archive {path.name} cannot be read: {err}") from err


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file, plain or gzipped. Raises as `tarfile`, or `ModelError`."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        source = gzip.GzipFile(fileobj=raw) if packed else raw
        with source, tarfile.TarFile(fileobj=_Sips(source)) as file:
            yield file


class _Sips(io.RawIOBase):
    """A file that is read in small parts only, so that a huge header fails.

    `tarfile` reads a header at once, or, in newer versions, in parts that it keeps; and it seeks
    before each part of a member.
    """

    def __init__(self, source: IO[bytes] | gzip.GzipFile) -> None:
        self._source = source
        self._read_in_a_row = 0

    def read(self, size: int = -1, /) -> bytes:
        self._read_in_a_row += max(size, 0)
        if size < 0 or self._read_in_a_row > _MOST_AT_ONCE:
            raise ModelError("The archive has a header that is too large")
        return self._source.read(size)

    def tell(self) -> int:
        return self._source.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._read_in_a_row = 0
        return self._source.seek(offset, whence)


def _require_short_table(path: Path) -> None:
    """Raise `ModelError` if a zip's table of contents would fill the memory."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_BYTES))
        tail = file.read(_END_BYTES)
    at = tail.rfind(b"PK\x05\x06")
    if at >= 0 and len(tail) >= at + 16:
        (table_bytes,) = struct.unpack_from("<I", tail, at + 12)
        if table_bytes > _MAX_TABLE_BYTES:
            raise ModelError("The archive has too many members, or is too large when unpacked")


def remove_folder(folder: Path) -> None:
    """Delete a folder if it exists."""
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
