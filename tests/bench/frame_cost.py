"""The cost of a frame of live video, without decoding and inference.

Usage: python -m tests.bench.frame_cost [--objects 20] [--frames 400]

Uses simulated frames of 1280x720 and simulated detections of moving objects for the motion gate,
the planner, cropping up to three parts of the decoded frame, merging their detections, the tracker,
and the rules with three zones and a line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from edge_vision_node.cameras.pixels import KeptFrame
from edge_vision_node.detections import Detections
from edge_vision_node.frames.masks import NO_MASKS
from edge_vision_node.frames.motion_gate import MotionGate
from edge_vision_node.inference.merge import merge
from edge_vision_node.inference.planner import Planner
from edge_vision_node.protocol import Box, Line, MotionThresholds, Point, Zone
from edge_vision_node.rules.scene_rules import SceneConfig
from edge_vision_node.tracking.follower import Follower

_FPS = 10
_NO_BOXES = np.empty((0, 4))


def corners(*values: tuple[float, float]) -> tuple[Point, ...]:
    """Return points."""
    return tuple(Point(x=x, y=y) for x, y in values)


def watch() -> SceneConfig:
    """Return three zones and a line."""
    quarters = [
        ((x, y), (x + 0.4, y), (x + 0.4, y + 0.9), (x, y + 0.9))
        for x, y in ((0, 0), (0.3, 0.1), (0.6, 0.05))
    ]
    return SceneConfig(
        labels=("person",),
        zones=tuple(
            Zone(name=f"Zone {n}", points=corners(*quarter), loitering_s=5, counting=True)
            for n, quarter in enumerate(quarters)
        ),
        lines=(Line(name="Line", start=Point(x=0.5, y=0), end=Point(x=0.5, y=1)),),
    )


class Walkers:
    """Objects that move around and bounce off the borders."""

    def __init__(self, count: int) -> None:
        self._random = np.random.default_rng(1)
        self._at = self._random.uniform(0.1, 0.9, (count, 2))
        self._speed = self._random.normal(0, 0.05, (count, 2)) / _FPS
        self._size = self._random.uniform(0.03, 0.08, (count, 1)) * [1, 2.5]

    def step(self) -> Detections:
        """Return the detections in the next frame."""
        self._at += self._speed
        self._speed = np.where((self._at < 0.1) | (self._at > 0.9), -self._speed, self._speed)
        noise = self._random.normal(0, 0.002, self._at.shape)
        boxes = np.concatenate((self._at - self._size / 2, self._at + self._size / 2), axis=1)
        boxes += np.tile(noise, 2)
        count = len(boxes)
        return Detections(
            np.clip(boxes, 0, 1).astype(np.float32),
            self._random.uniform(0.45, 0.95, count).astype(np.float32),
            np.zeros(count, np.int32),
        )


def frames() -> list[np.ndarray]:
    """Return brightness planes with noise and a moving object."""
    random = np.random.default_rng(2)
    scene = np.kron(random.integers(60, 180, (90, 160)), np.ones((8, 8)))
    result = []
    for number in range(20):
        noisy = scene + random.normal(0, 3, scene.shape)
        noisy[300:420, 200 + 20 * number : 240 + 20 * number] += 60
        result.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return result


def cut(frame: KeptFrame, parts: list[list[float]]) -> bytes:
    """Return parts of a frame as pixels in the size of the model, as sent by its process."""
    regions = [Box(x_min=p[0], y_min=p[1], x_max=p[2], y_max=p[3]) for p in parts]
    return b"".join(frame.crop(NO_MASKS, region, (300, 300))[0].data for region in regions)


def measure(objects: int, count: int) -> dict[str, Any]:
    """Return the median and p95 of each step in milliseconds."""
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        times.setdefault(name, []).append((time.perf_counter() - started) * 1000)
        return result

    pictures, walkers = frames(), Walkers(objects)
    gate, follower = MotionGate(MotionThresholds()), Follower(watch(), ("person",))
    planner = Planner("balanced", (1280, 720), (300, 300))
    decoded = av.VideoFrame.from_ndarray(np.stack([pictures[0]] * 3, axis=2), format="rgb24")
    decoded = decoded.reformat(format="yuv420p")
    for number in range(count):
        at = number / _FPS
        seen = timed("motion", lambda at=at, n=number: gate.step(pictures[n % 20], at))
        plan = timed("plan", lambda at=at, seen=seen: planner.plan(at, seen.boxes, follower.moving))
        parts = plan.boxes if len(plan.boxes) else np.array([[0.0, 0.0, 1.0, 1.0]])
        timed(
            "crops",
            lambda parts=parts, n=number: cut(KeptFrame(n, "", decoded), parts.tolist()),
        )
        found = walkers.step()
        each = [found] * len(parts)
        merged = timed("merge", lambda each=each, parts=parts: merge(each, parts))
        before = follower.rules.step
        rules_ms = 0.0

        def rules(*arguments: Any, step: Any = before) -> Any:
            nonlocal rules_ms
            started = time.perf_counter()
            result = step(*arguments)
            rules_ms = (time.perf_counter() - started) * 1000
            return result

        follower.rules.step = rules  # type: ignore[method-assign]
        timed("tracking and rules", lambda at=at, merged=merged: follower.step(merged, at))
        follower.rules.step = before  # type: ignore[method-assign]
        times.setdefault("rules", []).append(rules_ms)
    times["tracking"] = [
        both - rules
        for both, rules in zip(times.pop("tracking and rules"), times["rules"], strict=True)
    ]
    steps = {name: _summary(values[20:]) for name, values in times.items()}
    every = [
        sum(values) for values in zip(*(values[20:] for values in times.values()), strict=True)
    ]
    return {"objects": objects, **steps, "all": _summary(every)}


def _summary(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    return {
        "median_ms": round(statistics.median(values), 3),
        "p95_ms": round(values[int(0.95 * len(values))], 3),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--frames", type=int, default=400)
    options = parser.parse_args()
    print(json.dumps(measure(options.objects, options.frames), indent=2))


if __name__ == "__main__":
    main()
