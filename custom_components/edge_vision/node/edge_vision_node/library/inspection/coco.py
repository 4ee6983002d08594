"""COCO's 80 labels and the numbers that models give them."""

from __future__ import annotations

from ...models.manifest import load_model
from ...models.store import BUNDLED, DEFAULT_MODEL


def labels() -> tuple[str, ...]:
    """Return the 80 labels in the order of most models."""
    return load_model(BUNDLED / DEFAULT_MODEL).labels


def category_ids() -> tuple[int, ...]:
    """Return the category id (1-90, with gaps) of each of the 80 labels."""
    head = load_model(BUNDLED / DEFAULT_MODEL).manifest.head
    return tuple(head["class_ids"])
