"""The tracker: objects over frames.

Association in two rounds, first with confident detections, then with the doubtful ones for tracks
that got none (Zhang et al., "ByteTrack", 2022). What differs from there:

- time is real, not a number of frames;
- what decides in the first round is not overlap but how likely it is that the object has come to be
  there, so that low frame rates, small boxes that tremble, and hidden people keep their objects; it
  is the logarithm of a ratio of likelihoods as in the tracking of radar echoes (Blackman, "Multiple
  hypothesis tracking for multiple target tracking", 2004);
- a track whose place was not looked at has not been missed;
- who was on the way out of the frame has left it, and is not whoever comes in there next;
- what stands still is known as such, and does not leave without movement in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from .association import areas, assign, contained, covered, overlaps
from .motion import Floats, Motion, to_centres, to_corners


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Thresholds; scores are 0-1, times in seconds.

    Attributes:
        low, high, begin: a detection of at least `low` keeps a track alive, one of at least `high`
            comes first and confirms, one of at least `begin` can begin a track.
        at_once: a first detection of this score is believed without a second one.
        lost_s: how long a track lives on unseen where it was looked for.
        left_s: the same for one that should be outside of the frame by now.
        doubtful_s: the same for one that is not confirmed.
        still_s: how long a box must stay in its place to be stationary.
        gone_s: how long a stationary object must be missed, after movement in its place.
        remembered_s: how long the place of one that is gone is remembered, at least and at most; in
            between, as long as it had stood there. A car that was parked all day is the same after
            a night; who sits down where somebody sat for a minute is somebody else.
        forgotten_s: how long one is kept that nothing has moved at, but nobody sees any more.
    """

    low: float = 0.2
    high: float = 0.5
    begin: float = 0.65
    at_once: float = 0.85
    lost_s: float = 3.0
    left_s: float = 1.0
    doubtful_s: float = 0.6
    still_s: float = 10.0
    gone_s: float = 4.0
    remembered_s: tuple[float, float] = (60.0, 24 * 3600.0)
    forgotten_s: float = 24 * 3600.0

    @classmethod
    def for_confidence(cls, confidence: float) -> Settings:
        """Return settings for objects that count from a confidence (0-1) on.

        The model's doubts are used well below it, and a little more than it begins a track.
        """
        begin = min(confidence + 0.15, (1 + confidence) / 2)
        return cls(
            low=max(0.1, 0.4 * confidence),
            high=confidence,
            begin=begin,
            at_once=max(0.85, begin),
        )


@dataclass
class Track:
    """An object over frames.

    Attributes:
        id: its number, never used again.
        class_id: index into the model's labels.
        box: float64 [4], smoothed x_min, y_min, x_max, y_max, normalised, in 0-1.
        score, best_score: of the newest and of the best detection, 0-1.
        first_seen, last_seen: in seconds.
        confirmed: whether it is believed to be an object.
        seen: whether the newest frame shows it.
        stationary: whether it has not moved for a while.
        returned: whether it was gone, and what stood in its place is there again.
        misses: how often its place was looked at, and it not found, since it was seen last.
    """

    id: int
    class_id: int
    box: Floats
    score: float
    best_score: float
    first_seen: float
    last_seen: float
    confirmed: bool = False
    seen: bool = True
    stationary: bool = False
    returned: bool = False
    misses: int = 0
    hits: int = 1
    missed_since: float | None = None
    disturbed: bool = False
    anchor: Floats = field(default_factory=lambda: np.zeros(4))
    anchored_at: float = 0.0
    away: int = 0


@dataclass(frozen=True)
class _Place:
    """Where something stood that is gone."""

    track: Track
    until: float


# A match must be likelier than this (a logarithm, see `Motion.likelihoods`), or something new has
# begun. A track that is not confirmed has to be likelier by a little.
_LEAST_LIKELIHOOD = -7.5
_UNCONFIRMED = -2.0
_NEVER = -1e9
# Doubtful boxes must also overlap with where the object should be.
_LEAST_DOUBTFUL_OVERLAP = 0.4
# A new track may not lie this much on one that was just seen: the model saw the object twice. Of a
# box that is not very sure, less is enough, or to be a piece of the other.
_SAME_OBJECT = 0.6
_SAME_DOUBTFUL_OBJECT, _PIECE = 0.4, 0.75
_SAME_PLACE = 0.5
# Who is outside of the frame by this share of the box has left.
_OUTSIDE = 0.3
# Of a box's size: how far an object may tremble and still stand, and how far it must go to move.
_TREMBLE, _STEP = 0.12, 0.25
_LOOKED_AT = 0.7
_LEAST_MISSES, _LEAST_TO_LEAVE = 4, 2


