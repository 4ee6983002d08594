"""Reads video files and streams frame by frame."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import EngineMissingError, PictureError
from . import opening
from .orientation import frame_orientation, turned_image

# Damaged frames in a row after which the video counts as damaged.
_MOST_DAMAGED = 100
# Durations are not exact: the larger of these may be missing.
_MOST_MISSING_S, _MOST_MISSING = 2.0, 0.2


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        number: of the frame in the file, from 1.
        at: seconds since the first frame.
        image: RGB, upright as the video says.
    """

    number: int
    at: float
    image: Image.Image


def read_video(source: str, fps: float | None = None) -> Iterator[VideoFrame]:
    """Yield the frames of a file or address, at most `fps` per second.

    Damaged frames are skipped. Raises `PictureError` if there is no video or it is incomplete, and
    `EngineMissingError` without PyAV.
    """
    try:
        # PyAV bundles FFmpeg. Home Assistant includes it, and there are wheels for musl.
        av = importlib.import_module("av")
    except ImportError:
        raise EngineMissingError("Video needs the package av: pip install av") from None
    try:
        with _opened(av, source) as container:
            if not container.streams.video:
                raise PictureError("It contains no video")
            yield from _frames(av, container, container.streams.video[0], fps)
    except av.ArgumentError:
        raise PictureError(
            "This is not a video; playlists and text files are not supported"
        ) from None
    except (av.FFmpegError, OSError) as err:
        # The error names the address, which may hold a password.
        reason = getattr(err, "strerror", None) or type(err).__name__
        raise PictureError(f"The video cannot be read: {reason}") from None


def _opened(av: Any, source: str) -> Any:
    if opening.is_file(source):
        return av.open(opening.file_to_open(source), options=opening.file_options())
    if source.startswith("/dev/"):
        return av.open(source, format="v4l2")
    options = opening.network_options(source)
    opening.leave_proxies(source)
    # As in Home Assistant: most cameras have self-signed certificates.
    return av.open(source, options=options | {"tls_verify": "0"})


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
                # Times that restart continue from here.
                first, at = first + at - last - 1 / rate, last + 1 / rate
            last = at
            # Half an interval early is in time: the rate is never exact.
            if fps is not None:
                if at + 0.5 / rate < due:
                    continue
                due = max(due + 1 / fps, at + 0.5 / fps)
            image = turned_image(frame.to_image(), frame_orientation(frame))
            yield VideoFrame(number, at, image)
    _require_whole(av, container, stream, last)


def _require_whole(av: Any, container: Any, stream: Any, seen_s: float) -> None:
    """Raise `PictureError` if a file is incomplete, because FFmpeg does not."""
    if stream.duration is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        duration_s = container.duration / av.time_base
    else:
        return
    if duration_s - seen_s > max(_MOST_MISSING_S, _MOST_MISSING * duration_s):
        raise PictureError(
            f"The video breaks off after {seen_s:.1f} of {duration_s:.1f} s: it is damaged or cut"
            " short"
        )
