"""The effect of the setting "thoroughness": accuracy and time.

Usage: python -m tests.bench.thoroughness VIDEO [GROUND_TRUTH] [--fps 5] [--json]

A video is analyzed like that of a camera: motion gate, plan, parts of the frame through the default
model, merging, tracker. The settings are compared with the whole of every frame. With ground truth
(MOTChallenge), the average precision for people at an overlap of 0.5 is printed; without it, the
number of people per frame and the number of tracks.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from edge_vision_node.frames.video_file import VideoFrame, read_video
from edge_vision_node.inference.frame_detector import FrameDetector
from edge_vision_node.inference.runner import Runner
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import Thoroughness
from edge_vision_node.rules.scene_rules import SceneConfig
from edge_vision_node.tracking.follower import Follower

from tests.bench.average_precision import average_precision, ground_truth

_LOWEST = 5.0


def look(
    runner: Runner,
    frames: list[VideoFrame],
    setting: Thoroughness | None,
    truth: dict[int, Any] | None,
) -> dict[str, Any]:
    """Return the figures of one setting; None means the whole of every frame."""
    person = runner.class_ids(("person",))
    follower = Follower(SceneConfig(labels=("person",)), runner.labels)
    detector = FrameDetector(runner, setting, _LOWEST, person)
    found: list[tuple[float, int, Any]] = []
    looks, spent_s, tracks, people = 0, 0.0, set(), 0
    scale = np.array(frames[0].image.size * 2, dtype=np.float64)
    for shown in frames:
        started = time.perf_counter()
        seen = detector.look(shown, follower.moving)
        follower.step(seen.detections, shown.at, seen.looked, seen.disturbed)
        spent_s += time.perf_counter() - started
        looks += seen.looks
        tracks |= {item.track_id for item in follower.objects}
        people += len(follower.objects)
        boxes = seen.detections.boxes * scale
        found += [
            (float(score), shown.number, box)
            for score, box in zip(seen.detections.scores, boxes, strict=True)
        ]
    result: dict[str, Any] = {
        "looks_per_frame": round(looks / len(frames), 2),
        "ms_per_frame": round(1000 * spent_s / len(frames), 1),
        "people_per_frame": round(people / len(frames), 2),
        "tracks": len(tracks),
    }
    if truth is not None:
        people_there = {shown.number: truth.get(shown.number, np.empty((0, 4))) for shown in frames}
        result["average_precision"] = round(average_precision(found, people_there), 3)
    return result


def main() -> None:
    """Print a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("ground_truth", type=Path, nargs="?")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runner = Runner(ModelStore().get(None), "onnxruntime")
    frames = list(read_video(options.video, options.fps))
    truth = ground_truth(options.ground_truth) if options.ground_truth else None
    rows = {
        setting or "whole frames": look(runner, frames, setting, truth)
        for setting in (None, *Thoroughness)
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        print(f"{name:14}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
