"""The quality of tracking: MOTA, IDF1, switches, false boxes, delays, inferences, and the cost.

Usage: python -m tests.bench.tracking VIDEO [GROUND_TRUTH] [--look balanced] [--step N] [--json]
       python -m tests.bench.tracking --crowd [--json]

The same detections are used for the tracker of the node and, if `trackers` from PyPI is installed,
for its ByteTrack with its defaults and with the best of some other thresholds. They are those of
whole frames, or of a live pipeline with the setting `--look`; objects in parts that were not
analyzed are at their predicted positions, for both. `--crowd` uses simulated people instead of a
video (`crowd`). Scores require `motmetrics` from PyPI (Bernardin and Stiefelhagen, 2008; Ristani et
al., 2016). `--step 2` uses every second frame.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edge_vision_node.detections import Detections
from edge_vision_node.frames.video_file import read_video
from edge_vision_node.inference.frame_detector import FrameDetector
from edge_vision_node.inference.runner import Runner
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import Thoroughness
from edge_vision_node.rules.scene_rules import SceneConfig
from edge_vision_node.tracking.association import Floats, covered
from edge_vision_node.tracking.follower import Follower
from edge_vision_node.tracking.tracker import Settings, Tracker

from tests.bench import crowd
from tests.bench.average_precision import overlaps

# Frame number → (person, box) rows, normalized.
Tracks = dict[int, list[tuple[int, Any]]]

_SWEEP = {
    "track_activation_threshold": (0.6, 0.7, 0.8),
    "high_conf_det_threshold": (0.5, 0.6),
    "minimum_iou_threshold": (0.1, 0.3),
    "lost_track_buffer": (30, 90),
    "minimum_consecutive_frames": (1, 2),
}
_LOOKED_AT = 0.7


@dataclass(frozen=True, eq=False)
class Look:
    """The detections in a frame.

    Attributes:
        number: number of the frame, from 1.
        at: seconds.
        found: people, down to the lowest score that the tracker uses.
        looked, disturbed: see `Tracker.step`.
        looks: number of analyzed parts.
    """

    number: int
    at: float
    found: Detections
    looked: Floats | None = None
    disturbed: Floats | None = None
    looks: int = 1


def detect(
    video: Path, step: int = 1, look: Thoroughness | None = None
) -> tuple[list[Look], tuple[int, int]]:
    """Return the detections in every frame, and the size of the frames."""
    runner = Runner(ModelStore().get(None), "onnxruntime")
    follower = Follower(SceneConfig(labels=("person",)), runner.labels)
    detector = FrameDetector(runner, look, follower.confidence, runner.class_ids(("person",)))
    looks, size = [], (1, 1)
    for frame in read_video(str(video)):
        if (frame.number - 1) % step:
            continue
        size = frame.image.size
        seen = detector.look(frame, follower.moving)
        follower.step(seen.detections, frame.at, seen.looked, seen.disturbed)
        looks.append(
            Look(frame.number, frame.at, seen.detections, seen.looked, seen.disturbed, seen.looks)
        )
    return looks, size


def ours(looks: Sequence[Look]) -> Tracks:
    """Return the tracks of the node's tracker."""
    tracker = Tracker(Settings())
    result: Tracks = {}
    for look in looks:
        tracks = tracker.step(look.found, look.at, look.looked, look.disturbed)
        result[look.number] = [
            (track.id, track.box)
            for track in tracks
            if track.confirmed and (track.seen or not track.misses)
        ]
    return result


def byte_track(looks: Sequence[Look], size: tuple[int, int], **settings: float) -> Tracks | None:
    """Return the tracks of ByteTrack from PyPI, or None if it is not installed."""
    try:
        import supervision
        from trackers import ByteTrackTracker
    except ImportError:
        return None
    rate = 1 / float(np.median(np.diff([look.at for look in looks])))
    tracker = ByteTrackTracker(frame_rate=rate, **settings)
    scale = np.array([*size, *size])
    result: Tracks = {}
    for look in looks:
        detections = supervision.Detections(
            xyxy=look.found.boxes * scale,
            confidence=look.found.scores,
            class_id=look.found.class_ids,
        )
        tracked = tracker.update(detections)
        shown = {
            int(i): box / scale
            for i, box in zip(tracked.tracker_id, tracked.xyxy, strict=True)
            if i is not None and i >= 0
        }
        if look.looked is not None:
            for track in tracker.tracks:
                box = np.clip(np.asarray(track.get_state_bbox()).reshape(4) / scale, 0, 1)
                if track.tracker_id >= 0 and covered(box[None], look.looked)[0] < _LOOKED_AT:
                    shown.setdefault(int(track.tracker_id), box)
        result[look.number] = list(shown.items())
    return result


def read_truth(path: Path, size: tuple[int, int]) -> Tracks:
    """Return the rows of a MOTChallenge file that are marked to be considered."""
    truth: Tracks = {}
    scale = np.array([*size, *size])
    for line in path.read_text().splitlines():
        frame, who, left, top, width, height, considered = (float(v) for v in line.split(",")[:7])
        if considered:
            box = np.array([left, top, left + width, top + height]) / scale
            truth.setdefault(int(frame), []).append((int(who), box))
    return truth


