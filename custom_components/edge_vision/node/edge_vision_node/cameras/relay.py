"""An RTSP relay that marks the end of each picture, so that none is delayed.

FFmpeg takes a picture of H.264 or H.265 for complete when the next one begins, an interval late.
The marker bit of RTP says it at once (RFC 3550, 5.1; RFC 6184, 5.1; RFC 7798, 4.1), but FFmpeg
ignores it. This relay runs between FFmpeg and the camera, in the same process. After the last part
of a picture it inserts an access unit delimiter, which may begin any picture and so completes the
previous one. Everything else passes unchanged.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PORT = 554
_READ = 65536
# Data for a slow reader waits on the camera's side, not here.
_SEND_BUFFER = 65536
_LONGEST_MESSAGE = 65536
_LONGEST_PACKET = 65535
_RTP_HEAD = 12

_START_CODE = b"\0\0\0\1"
# Some servers use other line ends.
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CODEC = re.compile(rb"^a=rtpmap:(\d{1,3}) +(H26[45])/", re.MULTILINE | re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length: *(\d{1,9})", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class _Codec:
    """The layout of a codec's NAL units in RTP.

    Attributes:
        delimiter: an access unit delimiter that allows any slices.
        head: bytes of a NAL unit's head; the first one holds the type from bit `shift` on.
        types: mask of the type.
        slices: types of slices, which are parts of pictures.
        several, fragment: types of payloads with several units and with part of one.
    """

    delimiter: bytes
    head: int
    shift: int
    types: int
    slices: range
    several: int
    fragment: int

    def kind(self, unit: bytes) -> int:
        return unit[0] >> self.shift & self.types if unit else -1

    def parts(self, payload: bytes) -> tuple[bool, bytes]:
        """Return whether a payload has slices, and the delimiter that follows the last one."""
        kind = self.kind(payload)
        if kind == self.several:
            found, at = False, self.head
            while at + 2 < len(payload):
                found = found or self.kind(payload[at + 2 : at + 3]) in self.slices
                at += 2 + int.from_bytes(payload[at : at + 2])
            return found, len(self.delimiter).to_bytes(2) + self.delimiter
        if kind == self.fragment and len(payload) > self.head:
            flags = payload[self.head]
            ends = bool(flags & 0x40)
            return flags & self.types in self.slices, _START_CODE + self.delimiter if ends else b""
        return kind in self.slices, _START_CODE + self.delimiter


# H.264: ITU-T H.264, table 7-1 and RFC 6184, 5.2. H.265: ITU-T H.265, table 7-1 and RFC 7798, 4.4.
_CODECS = {
    b"H264": _Codec(b"\x09\xf0", 1, 0, 0x1F, range(1, 6), 24, 28),
    b"H265": _Codec(b"\x46\x01\x50", 2, 1, 0x3F, range(32), 48, 49),
}


class Marking:
    """Marks the ends of pictures in the data of one RTSP connection.

    If something is not understood, it and all data after it pass unchanged.
    """

    def __init__(self) -> None:
        """Start with a new connection."""
        self._plain = False
        self._rest = b""
        self._codecs: dict[int, _Codec] = {}
        # Channel → RTP time of the last picture that was marked.
        self._ended: dict[int, bytes] = {}
        self._trusted = False

    def step(self, data: bytes) -> bytes:
        """Add data; return what to send on. Incomplete data waits for the rest."""
        data, at, out = self._rest + data, 0, bytearray()
        while at < len(data) and not self._plain:
            if data[at] == ord("$"):
                # RTP within RTSP (RFC 2326, 10.12): channel, length, packet.
                begin = at + 4
                end = begin + int.from_bytes(data[at + 2 : begin])
                if len(data) < max(begin, end):
                    break
                packet = data[begin:end]
                packet += self._delimiter(data[at + 1], packet)
                out += data[at : at + 2] + len(packet).to_bytes(2) + packet
            else:
                end = self._message(data, at)
                if len(data) < end:
                    break
                out += data[at:end]
            at = end
        self._rest = b"" if self._plain else data[at:]
        return bytes(out) + data[at:] if self._plain else bytes(out)

    def _message(self, data: bytes, at: int) -> int:
        """Return where an RTSP message ends, as far as is known."""
        if found := _HEAD_END.search(data, at):
            body = found.end()
            length = _LENGTH.search(data, at, body)
            end = body + (int(length[1]) if length else 0)
        else:
            body = end = len(data) + 1
        self._plain = not data[at : at + 1].isalpha() or end - at > _LONGEST_MESSAGE
        if end <= len(data):
            # A description (RFC 6184, 8.2.1; RFC 7798, 7.2.1) says which packets are video.
            for kind in _CODEC.finditer(data, body, end):
                self._codecs[int(kind[1])] = _CODECS[kind[2].upper()]
        return end

    def _delimiter(self, channel: int, packet: bytes) -> bytes:
        """Return the delimiter to insert after an RTP packet; empty unless it ends a picture."""
        # Version 2, without padding.
        if len(packet) < _RTP_HEAD or packet[0] & 0xE0 != 0x80:
            return b""
        codec = self._codecs.get(packet[1] & 0x7F)
        if codec is None:
            return b""
        begin = _RTP_HEAD + 4 * (packet[0] & 0x0F)
        if packet[0] & 0x10:
            begin += 4 + 4 * int.from_bytes(packet[begin + 2 : begin + 4])
        has_slices, delimiter = codec.parts(packet[begin:])
        if not has_slices:
            return b""
        time, ended = packet[4:8], self._ended.get(channel)
        if time == ended:
            # More of a complete picture: this camera's marker bits mean something else.
            self._plain = True
            return b""
        # The marks have been right once.
        self._trusted = self._trusted or ended is not None
        if not packet[1] & 0x80:
            return b""
        self._ended[channel] = time
        fits = len(packet) + len(delimiter) <= _LONGEST_PACKET
        return delimiter if self._trusted and fits else b""


class Relay:
    """Relays between one reader on this device and a camera, until either closes.

    Attributes:
        url: to read instead of the camera's address, with the same user and password.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """Connect to the camera. Raises `OSError`, or `ValueError` for an invalid address."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("There is no host in the address")
        address = (parts.hostname, parts.port or _PORT)
        self._camera = socket.create_connection(address, timeout_s)
        self._camera.settimeout(None)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._server.settimeout(timeout_s)
        user, at, _ = parts.netloc.rpartition("@")
        here = f"//{user}{at}127.0.0.1:{self._server.getsockname()[1]}"
        self.url = url.replace(f"//{parts.netloc}", here, 1)
        threading.Thread(target=self._serve, name="relay", daemon=True).start()

    def __enter__(self) -> Self:
        """Return the relay."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection; a thread that waits for data is woken. Safe from any thread."""
        _hang_up(self._camera)

    def _serve(self) -> None:
        with self._camera:
            try:
                with self._server:
                    reader, _ = self._server.accept()
            except OSError:
                return  # nobody connected
            with reader:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
                for end in (self._camera, reader):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(
                    target=_pass_on, args=(reader, self._camera, bytes), daemon=True
                )
                back.start()
                _pass_on(self._camera, reader, Marking().step)
                back.join()


def _pass_on(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    try:
        while data := source.recv(_READ):
            sink.sendall(change(data))
    except OSError:
        pass  # either end has closed
    finally:
        _hang_up(source)
        _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
