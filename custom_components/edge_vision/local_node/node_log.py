"""The log of a node: its stderr, without credentials, also for diagnostics."""

from __future__ import annotations

import logging
import re
import time
from collections import deque

from ..const import NODE_LOGGER
from ..node.edge_vision_node.protocol import redact

_LOGGER = logging.getLogger(NODE_LOGGER)

_KEPT_LINES = 200
_KEPT_CHARS = 1000
_MOST_WORDS = 10
LAST_MOMENTS_S = 5.0
_READ_CHARS = 2000
NODE_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) ([^\s:]+): ")
# An error of the node is not an error of Home Assistant: its effects are reported where they show,
# and its warnings only help to find a cause.
_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.INFO,
    "ERROR": logging.WARNING,
    "CRITICAL": logging.WARNING,
}
_START_ERROR = re.compile(r"edge-vision-node: error: (.+)")


class NodeLog:
    """The newest log lines of a node, over all its runs."""

    def __init__(self) -> None:
        """Initialize an empty log."""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        # With their times: the last lines before the end come within moments.
        self._words: deque[tuple[float, str]] = deque(maxlen=_MOST_WORDS)
        self.start_error: str | None = None

    @property
    def lines(self) -> list[str]:
        """Return the kept lines, oldest first, without credentials."""
        return list(self._lines)

    def begin(self) -> None:
        """Begin the log of a new run."""
        self._words.clear()
        self.start_error = None

    def last_words(self) -> list[str]:
        """Return what this run has said in its last moments, without news of its daily work.

        A warning of an hour ago does not say why it ended.
        """
        since = time.monotonic() - LAST_MOMENTS_S
        return [line for at, line in self._words if at >= since]

    def add(self, line: str) -> None:
        """Add a line of stderr and log it at its level."""
        line = redact(line.rstrip(), _READ_CHARS)[:_KEPT_CHARS]
        if not line:
            return
        self._lines.append(line)
        if match := _START_ERROR.match(line):
            self.start_error = match[1]
        # Lines without a level are what native libraries print, and traces of errors.
        match = NODE_LEVEL.match(line)
        level = _LEVELS[match[1]] if match else logging.DEBUG
        if match is None or match[1] not in ("DEBUG", "INFO"):
            self._words.append((time.monotonic(), line))
        _LOGGER.log(level, "%s", line[match.end() :] if match else line)
