"""A camera with a stream: MJPEG over HTTP on localhost, like many real ones."""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_BOUNDARY = "frame"


@dataclass
class StreamingCamera:
    """The base of all cameras; pictures and faults can be changed while it is streaming."""

    picture: bytes
    # Time when the newest picture was first sent, in seconds since the epoch.
    shown_at: float = 0.0
    fps: float = 10.0
    address: str = ""
    # Stops sending but keeps the connection.
    stalled: bool = False
    # Half of the data is damaged.
    garbage: bool = False
    refuses: bool = False
    credentials: str = "user:secret-in-address"
    requests: int = 0
    _clip: Iterator[bytes] | None = None
    _unsent: bool = False

    def show(self, picture: bytes) -> None:
        """Show another picture from the next frame on, and set `shown_at` to its time."""
        self.picture, self._unsent, self._clip = picture, True, None

    def play(self, pictures: Sequence[bytes]) -> None:
        """Play pictures in a loop."""
        self._clip = itertools.cycle(pictures)


@dataclass
class MjpegCamera(StreamingCamera):
    """Sends JPEGs, one after the other."""

    readers: int = 0
    _responses: set[web.StreamResponse] = field(default_factory=set)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if self.refuses:
            raise web.HTTPUnauthorized
        response = web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace;boundary={_BOUNDARY}"}
        )
        await response.prepare(request)
        self.readers += 1
        self._responses.add(response)
        try:
            while True:
                if not self.stalled:
                    picture = next(self._clip) if self._clip else self.picture
                    if self._unsent:
                        self.shown_at, self._unsent = time.time(), False
                    if self.garbage:
                        half = len(picture) // 2
                        picture = picture[:half] + os.urandom(half)
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                    head += f"Content-Length: {len(picture)}\r\n\r\n"
                    await response.write(head.encode() + picture + b"\r\n")
                await asyncio.sleep(1 / self.fps)
        except ConnectionError:
            return response
        finally:
            self.readers -= 1
            self._responses.discard(response)

    async def serve_still(self, request: web.Request) -> web.Response:
        """Respond with one picture, as cameras do for stills."""
        self.requests += 1
        return web.Response(body=self.picture, content_type="image/jpeg")

    @property
    def still_address(self) -> str:
        return self.address.replace("/video", "/still.jpg")

    def hang_up(self) -> None:
        """Close all connections."""
        for response in tuple(self._responses):
            if (transport := response._req.transport if response._req else None) is not None:
                transport.close()


@asynccontextmanager
async def mjpeg_camera(
    picture: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[MjpegCamera]:
    """Run a camera; with `tls`, over HTTPS."""
    camera = MjpegCamera(picture)
    app = web.Application()
    app.router.add_get("/video", camera.serve)
    app.router.add_get("/still.jpg", camera.serve_still)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        scheme = "https" if tls else "http"
        camera.address = f"{scheme}://{camera.credentials}@127.0.0.1:{port}/video"
        yield camera
    finally:
        camera.hang_up()
        await runner.cleanup()
