"""The models that a node holds: those that come with it, and those in its data folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ..errors import ModelError, UnknownModelError
from .manifest import MANIFEST_NAME, Model, load_model

_LOGGER = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "ssd_mobilenet_v2_coco"
SELF_TEST_PICTURE = BUNDLED / "selftest.jpg"
SELF_TEST_EXPECTATION = BUNDLED / "selftest.json"


class ModelStore:
    """Finds models in folders; a later folder's model hides an earlier one of the same id."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Read the manifests. A damaged one is left out, and its reason kept in `damaged`."""
        self.models: dict[str, Model] = {}
        self.damaged: dict[Path, str] = {}
        for folder in (BUNDLED, *folders):
            for manifest in sorted(folder.glob(f"*/{MANIFEST_NAME}")):
                try:
                    model = load_model(manifest.parent)
                except ModelError as err:
                    self.damaged[manifest.parent] = str(err)
                    _LOGGER.warning("Model left out: %s", err)
                else:
                    self.models[model.id] = model

    def get(self, model_id: str | None) -> Model:
        """Return a model, the default one for None. Raises `UnknownModelError`."""
        wanted = model_id or DEFAULT_MODEL
        try:
            return self.models[wanted]
        except KeyError:
            known = ", ".join(sorted(self.models)) or "none"
            raise UnknownModelError(f"No model {wanted!r}; this node holds: {known}") from None
