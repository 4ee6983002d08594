"""Reads the frames of a source, and opens it again after a failure."""

from __future__ import annotations

import errno
import logging
import math
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from ..frames.checks import is_scan_bomb
from ..frames.decode import MAX_PIXELS
from ..frames.orientation import UPRIGHT, frame_orientation
from ..protocol import SourceState, SourceStatus
from . import tls
from .messages import Source
from .pixels import upright
from .rhythm import Rhythm
from .soundness import Soundness
from .source import OPEN_TIMEOUT_S, Feed, Opener, SourceError, load_av

_LOGGER = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_SOUND_AFTER_S = 30.0
# Decoding and reporting a frame take milliseconds. A reader that takes this long hangs.
_HANGS_AFTER_S = 20.0
# A reader that waits for data for less than this share of a period is behind.
_WATCHED_S, _LEAST_WAIT = 2.0, 0.02
_CAUGHT_UP_S = 0.02
# Some cameras send a key frame every ten seconds only.
_KEY_FRAME_WITHIN_S = 60.0
# The camera is unreachable: another way to open it would not help.
_UNREACHED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
_LEAST_PLAYED_S = 1.0
# Codecs that can be decoded at half, a quarter or an eighth of their size in a fraction of the
# time. H.264 and H.265 cannot.
_SCALABLE = ("mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1")
# These report damage only if errors end the picture.
_SILENT = ("hevc", "mjpeg")
_REORDERED = 16
# A picture of this size still shows small people in its parts, and is good enough to keep.
_ENOUGH_PIXELS = 720
# How often the camera is checked for silence.
_LISTEN_EVERY_S = 0.2
# The longest pause between pictures that have to be requested.
_LONGEST_BETWEEN_S = 10.0


class _RelayError(SourceError):
    """Data from the relay cannot be decoded; direct data may be."""


class _ChangedError(Exception):
    """A source sends smaller pictures than before, which must not be halved."""


# (frame of PyAV, arrival of its data as UTC and monotonic, decoding in ms, frames skipped before)
FrameTaker = Callable[[Any, datetime, float, float, int], None]


