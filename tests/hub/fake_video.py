"""Reads MJPEG over HTTP for the fake node, which needs no video decoder for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from aiohttp import ClientError, ClientSession, ClientTimeout

from custom_components.edge_vision.node.edge_vision_node.protocol import SourceState, SourceStatus

_RETRY_AFTER_S = 0.05
_TIMEOUT_S = 5.0


class NoVideo(Exception):
    """There is no video at an address."""


async def _frames(address: str) -> AsyncIterator[bytes]:
    """Yield the pictures of a stream. Raises `NoVideo` where it cannot be read, or ends."""
    if not address.startswith("http"):
        raise NoVideo("This cannot be read")
    timeout = ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
    try:
        async with ClientSession(timeout=timeout) as session, session.get(address) as response:
            if response.status != 200:
                raise NoVideo(f"The camera answered with status {response.status}")
            while True:
                header = await response.content.readuntil(b"\r\n\r\n")
                (length,) = (
                    int(line.partition(b":")[2])
                    for line in header.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                yield await response.content.readexactly(length)
                await response.content.readexactly(2)
    except (ClientError, OSError, asyncio.IncompleteReadError, ValueError) as err:
        raise NoVideo("The camera hung up") from err


class FakeVideo:
    """The video of one address, read as long as a pipeline watches it."""

    def __init__(
        self,
        address: str,
        on_frame: Callable[[FakeVideo, bytes], None],
        on_source: Callable[[FakeVideo, SourceStatus], None],
    ) -> None:
        self.address = address
        self.viewers: set[str] = set()
        self._on_frame = on_frame
        self._on_source = on_source
        self.source = _source(SourceState.CONNECTING)
        self._task = asyncio.create_task(self._read(), name="fake video")

    async def stop(self) -> None:
        """Stop reading."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @staticmethod
    async def first_frame(address: str) -> bytes:
        """Return one frame. Raises `NoVideo`."""
        frames = _frames(address)
        try:
            async for picture in frames:
                return picture
            raise NoVideo("The camera sent nothing")
        finally:
            await frames.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _read(self) -> None:
        while True:
            frames = _frames(self.address)
            try:
                async for picture in frames:
                    self._now(SourceState.LIVE)
                    self._on_frame(self, picture)
            except NoVideo as err:
                self._now(SourceState.UNAVAILABLE, str(err))
            finally:
                await frames.aclose()  # type: ignore[attr-defined]  # it is a generator
            await asyncio.sleep(_RETRY_AFTER_S)

    def _now(self, state: SourceState, reason: str | None = None) -> None:
        if self.source.state != state:
            self.source = _source(state, reason)
            self._on_source(self, self.source)


def _source(state: SourceState, reason: str | None = None) -> SourceStatus:
    return SourceStatus(state=state, since=datetime.now(UTC).isoformat(), reason=reason)