def score(tracks: Tracks, truth: Tracks) -> dict[str, float]:
    """Return MOTA, IDF1, switches and the number of tracks."""
    import motmetrics

    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for frame, found in tracks.items():
        boxes = np.array([box for _, box in found]).reshape(-1, 4)
        rows = truth.get(frame, [])
        shared = np.array([overlaps(box, boxes) for _, box in rows]).reshape(len(rows), len(boxes))
        distances = np.where(shared >= 0.5, 1 - shared, np.nan)
        accumulator.update([who for who, _ in rows], [i for i, _ in found], distances)
    metrics = motmetrics.metrics.create().compute(
        accumulator,
        metrics=["mota", "idf1", "num_switches", "num_false_positives", "num_unique_objects"],
        name="x",
    )
    values = {key: round(float(metrics[key].iloc[0]), 3) for key in metrics.columns}
    return {**values, "tracks": _count(tracks)}


def delays(tracks: Tracks, truth: Tracks, looks: Sequence[Look]) -> dict[str, float]:
    """Return the median and largest seconds until a person is tracked for the first time.

    Also return the number of people who are never tracked.
    """
    first: dict[int, float] = {}
    told: dict[int, float] = {}
    for look in looks:
        boxes = np.array([box for _, box in tracks[look.number]]).reshape(-1, 4)
        for who, box in truth.get(look.number, []):
            first.setdefault(who, look.at)
            if len(boxes) and overlaps(box, boxes).max() >= 0.5:
                told.setdefault(who, look.at)
    waited = [at - first[who] for who, at in told.items()] or [float("nan")]
    return {
        "first_s": round(float(np.median(waited)), 2),
        "worst_s": round(max(waited), 2),
        "never": len(first) - len(told),
    }


def compare(
    looks: Sequence[Look], size: tuple[int, int], truth: Tracks | None, *, sweep: bool = True
) -> dict[str, dict[str, Any]]:
    """Return a row for each tracker; `sweep` slowly tries many thresholds of ByteTrack."""
    rows: dict[str, dict[str, Any]] = {}
    for name, tracks in (("Edge Vision", ours(looks)), ("ByteTrack", byte_track(looks, size))):
        if tracks is not None:
            rows[name] = {"tracks": _count(tracks)}
            if truth:
                rows[name] = {**score(tracks, truth), **delays(tracks, truth, looks)}
    if sweep and truth and "ByteTrack" in rows:
        rows["ByteTrack, best of a sweep"] = max(
            (
                {**score(tracks, truth), **settings}
                for settings in _settings()
                if (tracks := byte_track(looks, size, **settings)) is not None
            ),
            key=lambda row: row["idf1"] + row["mota"],
        )
    return rows


def _settings() -> list[dict[str, float]]:
    return [
        dict(zip(_SWEEP, values, strict=True)) for values in itertools.product(*_SWEEP.values())
    ]


def _count(tracks: Tracks) -> int:
    return len({who for found in tracks.values() for who, _ in found})


def crowds() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the rows of each tracker for several frame rates, as means over simulated scenes."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for fps in (3.0, 5.0, 12.0):
        scenes = []
        for scene, seed in itertools.product(crowd.SCENES.values(), (1, 2, 3, 4)):
            found, truth = crowd.walk(scene, fps, seed)
            low = Settings().low
            looks = [Look(n, at, seen.keep(seen.scores >= low)) for n, at, seen in found]
            scenes.append(compare(looks, (1, 1), truth, sweep=False))
        result[f"simulated people, {fps:g} frames per second"] = {
            name: {
                key: round(float(np.mean([rows[name][key] for rows in scenes])), 3) for key in row
            }
            for name, row in scenes[0].items()
        }
    return result


def cost_ms(count: int = 20, frames: int = 500) -> float:
    """Return the median milliseconds of a step with `count` moving objects."""
    random = np.random.default_rng(0)
    centers, speed = random.random((count, 2)), random.normal(0, 0.05, (count, 2))
    tracker, times = Tracker(), []
    for number in range(frames):
        centers = np.clip(centers + speed / 5, 0.05, 0.95)
        noisy = centers + random.normal(0, 0.003, (count, 2))
        boxes = np.concatenate((noisy - 0.04, noisy + 0.04), axis=1).astype(np.float32)
        scores = random.uniform(0.3, 0.95, count).astype(np.float32)
        detections = Detections(boxes, scores, np.zeros(count, np.int32))
        started = time.perf_counter()
        tracker.step(detections, number / 5)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("ground_truth", type=Path, nargs="?")
    parser.add_argument("--look", choices=(*Thoroughness, "whole"), default="whole")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--crowd", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tables: dict[str, dict[str, Any]] = {}
    if options.crowd:
        tables |= crowds()
    if options.video:
        look = None if options.look == "whole" else Thoroughness(options.look)
        looks, size = detect(options.video, options.step, look)
        truth = read_truth(options.ground_truth, size) if options.ground_truth else None
        spent = sum(look.looks for look in looks) / max(len(looks), 1)
        title = f"{options.video.name}, {spent:.2f} inferences per frame"
        tables[title] = compare(looks, size, truth)
    milliseconds = round(cost_ms(), 3)
    if options.json:
        print(json.dumps({**tables, "milliseconds with 20 objects": milliseconds}))
        return
    for title, rows in tables.items():
        print(title)
        for name, row in rows.items():
            print(f"  {name:27}", "  ".join(f"{key} {value}" for key, value in row.items()))
    print(f"{milliseconds} milliseconds with 20 objects")


if __name__ == "__main__":
    main()
