"""A camera made of a video clip: a web server on loopback that answers with the picture of now."""

from __future__ import annotations

import asyncio
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import av
from aiohttp import web

_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Clip:
    """The frames of a clip as JPEG, and how many of them make a second."""

    pictures: list[bytes]
    frame_rate: float


class ClipCamera:
    """Plays a clip in real time, over and over, as still pictures at one address."""

    def __init__(self, clip: Path) -> None:
        """Play this clip; it starts with the first picture asked for."""
        self.url = ""
        self._clip = clip
        self._reading: asyncio.Task[Clip]
        self._started: float | None = None
        self._runner: web.AppRunner

    async def __aenter__(self) -> Self:
        """Open the server. The clip is read meanwhile; a picture asked for waits for it."""
        self._reading = asyncio.create_task(asyncio.to_thread(_read, self._clip))
        application = web.Application()
        application.router.add_get("/picture.jpg", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/picture.jpg"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the server."""
        await self._runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        clip = await asyncio.shield(self._reading)
        now = time.monotonic()
        if self._started is None:
            self._started = now
        number = int((now - self._started) * clip.frame_rate) % len(clip.pictures)
        return web.Response(body=clip.pictures[number], content_type="image/jpeg")


def _read(clip: Path) -> Clip:
    """Turn a clip into JPEG once and for all: a few MB, and no work while it plays."""
    pictures = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 10)
        for frame in container.decode(stream):
            buffer = io.BytesIO()
            picture = frame.to_image()  # type: ignore[no-untyped-call]  # the library has none
            picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
            pictures.append(buffer.getvalue())
    return Clip(pictures, rate)
