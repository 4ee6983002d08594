"""Opens sources: finds the way that works, and selects only video."""

from __future__ import annotations

import errno
import importlib
import io
import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import PictureError
from ..frames import opening
from ..frames.structure import JPEG_START
from . import tls
from .messages import Source
from .mjpeg import PictureParser, PicturesError, holds_pictures
from .relay import Relay

_LOGGER = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
_HARDWARE = ("vaapi", "qsv", "cuda", "drm", "videotoolbox")
# Bytes of one read of raw data.
_RAW_READ = "65536"
# Single pictures: the pause is at least this share of the time that a request takes.
_LEAST_PAUSE = 0.5


class SourceError(Exception):
    """A source cannot be read; the text says why, without the address."""


@dataclass(frozen=True)
class Feed:
    """An open source.

    Attributes:
        codec: PyAV's codec context.
        packets: the packets as they arrive.
    """

    codec: Any
    packets: Iterator[Any]


class Opener:
    """Opens a source repeatedly, and remembers which way worked."""

    def __init__(self, av: Any, source: Source) -> None:
        """Prepare; `av` is PyAV."""
        self._av = av
        self._source = source
        self.is_file = opening.is_file(source.url)
        self._is_device = source.url.startswith("/dev/")
        self._transport = "tcp" if source.transport == "auto" else source.transport
        self._hardware = source.hardware_decoding
        # Whether RTSP over TCP is read through the relay, which may fail for some cameras.
        self._relayed = True
        self._relay: Relay | None = None
        # What worked: transport, and whether through the relay.
        self._worked: tuple[str, bool] | None = None
        # Whether HTTP data is pictures; None if unknown.
        self._sends_pictures = None if source.url.lower().startswith("http") else False
        self._has_looked = False
        # The address returns one picture per request.
        self.single_pictures = False
        if not (self.is_file or self._is_device):
            opening.leave_proxies(source.url)

    @property
    def through_relay(self) -> bool:
        """Return whether the source is read through the relay."""
        plain = self._source.url.lower().startswith("rtsp://")
        return self._relayed and self._transport == "tcp" and plain

    def note_worked(self) -> None:
        """Note that this way works."""
        self._worked = (self._transport, self._relayed)

    def leave_relay(self) -> None:
        """Read without the relay next time, over the same transport."""
        self._relayed = False

    def try_another_way(self) -> None:
        """Use another way next time; every second time the one that worked."""
        over_http = self._source.url.lower().startswith("http")
        if over_http and self._sends_pictures is False and not self._has_looked:
            # Some cameras serve one reader at a time, so they are not probed before each try.
            self._sends_pictures = None
        if self._worked not in (None, (self._transport, self._relayed)):
            self._transport, self._relayed = self._worked
            return
        if self._transport == "tcp":
            self._relayed = not self._relayed
        if self._source.transport == "auto":
            self._transport = "udp" if self._transport == "tcp" else "tcp"

    def hang_up(self) -> None:
        """Close the open connection, if that is possible from another thread."""
        if (relay := self._relay) is not None:
            relay.hang_up()

    def open(
        self,
        stack: ExitStack,
        silence_s: float,
        pause_s: Callable[[], float],
        on_single_pictures: Callable[[], None],
    ) -> Feed:
        """Open the source until a stack closes.

        Args:
            stack: closes the source.
            silence_s: longest silence.
            pause_s: pause between pictures that have to be requested.
            on_single_pictures: called if the address returns one picture per request.

        Raises:
            SourceError: the address cannot be read at all.
            av.FFmpegError, OSError, ValueError: it cannot be read now.
        """
        self._has_looked = self._sends_pictures is not False
        if self._has_looked:
            pictures = stack.enter_context(
                closing(self._pictures(silence_s, pause_s, on_single_pictures))
            )
            first = next(pictures, None)
            if first is not None:
                return self._feed_of_pictures(first, pictures)
        container = self._connect(stack, silence_s)
        if not container.streams.video:
            raise SourceError("The camera sends no video")
        stream = container.streams.video[0]
        return Feed(stream.codec_context, container.demux(stream))

    def _connect(self, stack: ExitStack, silence_s: float) -> Any:
        url = self._source.url
        self._relay = None
        if self.through_relay:
            try:
                self._relay = stack.enter_context(Relay(url, OPEN_TIMEOUT_S))
                return stack.enter_context(self._container(self._relay.url, silence_s))
            except self._av.ExitError:
                raise  # the camera does not answer
            except (self._av.FFmpegError, ValueError):
                # The camera may refuse the relay's address, or the relay misunderstand the camera.
                self._relayed = False
        return stack.enter_context(self._container(url, silence_s))

    def _container(self, url: str, silence_s: float) -> Any:
        # Probing is short, and its packets are decoded afterwards: "nobuffer" would drop them with
        # the first key frame, and delay the first picture by seconds.
        options = {"flags": "low_delay", "fpsprobesize": "0"}
        file_format = None
        try:
            if self.is_file:
                url, more = opening.file_to_open(url), opening.file_options()
            elif self._is_device:
                file_format, more = "v4l2", {}
            else:
                more = self._network_options(url)
        except PictureError as err:
            raise SourceError(str(err)) from None
        options |= more
        if self._source.wallclock:
            options["use_wallclock_as_timestamps"] = "1"
        arguments: dict[str, Any] = {
            "format": file_format,
            "options": options,
            "timeout": (OPEN_TIMEOUT_S, silence_s),
        }
        if self._hardware:
            here = self._av.codec.hwaccel.hwdevices_available()
            if kind := next((kind for kind in _HARDWARE if kind in here), None):
                decoder = self._av.codec.hwaccel.HWAccel(kind, allow_software_fallback=True)
                try:
                    return self._av.open(url, hwaccel=decoder, **arguments)
                except (RuntimeError, NotImplementedError):
                    # FFmpeg supports it, but there is no such device.
                    self._hardware = False
                    _LOGGER.warning("Hardware decoding is not available; using the processor")
        return self._av.open(url, **arguments)

    def _network_options(self, url: str) -> dict[str, str]:
        scheme = url.partition("://")[0].lower()
        options = opening.network_options(url) | {"probesize": "65536"} | self._encryption(scheme)
        if scheme.startswith("rtsp"):
            # No audio.
            options |= {"rtsp_transport": self._transport, "allowed_media_types": "video"}
            options |= {"analyzeduration": "0", "probesize": "4096"}
        return options

    def _encryption(self, scheme: str) -> dict[str, str]:
        """Return FFmpeg's options for certificates; http may redirect to https."""
        if not scheme.startswith(("http", "rtsps")):
            return {}
        if not self._source.verify_certificate:
            return {"tls_verify": "0"}
        trusted = tls.trusted_file()
        return {"tls_verify": "1", **({"ca_file": trusted} if trusted else {})}

    # --- Pictures over HTTP ----------------------------------------------------------------------

    def _pictures(
        self,
        silence_s: float,
        pause_s: Callable[[], float],
        on_single_pictures: Callable[[], None],
    ) -> Generator[bytes]:
        """Yield the pictures of an address; none if it sends something else."""
        while True:
            asked_at, count = time.monotonic(), 0
            with closing(self._sent(silence_s)) as sent:
                for picture in sent:
                    count += 1
                    yield picture
            if count != 1:
                return
            if not self.single_pictures:
                self.single_pictures = True
                on_single_pictures()
                _LOGGER.info("The address returns single pictures; requesting one after another")
            took_s = time.monotonic() - asked_at
            time.sleep(max(pause_s() - took_s, _LEAST_PAUSE * took_s))

    def _sent(self, silence_s: float) -> Generator[bytes]:
        """Yield the pictures of one response."""
        pictures = PictureParser()
        # FFmpeg handles HTTP (logins, redirects, TLS) but returns the raw data.
        options = self._network_options(self._source.url) | {"raw_packet_size": _RAW_READ}
        timeout, url = (OPEN_TIMEOUT_S, silence_s), self._source.url
        with self._av.open(url, format="data", options=options, timeout=timeout) as container:
            head = b""
            known: bool | None = None
            for data in self._raw(container):
                came = data
                if known is None:
                    came = head = head + data
                    known = self._sends_pictures = holds_pictures(head, ended=not data)
                if known is False:
                    return
                try:
                    if known:
                        yield from pictures.step(came)
                except PicturesError as err:
                    raise SourceError(str(err)) from None
            if known is None:
                self._sends_pictures = False
            yield from pictures.end()

    def _raw(self, container: Any) -> Iterator[bytes]:
        """Yield raw data, then empty bytes."""
        try:
            for packet in container.demux(container.streams[0]):
                yield bytes(packet)
        except OSError as err:
            # FFmpeg's error for the end of a response without a length.
            if err.errno != errno.EIO:
                raise

    def _feed_of_pictures(self, first: bytes, others: Iterator[bytes]) -> Feed:
        name = "mjpeg" if first.startswith(JPEG_START) else "png"
        codec = self._av.CodecContext.create(name, "r")
        try:
            with Image.open(io.BytesIO(first), formats=("JPEG", "PNG")) as image:
                codec.width, codec.height = image.size
        # Pillow raises nearly anything for a broken file; the decoder reports it.
        except Exception:  # noqa: BLE001
            _LOGGER.debug("The first picture has no size")

        def packets() -> Iterator[Any]:
            for picture in itertools.chain([first], others):
                packet = self._av.Packet(picture)
                packet.is_keyframe = True
                yield packet

        return Feed(codec, packets())


def load_av() -> Any:
    """Return PyAV. Raises `SourceError` if it is missing."""
    try:
        # PyAV bundles FFmpeg. Home Assistant includes it, and there are wheels for musl.
        av: Any = importlib.import_module("av")
    except ImportError:
        raise SourceError("Live video needs the package av: pip install av") from None
    # Its logs would show addresses with passwords.
    av.logging.set_level(av.logging.PANIC)
    return av
