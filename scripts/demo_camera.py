"""A camera that plays a video clip: a local web server with a live stream (MJPEG) and stills."""

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
_BOUNDARY = "frame"


@dataclass(frozen=True)
class Clip:
    """The frames of a clip as JPEG, and its frame rate."""

    pictures: list[bytes]
    frame_rate: float


class ClipError(Exception):
    """The clip cannot be played."""


class ClipCamera:
    """Plays a clip in a loop in real time: live at `stream_url`, as stills at `url`."""

    def __init__(self, clip: Path) -> None:
        """Play this clip, starting with the first request."""
        self.url = ""
        self.stream_url = ""
        self._clip = clip
        self._reading: asyncio.Task[Clip]
        self._started: float | None = None
        self._runner: web.AppRunner

    async def __aenter__(self) -> Self:
        """Start the server. The clip is read in the background; requests wait for it.

        Raises `ClipError`.
        """
        await asyncio.to_thread(_check, self._clip)
        self._reading = asyncio.create_task(asyncio.to_thread(_read, self._clip))
        application = web.Application()
        application.router.add_get("/picture.jpg", self._answer)
        application.router.add_get("/video", self._stream)
        # Streams never end, so do not wait for them.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url, self.stream_url = f"{base}/picture.jpg", f"{base}/video"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server."""
        await self._runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        clip = await asyncio.shield(self._reading)
        return web.Response(body=self._now(clip), content_type="image/jpeg")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        clip = await asyncio.shield(self._reading)
        response = web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace;boundary={_BOUNDARY}"}
        )
        await response.prepare(request)
        while True:
            picture = self._now(clip)
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
            head += f"Content-Length: {len(picture)}\r\n\r\n"
            try:
                await response.write(head.encode() + picture + b"\r\n")
            except ConnectionError:  # the client disconnected
                return response
            await asyncio.sleep(1 / clip.frame_rate)

    def _now(self, clip: Clip) -> bytes:
        now = time.monotonic()
        if self._started is None:
            self._started = now
        number = int((now - self._started) * clip.frame_rate) % len(clip.pictures)
        return clip.pictures[number]


def _check(clip: Path) -> None:
    try:
        with av.open(str(clip)) as container:
            playable = bool(container.streams.video)
    except (av.FFmpegError, OSError) as err:
        raise ClipError(f"{clip} cannot be played: {err}") from err
    if not playable:
        raise ClipError(f"there are no pictures in {clip}")


def _read(clip: Path) -> Clip:
    """Convert a clip to JPEG in advance: a few MB, and no work during playback."""
    pictures = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 10)
        for frame in container.decode(stream):
            buffer = io.BytesIO()
            picture = frame.to_image()  # type: ignore[no-untyped-call]  # the library is untyped
            picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
            pictures.append(buffer.getvalue())
    return Clip(pictures, rate)
