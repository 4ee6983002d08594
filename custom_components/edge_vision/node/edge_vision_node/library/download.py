"""Downloads a file over a network that may break at any byte."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import aiohttp
from yarl import URL

from ..errors import DownloadError, StorageError

_LOGGER = logging.getLogger(__name__)

MAX_MODEL_BYTES = 512 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_MAX_REDIRECTS = 5
# Free space that is left for Home Assistant's database on the same disk.
_RESERVE_BYTES = 32 * 1024 * 1024
# Servers that redirect downloads to their own stores.
_HANDED_OVER = {
    "github.com": ("objects.githubusercontent.com", "release-assets.githubusercontent.com")
}
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

# (bytes so far, total bytes or None if the server does not say)
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """Limits of a download; times in seconds."""

    connect_s: float = 15.0
    silence_s: float = 30.0
    total_s: float = 3600.0
    attempts: int = 5
    pause_s: float = 1.0
    max_bytes: int = MAX_MODEL_BYTES


LIMITS = DownloadLimits()


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to fetch. Without `sha256`, it is only as trustworthy as its server.

    Plain HTTP is allowed with `plain_http` only, for the user's own network.
    """

    url: str
    sha256: str | None = None
    size: int | None = None
    plain_http: bool = False


@dataclass(frozen=True)
class Fetched:
    """The file that was written."""

    sha256: str
    size: int


class _Interrupted(Exception):
    """The connection ended early; the data so far is valid."""


class _Partial:
    """A growing file, with the digest of its content."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.size = 0
        self.validator: str | None = None
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def start_over(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.size, self.validator, self._digest = 0, None, hashlib.sha256()

    def append(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            raise DownloadError(f"The server sends more than the {self._max_bytes} bytes expected")
        self._file.write(data)
        self._digest.update(data)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


async def download(
    wanted: Download,
    target: Path,
    progress: Progress | None = None,
    limits: DownloadLimits = LIMITS,
) -> Fetched:
    """Fetch a file to `target`, which appears complete and verified, or not at all.

    An interrupted download is resumed. Raises `DownloadError`, or `StorageError` if the disk is
    full.
    """
    most = limits.max_bytes if wanted.size is None else wanted.size
    if most > limits.max_bytes:
        raise DownloadError(f"{target.name} has {most} bytes; the limit is {limits.max_bytes}")
    require_space(target.parent, wanted.size or 0)
    temporary = target.with_name(f"{target.name}.part")
    try:
        with writing(target.name):
            with temporary.open("wb") as file:
                partial = _Partial(file, most)
                async with asyncio.timeout(limits.total_s):
                    await _fetch(wanted, partial, progress, limits)
                _verify(wanted, partial, target.name)
                await asyncio.to_thread(partial.finish)
            temporary.replace(target)
            sync_folder(target.parent)
    except TimeoutError:
        raise DownloadError(f"{target.name} was not complete after {limits.total_s:g} s") from None
    finally:
        temporary.unlink(missing_ok=True)
    return Fetched(partial.sha256, partial.size)


async def _fetch(
    wanted: Download, partial: _Partial, progress: Progress | None, limits: DownloadLimits
) -> None:
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=limits.connect_s, sock_read=limits.silence_s
    )
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        for attempt in range(1, limits.attempts + 1):
            try:
                await _attempt(session, wanted, partial, progress)
            except _Interrupted as err:
                host = URL(wanted.url).host
                if attempt == limits.attempts:
                    raise DownloadError(
                        f"Downloading from {host} failed ({err}) after {attempt} attempts; check"
                        " the network and try again"
                    ) from err
                _LOGGER.info("%s: %s after %d bytes, trying again", host, err, partial.size)
                await asyncio.sleep(limits.pause_s * 2 ** (attempt - 1))
            else:
                return


async def _attempt(
    session: aiohttp.ClientSession, wanted: Download, partial: _Partial, progress: Progress | None
) -> None:
    """Resume where the last attempt ended. Raises `_Interrupted` if another attempt may help."""
    headers = {"Accept-Encoding": "identity"}
    if partial.size and (partial.validator or wanted.sha256):
        headers["Range"] = f"bytes={partial.size}-"
        if partial.validator:
            headers["If-Range"] = partial.validator
    elif partial.size:
        partial.start_over()  # without a digest, the rest may belong to another file
    try:
        async with _get(session, wanted, headers) as response:
            total = _begin(response, wanted, partial)
            if progress is not None:
                progress(partial.size, total)
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                await asyncio.to_thread(partial.append, chunk)
                if progress is not None:
                    progress(partial.size, total)
    except aiohttp.ClientConnectorCertificateError as err:
        raise DownloadError(f"The certificate of {err.host} is not valid") from err
    except aiohttp.InvalidURL as err:
        raise DownloadError(f"{err.url} is not an address") from err
    except (aiohttp.ClientError, ConnectionError) as err:
        raise _Interrupted(str(err) or type(err).__name__) from err
    if total is not None and partial.size < total:
        raise _Interrupted("the connection was closed early")


@asynccontextmanager
async def _get(
    session: aiohttp.ClientSession, wanted: Download, headers: dict[str, str]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send the request, following redirects to allowed hosts only."""
    try:
        url = URL(wanted.url)
    except ValueError as err:
        raise DownloadError(f"{wanted.url!r} is not an address: {err}") from err
    first = url.host or ""
    for _ in range(_MAX_REDIRECTS + 1):
        _require_scheme(url, wanted)
        if url.host not in (first, *_HANDED_OVER.get(first, ())):
            raise DownloadError(f"{first} redirects to {url.host}, which is not trusted")
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status not in (301, 302, 303, 307, 308):
                yield response
                return
            location = response.headers.get("Location")
            if not location:
                raise DownloadError(f"{url.host} redirects without an address")
            onwards = url.join(URL(location))
            if url.scheme == "https" and onwards.scheme != "https":
                raise DownloadError(f"{url.host} redirects to {onwards.scheme}, which is not safe")
            url = onwards
    raise DownloadError(f"{first} redirects more than {_MAX_REDIRECTS} times")


