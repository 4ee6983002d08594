"""Person AP at IoU 0.5 on every frame of a MOTChallenge sequence, for each engine.

Usage: python -m tests.bench.average_precision VIDEO GROUND_TRUTH [--model model.json] [--json]

AP is the 101-point interpolated average precision as defined by COCO (Lin et al., 2014), for one
class and one IoU threshold. Every frame is processed like a still of a camera: JPEG (quality 90),
decoding, resizing, inference, decoding of the outputs. Requires PyAV.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import defaultdict
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from edge_vision_node.detections import Detections
from edge_vision_node.engines import describe_engines
from edge_vision_node.inference.runner import Runner
from edge_vision_node.models.manifest import load_model
from edge_vision_node.models.store import ModelStore

LOWEST_CONFIDENCE = 1.0
IOU = 0.5


def jpegs(video: Path) -> list[bytes]:
    """Return every frame as a JPEG."""
    frames = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            buffer = io.BytesIO()
            frame.to_image().save(buffer, "JPEG", quality=90)
            frames.append(buffer.getvalue())
    return frames


def ground_truth(path: Path) -> dict[int, NDArray[np.float64]]:
    """Return frame number (from 1) → float64 [N, 4] left, top, right, bottom in pixels."""
    boxes = defaultdict(list)
    for line in path.read_text().splitlines():
        frame, _, left, top, width, height, considered = (float(v) for v in line.split(",")[:7])
        if considered:
            boxes[int(frame)].append([left, top, left + width, top + height])
    return {frame: np.array(rows) for frame, rows in boxes.items()}


def overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of a box [4] with others [N, 4]."""
    corner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(corner, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    result: NDArray[np.float64] = common / (areas - common)
    return result


def average_precision(
    found: list[tuple[float, int, NDArray[np.float64]]], truth: dict[int, NDArray[np.float64]]
) -> float:
    """Return the AP of (score, frame, box) rows against the ground truth."""
    taken = {frame: np.zeros(len(boxes), bool) for frame, boxes in truth.items()}
    hits = []
    for _, frame, box in sorted(found, key=lambda item: -item[0]):
        candidates = truth.get(frame, np.empty((0, 4)))
        quality = np.where(taken[frame], -1, overlaps(box, candidates)) if len(candidates) else []
        best = int(np.argmax(quality)) if len(candidates) else -1
        hit = best >= 0 and quality[best] >= IOU
        hits.append(hit)
        if hit:
            taken[frame][best] = True
    true_positives = np.cumsum(hits)
    recall = true_positives / sum(len(boxes) for boxes in truth.values())
    precision = true_positives / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean([envelope[i] if i < len(envelope) else 0.0 for i in places]))


def run(runner: Runner, frames: list[bytes], truth: dict[int, NDArray[np.float64]]) -> float:
    """Return the person AP of a runner."""
    person = runner.class_ids(("person",))
    found = []
    for number, data in enumerate(frames, 1):
        prepared = runner.prepare(data)
        detections, _ = runner.run(prepared, LOWEST_CONFIDENCE, person)
        assert isinstance(detections, Detections)
        size = np.array([prepared.width, prepared.height] * 2, float)
        found += [
            (float(score), number, box * size)
            for score, box in zip(detections.scores, detections.boxes, strict=True)
        ]
    return average_precision(found, truth)


def main() -> None:
    """Print the AP of each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("ground_truth", type=Path)
    parser.add_argument("--model", type=Path, help="a model.json; default: the default model")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    frames, truth = jpegs(options.video), ground_truth(options.ground_truth)
    model = load_model(options.model.parent) if options.model else ModelStore().get(None)
    engines = [
        engine.id
        for engine in describe_engines()
        if engine.version is not None and engine.id in model.manifest.engines
    ]
    result = {engine: round(run(Runner(model, engine), frames, truth), 4) for engine in engines}
    if options.json:
        print(json.dumps({"model": model.id, "frames": len(frames), "person_ap50": result}))
    else:
        for engine, value in result.items():
            print(f"{model.id} on {engine}: person AP50 {value:.4f} over {len(frames)} frames")


if __name__ == "__main__":
    main()
