"""How boxes move: a Kalman filter of constant velocity, all tracks at once.

Centre x, centre y, width and height of a box are filtered each by itself, with position and
velocity as the state (Bewley et al., "Simple online and realtime tracking", 2016, without the
coupling between them). Unlike there, time is real: frame rates vary and frames are dropped. Noise
is in units of the box's size, the square root of its area, so that near and distant objects are
treated alike; boxes of which the model is less sure are less exact (Du et al., "GIAOTracker",
2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Standard deviations in units of the box's size; accelerations per second and root second.
_MEASURED = np.array([0.09, 0.06, 0.14, 0.08])
_ACCELERATION = np.array([0.5, 0.3, 0.12, 0.12])
_FIRST_SPEED = np.array([1.5, 1.0, 0.2, 0.2])
# From this score down boxes become less exact: at `_SURE - _UNSURE` by twice.
_SURE, _UNSURE = 0.8, 0.5
# Who is lost does not run on for ever: the time in which a lost track's velocity fades to 1/e.
_FADING_S = 4.0
_LEAST_SIZE = 1e-4
# However long nobody has looked: objects are still looked for this near to where they were.
_MOST_SPREAD = 1.5
# Degrees of freedom of the errors of boxes: now and then one is far off.
_FREEDOM = 4.0
# Sizes change with a stretched arm or a hidden leg, and tell little of who it is.
_WEIGHTS = np.array([1.0, 1.0, 0.1, 0.1])


def to_centres(boxes: Floats) -> Floats:
    """Return [N, 4] x_min, y_min, x_max, y_max as centre x, centre y, width, height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate((boxes[:, :2] + size / 2, size), axis=1)


def to_corners(centres: Floats) -> Floats:
    """Return the inverse of `to_centres`."""
    half = centres[:, 2:] / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)


class BoxMotion:
    """Position, velocity and their covariance of N boxes."""

    def __init__(self) -> None:
        """Start with no box."""
        self.place: Floats = np.empty((0, 4))
        self.speed: Floats = np.empty((0, 4))
        # Per coordinate: variance of the position, covariance, variance of the velocity.
        self._variance: Floats = np.empty((3, 0, 4))

    def __len__(self) -> int:
        return len(self.place)

    def predict(self, dt: float, seen: NDArray[np.bool_]) -> None:
        """Move on by `dt` seconds; `seen` [N] tells who was seen in the last frame."""
        if not len(self) or dt <= 0:
            return
        self.speed[~seen] *= np.exp(-dt / _FADING_S)
        self.place += self.speed * dt
        np.maximum(self.place[:, 2:], _LEAST_SIZE, out=self.place[:, 2:])
        noise = (_ACCELERATION * self._scale(self.place)) ** 2
        position, both, velocity = self._variance
        position += dt * (2 * both + dt * velocity) + noise * (dt**3 / 3)
        both += dt * velocity + noise * (dt**2 / 2)
        velocity += noise * dt

    def likelihoods(self, measured: Floats, scores: Floats) -> Floats:
        """Return how well what was found fits each box.

        The logarithm of a Student's t density of the distance, relative to that of a box that was
        found a moment ago and is just where it should be, which is 0. The longer a box was not
        found, the further away it may be, and the less is each place in reach its own.

        Args:
            measured: [M, 4] as `to_centres` returns.
            scores: [M], 0-1.

        Returns:
            [N, M], at most a little above 0.
        """
        scale = self._scale(self.place)
        spread = np.minimum(self._variance[0], (_MOST_SPREAD * scale) ** 2)
        total = spread[:, None] + self._errors(measured, scores)[None]
        surprise = measured[None] - self.place[:, None]
        distance = (surprise**2 / total) @ _WEIGHTS
        usual = (_MEASURED[:2] * scale) ** 2
        reach = np.log(total[..., :2] / usual[:, None]).sum(axis=2)
        result: Floats = -(_FREEDOM + 2) / 2 * np.log1p(distance / _FREEDOM) - reach / 2
        return result

    def update(self, which: NDArray[np.intp], measured: Floats, scores: Floats) -> Floats:
        """Take in where some boxes were found; return where they are shown.

        Whoever turns, stops or comes out from behind somebody is not where constant velocity has
        him, and the filter needs some frames to see that. What is shown does not lag meanwhile: it
        is as near to what was found as would follow from a variance that explains the surprise
        (Zhou and Frank, "Strong tracking filtering of nonlinear time-varying stochastic systems",
        1996). Sizes stay filtered: of who is half hidden only a part is found. So does what later
        frames are compared with, for now and then a box is far off.

        Args:
            which: [M] indices.
            measured: [M, 4] as `to_centres` returns.
            scores: [M], 0-1.

        Returns:
            [M, 4] likewise.
        """
        position, both, velocity = self._variance[:, which]
        errors = self._errors(measured, scores)
        total = position + errors
        gain, speed_gain = position / total, both / total
        surprise = measured - self.place[which]
        shown = measured.copy()
        off = np.maximum(surprise[:, :2] ** 2, total[:, :2])
        shown[:, :2] -= errors[:, :2] / off * surprise[:, :2]
        self.place[which] += gain * surprise
        self.place[which, 2:] = np.maximum(self.place[which, 2:], _LEAST_SIZE)
        self.speed[which] += speed_gain * surprise
        self._variance[0, which] = (1 - gain) * position
        self._variance[1, which] = (1 - gain) * both
        self._variance[2, which] = velocity - speed_gain * both
        shown[:, 2:] = self.place[which, 2:]
        return shown

    def add(self, measured: Floats) -> None:
        """Begin with further boxes, [M, 4] as `to_centres` returns."""
        scale = self._scale(measured)
        self.place = np.concatenate((self.place, measured))
        self.speed = np.concatenate((self.speed, np.zeros_like(measured)))
        first = np.stack(
            ((_MEASURED * scale) ** 2, np.zeros_like(measured), (_FIRST_SPEED * scale) ** 2)
        )
        self._variance = np.concatenate((self._variance, first), axis=1)

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Forget all others; [N]."""
        self.place, self.speed = self.place[which], self.speed[which]
        self._variance = self._variance[:, which]

    def settle(self, number: int, place: Floats) -> None:
        """Put a box back to where it is known to be, [4] as `to_centres` returns."""
        self.place[number], self.speed[number] = place, 0.0
        scale = self._scale(place[None])[0]
        first = ((_MEASURED * scale) ** 2, np.zeros(4), (_FIRST_SPEED * scale) ** 2)
        self._variance[:, number] = first

    def _errors(self, measured: Floats, scores: Floats) -> Floats:
        """Return the variance of what was found: [M, 4]."""
        doubt = 1 + np.clip((_SURE - scores) / _UNSURE, 0, None)
        result: Floats = (_MEASURED * self._scale(measured) * doubt[:, None]) ** 2
        return result

    @staticmethod
    def _scale(centres: Floats) -> Floats:
        """Return the sizes, [N, 1]."""
        result: Floats = np.sqrt(centres[:, 2] * centres[:, 3])[:, None]
        return result
