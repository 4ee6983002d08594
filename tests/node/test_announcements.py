"""Everybody who comes is announced, soon and once: the whole way from video to events.

The clip that comes with the project, as it is and as the right side of a wide scene, where people
are a seventh of the frame. Times are those of the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import pytest
from edge_vision_node.frames.video_file import VideoFrame, read_video
from edge_vision_node.inference.frame_detector import FrameDetector
from edge_vision_node.inference.runner import Runner
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import Kind, Phase, Thoroughness
from edge_vision_node.rules.scene_rules import SceneConfig
from edge_vision_node.tracking.follower import Follower
from PIL import Image, ImageOps

from tests.engines import ENGINE
from tests.pictures import ROOT

CLIP = ROOT / "scripts" / "demo_data" / "footpath.mp4"
# Frames of the clip, from 1, in which somebody can be seen: two at once, one, one.
PAIR, MAN, WOMAN = 1, 25, 155
EMPTY = 145
FIRST_HALF = 100
# A second, at ten frames each.
SOON = 10


@cache
def clip() -> list[Image.Image]:
    return [frame.image for frame in read_video(str(CLIP))]


def wide() -> Iterator[Image.Image]:
    """Ten seconds: the clip's first half above its second, and beside them nothing ever moves."""
    images = clip()
    half = (images[0].width // 2, images[0].height // 2)
    empty = ImageOps.mirror(images[EMPTY - 1].resize(half))
    for upper, lower in zip(images[:FIRST_HALF], images[FIRST_HALF:], strict=True):
        image = Image.new("RGB", images[0].size)
        for place, item in (
            ((0, 0), empty),
            ((0, half[1]), empty),
            ((half[0], 0), upper.resize(half)),
            (half, lower.resize(half)),
        ):
            image.paste(item, place)
        yield image


def announced(images: Iterable[Image.Image], *, mirrored: bool) -> tuple[list[int], float]:
    """Return the frames in which somebody is announced, at 5 frames a second, and looks a frame."""
    runner = Runner(ModelStore().get(None), ENGINE)
    follower = Follower(SceneConfig(labels=("person",)), runner.labels)
    balanced = Thoroughness.BALANCED
    detector = FrameDetector(runner, balanced, follower.confidence, runner.class_ids(("person",)))
    told, looks, frames = [], 0, 0
    for number, image in enumerate(images, 1):
        if number % 2 == 0:
            continue
        shown = ImageOps.mirror(image) if mirrored else image
        frame = VideoFrame(number, number / 10, shown)
        seen = detector.look(frame, follower.moving)
        looks, frames = looks + seen.looks, frames + 1
        told += [
            number
            for event in follower.step(
                seen.detections, frame.at, seen.looked, seen.disturbed, changed=seen.changed
            )
            if (event.kind, event.phase) == (Kind.OBJECT, Phase.START)
        ]
    return told, looks / frames


def test_everybody_is_announced_soon_and_once() -> None:
    told, looks = announced(clip(), mirrored=False)
    came = [PAIR, PAIR, MAN, WOMAN]
    assert len(told) == len(came)
    assert all(0 <= at - since <= SOON for at, since in zip(told, came, strict=True))
    assert looks < 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_everybody_in_a_wide_scene_is_announced_soon_and_once(*, mirrored: bool) -> None:
    told, looks = announced(wide(), mirrored=mirrored)
    # Three are there from the beginning, when the motion detection still learns the scene.
    came = [PAIR, PAIR, PAIR, MAN, WOMAN - FIRST_HALF]
    assert len(told) == len(came)
    assert all(0 <= at - since <= SOON for at, since in zip(told, came, strict=True))
    assert looks < 2.7
