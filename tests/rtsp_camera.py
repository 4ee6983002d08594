"""A camera that streams H.264 or H.265 over RTSP on localhost, like most real ones.

RTSP 1.0 (RFC 2326) with RTP (RFC 3550, video as in RFC 6184 and RFC 7798) over TCP or UDP, as far
as clients need it. Pictures and faults can be changed while it is streaming.
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.video.frame import PictureType
from PIL import Image

from tests.live_camera import StreamingCamera

_CLOCK = 90_000
_MOST_PAYLOAD = 1400
_TYPE = 96
_KEY_EVERY_S = 2.0


@dataclass(eq=False)
class _Reader:
    writer: asyncio.StreamWriter
    udp: asyncio.DatagramTransport | None = None
    playing: bool = False
    begun: bool = False
    sequence: int = 0

    def send(self, packet: bytes) -> None:
        if self.udp is not None:
            self.udp.sendto(packet)
        elif not self.writer.transport.is_closing():
            self.writer.write(b"$\0" + len(packet).to_bytes(2) + packet)


@dataclass
class RtspCamera(StreamingCamera):
    """Sends video; with `garbage`, some of the packets are changed or missing."""

    udp: bool = True
    codec: str = "H264"
    # Slices per picture; libx265 would delay one picture for this.
    slices: int = 1
    # Combines small parts of a picture in one packet.
    aggregates: bool = False
    # Marks every part of a picture as the last one.
    marks_all: bool = False
    # Has audio, too, and only accepts its own name.
    sound: bool = False
    picky: bool = False
    # Requested methods and addresses, and sent frames.
    asked: list[str] = field(default_factory=list)
    transports: list[str] = field(default_factory=list)
    sent: int = 0
    garbage_share: float = 0.5
    # The same packets in each run; FFmpeg does not notice each kind of damage.
    _random: random.Random = field(default_factory=lambda: random.Random(4))
    _readers: list[_Reader] = field(default_factory=list)
    _encoder: Any = None
    _frames: int = 0
    _key_wanted: bool = True

    @property
    def readers(self) -> int:
        return sum(reader.playing for reader in self._readers)

    def hang_up(self) -> None:
        """Close all connections."""
        for reader in self._readers:
            reader.writer.transport.abort()

    # --- RTSP ------------------------------------------------------------------------------------

    async def serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader = _Reader(writer)
        self._readers.append(reader)
        try:
            while head := await _request(stream):
                status, headers, body = await self._answer(reader, head)
                lines = [f"RTSP/1.0 {status}", f"CSeq: {_header(head, 'CSeq')}", *headers]
                if body:
                    lines.append(f"Content-Length: {len(body)}")
                writer.write("\r\n".join([*lines, "", body]).encode())
                await writer.drain()
                if head.startswith("TEARDOWN"):
                    return
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._readers.remove(reader)
            if reader.udp is not None:
                reader.udp.close()
            writer.close()

    async def _answer(self, reader: _Reader, head: str) -> tuple[str, list[str], str]:
        method, url, _ = head.split(" ", 2)
        self.asked.append(f"{method} {url}")
        if self.picky and not url.startswith(f"rtsp://{self.address.rpartition('@')[2]}"):
            return "404 Not Found", [], ""
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"], ""
        wanted = base64.b64encode(self.credentials.encode()).decode()
        if self.refuses or _header(head, "Authorization") != f"Basic {wanted}":
            return "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"'], ""
        session = "Session: 1;timeout=60"
        if method == "DESCRIBE":
            self.requests += 1
            sdp = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
                f"m=video 0 RTP/AVP {_TYPE}\r\nc=IN IP4 127.0.0.1\r\n"
                f"a=rtpmap:{_TYPE} {self.codec}/{_CLOCK}\r\n"
                f"a=fmtp:{_TYPE} packetization-mode=1\r\na=control:video\r\n"
            )
            if self.sound:
                sdp += "m=audio 0 RTP/AVP 0\r\na=control:sound\r\n"
            return "200 OK", ["Content-Type: application/sdp", f"Content-Base: {url}/"], sdp
        if method == "SETUP":
            transport = _header(head, "Transport")
            self.transports.append("udp" if "client_port" in transport else "tcp")
            if ports := re.search(r"client_port=(\d+)", transport):
                if not self.udp:
                    return "461 Unsupported Transport", [], ""
                loop = asyncio.get_running_loop()
                reader.udp, _ = await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, remote_addr=("127.0.0.1", int(ports[1]))
                )
                mine = reader.udp.get_extra_info("sockname")[1]
                transport += f";server_port={mine}-{mine + 1}"
            return "200 OK", [f"Transport: {transport}", session], ""
        if method == "PLAY":
            reader.playing = self._key_wanted = True
        return "200 OK", [session], ""

    # --- Video -----------------------------------------------------------------------------------

    async def stream(self) -> None:
        """Send one frame after the other to all playing clients."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / self.fps, time.monotonic() - 1 / self.fps)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self.stalled or not self.readers:
                continue
            picture = next(self._clip) if self._clip else self.picture
            unsent, self._unsent = self._unsent, False
            # Like a camera: a frame is sent when it has been encoded.
            captured_at = time.time()
            key, units = await asyncio.to_thread(self._encode, picture)
            if unsent:
                self.shown_at = time.time()
            stamp = int(captured_at * _CLOCK) & 0xFFFFFFFF
            for reader in [reader for reader in self._readers if reader.playing]:
                reader.begun = reader.begun or key
                if reader.begun:
                    self._send(reader, units, stamp)
            self.sent += any(reader.begun for reader in self._readers)

    def _encode(self, picture: bytes) -> tuple[bool, list[bytes]]:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        # 4:2:0 has no odd sizes.
        image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != image.size:
            name = {"H264": "libx264", "H265": "libx265"}[self.codec]
            encoder = av.CodecContext.create(name, "w")
            encoder.width, encoder.height = image.size
            encoder.pix_fmt = "yuv420p"
            encoder.time_base = Fraction(1, _CLOCK)
            encoder.framerate = Fraction(30, 1)
            encoder.options = {
                "preset": "ultrafast",
                "tune": "zerolatency",
                "crf": "21",
                "g": "1000",
                "bf": "0",
                "slices": str(self.slices),
                "x265-params": "log-level=none",
            }
            self._encoder, self._frames, self._key_wanted = encoder, 0, True
        frame = av.VideoFrame.from_image(image).reformat(format="yuv420p")
        frame.pts = self._frames * _CLOCK // 30
        if self._key_wanted or self._frames % max(1, round(_KEY_EVERY_S * self.fps)) == 0:
            frame.pict_type = PictureType.I
        self._key_wanted = False
        self._frames += 1
        packets = encoder.encode(frame)
        data = b"".join(bytes(packet) for packet in packets)
        units = [unit for unit in re.split(rb"\x00\x00\x00?\x01", data) if unit]
        return any(packet.is_keyframe for packet in packets), units

    def _send(self, reader: _Reader, units: list[bytes], stamp: int) -> None:
        hevc = self.codec == "H265"
        payloads: list[bytes] = []
        if self.aggregates and sum(map(len, units)) <= _MOST_PAYLOAD and len(units) > 1:
            payloads = [_aggregated(units, hevc=hevc)]
        else:
            for unit in units:
                payloads += _fragments(unit, hevc=hevc)
        for number, payload in enumerate(payloads):
            last = number == len(payloads) - 1 or self.marks_all
            sequence, reader.sequence = reader.sequence & 0xFFFF, reader.sequence + 1
            sent = payload
            if self.garbage and (chance := self._random.random()) < self.garbage_share:
                if chance < self.garbage_share / 2:
                    continue
                middle = len(payload) // 2
                sent = payload[:middle] + self._random.randbytes(len(payload) - middle)
            head = bytes([0x80, _TYPE | last << 7]) + sequence.to_bytes(2)
            reader.send(head + stamp.to_bytes(4) + b"edge" + sent)


