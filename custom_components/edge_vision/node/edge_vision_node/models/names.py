"""Untrusted names: of models, classes and tensors."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MAX_LABEL_BYTES = 1024 * 1024
MAX_LABELS = 50_000
MAX_NAME = 100

# Characters that reverse the direction of the following text, also in logs and forms.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SPACES = ("Cc", "Zl", "Zp", "Zs")
_SURROGATE = "Cs"


def clean(name: str, most: int = MAX_NAME) -> str:
    """Return a name that can be shown anywhere: one line, and not too long."""
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
    """Return names that can be shown; a blank one is replaced by its number."""
    return tuple(clean(name) or f"class {i}" for i, name in enumerate(names))
