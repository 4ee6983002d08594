"""Accepts connections, and limits what a peer can do before it has logged in.

A peer may send a few kilobytes within a few seconds until it has logged in. The number of such
peers is limited, in total and per address; when one more connects, the oldest one of the address
with most connections is dropped. A flood of connections therefore keeps no hub out, because a login
takes only a moment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

_LOGGER = logging.getLogger(__name__)

# The request with its headers, and the login.
_MOST_BYTES_BEFORE_LOGIN = 16 * 1024
_LOGIN_S = 10.0
_MOST_UNKNOWN = 32
_MOST_UNKNOWN_OF_ONE = 8
_MOST_KNOWN = 32
_BACKLOG = 64
_PAUSE_AFTER_FAILURE_S = 1.0
# Wrong logins from one address: a burst of this size, then one per interval.
_MOST_FAILURES = 10
_FORGIVEN_EVERY_S = 6.0
_MOST_ADDRESSES = 1024


class LoginFailures:
    """Counts wrong logins by address, so that one address does not affect others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with none."""
        self._clock = clock
        # Address → when all of its wrong logins are forgiven.
        self._until: OrderedDict[str, float] = OrderedDict()

    def note(self, address: str) -> None:
        """Count a wrong login."""
        now = self._clock()
        self._until[address] = max(self._until.pop(address, now), now) + _FORGIVEN_EVERY_S
        if len(self._until) > _MOST_ADDRESSES:
            self._until.popitem(last=False)

    def too_many(self, address: str) -> bool:
        """Return whether logins from an address are refused now."""
        until = self._until.get(address, 0.0)
        return until - self._clock() > (_MOST_FAILURES - 1) * _FORGIVEN_EVERY_S


class Peer(asyncio.Protocol):
    """A connection that is passed to a handler, and limited until it has logged in.

    `address` is None for a peer on the Unix socket, which only the node's own user can open.
    """

    def __init__(self, address: str | None, failures: LoginFailures) -> None:
        """Prepare a peer that is not connected yet."""
        self.address = address
        self.failures = failures
        self.known = self.lost = False
        self.on_change: Callable[[], object] = lambda: None
        self._received = 0
        self._transport: asyncio.Transport | None = None
        self._handler: asyncio.Protocol | None = None

    def begin(self, handler: asyncio.Protocol) -> Peer:
        """Pass everything to this handler from now on."""
        self._handler = handler
        return self

    def log_in(self) -> None:
        """Lift the limits."""
        self.known = True
        self.on_change()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol: everything is passed on ---------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)
        assert self._handler is not None
        self._transport = transport
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        assert self._handler is not None
        if not self.known:
            self._received += len(data)
            if self._received > _MOST_BYTES_BEFORE_LOGIN:
                self.abort()
                return
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:  # noqa: D102
        assert self._handler is not None
        return self._handler.eof_received()

    def pause_writing(self) -> None:  # noqa: D102
        assert self._handler is not None
        self._handler.pause_writing()

    def resume_writing(self) -> None:  # noqa: D102
        assert self._handler is not None
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        assert self._handler is not None
        self._handler.connection_lost(exc)
        self._transport = None
        self.lost = True
        self.on_change()


class Listener:
    """Accepts connections on sockets and gives each one a handler."""

    def __init__(
        self,
        sockets: list[socket.socket],
        make_handler: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Start accepting. Must be called in the event loop."""
        self._make_handler = make_handler
        self._tls = tls
        self._sockets = sockets
        self._failures = LoginFailures()
        # In the order of arrival, with the function that ends each.
        self._unknown: dict[Peer, Callable[[], object]] = {}
        self._known: set[Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = [asyncio.create_task(self._accept(item)) for item in sockets]

    async def close(self) -> None:
        """Stop accepting; existing connections belong to their handlers."""
        for task in (*self._accepting, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._tasks, return_exceptions=True)
        for item in self._sockets:
            item.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as err:  # for example, no file descriptor is left
                _LOGGER.warning("No connection can be accepted: %s", err)
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
                continue
            peer = Peer(_address(address), self._failures)
            self._make_room(peer.address)
            if len(self._known) >= _MOST_KNOWN:
                connection.close()
                continue
            task = asyncio.create_task(self._begin(peer, connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._unknown[peer] = task.cancel

    async def _begin(self, peer: Peer, connection: socket.socket) -> None:
        """Watch a connection until it has logged in, is lost, or its time is up."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        peer.on_change = changed.set
        made = False
        try:
            async with asyncio.timeout(_LOGIN_S):
                await loop.connect_accepted_socket(
                    lambda: peer.begin(self._make_handler()),
                    connection,
                    ssl=self._tls,
                    ssl_handshake_timeout=_LOGIN_S if self._tls else None,
                )
                made = True
                await changed.wait()
        except (TimeoutError, OSError):
            pass  # it was too slow, or is no hub
        finally:
            self._unknown.pop(peer, None)
            if not peer.known:
                peer.abort()
                if not made:
                    connection.close()
        if peer.known:
            self._known.add(peer)
            peer.on_change = partial(self._known.discard, peer)
            if peer.lost:
                self._known.discard(peer)

    def _make_room(self, address: str | None) -> None:
        """Drop the oldest connection if too many have not logged in."""
        mine = [item for item in self._unknown if item.address == address]
        if len(mine) >= _MOST_UNKNOWN_OF_ONE and address is not None:
            self._end(mine[0])
        elif len(self._unknown) >= _MOST_UNKNOWN:
            counts = Counter(item.address for item in self._unknown)
            ((whose, _),) = counts.most_common(1)
            self._end(next(item for item in self._unknown if item.address == whose))

    def _end(self, peer: Peer) -> None:
        self._unknown.pop(peer)()


def _address(address: object) -> str | None:
    """Return the address that limits count by; for IPv6, the network."""
    if not isinstance(address, tuple) or not address:
        return None
    with suppress(ValueError):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address):
            if ip.ipv4_mapped is not None:
                return str(ip.ipv4_mapped)
            return str(ipaddress.ip_network((ip, 64), strict=False))
        return str(ip)
    return str(address[0])


def unix_socket(path: Path) -> socket.socket:
    """Return a listening socket that only this user may connect to. Raises `OSError`."""
    with suppress(FileNotFoundError):
        path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        return _listen(listening)
    except BaseException:
        listening.close()
        raise


def tcp_sockets(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for all addresses of a host. Raises `OSError`."""
    found: list[socket.socket] = []
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(infos):
            # All use the port that the first one was given.
            given = found[0].getsockname()[1] if found else port
            listening = socket.socket(family, kind, protocol)
            found.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((address[0], given, *address[2:]))
            _listen(listening)
    except BaseException:
        for listening in found:
            listening.close()
        raise
    return found


def _listen(listening: socket.socket) -> socket.socket:
    listening.setblocking(False)
    listening.listen(_BACKLOG)
    return listening
