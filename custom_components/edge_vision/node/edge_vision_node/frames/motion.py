"""stand-in"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    least_difference: float
    noise_factor: float
    least_area: float


SENSITIVITIES = {
    "low": GateSettings(least_difference=18, noise_factor=5, least_area=0.002),
    "medium": GateSettings(least_difference=12, noise_factor=4, least_area=0.0008),
    "high": GateSettings(least_difference=8, noise_factor=3, least_area=0.0003),
}


@dataclass(frozen=True)
class MotionResult:
    moving: bool
    calibrating: bool
    share: float
    boxes: NDArray[np.float64]


class MotionGate:
    def __init__(self, settings: GateSettings, ignore: Sequence[Sequence[tuple[float, float]]] = ()) -> None:
        self.n = 0
        self.bg: NDArray[np.float32] | None = None
        self.s = settings

    def step(self, grey: NDArray[np.uint8], at: float, keep: NDArray[np.float64] | None = None) -> MotionResult:
        h, w = grey.shape
        k = max(1, h // 90)
        small = grey[: h // k * k : k, : w // k * k : k].astype(np.float32)
        if self.bg is None or self.bg.shape != small.shape:
            self.bg, self.n = small, 0
        d = np.abs(small - self.bg) > self.s.least_difference
        self.bg = self.bg + 0.05 * (small - self.bg)
        self.n += 1
        ys, xs = np.nonzero(d)
        share = float(d.mean())
        if self.n < 5 or share > 0.5:
            return MotionResult(False, True, share, np.empty((0, 4)))
        if share < self.s.least_area:
            return MotionResult(False, False, share, np.empty((0, 4)))
        hh, ww = small.shape
        b = np.array([[xs.min() / ww, ys.min() / hh, (xs.max() + 1) / ww, (ys.max() + 1) / hh]])
        return MotionResult(True, False, share, b)

    def view(self) -> NDArray[np.uint8]:
        assert self.bg is not None
        return np.repeat(self.bg.astype(np.uint8)[..., None], 3, axis=2)
