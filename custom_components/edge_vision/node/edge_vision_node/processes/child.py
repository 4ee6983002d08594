"""The child's side of a node's processes: how one begins, what it hears and says, how it ends."""

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
    """Set this process up as its node asked on the command line; return the way to the node."""
    descriptor, memory_limit = int(sys.argv[1]), int(sys.argv[2])
    begin_to_log(sys.argv[3])
    faulthandler.enable()  # a native crash leaves the place in the log
    _die_with_parent()
    if memory_limit:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    if "disposable" in sys.argv[4:]:
        _prepare_for_the_worst()
    return Link(socket.socket(fileno=descriptor))


def _die_with_parent() -> None:
    """Have the kernel end this process with its node, however that ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Elsewhere, and if it is gone already, the socket's end tells.


def _prepare_for_the_worst() -> None:
    """Let the OOM killer pick this process first, and write no core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # not Linux: whoever uses most memory goes first there
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


class Link:
    """Framed messages from and to the node. Any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        """Speak over this socket."""
        self._connection = connection
        self._sending = threading.Lock()

    def orders(self) -> Iterator[tuple[dict[str, Any], memoryview]]:
        """Yield orders with the bytes that came with them, until the node is gone."""
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
        """Answer an order with one of the dataclasses of messages, and bytes.

        What cannot be sent is answered with an error that says so.
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
        """Say something unasked. What cannot be sent is left out, and logged."""
        try:
            self._send({"type": kind, "message": write(message)}, b"")
        except ProtocolError as err:
            _LOGGER.error("A message %s is left out: %s", kind, err)

    def _send(self, message: dict[str, Any], content: bytes | memoryview) -> None:
        frame = encode_binary(message, content)
        try:
            with self._sending:
                self._connection.sendall(len(frame).to_bytes(4) + frame)
        except OSError:
            os._exit(0)
