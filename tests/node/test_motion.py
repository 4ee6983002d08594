"""The motion gate: what it reports, what is not movement, and what is never missed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from edge_vision_node.frames import motion_gate
from edge_vision_node.frames.motion_gate import MotionGate, MotionResult
from edge_vision_node.protocol import SENSITIVITIES, MotionThresholds, Sensitivity
from numpy.typing import NDArray

HEIGHT, WIDTH = 360, 640
FPS = 5.0
Grey = NDArray[np.uint8]


def texture(seed: int = 1, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float64]:
    """A scene with large and small structure."""
    random = np.random.default_rng(seed)
    scene = np.full((height, width), 110.0)
    for size in (80, 20, 4):
        blocks = random.normal(0, 14, (height // size + 1, width // size + 1))
        scene += np.kron(blocks, np.ones((size, size)))[:height, :width]
    return scene


def frame(scene: NDArray[np.float64], number: int, noise: float = 4.0) -> Grey:
    random = np.random.default_rng(1000 + number)
    return np.clip(scene + random.normal(0, noise, scene.shape), 0, 255).astype(np.uint8)


def walker(scene: NDArray[np.float64], x: int, contrast: float = 45.0) -> NDArray[np.float64]:
    scene = scene.copy()
    scene[150:230, x : x + 28] += contrast
    return scene


def gate(sensitivity: str = "medium", **options: object) -> MotionGate:
    return MotionGate(SENSITIVITIES[Sensitivity(sensitivity)], **options)  # type: ignore[arg-type]


def run(
    watched: MotionGate, scenes: Iterator[NDArray[np.float64]], noise: float = 4.0, first: int = 0
) -> list[MotionResult]:
    return [
        watched.step(frame(scene, first + n, noise), (first + n) / FPS)
        for n, scene in enumerate(scenes)
    ]


def settled(scene: NDArray[np.float64], sensitivity: str = "medium") -> MotionGate:
    watched = gate(sensitivity)
    results = run(watched, iter([scene] * 20))
    assert results[0].calibrating
    assert not results[-1].calibrating
    return watched


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_somebody_who_walks_is_told_where_and_a_calm_scene_is_calm(sensitivity: str) -> None:
    scene = texture()
    watched = settled(scene, sensitivity)
    assert not any(result.moving for result in run(watched, iter([scene] * 30), first=20))
    for number, x in enumerate(range(60, 400, 12)):
        (result,) = run(watched, iter([walker(scene, x)]), first=50 + number)
        assert result.moving
        x_min, y_min, x_max, y_max = result.boxes[0] * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        assert x_min <= x + 8
        assert x_max >= x + 20
        assert y_min <= 158
        assert y_max >= 222


def test_little_is_enough_where_sensitivity_is_high_and_not_where_it_is_low() -> None:
    scene = texture()
    faint = walker(scene, 200, contrast=15)
    assert run(settled(scene, "high"), iter([faint]), first=20)[0].moving
    assert not run(settled(scene, "low"), iter([faint]), first=20)[0].moving


@pytest.mark.parametrize("gain", [0.8, 1.25])
def test_a_cloud_and_the_evening_are_no_movement(gain: float) -> None:
    scene = texture()
    watched = settled(scene)
    slowly = (scene * (1 + (gain - 1) * n / 40) for n in range(41))
    results = run(watched, slowly, first=20) + run(watched, iter([scene] * 3), first=61)
    assert not any(result.moving for result in results)


def test_a_camera_that_shakes_and_rain_are_no_movement() -> None:
    scene, random = texture(), np.random.default_rng(7)
    watched = settled(scene)
    shaken = (np.roll(scene, random.integers(-2, 3, 2), (0, 1)) for _ in range(40))
    assert sum(result.moving for result in run(watched, shaken, first=20)) <= 2

    def rain() -> Iterator[NDArray[np.float64]]:
        for _ in range(40):
            wet = scene.copy()
            for x, y in zip(
                random.integers(0, WIDTH, 60), random.integers(0, HEIGHT - 24, 60), strict=True
            ):
                wet[y : y + 24, x : x + 1] += 60
            yield wet

    assert sum(result.moving for result in run(watched, rain(), first=60)) <= 2


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
@pytest.mark.parametrize("most", [1, 3, 6])
def test_who_walks_is_told_from_a_camera_that_shakes(sensitivity: str, most: int) -> None:
    # Few edges: little changes, but these areas change a lot.
    scene, random = np.full((HEIGHT, WIDTH), 110.0), np.random.default_rng(7)
    scene[:, 400:430] = 30
    scene[60:90] = 200
    scene[300:, 100:220] = 60
    watched = settled(scene, sensitivity)

    def shaken(seen: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.roll(seen, random.integers(-most, most + 1, 2), (0, 1))

    idle = run(watched, (shaken(scene) for _ in range(40)), first=20)
    assert sum(result.moving for result in idle) <= 2
    places = range(60, 380, 8)
    seen = run(watched, (shaken(walker(scene, x)) for x in places), first=60)
    for x, result in zip(places, seen, strict=True):
        (box,) = result.boxes * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        assert box == pytest.approx([x, 150, x + 28, 230], abs=most + 10)


@pytest.mark.parametrize("shape", [(48, 64), (15, 20), (3, 5)])
def test_a_small_picture_may_flicker(shape: tuple[int, int]) -> None:
    results = run(gate("high"), iter([np.full(shape, 120.0)] * 40), noise=50.0)
    assert not results[-1].calibrating


def test_noise_of_the_night_is_learned() -> None:
    scene = texture() * 0.4
    watched = gate()
    run(watched, iter([scene] * 60), noise=14.0)
    assert not any(result.moving for result in run(watched, iter([scene] * 30), 14.0, 60))


def test_light_switched_on_is_no_answer_until_it_has_learned() -> None:
    scene = texture()
    watched = settled(scene)
    night = 255 - texture(seed=9)
    results = run(watched, iter([night] * 20), first=20)
    assert results[0].calibrating
    assert not results[0].moving
    assert not results[-1].calibrating
    assert not results[-1].moving


def test_who_is_followed_never_becomes_part_of_the_background() -> None:
    scene = texture()
    standing = frame(walker(scene, 300), 1)
    kept, forgotten = settled(scene), settled(scene)
    box = np.array([[290 / WIDTH, 140 / HEIGHT, 340 / WIDTH, 240 / HEIGHT]])
    for number in range(20, 20 + 5 * 300):
        with_keep = kept.step(standing, number / FPS, box)
        without = forgotten.step(standing, number / FPS)
    assert with_keep.moving
    assert not without.moving


def test_what_moves_in_an_ignored_area_does_not_count() -> None:
    scene = texture()
    watched = gate(ignore=[[(0, 0), (1, 0), (1, 1), (0, 1)]])
    run(watched, iter([scene] * 20))
    assert not run(watched, iter([walker(scene, 200)]), first=20)[0].moving
    assert watched.view().shape[2] == 3


@pytest.mark.parametrize("shape", [(720, 1280), (1080, 1920), (48, 64), (3, 5), (1, 1)])
def test_any_size_will_do_and_may_change(shape: tuple[int, int]) -> None:
    watched = gate()
    for number in range(20):
        watched.step(np.zeros((HEIGHT, WIDTH), np.uint8), number / FPS)
    changed = [watched.step(np.zeros(shape, np.uint8), (20 + n) / FPS) for n in range(20)]
    assert changed[0].calibrating
    assert not changed[-1].calibrating
    assert not any(result.moving for result in changed)
    assert watched.view().dtype == np.uint8


def test_after_a_gap_it_has_to_learn_anew() -> None:
    scene = texture()
    watched = settled(scene)
    assert watched.step(frame(scene, 1), 60.0).calibrating


# --- Boxes ---------------------------------------------------------------------------------------


def boxes_around(cells: NDArray[np.bool_]) -> set[tuple[float, ...]]:
    """Return the result of a gate for changed cells, in cells."""
    gate = MotionGate(MotionThresholds(least_area=0.0))
    gate._changed = cells
    scale = np.array([cells.shape[1], cells.shape[0]] * 2)
    return {tuple(np.round(box * scale).tolist()) for box in gate._find()}


def boxes_by_flooding(cells: NDArray[np.bool_]) -> set[tuple[float, ...]]:
    """Return the same from cell to cell: those in the same or adjoining tiles of 4 are together."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(cells)), strict=True))
    boxes = set()
    while left:
        members, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            members.append((x, y))
            near = {c for c in left if abs(c[0] // 4 - y // 4) < 2 and abs(c[1] // 4 - x // 4) < 2}
            left -= near
            edge += near
        xs, ys = zip(*members, strict=True)
        boxes.add((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return boxes


@pytest.mark.parametrize("shape", [(90, 160), (96, 128), (31, 45), (9, 3)])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.03])
def test_what_has_changed_together_has_one_box(
    shape: tuple[int, int], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion_gate, "_MOST_BOXES", 1000)
    random = np.random.default_rng(7)
    for _ in range(5):
        cells = random.random(shape) < share
        cells[0, -1] = cells[min(4, shape[0] - 1), 0] = True  # no neighbors across the border
        assert boxes_around(cells) == boxes_by_flooding(cells)
