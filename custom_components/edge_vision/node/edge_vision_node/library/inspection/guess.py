"""Guesses how a model is read; helpers that the families share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .clues import Clues, fit_labels

# Coordinates above this are pixels, not shares of the picture.
MOST_SHARE = 2.0
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
JOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


@dataclass
class Guess:
    """A way to read a model. `confidence` is a percentage; None keeps the value of the file."""

    task: str
    head: dict[str, Any]
    confidence: float
    reasons: list[str]
    labels: tuple[str, ...] = ()
    outputs: list[str] = field(default_factory=list)
    keypoints: tuple[str, ...] = ()
    resize: str = "stretch"
    pad: int = 114
    side: int | None = None  # of the picture, if the file leaves it open
    colour: str = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (255.0, 255.0, 255.0)
    crops: dict[str, Any] | None = None


def with_classes(clues: Clues, guess: Guess, classes: int, *, ids: bool = False) -> Guess:
    """Add classes and labels; `ids` where the head can skip classes without a label."""
    labels, class_ids = fit_labels(clues.labels, classes, guess.reasons)
    guess.head["classes"] = classes
    if class_ids and ids:
        guess.head["class_ids"] = list(class_ids)
    elif class_ids:
        by_class = dict(zip(class_ids, labels, strict=True))
        labels = tuple(by_class.get(i, f"class {i}") for i in range(classes))
    guess.labels = labels
    return guess


def point_names(count: int) -> tuple[str, ...]:
    """Return names of so many keypoints: COCO's joints where there are as many."""
    return JOINTS if count == len(JOINTS) else tuple(f"point_{i}" for i in range(count))


def in_shares(guess: Guess) -> Guess:
    """Set coordinates to be shares of the picture."""
    guess.head["normalised"] = True
    guess.reasons.append("Its coordinates are normalized, not in pixels")
    return guess


def letterboxed(guess: Guess) -> Guess:
    """Set the picture to keep its shape."""
    guess.resize = "letterbox"
    return guess
