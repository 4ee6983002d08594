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
from .kalman import BoxMotion, Floats, to_centres, to_corners
from .kinds import Kinds


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Thresholds; scores are 0-1, times in seconds.

    Attributes:
        low, high: a detection of at least `low` keeps a track alive, one of at least `high` comes
            first, and can begin a track and confirm it.
        begin: a track that has had a detection of this score is believed at the second one, another
            one only after some more.
        at_once: a first detection of this score is believed without a second one.
        lost_s: how long a track lives on unseen where it was looked for.
        left_s: the same for one that should be outside of the frame by now.
        doubtful_s: the same for one that is not confirmed.
        still_s: how long a box must stay in its place to be stationary.
        gone_s: how long a stationary object must be missed, after movement in its place.
        changed_s: the same after a change of the whole scene, in which much may be hard to see.
        remembered_s: how long the place of one that is gone is remembered. A parked car is the same
            after a night.
        hidden_s: the same for somebody who lives, whom somebody else may have hidden: who stands
            there a minute later is somebody else.
        forgotten_s: how long one is kept that nothing has moved at, but nobody sees any more.
        vanished_s: the same for somebody who lives.
    """

    low: float = 0.2
    high: float = 0.5
    begin: float = 0.65
    at_once: float = 0.85
    lost_s: float = 3.0
    left_s: float = 0.3
    doubtful_s: float = 0.6
    still_s: float = 10.0
    gone_s: float = 4.0
    changed_s: float = 60.0
    remembered_s: float = 24 * 3600.0
    hidden_s: float = 15.0
    forgotten_s: float = 24 * 3600.0
    vanished_s: float = 300.0

    @classmethod
    def for_confidence(cls, confidence: float) -> Settings:
        """Return settings for objects that count from a confidence (0-1) on.

        The model's doubts are used well below it, and it takes a little more to be believed soon.
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
        class_id: index into the model's labels: what it was taken for most until it was confirmed.
        box: float64 [4], x_min, y_min, x_max, y_max, normalised, in 0-1: smoothed where it was
            found, predicted otherwise.
        score, best_score: of the newest and of the best detection, 0-1.
        first_seen, last_seen: in seconds.
        confirmed: whether it is believed to be an object.
        seen: whether the newest frame shows it.
        found: float64 [4], its box in the newest frame as the model gave it; None if unseen there.
        detection: which one of the newest frame's detections shows it; None if unseen there.
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
    found: Floats | None = None
    detection: int | None = None
    stationary: bool = False
    returned: bool = False
    misses: int = 0
    hits: int = 1
    lapses: int = 0
    missed_since: float | None = None
    disturbed: bool = False
    doubted: bool = False
    votes: dict[int, float] = field(default_factory=dict)
    anchor: Floats = field(default_factory=lambda: np.zeros(4))
    anchored_at: float = 0.0
    away: int = 0


@dataclass(frozen=True)
class _Place:
    """Where something stood that is gone."""

    track: Track
    until: float


# A match must be likelier than this (a logarithm, see `BoxMotion.likelihoods`), or something new
# has begun. A track that is not confirmed has to be likelier by a little.
_LEAST_LIKELIHOOD = -7.5
_UNCONFIRMED = -2.0
_NEVER = -1e9
# A track that is not confirmed has been found again where so much of it is where it was, however
# long ago that is.
_SAME_SPOT = 0.7
# So many detections in so long a time, and few looks without, confirm what was never seen well.
_HITS_TO_CONFIRM, _HITS_PER_LAPSE, _SECONDS_TO_CONFIRM = 4, 4, 2.0
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
_LEAST_MISSES, _LEAST_TO_LEAVE, _LEAST_TO_VANISH = 4, 2, 20
_MOST_PLACES = 50
# In so many seconds the place of something that stands follows what is seen by 1 - 1/e.
_ANCHOR_S = 4.0


def _note_seen(track: Track, found: Floats, detection: int | None, at: float) -> None:
    track.seen, track.found, track.detection, track.last_seen = True, found, detection, at
    track.missed_since, track.misses = None, 0
    track.disturbed = track.doubted = False