def _require_scheme(url: URL, wanted: Download) -> None:
    allowed = ("https", "http") if wanted.plain_http else ("https",)
    if url.scheme not in allowed or not url.host:
        raise DownloadError(f"{url.scheme or 'no scheme'} is not {' or '.join(allowed)}: {url}")
    if url.user or url.password:
        raise DownloadError(f"The address of {url.host} contains a password; remove it")


def _begin(response: aiohttp.ClientResponse, wanted: Download, partial: _Partial) -> int | None:
    """Check the response's headers; return the size of the whole file, None if unknown."""
    status = response.status
    if status == 416:
        partial.start_over()
        raise _Interrupted("the server cannot continue the download")
    if status in _TRY_AGAIN:
        raise _Interrupted(f"it responded with {status} {response.reason}")
    if status not in (200, 206):
        raise DownloadError(f"{response.url.host} responded with {status} {response.reason}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{response.url.host} sends the file with another encoding")
    length = response.content_length
    total = None if length is None else length + (partial.size if status == 206 else 0)
    if status == 206:
        begins = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
        if begins != str(partial.size):
            partial.start_over()
            raise _Interrupted("the server continued at another position")
    else:
        partial.start_over()
        tag = response.headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else None
        partial.validator = strong or response.headers.get("Last-Modified")
    if total is not None and wanted.size is not None and total != wanted.size:
        raise DownloadError(f"{response.url.host} offers {total} bytes; the file has {wanted.size}")
    return total if total is not None else wanted.size


def _verify(wanted: Download, partial: _Partial, name: str) -> None:
    if wanted.size is not None and partial.size != wanted.size:
        raise DownloadError(f"{name} has {partial.size} bytes; it should have {wanted.size}")
    if wanted.sha256 is not None and partial.sha256 != wanted.sha256:
        raise DownloadError(f"{name} is not the expected file: its SHA-256 is {partial.sha256}")


# --- The disk ---------------------------------------------------------------------------------


def require_space(folder: Path, size: int) -> None:
    """Raise `StorageError` if a file of `size` bytes would fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < size + _RESERVE_BYTES:
        raise StorageError(
            f"The disk is full: {size / 2**20:.1f} MiB are needed and {free / 2**20:.1f} MiB are"
            " free; free some space and try again"
        )


class writing:  # noqa: N801 - used as a context manager only
    """Turns an `OSError` into a `StorageError` for users."""

    def __init__(self, name: str) -> None:
        """Set what is written, for the error."""
        self._name = name

    def __enter__(self) -> None:
        """Enter the context."""

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        """Translate an `OSError`; network errors are handled before."""
        if isinstance(err, OSError) and not isinstance(err, TimeoutError):
            _raise_storage(self._name, err)


def _raise_storage(name: str, err: OSError) -> NoReturn:
    if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise StorageError(
            f"The disk is full: {name} cannot be written; free some space and try again"
        ) from err
    raise StorageError(f"{name} cannot be written: {err.strerror or err}") from err


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
