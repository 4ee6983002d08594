"""What a node writes to stderr: logged, kept for diagnostics, and free of credentials."""

from __future__ import annotations

import logging
import re
from collections import deque

from .const import NODE_LOGGER

_LOGGER = logging.getLogger(NODE_LOGGER)

_KEPT_LINES = 200
_KEPT_CHARS = 1000
NODE_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) ([^\s:]+): ")
# A node's error is no error of Home Assistant: what follows from it is reported where it shows.
_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.WARNING,
    "CRITICAL": logging.WARNING,
}
_START_ERROR = re.compile(r"edge-vision-node: error: (.+)")

_MASK = "****"
_REDACTIONS = (
    # rtsp://user:pass@host, also where the password holds "/", "@" or quotes
    (re.compile(r"(://)[^\s/?#@\"']*:\S*@"), rf"\1{_MASK}@"),
    # or spaces; but what follows a host is its port
    (re.compile(r"(://)[^\s/?#@\"']*:(?!\d{1,5}(?:[\s/?#,;:.\"')\]]|$)).*?@"), rf"\1{_MASK}@"),
    (re.compile(r"(://)[^\s/?#@\"']+@"), rf"\1{_MASK}@"),
    # With many cameras the path of a stream is what lets one in, or holds the login.
    (
        re.compile(r"\b((?:rtsps?|rtmps?)://[^\s/?#\"']+)[/?#][^\s\"']+", re.IGNORECASE),
        rf"\1/{_MASK}",
    ),
    # A query may call a password anything.
    (re.compile(r"(://[^\s?\"']+)\?[^\s\"']+"), rf"\1?{_MASK}"),
    (
        re.compile(
            r"((?:proxy-)?authorization|cookie|x-api-key)([\"']?\s*[:=]\s*).*", re.IGNORECASE
        ),
        rf"\1\2{_MASK}",
    ),
    (re.compile(r"\b(bearer|basic|digest)\s+[\w+/=.~-]{8,}", re.IGNORECASE), rf"\1 {_MASK}"),
    (
        re.compile(
            r"\b((?:[\w-]*(?:token|passw(?:or)?d|pwd|secret|api_?key|signature|authsig))"
            r"|auth|pass|user(?:name)?|key|sig)([\"']?\s*[=:]\s*[\"']?)(?=[^\s\"'&,;}])"
            r"[^\s\"'&,;}]+",
            re.IGNORECASE,
        ),
        rf"\1\2{_MASK}",
    ),
)


def redact(text: str) -> str:
    """Return a log line without credentials: in addresses, queries, headers and settings.

    It rather removes too much than too little.
    """
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


class NodeLog:
    """The newest log lines of a node, over all its runs."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._since_start = 0
        self.start_error: str | None = None

    @property
    def lines(self) -> list[str]:
        """Return the kept lines, oldest first, without credentials."""
        return list(self._lines)

    def begin(self) -> None:
        """Note that a new run begins."""
        self._since_start = 0
        self.start_error = None

    def last_lines(self, count: int) -> list[str]:
        """Return the newest lines of this run."""
        count = min(count, self._since_start)
        return self.lines[-count:] if count else []

    def add(self, line: str) -> None:
        """Take in a line of stderr and log it at its level."""
        line = redact(line.rstrip())[:_KEPT_CHARS]
        if not line:
            return
        self._lines.append(line)
        self._since_start += 1
        if match := _START_ERROR.match(line):
            self.start_error = match[1]
        # Lines without a level are what native libraries print, and traces of errors.
        match = NODE_LEVEL.match(line)
        level = _LEVELS[match[1]] if match else logging.DEBUG
        _LOGGER.log(level, "%s", line[match.end() :] if match else line)