def _fragments(unit: bytes, *, hevc: bool) -> list[bytes]:
    """Return a NAL unit as RTP payloads (RFC 6184, 5.6 and 5.8; RFC 7798, 4.4.1 and 4.4.3)."""
    if len(unit) <= _MOST_PAYLOAD:
        return [unit]
    if hevc:
        head, kind, size = bytes([unit[0] & 0x81 | 49 << 1, unit[1]]), unit[0] >> 1 & 0x3F, 2
    else:
        head, kind, size = bytes([unit[0] & 0xE0 | 28]), unit[0] & 0x1F, 1
    body = unit[size:]
    parts = [body[at : at + _MOST_PAYLOAD] for at in range(0, len(body), _MOST_PAYLOAD)]
    flags = [0x80, *[0] * (len(parts) - 2), 0x40]
    return [head + bytes([flag | kind]) + part for flag, part in zip(flags, parts, strict=True)]


def _aggregated(units: list[bytes], *, hevc: bool) -> bytes:
    """Return NAL units as one RTP payload (RFC 6184, 5.7.1; RFC 7798, 4.4.2)."""
    head = bytes([48 << 1, 1]) if hevc else bytes([0x60 | 24])
    return head + b"".join(len(unit).to_bytes(2) + unit for unit in units)


async def _request(stream: asyncio.StreamReader) -> str:
    """Return the head of a request; RTP reports in between are skipped."""
    while (first := await stream.read(1)) == b"$":
        _, high, low = await stream.readexactly(3)
        await stream.readexactly(high << 8 | low)
    if not first:
        return ""
    return (first + await stream.readuntil(b"\r\n\r\n")).decode()


def _header(head: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r$", head, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


@asynccontextmanager
async def rtsp_camera(
    picture: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RtspCamera]:
    """Run a camera; with `tls`, over RTSPS."""
    camera = RtspCamera(picture)
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    scheme = "rtsps" if tls else "rtsp"
    camera.address = f"{scheme}://{camera.credentials}@127.0.0.1:{port}/video"
    streaming = asyncio.create_task(camera.stream())
    try:
        yield camera
    finally:
        streaming.cancel()
        with suppress(asyncio.CancelledError):
            await streaming
        server.close()
        camera.hang_up()