class Reader:
    """Reads a source until the process ends. `fps` can be changed at any time."""

    def __init__(
        self,
        source: Source,
        fps: float,
        on_frame: FrameTaker,
        on_state: Callable[[SourceStatus], None],
    ) -> None:
        """Prepare. Raises `SourceError` if PyAV is missing."""
        self._av = load_av()
        self.fps = fps
        # Decoding cannot keep up: only key frames are decoded until it has caught up.
        self.behind = False
        self._source = source
        self._on_frame = on_frame
        self._on_state = on_state
        self._state: tuple[str, str | None] = (SourceState.CONNECTING, None)
        self._opener = Opener(self._av, source)
        self._is_file = self._opener.is_file
        self._rhythm = Rhythm(source.stall_s)
        # Since when the reader has been waiting for data, after the first.
        self._waiting_at: float | None = None
        self._codec: Any = None
        self._halve = True
        self._expected_by = math.inf
        self._live_at = 0.0
        # When the next frame is due; kept when the source is opened again.
        self._due = 0.0
        self._soundness = Soundness(source.stall_s)
        # A camera that always violates its format is read as well as possible.
        self._strict = True
        self._keeps_to_it = False
        # Stream times of packets that could not be decoded; parts of their pictures may follow.
        self._spoilt: deque[int | None] = deque(maxlen=_REORDERED)

    @property
    def hangs(self) -> bool:
        """Return whether the reader is stuck without waiting for anything."""
        return time.monotonic() > self._expected_by

    def _expect(self, within_s: float) -> None:
        """Set the deadline of the next step."""
        self._expected_by = time.monotonic() + within_s + _HANGS_AFTER_S

    def run(self) -> None:
        """Read for ever, with increasing pauses between failed attempts."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        pause = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            # `may_help`: whether another way to open it may work.
            self._live_at, may_help = 0.0, True
            try:
                self._read()
                reason = "The camera ended the stream"
                if self._is_file and self._live_at:
                    # A file is played in a loop; this is the duration of a single picture.
                    time.sleep(max(0.0, started + _LEAST_PLAYED_S - time.monotonic()))
                    continue
            except _ChangedError:
                self._halve = False
                continue  # open it for its new size
            except _RelayError as err:
                reason, may_help = str(err), False
                self._opener.leave_relay()
            except SourceError as err:
                reason = str(err)
            except (self._av.FFmpegError, OSError, ValueError) as err:
                reason, may_help = self._describe(err), _reached(err)
            except MemoryError:
                reason = "Its pictures are too large for the memory of this device"
            if self._live_at and time.monotonic() - self._live_at > _SOUND_AFTER_S:
                pause, self._halve = _FIRST_PAUSE_S, True
            self._waiting_at = None
            self._tell(SourceState.UNAVAILABLE, reason)
            if may_help and not self._live_at:
                self._opener.try_another_way()
            delay = pause * random.uniform(0.75, 1.25)  # noqa: S311 - to spread load
            self._expect(delay)
            time.sleep(delay)
            if time.monotonic() - started < _SOUND_AFTER_S:
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _listen(self) -> None:
        """Report a silence as soon as it is too long for this camera."""
        while True:
            time.sleep(_LISTEN_EVERY_S)
            since, limit_s = self._waiting_at, self._rhythm.limit_s
            if since is not None and time.monotonic() - since >= limit_s:
                self._waiting_at = None
                self._tell(SourceState.UNAVAILABLE, _silent(limit_s))
                # FFmpeg's own timeout was set when the stream was opened, and may be longer.
                self._opener.hang_up()

    def _between_s(self) -> float:
        """Return the pause between pictures that have to be requested."""
        return min(1 / self.fps, _LONGEST_BETWEEN_S)

    def _read(self) -> None:
        # The relay, FFmpeg with its transport, FFmpeg directly; over HTTP, pictures before.
        self._expect(3 * OPEN_TIMEOUT_S)
        with ExitStack() as stack:
            feed = self._opener.open(stack, self._rhythm.limit_s, self._between_s, self._push_state)
            codec = self._codec = feed.codec
            if codec.width * codec.height > MAX_PIXELS:
                raise SourceError(
                    f"Its pictures have more than {MAX_PIXELS // 10**6} million pixels"
                )
            # Frame threads would delay frames by one per thread, and with slice threads H.264
            # would not report damage.
            codec.thread_type = "AUTO" if self._is_file else "SLICE"
            if codec.name == "h264" and not self._is_file:
                codec.thread_type, codec.thread_count = "NONE", 1
            if self._source.key_frames_only:
                codec.skip_frame = "NONKEY"
            options = {"max_pixels": str(MAX_PIXELS)}
            if codec.name in _SILENT and self._strict:
                options["err_detect"] = "explode"
            halvings = _halvings(codec) if self._halve else 0
            if halvings:
                options["lowres"] = str(halvings)
            codec.options = options
            self._soundness.begin()
            self._spoilt.clear()
            self._pass_on(self._frames(feed, halvings))

    def _frames(self, feed: Feed, halvings: int) -> Iterator[tuple[Any, datetime, float, float]]:
        """Yield frames with the arrival time of their data."""
        asked_at = good_at = time.monotonic()
        player = Player(self._source.stall_s)
        backlog = Backlog(asked_at)
        codec = feed.codec
        behind_at: float | None = None
        for packet in self._packets(feed.packets):
            came, at = datetime.now(UTC), time.monotonic()
            if not self._is_file:
                if at - asked_at >= self._rhythm.limit_s:
                    # After a stall, old data arrives first.
                    raise TimeoutError
                self._rhythm.step(at - asked_at)
                self.behind = backlog.step(at, at - asked_at)
                if self.behind:
                    behind_at = at
                elif packet.is_keyframe or (
                    behind_at is not None and at - behind_at > self._source.stall_s
                ):
                    # Frames before the next key frame depend on skipped ones.
                    behind_at = None
                if not self._source.key_frames_only:
                    codec.skip_frame = "DEFAULT" if behind_at is None else "NONKEY"
            decoded = self._decode(packet, at)
            took_ms = (time.monotonic() - at) * 1000
            for frame in decoded:
                good_at = at
                if halvings and min(frame.width, frame.height) < _ENOUGH_PIXELS:
                    raise _ChangedError
                if self._is_file:
                    self._expect(self._source.stall_s)
                    time.sleep(player.step(frame.time, at, self.fps))
                    came, at = datetime.now(UTC), time.monotonic()
                    good_at = at
                yield frame, came, at, took_ms
            limit = self._rhythm.limit_s
            if behind_at is not None or self._source.key_frames_only:
                limit = max(limit, _KEY_FRAME_WITHIN_S)
            if at - good_at > limit or self._soundness.mostly_damaged:
                self._soundness.give_up()
                self._strict = self._keeps_to_it or not self._strict
                error = _RelayError if self._opener.through_relay else SourceError
                raise error("The camera sends data, but no picture that can be decoded")
            asked_at = time.monotonic()

    def _packets(self, packets: Iterator[Any]) -> Iterator[Any]:
        silence_s = self._rhythm.limit_s  # that FFmpeg tolerates
        while True:
            self._expect(silence_s + _LONGEST_BETWEEN_S)
            if self._live_at and not self._is_file:
                self._waiting_at = time.monotonic()
            packet = next(packets, None)
            self._waiting_at = None
            if packet is None:
                return
            self._expect(0.0)
            yield packet

    def _decode(self, packet: Any, at: float) -> list[Any]:
        """Return the frames of a packet that are not damaged."""
        try:
            # A picture that would keep the decoder busy for minutes.
            if self._codec.name == "mjpeg" and is_scan_bomb(bytes(packet)):
                raise self._av.InvalidDataError(0, "too many scans")
            decoded = self._codec.decode(packet)
        except self._av.InvalidDataError:
            self._spoilt.append(packet.pts)
            self._soundness.step(at, damaged=True, key=False)
            return []
        sound = []
        for frame in decoded:
            damaged = frame.is_corrupt or packet.is_corrupt
            damaged = damaged or (frame.pts is not None and frame.pts in self._spoilt)
            if self._soundness.step(at, damaged=damaged, key=frame.key_frame):
                self._keeps_to_it = self._keeps_to_it or self._strict
                sound.append(frame)
        return sound

    def _pass_on(self, frames: Iterator[tuple[Any, datetime, float, float]]) -> None:
        """Pass on as many frames as are wanted, evenly spaced."""
        left_out, spent_ms, last = 0, 0.0, 0.0
        gap = 0.0
        for frame, came, at, took_ms in frames:
            if not self._live_at:
                self._live_at = at
                self._opener.note_worked()
            self._tell(SourceState.LIVE, None)
            spent_ms += took_ms
            # Half an interval early is in time: the rate is never exact.
            gap = at - last if not gap else 0.9 * gap + 0.1 * (at - last) if last else 0.0
            last = at
            if at + min(gap, 1 / self.fps) / 2 < self._due:
                left_out += 1
                continue
            self._due = max(self._due + 1 / self.fps, at + 0.5 / self.fps)
            begun = time.monotonic()
            shown = upright(frame, self._orientation(frame))
            spent_ms += (time.monotonic() - begun) * 1000
            self._on_frame(shown, came, at, spent_ms, left_out)
            left_out, spent_ms = 0, 0.0

    def _orientation(self, frame: Any) -> int:
        """Return how to turn a frame: as configured, or as the stream says."""
        known = self._source.orientation
        return known if known != UPRIGHT else frame_orientation(frame)

    def _tell(self, state: SourceState, reason: str | None) -> None:
        # A listener that tries the source needs every failed attempt.
        if (state, reason) != self._state or state == SourceState.UNAVAILABLE:
            self._state = (state, reason)
            self._push_state()

    def _push_state(self) -> None:
        state, reason = self._state
        since = datetime.now(UTC).isoformat(timespec="milliseconds")
        single = self._opener.single_pictures
        self._on_state(
            SourceStatus(state=state, since=since, reason=reason, single_pictures=single)
        )

    def _describe(self, err: Exception) -> str:
        """Return why the source cannot be read, without the address that the error holds."""
        av = self._av
        match err:
            case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
                return "The camera rejected the username or the password"
            case av.HTTPNotFoundError() | FileNotFoundError():
                return "There is no such stream"
            case ConnectionRefusedError():
                return "The connection to the camera was refused"
            case av.ExitError() | TimeoutError():
                if self._live_at:
                    return _silent(self._rhythm.limit_s)
                return "The camera does not respond"
            case av.ArgumentError() if self._is_file:
                return "This file is not a video; playlists and text files are not supported"
            case av.InvalidDataError() | av.ArgumentError() | av.PermissionError():
                return "The camera does not send a video that can be read"
            case av.DecoderNotFoundError() | av.DemuxerNotFoundError():
                return "The video format of the camera is not supported here"
        source = self._source
        if wrong := tls.trouble(source.url, verify=source.verify_certificate):
            return wrong
        return f"The video cannot be read: {getattr(err, 'strerror', None) or type(err).__name__}"


class Player:
    """Times the frames of a file as a camera would, without gaps."""

    def __init__(self, longest_s: float) -> None:
        """Start; gaps between frames are limited to this."""
        self._longest_s = longest_s
        self._begun: float | None = None
        self._number = 0

    def step(self, time_s: float | None, at: float, fps: float) -> float:
        """Return how many seconds to wait at `at` for a frame of a time (None: unknown)."""
        played = self._number / fps if time_s is None else time_s
        self._number += 1
        wait = 0.0 if self._begun is None else self._begun + played - at
        # After a jump, times continue from here.
        if self._begun is None or abs(wait) > self._longest_s:
            self._begun, wait = at - played, 0.0
        return max(0.0, wait)


class Backlog:
    """Detects that a reader is behind, because it never has to wait for data.

    The stream's own times are no help: many cameras invent them.
    """

    def __init__(self, at: float) -> None:
        """Start at a time in seconds."""
        self._since = at
        self._waited_s = 0.0
        self._behind = False

    def step(self, at: float, waited_s: float) -> bool:
        """Note how long the reader waited for data; return whether it is behind."""
        self._waited_s += waited_s
        if self._behind and waited_s >= _CAUGHT_UP_S:
            self._behind = False
            self._since, self._waited_s = at, 0.0
        elif at - self._since >= _WATCHED_S:
            behind = self._waited_s < _LEAST_WAIT * (at - self._since)
            if behind and not self._behind:
                _LOGGER.warning("Decoding cannot keep up; only key frames for now")
            self._behind = behind
            self._since, self._waited_s = at, 0.0
        return self._behind


def _silent(for_s: float) -> str:
    return f"The camera has sent no data for {for_s:.0f} s"


def _reached(err: Exception) -> bool:
    """Return whether the camera was reached, as far as an error tells."""
    lost = isinstance(err, socket.gaierror) or getattr(err, "errno", None) in _UNREACHED
    return not lost


def _halvings(codec: Any) -> int:
    """Return how often the picture can be halved in the decoder: 0 to 3 times."""
    if codec.name not in _SCALABLE:
        return 0
    side, halvings = min(codec.width, codec.height), 0
    while halvings < 3 and side >= _ENOUGH_PIXELS * 2 ** (halvings + 1):
        halvings += 1
    return halvings
