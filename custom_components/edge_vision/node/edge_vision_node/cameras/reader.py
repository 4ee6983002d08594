"""Reading a source: frames as they come, and again when it breaks."""

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
# Decoding a frame and telling of it take milliseconds; whoever takes this long hangs.
_HANGS_AFTER_S = 20.0
# Who never has to wait for data is behind with them: in so long a time by less than this share.
_WATCHED_S, _LEAST_WAIT = 2.0, 0.02
_CAUGHT_UP_S = 0.02
# Cameras that save on key frames send one every ten seconds or so.
_KEY_FRAME_WITHIN_S = 60.0
# Nobody is there: another way of asking would not help.
_UNREACHED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
_LEAST_PLAYED_S = 1.0
# Codecs that can be decoded at half, a quarter or an eighth of their size, at a fraction of the
# price. H.264 and H.265 are not among them.
_SCALABLE = ("mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1")
# These say nothing of what is damaged unless errors are to end the picture.
_SILENT = ("hevc", "mjpeg")
_REORDERED = 16
# As small as this a picture still shows small people in its parts, and is evidence.
_ENOUGH_PIXELS = 720
# How often it is seen to whether the camera is silent.
_LISTEN_EVERY_S = 0.2
# Pictures that have to be asked for are not asked for less often than this.
_LONGEST_BETWEEN_S = 10.0


class _RelayError(SourceError):
    """What comes by way of the relay cannot be decoded; perhaps what comes directly can."""


class _ChangedError(Exception):
    """A source sends smaller pictures than it did, which are not to be halved."""


# (frame of PyAV, when its data came: UTC and monotonic, milliseconds of decoding, left out before)
FrameTaker = Callable[[Any, datetime, float, float, int], None]


