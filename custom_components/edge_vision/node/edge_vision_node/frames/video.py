"""Video files and streams, frame by frame."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import EngineMissingError, PictureError

# Frames in a row that are damaged, after which it is the video that is.
_MOST_DAMAGED = 100


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        number: from 1, as the file counts.
        at: seconds since the first frame.
        image: RGB.
    """

    number: int
    at: float
    image: Image.Image


def read_video(source: str, fps: float | None = None) -> Iterator[VideoFrame]:
    """Yield the frames of a file or address, `fps` of them a second at most.

    Damaged frames are left out. Raises `PictureError` where there is no video, or it breaks off,
    `EngineMissingError` without PyAV.
    """
    try:
        # FFmpeg's libraries: comes with Home Assistant, and has wheels for musl. Stills do without.
        av = importlib.import_module("av")
    except ImportError:
        raise EngineMissingError("Video needs the package av: pip install av") from None
    try:
        with av.open(source) as container:
            if not container.streams.video:
                raise PictureError("There is no video in it")
            yield from _frames(av, container, container.streams.video[0], fps)
    except (av.FFmpegError, OSError) as err:
        # The whole error names the address, which may hold a password.
        reason = getattr(err, "strerror", None) or type(err).__name__
        raise PictureError(f"The video cannot be read: {reason}") from None


def _frames(av: Any, container: Any, stream: Any, fps: float | None) -> Iterator[VideoFrame]:
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or 25)
    number, damaged, due = 0, 0, 0.0
    first: float | None = None
    last = 0.0
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            if damaged > _MOST_DAMAGED:
                raise
            continue
        for frame in decoded:
            number += 1
            damaged = 0
            at = float(frame.time) if frame.time is not None else (number - 1) / rate
            first = at if first is None else first
            at -= first
            if number > 1 and at < last:
                # Times that start again go on from here.
                first, at = first + at - last - 1 / rate, last + 1 / rate
            last = at
            # Half a frame early is in time: times are never quite what the rate says.
            if fps is not None:
                if at + 0.5 / rate < due:
                    continue
                due = max(due + 1 / fps, at + 0.5 / fps)
            yield VideoFrame(number, at, frame.to_image())
