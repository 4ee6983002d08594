"""The command `track`: follow the objects of a video, and print events."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from ..errors import CommandLineError
from ..frames.video_file import VideoFrame, read_video
from ..inference.frame_detector import FrameDetector
from ..inference.runner import Runner
from ..protocol import Line, Point, Thoroughness, Zone, write
from ..rules.scene import RuleEvent
from ..rules.scene_rules import SceneConfig
from ..tracking.follower import Follower
from ..tracking.tracker import Track

_PROGRESS_EVERY_S = 1.0
_WHOLE = "whole"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `track`."""
    command.add_argument("video", help="a video file, or the address of a stream")
    command.add_argument(
        "--confidence", type=float, default=50.0, help="minimum confidence in percent (%(default)s)"
    )
    command.add_argument("--labels", help="only these labels, comma-separated")
    command.add_argument("--fps", type=float, help="the most frames per second to use (all)")
    command.add_argument(
        "--look",
        choices=(*Thoroughness, _WHOLE),
        default=Thoroughness.BALANCED,
        help="where to look in a frame: as live video does with that setting, or everywhere"
        " (%(default)s)",
    )
    command.add_argument("--mot", type=Path, metavar="FILE", help="write MOTChallenge rows")
    command.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar="NAME:x,y;x,y;x,y",
        help="print who enters and leaves this polygon (0-1, from the top left; repeatable)",
    )
    command.add_argument(
        "--line",
        action="append",
        default=[],
        metavar="NAME:x,y;x,y",
        help="count who crosses this line (repeatable)",
    )
    command.add_argument(
        "--loitering", type=float, help="seconds in a zone until an object loiters"
    )


@dataclass
class _Summary:
    frames: int = 0
    looks: int = 0
    tracks: int = 0
    looking_s: float = 0.0
    following_s: float = 0.0


def track(options: argparse.Namespace, runner: Runner) -> int:
    """Follow objects through a video; print each event as it happens."""
    labels = tuple(part.strip() for part in (options.labels or "").split(",") if part.strip())
    if not 0 < options.confidence < 100:
        raise CommandLineError("--confidence: expected a percentage between 0 and 100")
    if options.fps is not None and options.fps <= 0:
        raise CommandLineError("--fps: expected more than 0")
    watch = SceneConfig(
        labels=labels,
        confidence=options.confidence,
        zones=tuple(_zone(text, options.loitering) for text in options.zone),
        lines=tuple(_line(text) for text in options.line),
    )
    with ExitStack() as stack:
        mot = stack.enter_context(options.mot.open("w")) if options.mot else None
        summary = _follow(options, runner, watch, mot)
    if not options.json:
        frames = max(summary.frames, 1)
        print(
            f"{summary.frames} frames, {summary.tracks} objects;"
            f" {summary.looks / frames:.1f} looks a frame,"
            f" {1000 * summary.looking_s / frames:.1f} ms a frame for looking,"
            f" {1000 * summary.following_s / frames:.2f} ms for following",
            file=sys.stderr,
        )
    return 0


def _follow(
    options: argparse.Namespace, runner: Runner, watch: SceneConfig, mot: TextIO | None
) -> _Summary:
    keypoints = tuple(runner.model.manifest.keypoints)
    follower = Follower(watch, runner.labels, keypoints=keypoints)
    summary = _Summary()
    look = None if options.look == _WHOLE else Thoroughness(options.look)
    detector = FrameDetector(runner, look, follower.confidence, runner.class_ids(watch.labels))
    told: set[int] = set()
    told_at = time.monotonic()
    for frame in read_video(options.video, options.fps):
        started = time.perf_counter()
        seen = detector.look(frame, follower.moving)
        looked = time.perf_counter()
        events = follower.step(
            seen.detections, frame.at, seen.looked, seen.disturbed, changed=seen.changed
        )
        summary.frames += 1
        summary.looks += seen.looks
        summary.looking_s += looked - started
        summary.following_s += time.perf_counter() - looked
        counted = {item.track_id for item in follower.objects}
        told |= counted
        if mot is not None:
            # A track outside the parts that were used is where it is expected; others are missing.
            shown = [
                item
                for item in follower.tracks
                if (item.seen or not item.misses) and item.id in counted
            ]
            mot.writelines(_mot_rows(frame, shown))
        for event in events:
            print(_event_line(event, frame, as_json=options.json), flush=True)
        if sys.stderr.isatty() and time.monotonic() - told_at >= _PROGRESS_EVERY_S:
            told_at = time.monotonic()
            print(f"\r{frame.at:8.1f} s", end="", file=sys.stderr, flush=True)
    summary.tracks = len(told)
    return summary


def _mot_rows(frame: VideoFrame, tracks: Iterable[Track]) -> Iterator[str]:
    size = np.array([frame.image.width, frame.image.height] * 2)
    for item in tracks:
        left, top, right, bottom = item.box * size
        yield (
            f"{frame.number},{item.id},{left:.2f},{top:.2f},{right - left:.2f},"
            f"{bottom - top:.2f},{item.score:.4f},-1,-1,-1\n"
        )


def _event_line(event: RuleEvent, frame: VideoFrame, *, as_json: bool) -> str:
    item = event.item
    if as_json:
        data = {
            "frame": frame.number,
            "at_s": round(frame.at, 3),
            "kind": event.kind,
            "phase": event.phase,
            "label": event.label,
            "count": event.count,
            "track_id": item.track_id if item else None,
            "confidence": item.confidence if item else None,
            "box": write(item.box) if item else None,
            "zone": event.zone,
            "line": event.line,
            "direction": event.direction,
            "total": event.total,
        }
        return json.dumps({key: value for key, value in data.items() if value is not None})
    where = event.zone or event.line or ""
    more = f" {event.direction}, {event.total} so far" if event.direction else ""
    who = f"{event.label} {item.track_id}" if item else event.label
    return f"{frame.at:8.2f} s  {event.kind:<9} {event.phase:<7} {who}  {where}{more}".rstrip()


def _zone(text: str, loitering_s: float | None) -> Zone:
    name, points = _shape(text, "--zone")
    if len(points) < 3:
        raise CommandLineError(f"--zone {text}: a polygon needs at least three corners")
    return Zone(name=name, points=points, loitering_s=loitering_s)


def _line(text: str) -> Line:
    name, points = _shape(text, "--line")
    if len(points) != 2 or points[0] == points[1]:
        raise CommandLineError(f"--line {text}: a line needs two points")
    return Line(name=name, start=points[0], end=points[1])


def _shape(text: str, option: str) -> tuple[str, tuple[Point, ...]]:
    name, _, places = text.partition(":")
    try:
        pairs = [tuple(float(value) for value in pair.split(",")) for pair in places.split(";")]
        points = tuple(Point(x=x, y=y) for x, y in pairs)
    except ValueError:
        raise CommandLineError(f"{option} {text}: expected NAME:x,y;x,y…") from None
    if not name or not all(0 <= point.x <= 1 and 0 <= point.y <= 1 for point in points):
        raise CommandLineError(f"{option} {text}: a name and numbers from 0 to 1 are required")
    return name, points
