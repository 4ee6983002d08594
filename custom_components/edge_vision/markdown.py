"""Escaping of untrusted texts for Markdown in Home Assistant.

Names of models, cameras and files, and messages of engines and cameras can contain anything. The
descriptions of flows and repair issues are Markdown, where such texts must be shown literally.
Titles and errors of forms are plain text, where escapes would be visible.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_MOST_CHARS: Final = 500
# Start of emphasis, code, links, pictures, HTML, entities, tables, headings and addresses.
_ACTIVE: Final = re.compile(r"[\\`*_\[\]<>#|~&@]|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)
# Start of a list, a rule or a heading at the start of a line.
_LIST: Final = re.compile(r"^(?:[-+=]|\d+(?=[.)](?: |$)))")

# Control characters, surrogates, line separators, and changes of the text direction.
_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")
_TURNS: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class Markdown(str):
    """A Markdown text with all untrusted parts escaped."""

    __slots__ = ()


class Plain(str):
    """A text for places without Markdown: titles, options and errors."""

    __slots__ = ()


def escaped(text: str, most_chars: int = _MOST_CHARS) -> Markdown:
    """Return an untrusted text as Markdown that shows it literally, in one line."""
    if isinstance(text, Markdown):
        return text
    line = " ".join(one_line(text, most_chars).split())
    line = _ACTIVE.sub(r"\\\g<0>", line)
    return Markdown(_LIST.sub(_escape_list, line))


def _escape_list(match: re.Match[str]) -> str:
    found = match.group()
    return f"\\{found}" if len(found) == 1 and not found.isdigit() else f"{found}\\"


def one_line(text: str, most_chars: int = _MOST_CHARS) -> str:
    """Return a text without invisible characters, limited in length."""
    seen = "".join(
        " " if char in _TURNS or unicodedata.category(char) in _UNSEEN else char
        for char in text[: most_chars + 1]
    )
    return seen if len(seen) <= most_chars else f"{seen[:most_chars]}…"


def placeholders(**texts: str) -> dict[str, str]:
    """Return placeholders for a description; everything not marked as Markdown is escaped."""
    return {key: text if isinstance(text, Plain) else escaped(text) for key, text in texts.items()}