class Tracker:
    """Follows the objects of one camera. Not safe for use from several threads."""

    def __init__(self, settings: Settings | None = None, first_id: int = 1) -> None:
        """Start with no object; `first_id` is the number of the first one."""
        self._settings = settings or Settings()
        self._next_id = first_id
        self._tracks: list[Track] = []
        self._motion = Motion()
        self._places: list[_Place] = []
        self._at: float | None = None

    @property
    def next_id(self) -> int:
        """Return the number that the next object will get."""
        return self._next_id

    # --- One frame -------------------------------------------------------------------------------

    def step(
        self,
        detections: Detections,
        at: float,
        looked: NDArray[np.floating[Any]] | None = None,
        disturbed: NDArray[np.floating[Any]] | None = None,
    ) -> list[Track]:
        """Take in what a frame shows.

        Args:
            detections: of the regions that were looked at, in coordinates of the frame, doubtful
                ones included.
            at: time of the frame in seconds; only differences matter. Must not go back.
            looked: [N, 4] regions that were looked at; None for the whole frame.
            disturbed: [M, 4] where something has moved since the frame before; None where nobody
                knows, which counts as everywhere.

        Returns:
            the tracks that live, confirmed ones and others.
        """
        before = at if self._at is None else self._at
        dt, self._at = max(0.0, at - before), at
        seen = np.array([track.seen for track in self._tracks], dtype=np.bool_)
        self._motion.predict(dt, seen)
        self._hold_stationary()
        for track in self._tracks:
            track.seen = False
        boxes = detections.boxes.astype(np.float64)
        free = self._associate(detections, boxes, at)
        self._begin(detections, boxes, free, at)
        # Over a gap, whoever is not there any more left when nobody looked.
        since = before if dt > self._settings.lost_s else at
        self._note_missed(since, looked, disturbed)
        self._forget(at)
        corners = np.clip(to_corners(self._motion.place), 0.0, 1.0)
        for track, box in zip(self._tracks, corners, strict=True):
            track.box = box
        self._judge_stillness(corners, at)
        return list(self._tracks)

    def _associate(self, detections: Detections, boxes: Floats, at: float) -> NDArray[np.bool_]:
        """Give tracks their detections; return which detections of a high score are left."""
        settings = self._settings
        scores = detections.scores.astype(np.float64)
        high = scores >= settings.high
        free = scores >= settings.begin
        if not self._tracks or not len(boxes):
            return free
        classes = np.array([track.class_id for track in self._tracks])
        same_class = classes[:, None] == detections.class_ids[None]
        centres = to_centres(boxes)
        confirmed = np.array([track.confirmed for track in self._tracks])
        fit = self._motion.likelihoods(centres, scores)
        fit += np.where(confirmed, 0.0, _UNCONFIRMED)[:, None]
        first = np.where(same_class & high[None], fit, _NEVER)
        rows, columns = assign(first, _LEAST_LIKELIHOOD)
        self._update(rows, columns, scores, centres, at)
        free[columns] = False
        left = np.ones(len(self._tracks), dtype=np.bool_)
        left[rows] = False
        doubtful = (scores >= settings.low) & ~high
        if left.any() and doubtful.any():
            near = overlaps(to_corners(self._motion.place), boxes) >= _LEAST_DOUBTFUL_OVERLAP
            near &= same_class & left[:, None] & doubtful[None]
            # Doubtful detections prolong what is known, and confirm nothing.
            second = assign(np.where(near, fit, _NEVER), _LEAST_LIKELIHOOD)
            self._update(*second, scores, centres, at, doubtful=True)
        return free

    def _update(
        self,
        rows: NDArray[np.intp],
        columns: NDArray[np.intp],
        scores: Floats,
        centres: Floats,
        at: float,
        *,
        doubtful: bool = False,
    ) -> None:
        if not len(rows):
            return
        self._motion.update(rows, centres[columns], scores[columns])
        for row, score in zip(rows.tolist(), scores[columns].tolist(), strict=True):
            track = self._tracks[row]
            track.seen, track.last_seen, track.score = True, at, score
            track.best_score = max(track.best_score, score)
            track.missed_since, track.misses, track.disturbed = None, 0, False
            if not doubtful:
                track.hits += 1
                track.confirmed = True

    def _begin(
        self, detections: Detections, boxes: Floats, free: NDArray[np.bool_], at: float
    ) -> None:
        """Begin tracks with confident detections that belong to none."""
        (new,) = np.nonzero(free)
        new = new[~self._doubles(detections, boxes, new)]
        if not len(new):
            return
        for index in new.tolist():
            score, class_id = float(detections.scores[index]), int(detections.class_ids[index])
            track = self._take_up(boxes[index], class_id, at) or Track(
                id=self._next_id,
                class_id=class_id,
                box=boxes[index],
                score=score,
                best_score=score,
                first_seen=at,
                last_seen=at,
                confirmed=score >= self._settings.at_once,
                anchor=boxes[index].copy(),
                anchored_at=at,
            )
            if track.id == self._next_id:
                self._next_id += 1
            track.score = score
            self._tracks.append(track)
        self._motion.add(to_centres(boxes[new]))

    def _doubles(
        self, detections: Detections, boxes: Floats, new: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Return which of some detections show once more what has just been seen."""
        current = [number for number, track in enumerate(self._tracks) if track.seen]
        if not current or not len(new):
            return np.zeros(len(new), dtype=np.bool_)
        classes = np.array([self._tracks[number].class_id for number in current])
        same_class = detections.class_ids[new][:, None] == classes[None]
        seen = to_corners(self._motion.place[current])
        shared = overlaps(boxes[new], seen)
        doubtful = (shared > _SAME_DOUBTFUL_OBJECT) | (contained(boxes[new], seen) > _PIECE)
        doubtful &= (detections.scores[new] < self._settings.at_once)[:, None]
        result: NDArray[np.bool_] = (((shared > _SAME_OBJECT) | doubtful) & same_class).any(axis=1)
        return result

    def _take_up(self, box: Floats, class_id: int, at: float) -> Track | None:
        """Return the object that stood here before, if one did."""
        for number, place in enumerate(self._places):
            track = place.track
            shared = overlaps(box[None], track.anchor[None])[0, 0]
            if place.until > at and track.class_id == class_id and shared >= _SAME_PLACE:
                del self._places[number]
                track.seen, track.last_seen, track.returned = True, at, True
                track.missed_since, track.misses, track.disturbed = None, 0, False
                return track
        return None

    # --- What is not seen ------------------------------------------------------------------------

    def _note_missed(
        self,
        since: float,
        looked: NDArray[np.floating[Any]] | None,
        disturbed: NDArray[np.floating[Any]] | None,
    ) -> None:
        missing = [number for number, track in enumerate(self._tracks) if not track.seen]
        if not missing:
            return
        boxes = np.clip(to_corners(self._motion.place[missing]), 0.0, 1.0)
        shares = np.ones(len(missing))
        if looked is not None:
            shares = covered(boxes, looked.astype(np.float64))
        touches = np.ones(len(missing))
        if disturbed is not None:
            touches = covered(boxes, disturbed.astype(np.float64))
        for number, share, touch in zip(missing, shares.tolist(), touches.tolist(), strict=True):
            track = self._tracks[number]
            track.disturbed = track.disturbed or touch > 0
            if share >= _LOOKED_AT:
                track.misses += 1
                if track.missed_since is None:
                    track.missed_since = since

    def _forget(self, at: float) -> None:
        """Let go of what has been missed for too long."""
        settings = self._settings
        stay = np.ones(len(self._tracks), dtype=np.bool_)
        boxes = to_corners(self._motion.place)
        inside = areas(np.clip(boxes, 0.0, 1.0)) / np.maximum(areas(boxes), 1e-12)
        for number, track in enumerate(self._tracks):
            missed_s = 0.0 if track.missed_since is None else at - track.missed_since
            if track.stationary:
                gone = track.disturbed and track.misses >= _LEAST_MISSES
                if (gone and missed_s >= settings.gone_s) or (
                    at - track.last_seen >= settings.forgotten_s
                ):
                    stay[number] = False
                    least, most = settings.remembered_s
                    stood_s = track.last_seen - track.anchored_at
                    self._places.append(_Place(track, at + min(max(stood_s, least), most)))
            elif track.confirmed:
                left = inside[number] < 1 - _OUTSIDE
                limit_s = settings.left_s if left else settings.lost_s
                # Where frames are seconds apart, one without it is not enough.
                stay[number] = missed_s < limit_s or track.misses < _LEAST_TO_LEAVE
            else:
                stay[number] = missed_s < settings.doubtful_s and track.misses < _LEAST_MISSES
        if not stay.all():
            self._tracks = [track for track, keep in zip(self._tracks, stay, strict=True) if keep]
            self._motion.keep(stay)
        self._places = [place for place in self._places if place.until > at]

    # --- What stands still -----------------------------------------------------------------------

    def _hold_stationary(self) -> None:
        """Keep what stands still and is not seen where it stood: it has not drifted anywhere."""
        for number, track in enumerate(self._tracks):
            if track.stationary and not track.seen:
                self._motion.settle(number, to_centres(track.anchor[None])[0])

    def _judge_stillness(self, boxes: Floats, at: float) -> None:
        if not self._tracks:
            return
        anchors = np.array([track.anchor for track in self._tracks])
        now, then = to_centres(boxes), to_centres(anchors)
        size = np.maximum(np.minimum(now[:, 2:], then[:, 2:]), 1e-6)
        offsets = np.max(np.abs(now[:, :2] - then[:, :2]) / size, axis=1)
        # The anchor follows slowly, so that noise of the first box is averaged out.
        nearer = anchors + 0.05 * (boxes - anchors)
        for number, (track, offset) in enumerate(zip(self._tracks, offsets.tolist(), strict=True)):
            if not track.seen:
                continue
            if offset <= _TREMBLE:
                track.away, track.anchor = 0, nearer[number]
                track.stationary = track.stationary or (
                    track.confirmed and at - track.anchored_at >= self._settings.still_s
                )
                continue
            track.away += 1
            if offset > _STEP or not track.stationary or track.away > 2 * _LEAST_MISSES:
                track.anchor, track.anchored_at, track.away = track.box.copy(), at, 0
                track.stationary = False

    # --- Over a restart --------------------------------------------------------------------------

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the confirmed tracks, and what is remembered, as plain data for `restore`."""
        at = self._at or 0.0
        tracks = [(track, None) for track in self._tracks if track.confirmed]
        places = [(place.track, round(place.until - at, 1)) for place in self._places]
        return [
            {
                "id": track.id,
                "class_id": track.class_id,
                "box": [round(float(value), 5) for value in track.box],
                "score": round(track.score, 4),
                "best_score": round(track.best_score, 4),
                "stationary": track.stationary,
                "stood_s": round(track.last_seen - track.anchored_at, 1),
                "remembered_s": remembered_s,
            }
            for track, remembered_s in (*tracks, *places)
        ]

    def restore(self, snapshot: Sequence[Mapping[str, Any]], at: float) -> None:
        """Take up the tracks of a snapshot, as if they had been seen just now."""
        for item in snapshot:
            box = np.array(item["box"], dtype=np.float64)
            if box.shape != (4,) or not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
                continue
            track = Track(
                id=int(item["id"]),
                class_id=int(item["class_id"]),
                box=box,
                score=float(item["score"]),
                best_score=float(item["best_score"]),
                first_seen=at,
                last_seen=at,
                confirmed=True,
                seen=False,
                stationary=bool(item["stationary"]),
                anchor=box.copy(),
                anchored_at=at - float(item["stood_s"]),
                # Nobody knows what has moved meanwhile.
                disturbed=True,
            )
            self._next_id = max(self._next_id, track.id + 1)
            if item["remembered_s"] is not None:
                self._places.append(_Place(track, at + float(item["remembered_s"])))
                continue
            self._tracks.append(track)
            self._motion.add(to_centres(box[None]))
        self._at = at if math.isfinite(at) else None
