"""Names that anybody may have written: of models, of what they find, of their tensors."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MAX_LABEL_BYTES = 1024 * 1024
MAX_LABELS = 50_000
MAX_NAME = 100

# They turn the direction of what follows, in a log or a form, too.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SPACES = ("Cc", "Zl", "Zp", "Zs")
_SURROGATE = "Cs"


def clean(name: str, most: int = MAX_NAME) -> str:
    """Return a name as it can be shown anywhere: on one line, and not too long."""
    kept = name[: 4 * most]
    if not kept.isprintable():
        kept = "".join(
            " " if unicodedata.category(sign) in _SPACES else sign
            for sign in kept
            if unicodedata.category(sign) != _SURROGATE and sign not in _BIDI
        )
    text = " ".join(kept.split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def numbered(names: Iterable[str]) -> tuple[str, ...]:
    """Return names as they can be shown; one that is blank gets its number."""
    return tuple(clean(name) or f"class {i}" for i, name in enumerate(names))
