"""Manages models for hubs: the catalog, installing, removing, the user's own models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from yarl import URL

from ..engines import why_unavailable
from ..errors import ModelError
from ..models.formats.reading import MODEL_SUFFIXES
from ..models.store import SELF_TEST_PICTURE, ModelStore
from ..protocol import (
    CatalogueAnswer,
    CatalogueModel,
    Inspection,
    InspectModel,
    InstallProgress,
    ModelInfo,
    UploadChunk,
    Uploaded,
)
from ..system import System
from ..workers.pool import Workers
from .catalogue import CatalogueEntry, catalogue
from .download import Download, download
from .inspection.inspector import Inspector, Wish
from .install import Installer, Step, detector_of
from .unpack import ARCHIVE_SUFFIXES
from .uploads import Uploads, labels_beside, named

_LOGGER = logging.getLogger(__name__)

ProgressListener = Callable[[InstallProgress], None]
_DROPPED_SUFFIXES = (*MODEL_SUFFIXES, *ARCHIVE_SUFFIXES)


class ModelManager:
    """Manages the models of a node. Used from one event loop."""

    def __init__(
        self, data: Path, store: ModelStore, workers: Workers, mirror: Path | None = None
    ) -> None:
        """Prepare; files are taken from the folder `mirror`, if there, instead of the network.

        By default it is the folder for new models, so that a device without internet can get files
        there.
        """
        self._store = store
        self._workers = workers
        self._cache = data / "cache"
        self._drop = data / "drop"
        try:
            self._drop.mkdir(parents=True, exist_ok=True)
        except OSError as err:  # for example, it is a file; there are other ways to add models
            _LOGGER.warning("The folder %s cannot be used: %s", self._drop, err.strerror)
        self._uploads = Uploads(data / "uploads")
        self._installer = Installer(store, data / "models", mirror or self._drop)
        self._installer.sweep()
        store.prune(self._cache)
        self._inspector = Inspector(workers, self._installer)

    async def close(self) -> None:
        """Cancel what is in progress."""
        await self._installer.close()

    async def catalogue(self) -> CatalogueAnswer:
        """Return the models that can be installed, and the files in the folder for new models."""
        return await asyncio.to_thread(self._catalogue)

    def _catalogue(self) -> CatalogueAnswer:
        return CatalogueAnswer(
            models=tuple(describe(item, self._store) for item in catalogue().entries.values()),
            dropped=tuple(self._dropped()),
            damaged=tuple(self._store.damaged.values()),
        )

    def _dropped(self) -> list[str]:
        try:
            files = [item for item in self._drop.iterdir() if item.is_file()]
        except OSError:
            return []
        names = (item.name for item in files if not item.is_symlink() and len(item.name) <= 128)
        return sorted(name for name in names if name.lower().endswith(_DROPPED_SUFFIXES))

    async def install(self, model_id: str, listener: ProgressListener) -> ModelInfo:
        """Install a model of the catalog. Raises as `Installer.install`."""

        def step(item: Step) -> None:
            listener(
                InstallProgress(
                    model=item.model,
                    file=item.file,
                    done_bytes=item.done_bytes,
                    total_bytes=item.total_bytes,
                )
            )

        return (await self._installer.install(model_id, step)).info()

    async def remove(self, model_id: str, users: list[str]) -> None:
        """Delete a model that no pipeline uses. Raises `ModelError` or `UnknownModelError`."""
        if users:
            name = self._store.get(model_id).manifest.name
            raise ModelError(
                f"{name} is used by {', '.join(users)}; choose another model there first"
            )
        await self._installer.remove(model_id)
        await asyncio.to_thread(self._store.prune, self._cache)

    async def upload(self, chunk: UploadChunk, data: bytes) -> Uploaded:
        """Store a part of a file. Raises `ModelError` or `StorageError`."""
        return await asyncio.to_thread(
            self._uploads.append, chunk.upload, chunk.name, chunk.offset, data
        )

    async def inspect(self, request: InspectModel) -> tuple[Inspection, bytes | None]:
        """Inspect a model of the user's own. Raises as `Inspector.inspect`."""
        given = [item for item in (request.upload, request.dropped, request.url) if item]
        if len(given) != 1:
            raise ModelError("Specify an upload, a dropped file or an address")
        upload = request.upload
        if request.url is not None:
            upload = await self._fetch(request.url)
        if upload is not None:
            path, labels = await asyncio.to_thread(self._uploads.find, upload, request.file)
        else:
            path = await asyncio.to_thread(named, self._drop, request.dropped or "")
            labels = labels_beside(path)
        wish = Wish(
            path=path,
            picture=await asyncio.to_thread(SELF_TEST_PICTURE.read_bytes),
            labels=labels,
            corrections=request.corrections,
            confidence=request.confidence,
            save_as=request.save_as,
            replace=request.replace,
        )
        try:
            inspection, picture = await self._inspector.inspect(wish)
        finally:
            if request.url is not None and upload is not None:
                await asyncio.to_thread(self._uploads.remove, upload)
        if inspection.saved is not None and request.upload is not None:
            await asyncio.to_thread(self._uploads.remove, request.upload)
        return inspection, picture

    async def _fetch(self, url: str) -> str:
        upload, folder = await asyncio.to_thread(self._uploads.folder)
        try:
            name = URL(url).name or "model"
            target = folder / "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[-64:]
            await download(Download(url=url), target.with_name(target.name.lstrip(".") or "model"))
        except ValueError as err:
            raise ModelError(f"{url!r} is not an address") from err
        return upload


def describe(
    entry: CatalogueEntry, store: ModelStore, system: System | None = None
) -> CatalogueModel:
    """Return the description of a catalog entry for messages, for this system or another one."""
    manifest = entry.manifest
    held = store.models.get(entry.id)
    needed = detector_of(entry, store, catalogue())
    return CatalogueModel(
        id=entry.id,
        version=manifest.version,
        name=manifest.name,
        task=manifest.task,
        summary=entry.sources.summary,
        engines=tuple(manifest.engines),
        license=manifest.license,
        source=manifest.source,
        download_bytes=sum(item.on(system).size_bytes for item in (entry, needed) if item),
        recommended=entry.sources.recommended,
        edgetpu=any("edgetpu" in engine.files for engine in manifest.engines.values()),
        installed=held.manifest.version if held else None,
        unavailable=why_unavailable(manifest.engines, system),
    )
