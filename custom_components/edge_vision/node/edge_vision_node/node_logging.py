"""Logging of a node and its child processes: to stderr, in single lines, without credentials."""

from __future__ import annotations

import logging
from types import TracebackType

from .protocol import redact

_FORMAT = "%(levelname)s %(name)s: %(message)s"
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """Formats a message as one line; only tracebacks have more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's
        record.message = redact(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the base class's
        text = super().formatException(ei)
        return "\n".join(redact(line) for line in text.splitlines())


def begin_to_log(level: str) -> None:
    """Set up logging to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
