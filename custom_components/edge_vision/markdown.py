"""Texts from outside in what Home Assistant shows as Markdown.

Names of models, cameras and files, and what engines and cameras say, may hold anything. The
descriptions of flows and repair issues are Markdown: there such a text must show itself and do
nothing else. Titles and errors of forms are plain text, in which escapes would be seen.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_MOST_CHARS: Final = 500
# What begins emphasis, code, links, pictures, HTML, entities, tables, headings and addresses.
_ACTIVE: Final = re.compile(r"[\\`*_\[\]<>#|~&@]|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)
# What begins a list, a rule or a heading at the beginning of a line.
_LIST: Final = re.compile(r"^(?:[-+=]|\d+(?=[.)](?: |$)))")

# Control characters, halves of characters, separators of lines; and what turns the direction.
_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")
_TURNS: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class Markdown(str):
    """A text that is Markdown, with everything from outside escaped."""

    __slots__ = ()


class Plain(str):
    """A text for where no Markdown is: titles, options and errors."""

    __slots__ = ()


def escaped(text: str, most_chars: int = _MOST_CHARS) -> Markdown:
    """Return a text from outside as Markdown that shows it, on one line."""
    if isinstance(text, Markdown):
        return text
    line = " ".join(one_line(text, most_chars).split())
    line = _ACTIVE.sub(r"\\\g<0>", line)
    return Markdown(_LIST.sub(_escape_list, line))


def _escape_list(match: re.Match[str]) -> str:
    found = match.group()
    return f"\\{found}" if len(found) == 1 and not found.isdigit() else f"{found}\\"


def one_line(text: str, most_chars: int = _MOST_CHARS) -> str:
    """Return a text without what is no character to be seen, and no longer than that."""
    seen = "".join(
        " " if char in _TURNS or unicodedata.category(char) in _UNSEEN else char
        for char in text[: most_chars + 1]
    )
    return seen if len(seen) <= most_chars else f"{seen[:most_chars]}…"


def placeholders(**texts: str) -> dict[str, str]:
    """Return placeholders of a description: whatever is not marked as something else is escaped."""
    return {key: text if isinstance(text, Plain) else escaped(text) for key, text in texts.items()}
