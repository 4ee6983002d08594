"""A camera that streams: MJPEG over HTTP on loopback, as many real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_BOUNDARY = "frame"


@dataclass
class MjpegCamera:
    """What it shows can be changed while it streams."""

    picture: bytes
    fps: float = 10.0
    address: str = ""
    readers: int = 0
    # Stops sending, keeps the connection.
    stalled: bool = False
    refuses: bool = False
    credentials: str = "user:secret-in-address"
    requests: int = 0
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
                    picture = self.picture
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                    head += f"Content-Length: {len(picture)}\r\n\r\n"
                    await response.write(head.encode() + picture + b"\r\n")
                await asyncio.sleep(1 / self.fps)
        except ConnectionError:
            return response
        finally:
            self.readers -= 1
            self._responses.discard(response)

    def hang_up(self) -> None:
        """End all connections."""
        for response in tuple(self._responses):
            if (transport := response._req.transport if response._req else None) is not None:
                transport.close()


@asynccontextmanager
async def mjpeg_camera(picture: bytes) -> AsyncIterator[MjpegCamera]:
    """Serve a camera for as long as somebody needs it."""
    camera = MjpegCamera(picture)
    app = web.Application()
    app.router.add_get("/video", camera.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        camera.address = f"http://{camera.credentials}@127.0.0.1:{port}/video"
        yield camera
    finally:
        camera.hang_up()
        await runner.cleanup()
