"""The node as a process: start, readiness, end.

For supervisors: it prints one JSON line to stdout when it is ready, and ends cleanly on SIGTERM,
SIGINT and, with `--parent-stdin`, when standard input closes because the parent is gone. Logs go to
stderr.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import os
import signal
import socket
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .. import __version__
from ..errors import CommandLineError, NodeError
from ..node import Node
from ..protocol import SCHEMA_MAX, SCHEMA_MIN, encode_text
from ..storage.files import keep_private
from .connection import make_runner
from .listener import Listener, tcp_sockets, unix_socket

_LOGGER = logging.getLogger(__name__)

_LOCK_WAIT_S = 10
# Longer than a slow SD card takes to write pending data.
_STOP_WAIT_S = 20
_ALIVE_EVERY_S = 5
_DEAD_AFTER_S = 30
_NICENESS = 10
# Less among sessions, or a busy process of another session would leave no time for detection.
_NICENESS_OF_SESSION = 5


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen and what to keep where. Either `socket`, or `host` and `port`."""

    data: Path
    socket: Path | None = None
    host: str | None = None
    port: int | None = None
    token_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    parent_stdin: bool = False
    threads: int | None = None
    mirror: Path | None = None


def serve(options: ServeOptions) -> int:
    """Serve until a signal; return the exit status. Raises `NodeError` if it cannot."""
    token = _read_token(options)
    tls = _tls(options)
    try:
        keep_private(options.data)
        lock = _lock(options.data / "node.lock")
    except OSError as err:
        raise _unusable(options.data, err) from err
    with lock:
        asyncio.run(_serve(options, token, tls), debug=False)
        logging.shutdown()
        sys.stdout.flush()
        # The interpreter's own exit waits for every thread, also for one that hangs in an engine.
        # All data has been written by now.
        os._exit(0)


def _read_token(options: ServeOptions) -> str | None:
    if options.token_file is None:
        if options.socket is None:
            raise CommandLineError("--host needs --token-file: a network port is open to others")
        return None
    try:
        token = options.token_file.read_text("utf-8").strip()
    except OSError as err:
        raise NodeError(f"The token file cannot be read: {err}") from err
    if not token:
        raise NodeError(f"The token file {options.token_file} is empty")
    return token


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(options.tls_certificate, options.tls_key)
        except (OSError, ssl.SSLError) as err:
            raise NodeError(f"The certificate cannot be used: {err}") from err
        return context
    if options.host is not None and not _is_loopback(options.host):
        raise CommandLineError(
            f"Listening on {options.host} needs --tls-certificate and --tls-key:"
            " the token and the pictures would cross the network in clear text"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lock(path: Path) -> IO[bytes]:
    """Lock the data folder for this node; wait for one that is just ending."""
    file = path.open("ab")
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise NodeError(f"Another node is using {path.parent}; stop it first") from None
            time.sleep(0.05)
        else:
            return file


def _unusable(folder: Path, err: OSError) -> NodeError:
    what = err.strerror or str(err)
    if isinstance(err, FileExistsError):
        what = "it is no folder"
    elif err.filename not in (None, str(folder)):
        what = f"{err.filename}: {what}"
    return NodeError(f"The data folder {folder} cannot be used: {what}")


def _yield_to_parent() -> None:
    """Yield to the parent, which shares the cores with this process and serves people."""
    os.nice(_NICENESS)
    if sys.platform != "linux":
        return
    with suppress(OSError):  # musl has no such call
        # A frame does not have to preempt other processes.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if os.getsid(0) == os.getpid():
        # If the kernel schedules sessions, niceness counts only within one. The niceness of the
        # session itself is in this file: sched(7), "The autogroup feature".
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(_NICENESS_OF_SESSION))


async def _serve(options: ServeOptions, token: str | None, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    stop, alone = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    alive = loop.create_task(_stay_alive())
    if options.parent_stdin:
        _yield_to_parent()
        await _watch_stdin(stop, alone)
    try:
        node = Node(options.data, options.threads, options.mirror)
    except OSError as err:
        raise _unusable(options.data, err) from err
    runner = make_runner(node, token)
    await runner.setup()
    assert runner.server is not None
    listener: Listener | None = None
    try:
        sockets, where = await _listen(options, tls)
        listener = Listener(sockets, runner.server, tls)
        ready = {
            "version": __version__,
            "schema_min": SCHEMA_MIN,
            "schema_max": SCHEMA_MAX,
            "pid": os.getpid(),
            **where,
        }
        sys.stdout.write(encode_text({"ready": ready}) + "\n")
        sys.stdout.flush()
        await stop.wait()
        _LOGGER.info("Stopping")
    finally:
        # If anything hangs now, the kernel's alarm ends the process.
        alive.cancel()
        signal.setitimer(signal.ITIMER_REAL, _STOP_WAIT_S)
        if listener is not None:
            await listener.close()
        await runner.cleanup()
        await node.close()
        if options.socket is not None:
            with suppress(OSError):
                options.socket.unlink()
            if alone.is_set():
                _tidy_up(options.socket.parent, options.token_file)


def _tidy_up(folder: Path, token_file: Path | None) -> None:
    """Remove the folder that a killed parent had made for this run, if nothing else is in it."""
    if token_file is not None and token_file.parent == folder:
        with suppress(OSError):
            token_file.unlink()
            folder.rmdir()


async def _listen(
    options: ServeOptions, tls: ssl.SSLContext | None
) -> tuple[list[socket.socket], dict[str, object]]:
    try:
        if options.socket is not None:
            return [unix_socket(options.socket)], {"socket": str(options.socket)}
        host, port = options.host or "localhost", options.port or 0
        sockets = await asyncio.to_thread(tcp_sockets, host, port)
    except OSError as err:
        raise NodeError(f"Cannot listen on {options.socket or options.host}: {err}") from err
    port = sockets[0].getsockname()[1]
    return sockets, {"host": options.host, "port": port, "tls": tls is not None}


async def _watch_stdin(stop: asyncio.Event, alone: asyncio.Event) -> None:
    """Stop when standard input closes: however the parent ends, its end of the pipe closes."""

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
            alone.set()
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)


async def _stay_alive() -> None:
    """Postpone the kernel's alarm for ever. SIGALRM is not handled, so it ends the process.

    Without it, native code that never releases the interpreter would leave a process that only
    SIGKILL can end.
    """
    while True:
        signal.setitimer(signal.ITIMER_REAL, _DEAD_AFTER_S)
        await asyncio.sleep(_ALIVE_EVERY_S)