class Reader:
    """Reads a source until the process ends. `fps` may be changed at any time."""

    def __init__(
        self,
        source: Source,
        fps: float,
        on_frame: FrameTaker,
        on_state: Callable[[SourceStatus], None],
    ) -> None:
        """Read nothing yet. Raises `SourceError` where PyAV is missing."""
        self._av = load_av()
        self.fps = fps
        # Decoding cannot keep up: only key frames are, until it has caught up.
        self.behind = False
        self._source = source
        self._on_frame = on_frame
        self._on_state = on_state
        self._state: tuple[str, str | None] = (SourceState.CONNECTING, None)
        self._opener = Opener(self._av, source)
        self._is_file = self._opener.is_file
        self._rhythm = Rhythm(source.stall_s)
        # Since when data is waited for, of a camera that has sent some.
        self._waiting_at: float | None = None
        self._codec: Any = None
        self._halve = True
        self._expected_by = math.inf
        self._live_at = 0.0
        # When the next frame is wanted; holds when it is opened again.
        self._due = 0.0
        self._soundness = Soundness(source.stall_s)
        # A camera that never keeps to the letter of its format is read as well as it can be.
        self._strict = True
        self._keeps_to_it = False
        # Times, in the stream, of packets that could not be decoded; a part of a picture may come.
        self._spoilt: deque[int | None] = deque(maxlen=_REORDERED)

    @property
    def hangs(self) -> bool:
        """Return whether it does not go on, though nothing is left that it could wait for."""
        return time.monotonic() > self._expected_by

    def _expect(self, within_s: float) -> None:
        """Say how long what comes now may take."""
        self._expected_by = time.monotonic() + within_s + _HANGS_AFTER_S

    def run(self) -> None:
        """Read for ever, with longer and longer pauses while it cannot be read."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        pause = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            # `may_help`: to ask in another way.
            self._live_at, may_help = 0.0, True
            try:
                self._read()
                reason = "The camera ended the stream"
                if self._is_file and self._live_at:
                    # It is played again and again; a single picture is as long as this.
                    time.sleep(max(0.0, started + _LEAST_PLAYED_S - time.monotonic()))
                    continue
            except _ChangedError:
                self._halve = False
                continue  # to be opened for its new size
            except _RelayError as err:
                reason, may_help = str(err), False
                self._opener.leave_relay()
            except SourceError as err:
                reason = str(err)
            except (self._av.FFmpegError, OSError, ValueError) as err:
                reason, may_help = self._describe(err), _reached(err)
            except MemoryError:
                reason = "Its pictures are too large for this device's memory"
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
        """Tell of a silence as soon as it is too long for this camera."""
        while True:
            time.sleep(_LISTEN_EVERY_S)
            since, limit_s = self._waiting_at, self._rhythm.limit_s
            if since is not None and time.monotonic() - since >= limit_s:
                self._waiting_at = None
                self._tell(SourceState.UNAVAILABLE, _silent(limit_s))
                # FFmpeg's own timeout was set when it opened the stream, and may be longer.
                self._opener.hang_up()

    def _between_s(self) -> float:
        """Return how far apart pictures are that have to be asked for."""
        return min(1 / self.fps, _LONGEST_BETWEEN_S)

    def _read(self) -> None:
        # The relay, FFmpeg by its way, FFmpeg directly; over HTTP, pictures before that.
        self._expect(3 * OPEN_TIMEOUT_S)
        with ExitStack() as stack:
            feed = self._opener.open(stack, self._rhythm.limit_s, self._between_s, self._push_state)
            codec = self._codec = feed.codec
            if codec.width * codec.height > MAX_PIXELS:
                raise SourceError(f"Its pictures have over {MAX_PIXELS // 10**6} million pixels")
            # Decoding by frames in parallel would hold one frame back per thread. And H.264 by
            # slices in parallel would say nothing of what is damaged.
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
        """Yield frames with the time at which their data came."""
        asked_at = good_at = time.monotonic()
        player = Player(self._source.stall_s)
        backlog = Backlog(asked_at)
        codec = feed.codec
        behind_at: float | None = None
        for packet in self._packets(feed.packets):
            came, at = datetime.now(UTC), time.monotonic()
            if not self._is_file:
                if at - asked_at >= self._rhythm.limit_s:
                    # It stalled; what was held back comes now, and is not of now.
                    raise TimeoutError
                self._rhythm.step(at - asked_at)
                self.behind = backlog.step(at, at - asked_at)
                if self.behind:
                    behind_at = at
                elif packet.is_keyframe or (
                    behind_at is not None and at - behind_at > self._source.stall_s
                ):
                    # What comes before the next key frame is drawn upon what was left out.
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
        silence_s = self._rhythm.limit_s  # that FFmpeg puts up with
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
        """Return the frames of a packet that can be believed."""
        try:
            # A picture that is made to keep a decoder busy for minutes.
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
        """Hand on as many frames as are wanted, evenly."""
        left_out, spent_ms, last = 0, 0.0, 0.0
        gap = 0.0
        for frame, came, at, took_ms in frames:
            if not self._live_at:
                self._live_at = at
                self._opener.note_worked()
            self._tell(SourceState.LIVE, None)
            spent_ms += took_ms
            # Half a frame early is in time: times are never quite what the rate says.
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
        """Return how a frame has to be turned: what is known of the camera, or what it says."""
        known = self._source.orientation
        return known if known != UPRIGHT else frame_orientation(frame)

    def _tell(self, state: SourceState, reason: str | None) -> None:
        # Who tries it wants to hear of every attempt that fails.
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
        """Say why it cannot be read, without the address that the error holds."""
        av = self._av
        match err:
            case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
                return "The camera refuses the user name or the password"
            case av.HTTPNotFoundError() | FileNotFoundError():
                return "There is no such stream"
            case ConnectionRefusedError():
                return "Nobody answers at the camera's address (connection refused)"
            case av.ExitError() | TimeoutError():
                if self._live_at:
                    return _silent(self._rhythm.limit_s)
                return "The camera does not answer"
            case av.ArgumentError() if self._is_file:
                return "This file is no video: playlists and texts are not played"
            case av.InvalidDataError() | av.ArgumentError() | av.PermissionError():
                return "What the camera sends is no video that can be read"
            case av.DecoderNotFoundError() | av.DemuxerNotFoundError():
                return "The camera's video format is not supported here"
        source = self._source
        if wrong := tls.trouble(source.url, verify=source.verify_certificate):
            return wrong
        return f"The video cannot be read: {getattr(err, 'strerror', None) or type(err).__name__}"


class Player:
    """When to show the frames of a file: as a camera would, and without its gaps."""

    def __init__(self, longest_s: float) -> None:
        """Begin; frames are at most so far apart."""
        self._longest_s = longest_s
        self._begun: float | None = None
        self._number = 0

    def step(self, time_s: float | None, at: float, fps: float) -> float:
        """Return how many seconds to wait for a frame of a time (None: unknown), now at `at`."""
        played = self._number / fps if time_s is None else time_s
        self._number += 1
        wait = 0.0 if self._begun is None else self._begun + played - at
        # Times that jump go on from here.
        if self._begun is None or abs(wait) > self._longest_s:
            self._begun, wait = at - played, 0.0
        return max(0.0, wait)


class Backlog:
    """Whether a reader is behind: data is always there already when it asks for more.

    The stream's own times cannot tell: many cameras make them up.
    """

    def __init__(self, at: float) -> None:
        """Begin to watch, at a time in seconds."""
        self._since = at
        self._waited_s = 0.0
        self._behind = False

    def step(self, at: float, waited_s: float) -> bool:
        """Take in how long data was waited for; return whether the reader is behind."""
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
    return f"The camera has sent nothing for {for_s:.0f} s"


def _reached(err: Exception) -> bool:
    """Return whether a camera was there at all, for all that an error tells."""
    lost = isinstance(err, socket.gaierror) or getattr(err, "errno", None) in _UNREACHED
    return not lost


def _halvings(codec: Any) -> int:
    """Return how often the picture can be halved while it is decoded: 0 to 3 times."""
    if codec.name not in _SCALABLE:
        return 0
    side, halvings = min(codec.width, codec.height), 0
    while halvings < 3 and side >= _ENOUGH_PIXELS * 2 ** (halvings + 1):
        halvings += 1
    return halvings
