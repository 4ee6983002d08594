"""How well objects are followed: MOTA, IDF1 and switches against ground truth, and the cost.

Usage: python -m tests.bench.tracking VIDEO [GROUND_TRUTH] [--step N] [--json]

The same detections (whole frames, default model) go through the node's tracker and, where PyPI's
`trackers` is installed, through its ByteTrack. Scores need PyPI's `motmetrics` (Bernardin and
Stiefelhagen, 2008; Ristani et al., 2016). `--step 2` keeps every second frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from edge_vision_node.detections import Detections
from edge_vision_node.frames.decode import Frame
from edge_vision_node.models.store import ModelStore
from edge_vision_node.runner import Prepared, Runner
from edge_vision_node.tracking.tracker import Settings, Tracker

from tests.bench.average_precision import overlaps

LOWEST_CONFIDENCE = 10.0


def detect(video: Path, step: int) -> tuple[list[tuple[int, float, Detections]], tuple[int, int]]:
    """Return (frame number from 1, seconds, persons) of every frame, and the frame's size."""
    runner = Runner(ModelStore().get(None), "onnxruntime")
    person = runner.class_ids(("person",))
    found = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        for number, decoded in enumerate(container.decode(stream), 1):
            if (number - 1) % step:
                continue
            image = decoded.to_image()
            tensor, placement = runner.preprocess(Frame(image, image.width, image.height))
            prepared = Prepared(tensor, placement, image.width, image.height, 0.0)
            result, _ = runner.run(prepared, LOWEST_CONFIDENCE, person)
            assert isinstance(result, Detections)
            found.append((number, (number - 1) / rate, result))
        size = (stream.width, stream.height)
    return found, size


def ours(frames: list[tuple[int, float, Detections]]) -> dict[int, list[tuple[int, Any]]]:
    """Return frame → (id, box) of the node's tracker."""
    tracker = Tracker(Settings())
    result = {}
    for number, at, detections in frames:
        tracks = tracker.step(detections, at)
        result[number] = [(t.id, t.box) for t in tracks if t.confirmed and t.seen]
    return result


def byte_track(
    frames: list[tuple[int, float, Detections]], size: tuple[int, int]
) -> dict[int, list[tuple[int, Any]]] | None:
    """Return the same of PyPI's ByteTrack; None where it is not installed."""
    try:
        import supervision
        from trackers import ByteTrackTracker
    except ImportError:
        return None
    rate = 1 / (frames[1][1] - frames[0][1])
    tracker = ByteTrackTracker(frame_rate=rate)
    scale = np.array([*size, *size])
    result = {}
    for number, _, found in frames:
        detections = supervision.Detections(
            xyxy=found.boxes * scale, confidence=found.scores, class_id=found.class_ids
        )
        tracked = tracker.update(detections)
        result[number] = [
            (int(i), box / scale)
            for i, box in zip(tracked.tracker_id, tracked.xyxy, strict=True)
            if i is not None and i >= 0
        ]
    return result


def score(
    tracks: dict[int, list[tuple[int, Any]]], truth: Path, size: tuple[int, int]
) -> dict[str, float]:
    """Return MOTA, IDF1, switches and the number of tracks."""
    import motmetrics

    truth_rows: dict[int, list[tuple[int, Any]]] = {}
    for line in truth.read_text().splitlines():
        frame, who, left, top, width, height, considered = (float(v) for v in line.split(",")[:7])
        if considered:
            box = np.array([left, top, left + width, top + height])
            truth_rows.setdefault(int(frame), []).append((int(who), box))
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    scale = np.array([*size, *size])
    for frame, found in tracks.items():
        boxes = np.array([box for _, box in found]).reshape(-1, 4) * scale
        rows = truth_rows.get(frame, [])
        shared = np.array([overlaps(box, boxes) for _, box in rows]).reshape(len(rows), len(boxes))
        distances = np.where(shared >= 0.5, 1 - shared, np.nan)
        accumulator.update([who for who, _ in rows], [i for i, _ in found], distances)
    metrics = motmetrics.metrics.create().compute(
        accumulator,
        metrics=["mota", "idf1", "num_switches", "num_fragmentations", "num_unique_objects"],
        name="x",
    )
    values = {key: round(float(metrics[key].iloc[0]), 3) for key in metrics.columns}
    return {**values, "tracks": len({i for found in tracks.values() for i, _ in found})}


def cost_ms(count: int = 20, frames: int = 500) -> float:
    """Return the median milliseconds of a step with `count` objects that move about."""
    random = np.random.default_rng(0)
    centres, speed = random.random((count, 2)), random.normal(0, 0.05, (count, 2))
    tracker, times = Tracker(), []
    for number in range(frames):
        centres = np.clip(centres + speed / 5, 0.05, 0.95)
        noisy = centres + random.normal(0, 0.003, (count, 2))
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
    parser.add_argument("video", type=Path)
    parser.add_argument("ground_truth", type=Path, nargs="?")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    frames, size = detect(options.video, options.step)
    rows: dict[str, Any] = {}
    for name, tracks in (("edge vision", ours(frames)), ("ByteTrack", byte_track(frames, size))):
        if tracks is None:
            continue
        if options.ground_truth:
            rows[name] = score(tracks, options.ground_truth, size)
        else:
            rows[name] = {"tracks": len({i for found in tracks.values() for i, _ in found})}
    rows["milliseconds with 20 objects"] = round(cost_ms(), 3)
    if options.json:
        print(json.dumps(rows))
    else:
        for name, row in rows.items():
            print(f"{name}: {row}")


if __name__ == "__main__":
    main()
