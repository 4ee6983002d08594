"""The child's side of the node's processes: start, messages, end."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..node_logging import begin_to_log
from ..protocol import ErrorCode, ProtocolError, decode_binary, encode_binary, write

_LOGGER = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
# Engines quote whole graphs in their errors.
_MOST_ERROR_CHARS = 4000


def begin() -> Link:
    """Set up this process by its command line; return the link to the node."""
    descriptor, memory_limit = int(sys.argv[1]), int(sys.argv[2])
    begin_to_log(sys.argv[3])
    faulthandler.enable()  # log where native code crashed
    _die_with_parent()
    if memory_limit:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    if "disposable" in sys.argv[4:]:
        _prepare_for_the_worst()
    return Link(socket.socket(fileno=descriptor))


def _die_with_parent() -> None:
    """Have the kernel end this process when the node ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Elsewhere, or if the node is gone already, the socket closes.


def _prepare_for_the_worst() -> None:
    """Let the OOM killer pick this process first, and write no core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


class Link:
    """Framed messages from and to the node. Any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        """Wrap a socket."""
        self._connection = connection
        self._sending = threading.Lock()

    def orders(self) -> Iterator[tuple[dict[str, Any], memoryview]]:
        """Yield orders with their content until the node is gone."""
        stream = self._connection.makefile("rb")
        while len(head := stream.read(4)) == 4:
            length = int.from_bytes(head)
            frame = stream.read(length)
            if len(frame) < length:
                return
            yield decode_binary(frame)

    def answer(
        self, order: dict[str, Any], answer: object, content: bytes | memoryview = b""
    ) -> None:
        """Answer an order with a dataclass of `messages` and bytes.

        An answer that cannot be sent is replaced by an error.
        """
        try:
            self._send({"id": order["id"], "type": "result", "result": write(answer)}, content)
        except ProtocolError as err:
            self.refuse(order, ErrorCode.INTERNAL, f"The answer cannot be sent: {err}")

    def refuse(self, order: dict[str, Any], code: str, text: str) -> None:
        """Answer an order with an error."""
        message = text[:_MOST_ERROR_CHARS]
        self._send({"id": order["id"], "type": "error", "code": code, "message": message}, b"")

    def push(self, kind: str, message: object) -> None:
        """Send a message unasked. If it cannot be sent, that is logged."""
        try:
            self._send({"type": kind, "message": write(message)}, b"")
        except ProtocolError as err:
            _LOGGER.error("Message %s cannot be sent: %s", kind, err)

    def _send(self, message: dict[str, Any], content: bytes | memoryview) -> None:
        frame = encode_binary(message, content)
        try:
            with self._sending:
                self._connection.sendall(len(frame).to_bytes(4) + frame)
        except OSError:
            os._exit(0)