class Tracker:
    """Follows the objects of one camera. Not safe for use from several threads."""

    def __init__(
        self, settings: Settings | None = None, first_id: int = 1, kinds: Kinds | None = None
    ) -> None:
        """Start with no object; `first_id` is the number of the first one."""
        self._settings = settings or Settings()
        self._kinds = kinds or Kinds()
        self._next_id = first_id
        self._tracks: list[Track] = []
        self._motion = BoxMotion()
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
        *,
        changed: bool = False,
    ) -> list[Track]:
        """Take in what a frame shows.

        Args:
            detections: of the regions that were looked at, in coordinates of the frame, doubtful
                ones included.
            at: time of the frame in seconds; only differences matter. Must not go back.
            looked: [N, 4] regions that were looked at; None for the whole frame.
            disturbed: [M, 4] where something has moved since the frame before; None where nobody
                knows, which counts as everywhere.
            changed: the whole scene has: light, night mode, another view.

        Returns:
            the tracks that live, confirmed ones and others.
        """
        before = at if self._at is None else self._at
        dt, self._at = max(0.0, at - before), at
        seen = np.array([track.seen for track in self._tracks], dtype=np.bool_)
        self._motion.predict(dt, seen)
        self._hold_stationary()
        for track in self._tracks:
            track.seen, track.found, track.detection = False, None, None
        boxes = detections.boxes.astype(np.float64)
        free = self._associate(detections, boxes, at)
        self._begin(detections, boxes, free, at)
        # Over a gap, whoever is not there any more left when nobody looked.
        since = before if dt > self._settings.lost_s else at
        self._note_missed(since, looked, disturbed, changed=changed)
        self._forget(at)
        corners = np.clip(to_corners(self._motion.place), 0.0, 1.0)
        for track, box in zip(self._tracks, corners, strict=True):
            if not track.seen:
                track.box = box
        self._judge_stillness(corners, at, dt)
        return list(self._tracks)

    def _associate(self, detections: Detections, boxes: Floats, at: float) -> NDArray[np.bool_]:
        """Give tracks their detections; return which detections of a high score are left."""
        settings = self._settings
        scores = detections.scores.astype(np.float64)
        high = scores >= settings.high
        free = high.copy()
        if not self._tracks or not len(boxes):
            return free
        classes = np.array([track.class_id for track in self._tracks])
        same_class = self._kinds.kind(classes)[:, None] == self._kinds.kind(detections.class_ids)
        centres = to_centres(boxes)
        confirmed = np.array([track.confirmed for track in self._tracks])
        shared = overlaps(to_corners(self._motion.place), boxes)
        fit = self._motion.likelihoods(centres, scores)
        fit += np.where(confirmed[:, None] | (shared >= _SAME_SPOT), 0.0, _UNCONFIRMED)
        first = np.where(same_class & high[None], fit, _NEVER)
        rows, columns = assign(first, _LEAST_LIKELIHOOD)
        self._update(rows, columns, detections, centres, at)
        free[columns] = False
        left = np.ones(len(self._tracks), dtype=np.bool_)
        left[rows] = False
        doubtful = (scores >= settings.low) & ~high
        if left.any() and doubtful.any():
            near = shared >= _LEAST_DOUBTFUL_OVERLAP
            near &= same_class & left[:, None] & doubtful[None]
            # Doubtful detections prolong what is known, and confirm nothing.
            second = assign(np.where(near, fit, _NEVER), _LEAST_LIKELIHOOD)
            self._update(*second, detections, centres, at, doubtful=True)
        return free

    def _update(
        self,
        rows: NDArray[np.intp],
        columns: NDArray[np.intp],
        detections: Detections,
        centres: Floats,
        at: float,
        *,
        doubtful: bool = False,
    ) -> None:
        if not len(rows):
            return
        scores = detections.scores[columns].astype(np.float64)
        classes = detections.class_ids[columns].tolist()
        shown = self._motion.update(rows, centres[columns], scores)
        shown = np.clip(to_corners(shown), 0.0, 1.0)
        boxes = detections.boxes[columns].astype(np.float64)
        for row, column, found, box, score, class_id in zip(
            rows.tolist(), columns.tolist(), boxes, shown, scores.tolist(), classes, strict=True
        ):
            track = self._tracks[row]
            track.box = box
            _note_seen(track, found, column, at)
            track.score, track.best_score = score, max(track.best_score, score)
            if doubtful:
                track.lapses += 1
                continue
            track.hits += 1
            if not track.confirmed:
                track.votes[class_id] = track.votes.get(class_id, 0.0) + score
                track.class_id = max(track.votes, key=track.votes.__getitem__)
                lasting = at - track.first_seen >= _SECONDS_TO_CONFIRM
                steady = track.hits >= max(_HITS_TO_CONFIRM, _HITS_PER_LAPSE * track.lapses)
                track.confirmed = track.best_score >= self._settings.begin or (lasting and steady)

    def _begin(
        self, detections: Detections, boxes: Floats, free: NDArray[np.bool_], at: float
    ) -> None:
        """Begin tracks with confident detections that belong to none."""
        (new,) = np.nonzero(free)
        new = new[~self._doubles(detections, boxes, new)]
        if len(new) > 1:
            new = self._without_doubles(detections, boxes, new)
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
                votes={class_id: score},
                anchor=boxes[index].copy(),
                anchored_at=at,
            )
            if track.id == self._next_id:
                self._next_id += 1
            track.score, track.found, track.detection = score, boxes[index].copy(), index
            track.box = np.clip(boxes[index], 0.0, 1.0)
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
        seen = to_corners(self._motion.place[current])
        result: NDArray[np.bool_] = np.any(
            self._show_the_same(detections, boxes, new, seen, classes), axis=1
        )
        return result

    def _without_doubles(
        self, detections: Detections, boxes: Floats, new: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Return some detections without those that show what a surer one of them does."""
        new = new[np.argsort(-detections.scores[new], kind="stable")]
        classes = detections.class_ids[new]
        same = np.tril(self._show_the_same(detections, boxes, new, boxes[new], classes), -1)
        kept = np.ones(len(new), dtype=np.bool_)
        for number in range(1, len(new)):
            kept[number] = not (same[number] & kept).any()
        return new[kept]

    def _show_the_same(
        self,
        detections: Detections,
        boxes: Floats,
        new: NDArray[np.intp],
        others: Floats,
        classes: NDArray[np.integer[Any]],
    ) -> NDArray[np.bool_]:
        """Return for [N] detections which of [M] other boxes show the same object: [N, M]."""
        kinds = self._kinds
        same_kind = kinds.kind(detections.class_ids[new])[:, None] == kinds.kind(classes)
        shared = overlaps(boxes[new], others)
        doubtful = (shared > _SAME_DOUBTFUL_OBJECT) | (contained(boxes[new], others) > _PIECE)
        doubtful &= (detections.scores[new] < self._settings.at_once)[:, None]
        result: NDArray[np.bool_] = ((shared > _SAME_OBJECT) | doubtful) & same_kind
        return result

    def _take_up(self, box: Floats, class_id: int, at: float) -> Track | None:
        """Return the object that stood here before, if one did."""
        for number, place in enumerate(self._places):
            track = place.track
            shared = overlaps(box[None], track.anchor[None])[0, 0]
            mine, its = self._kinds.kind(np.array([class_id, track.class_id])).tolist()
            if place.until > at and mine == its and shared >= _SAME_PLACE:
                del self._places[number]
                _note_seen(track, box, None, at)
                track.returned = True
                return track
        return None

    # --- What is not seen ------------------------------------------------------------------------

    def _note_missed(
        self,
        since: float,
        looked: NDArray[np.floating[Any]] | None,
        disturbed: NDArray[np.floating[Any]] | None,
        *,
        changed: bool,
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
            track.doubted = track.doubted or changed
            if share >= _LOOKED_AT:
                track.misses += 1
                track.lapses += 1
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
                if self._has_gone(track, missed_s):
                    stay[number] = False
                    alive = self._kinds.lives(track.class_id)
                    known_s = settings.hidden_s if alive else settings.remembered_s
                    self._places.append(_Place(track, at + known_s))
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
        self._places = [place for place in self._places if place.until > at][-_MOST_PLACES:]

    def _has_gone(self, track: Track, missed_s: float) -> bool:
        """Return whether something that stood has been missed for too long."""
        settings = self._settings
        if track.disturbed:
            least_s, least = settings.gone_s, _LEAST_MISSES
        elif track.doubted:
            least_s, least = settings.changed_s, _LEAST_MISSES
        elif self._kinds.lives(track.class_id):
            least_s, least = settings.vanished_s, _LEAST_TO_VANISH
        else:
            least_s, least = settings.forgotten_s, _LEAST_MISSES
        return missed_s >= least_s and track.misses >= least

    # --- What stands still -----------------------------------------------------------------------

    def _hold_stationary(self) -> None:
        """Keep what stands still and is not seen where it stood: it has not drifted anywhere."""
        for number, track in enumerate(self._tracks):
            if track.stationary and not track.seen:
                self._motion.settle(number, to_centres(track.anchor[None])[0])

    def _judge_stillness(self, boxes: Floats, at: float, dt: float) -> None:
        if not self._tracks:
            return
        anchors = np.array([track.anchor for track in self._tracks])
        now, then = to_centres(boxes), to_centres(anchors)
        size = np.maximum(np.minimum(now[:, 2:], then[:, 2:]), 1e-6)
        offsets = np.max(np.abs(now[:, :2] - then[:, :2]) / size, axis=1)
        # The anchor follows slowly, so that noise of the first box is averaged out.
        nearer = anchors + (1 - math.exp(-dt / _ANCHOR_S)) * (boxes - anchors)
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
                track.anchor, track.anchored_at, track.away = boxes[number].copy(), at, 0
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
