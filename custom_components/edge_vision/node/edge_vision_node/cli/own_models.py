"""`--model FILE`: use your own model for one command without installing it."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

from ..errors import ModelError, NodeError
from ..library.catalogue import catalogue
from ..library.inspection.inspector import Inspector, Wish
from ..library.install import MODEL_ID, Installer
from ..library.unpack import ARCHIVE_SUFFIXES
from ..library.uploads import labels_beside
from ..models.formats.reading import MODEL_SUFFIXES
from ..models.manifest import MANIFEST_NAME, Model, load_model
from ..models.store import BUNDLED, SELF_TEST_PICTURE, ModelStore, with_detector
from ..models.trust import Trust
from ..workers.pool import Workers

_SUFFIXES = (*MODEL_SUFFIXES, *ARCHIVE_SUFFIXES)


def is_file(name: str) -> bool:
    """Return whether `--model` is a file, not the id of a model."""
    path = Path(name)
    known = path.suffix.lower() in _SUFFIXES or path.name == MANIFEST_NAME
    return known or path.is_dir() or path.is_file()


def model_of(options: argparse.Namespace) -> Model:
    """Return the model that `--model` names, by id or file.

    A file is prepared in a folder that is removed when this process ends. Raises `NodeError`.
    """
    if options.data is not None and options.data.exists() and not options.data.is_dir():
        raise NodeError(f"{options.data} is not a folder")
    store = ModelStore([options.data / "models"] if options.data else [])
    if options.model is None or (options.model in store.models or not is_file(options.model)):
        return store.get(options.model)
    path = Path(options.model)
    if path.is_dir() and (path / MANIFEST_NAME).is_file():
        path /= MANIFEST_NAME
    if path.name == MANIFEST_NAME:
        return with_detector(load_model(path.parent), store.models)
    if not path.exists():
        raise NodeError(f"{path}: No such file")
    options.scratch = tempfile.TemporaryDirectory(
        prefix="edge_vision_"
    )  # removed when the process ends
    wish = _wish(path, store)
    return asyncio.run(_adopt(wish, options.data, Path(options.scratch.name)))


def _wish(path: Path, store: ModelStore) -> Wish:
    model_id = re.sub(r"[^a-z0-9_-]+", "_", path.stem.lower()).strip("_-")[:64]
    taken = model_id in catalogue().entries or (BUNDLED / model_id).exists()
    if not MODEL_ID.fullmatch(model_id) or model_id in store.models or taken:
        model_id = "own_model"
    return Wish(
        path=path,
        picture=SELF_TEST_PICTURE.read_bytes(),
        labels=None if path.is_dir() else labels_beside(path),
        save_as=model_id,
        replace=True,
    )


async def _adopt(wish: Wish, data: Path | None, scratch: Path) -> Model:
    own = ModelStore([*([data / "models"] if data else []), scratch / "models"])
    workers = Workers(trust=Trust(scratch))
    try:
        inspection, _ = await Inspector(workers, Installer(own, scratch / "models")).inspect(wish)
    finally:
        await workers.close()
    if inspection.problem is not None or inspection.saved is None:
        raise ModelError(f"{wish.path.name}: {inspection.problem}")
    if inspection.proposal is not None:
        proposal = inspection.proposal
        print(
            f"{wish.path.name} is read as {proposal.family} with {len(proposal.labels)} labels"
            f" ({proposal.confidence:.0f} %); `inspect` tells more",
            file=sys.stderr,
        )
    return own.get(wish.save_as)
