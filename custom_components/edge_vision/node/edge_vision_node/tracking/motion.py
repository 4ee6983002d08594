"""How boxes move: a Kalman filter of constant velocity, all tracks at once.

Centre x, centre y, width and height of a box are filtered each by itself, with position and
velocity as the state (Bewley et al., "Simple online and realtime tracking", 2016, without the
coupling between them). Unlike there, time is real: frame rates vary and frames are dropped. Noise
is in units of the box's height and width, so that near and distant objects are treated alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Standard deviations in units of the box's own size; accelerations per second and root second.
_MEASURED = np.array([0.06, 0.06, 0.10, 0.10])
_ACCELERATION = np.array([0.45, 0.3, 0.12, 0.12])
_FIRST_SPEED = np.array([1.0, 0.6, 0.2, 0.2])
# Who is lost does not run on for ever: the time in which a lost track's velocity fades to 1/e.
_FADING_S = 1.5


def to_centres(boxes: Floats) -> Floats:
    """Return [N, 4] x_min, y_min, x_max, y_max as centre x, centre y, width, height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate((boxes[:, :2] + size / 2, size), axis=1)


def to_corners(centres: Floats) -> Floats:
    """Return the inverse of `to_centres`."""
    half = centres[:, 2:] / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)


class Motion:
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
        np.maximum(self.place[:, 2:], 1e-4, out=self.place[:, 2:])
        noise = (_ACCELERATION * self._scale(self.place)) ** 2
        position, both, velocity = self._variance
        position += dt * (2 * both + dt * velocity) + noise * (dt**3 / 3)
        both += dt * velocity + noise * (dt**2 / 2)
        velocity += noise * dt

    def update(self, which: NDArray[np.intp], measured: Floats) -> None:
        """Take in where some boxes were found: [M] indices, [M, 4] as `to_centres` returns."""
        position, both, velocity = self._variance[:, which]
        certainty = (_MEASURED * self._scale(measured)) ** 2
        total = position + certainty
        gain, speed_gain = position / total, both / total
        surprise = measured - self.place[which]
        self.place[which] += gain * surprise
        self.speed[which] += speed_gain * surprise
        self._variance[0, which] = (1 - gain) * position
        self._variance[1, which] = (1 - gain) * both
        self._variance[2, which] = velocity - speed_gain * both

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

    def uncertainty(self) -> Floats:
        """Return the standard deviation of each centre, [N, 2]."""
        spread: Floats = np.sqrt(self._variance[0, :, :2])
        return spread

    @staticmethod
    def _scale(centres: Floats) -> Floats:
        return centres[:, [2, 3, 2, 3]]
