"""Simulated people who walk around, and the detections of a small detector, with known truth.

They enter from the sides, walk, stand, turn, meet, walk in pairs, and pass behind each other and
behind a pillar. The scores of the detector drift (a person missed once is missed again) and are
lower for partly hidden people, boxes jitter, two people close to each other become one box, and
there are occasional false detections. Nothing here is fitted to a video, so that the thresholds of
a tracker are not fitted to one either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from edge_vision_node.detections import Detections
from edge_vision_node.tracking.association import Floats, overlaps

# (person, box) rows for each frame, and the detections in it.
Truth = dict[int, list[tuple[int, Floats]]]
Found = list[tuple[int, float, Detections]]

_LEAST_VISIBLE = 0.3
_PILLAR = np.array([0.47, 0.1, 0.52, 0.75])


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The parameters of a scene.

    Attributes:
        people: total number of people.
        seconds: duration.
        height: height of a person in the middle, as a share of the frame.
        surety: mean logit of the score of a detection; 2 finds nearly everyone, 0 half of them.
        wander: standard deviation of that logit, half of which persists for about a second.
        noise: standard deviation of the edges of a box, as a share of its size.
        clutter: false detections per second.
    """

    people: int = 12
    seconds: float = 40.0
    height: float = 0.15
    surety: float = 1.0
    wander: float = 1.2
    noise: float = 0.05
    clutter: float = 0.3


SCENES = {
    "few, large": Scene(people=8, height=0.3, surety=2.5),
    "some": Scene(),
    "small": Scene(people=14, height=0.1, surety=0.5, noise=0.07),
    "faint": Scene(height=0.1, surety=0.0, wander=1.5, noise=0.08, clutter=1.0),
    "crowd": Scene(people=25, height=0.18),
}


def walk(scene: Scene, fps: float, seed: int) -> tuple[Found, Truth]:
    """Return the detections of each frame (number from 1, seconds, detections), and the truth."""
    random = np.random.default_rng(seed)
    frames = round(scene.seconds * fps)
    times = np.arange(frames) / fps
    ways = _ways(scene, random, times, fps)
    memory = np.exp(-1 / fps)
    mood = random.normal(0, 1, scene.people)
    bias = random.normal(0, 0.4, scene.people)
    truth: Truth = {}
    found: Found = []
    for number, at in enumerate(times.tolist()):
        boxes = ways[number]
        mood = memory * mood + np.sqrt(1 - memory**2) * random.normal(0, 1, scene.people)
        there = np.nonzero(np.isfinite(boxes[:, 0]) & (_inside(boxes) > 0.5))[0]
        visible = _visible(boxes[there])
        truth[number + 1] = [
            (int(who), np.clip(boxes[who], 0, 1))
            for who, share in zip(there, visible, strict=True)
            if share > 0.2
        ]
        logits = scene.surety + bias[there] + scene.wander * 0.7 * mood[there]
        logits += scene.wander * 0.7 * random.normal(0, 1, len(there)) - 6 * (1 - visible)
        keep = visible > _LEAST_VISIBLE
        seen, scores = boxes[there][keep], 1 / (1 + np.exp(-logits[keep]))
        size = np.tile(seen[:, 2:] - seen[:, :2], 2)
        shaken = seen + random.normal(0, scene.noise, seen.shape) * size
        for _ in range(random.poisson(scene.clutter / fps)):
            height = scene.height * random.uniform(0.5, 1.5)
            corner = random.uniform(0, 1 - height, 2)
            box = np.concatenate((corner, corner + np.array([0.3, 1.0]) * height))
            shaken = np.concatenate((shaken, box[None]))
            scores = np.append(scores, random.beta(2, 4))
        found.append((number + 1, at, _detections(np.clip(shaken, 0, 1), scores)))
    return found, truth


def _ways(scene: Scene, random: np.random.Generator, times: Floats, fps: float) -> Floats:
    """Return the boxes of all people at all times, [frames, people, 4]; nan if not in the frame."""
    ways = np.full((len(times), scene.people, 4), np.nan)
    who = 0
    while who < scene.people:
        group = min(scene.people - who, 2 if random.random() < 0.25 else 1)
        place = np.array([random.choice([-0.03, 1.03]), random.uniform(0.3, 0.9)])
        start = random.uniform(-0.2, 0.8) * scene.seconds
        aim, pause, speed = _aim(random), 0.0, random.uniform(0.5, 1.1)
        left = False
        goals = int(random.integers(1, 4))
        for number, at in enumerate(times.tolist()):
            if at < start or left:
                continue
            height = scene.height * (0.5 + place[1])
            pause -= 1 / fps
            if pause <= 0:
                step = aim - place
                far = float(np.hypot(step[0], 2 * step[1]))
                pace = speed * height / fps
                if far <= pace:
                    goals -= 1
                    aim = (
                        _aim(random)
                        if goals > 0
                        else np.array([random.choice([-0.1, 1.1]), place[1]])
                    )
                    pause = random.choice([0.0, random.uniform(1, 6)])
                    left = goals < -1
                else:
                    place = place + step / far * pace
            for member in range(group):
                at_x = place[0] + 0.3 * height * member
                ways[number, who + member] = [
                    at_x - 0.15 * height,
                    place[1] - height,
                    at_x + 0.15 * height,
                    place[1],
                ]
        who += group
    return ways


def _aim(random: np.random.Generator) -> Floats:
    return random.uniform([0.1, 0.3], [0.9, 0.95])


def _inside(boxes: Floats) -> Floats:
    shown = np.clip(boxes, 0, 1)
    size, whole = shown[:, 2:] - shown[:, :2], boxes[:, 2:] - boxes[:, :2]
    return np.nan_to_num(size.prod(axis=1) / whole.prod(axis=1))


def _visible(boxes: Floats) -> Floats:
    """Return the share of each box that is not hidden by closer people or the pillar."""
    shares = np.ones(len(boxes))
    for number, box in enumerate(boxes):
        nearer = [other for other in boxes if other[3] > box[3]]
        if box[3] < _PILLAR[3]:
            nearer.append(_PILLAR)
        xs, ys = np.meshgrid(np.linspace(box[0], box[2], 9), np.linspace(box[1], box[3], 9))
        hidden = np.zeros(xs.shape, np.bool_)
        for other in nearer:
            hidden |= (xs >= other[0]) & (xs <= other[2]) & (ys >= other[1]) & (ys <= other[3])
        shares[number] = 1 - hidden.mean()
    return shares


def _detections(boxes: Floats, scores: Floats) -> Detections:
    """Return the detections left after non-maximum suppression."""
    order = np.argsort(-scores)
    boxes, scores = boxes[order], scores[order]
    kept: list[int] = []
    for number in range(len(boxes)):
        if not kept or overlaps(boxes[number][None], boxes[kept]).max() <= 0.6:
            kept.append(number)
    return Detections(
        boxes[kept].astype(np.float32).reshape(-1, 4),
        scores[kept].astype(np.float32),
        np.zeros(len(kept), np.int32),
    )
