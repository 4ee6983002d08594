"""Detects objects in the frames of a video as a live pipeline does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import ModelError
from ..frames.decode import Frame
from ..frames.motion_gate import MotionGate
from ..frames.video_file import VideoFrame
from ..protocol import MotionThresholds, Thoroughness
from ..tracking.association import Floats
from .merge import merge
from .planner import Planner
from .runner import Prepared, Runner


@dataclass(frozen=True, eq=False)
class DetectedFrame:
    """The detections of a frame, and how they were found.

    Attributes:
        detections: in coordinates of the frame.
        looks: number of parts that the model ran on.
        looked: float64 [N, 4] those parts; None if the whole frame was one of them.
        disturbed: float64 [M, 4] where something moved; None if unknown.
        changed: whether the whole scene changed.
    """

    detections: Detections
    looks: int
    looked: Floats | None = None
    disturbed: Floats | None = None
    changed: bool = False


class FrameDetector:
    """Detects objects in the frames of one video, in their order."""

    def __init__(
        self,
        runner: Runner,
        look: Thoroughness | None,
        confidence: float,
        class_ids: NDArray[np.int32] | None = None,
    ) -> None:
        """Prepare for the first frame.

        Args:
            runner: a model that finds objects.
            look: how thoroughly; None runs the model once on every whole frame.
            confidence: the minimum of a detection, a percentage.
            class_ids: what to find; None for everything.
        """
        self._runner = runner
        self._look = look
        self._confidence = confidence
        self._class_ids = class_ids
        self._gate = MotionGate(MotionThresholds())
        self._planner: Planner | None = None

    def look(self, frame: VideoFrame, moving: Floats) -> DetectedFrame:
        """Return the detections of a frame. Raises as `Runner.run`.

        `moving`: boxes of followed objects, see `Follower.moving`. Raises `ModelError` if the model
        does not find objects.
        """
        if self._look is None or self._runner.finds_parts:
            return DetectedFrame(self._run(frame, None), 1)
        size = frame.image.size
        if self._planner is None:
            self._planner = Planner(self._look, size, self._runner.preprocess.size)
        self._planner.resize(size)
        motion = self._gate.step(np.asarray(frame.image.convert("L")), frame.at)
        plan = self._planner.plan(frame.at, motion.boxes, moving, unsure=motion.calibrating)
        found = [self._run(frame, part) for part in plan.boxes.tolist()]
        return DetectedFrame(
            merge(found, plan.boxes) if found else Detections.none(),
            len(found),
            None if plan.whole else plan.boxes,
            motion.boxes,
            changed=motion.calibrating,
        )

    def _run(self, frame: VideoFrame, part: list[float] | None) -> Detections:
        image = Frame(frame.image, *frame.image.size)
        if part is None:
            prepared = self._runner.prepare_frame(image)
        else:
            tensor, placement = self._runner.preprocess(image, part)
            prepared = Prepared(tensor, placement, image.width, image.height, 0.0)
        result: Any = self._runner.run(prepared, self._confidence, self._class_ids)[0]
        if not isinstance(result, Detections):
            name = self._runner.model.manifest.name
            raise ModelError(f"{name} does not find objects that can be followed")
        return result
