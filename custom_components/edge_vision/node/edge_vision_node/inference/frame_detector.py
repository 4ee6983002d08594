"""Looking at the frames of a video as a live pipeline does: gate, plan, parts, merging."""

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
    """What a frame shows.

    Attributes:
        detections: in coordinates of the frame.
        looks: how many parts of the frame were looked at.
        looked: float64 [N, 4] those parts; None where the whole frame was among them.
        disturbed: float64 [M, 4] where something has moved; None where nobody can tell.
        changed: the whole scene has.
    """

    detections: Detections
    looks: int
    looked: Floats | None = None
    disturbed: Floats | None = None
    changed: bool = False


class FrameDetector:
    """Looks at the frames of one video, one after the other."""

    def __init__(
        self,
        runner: Runner,
        look: Thoroughness | None,
        confidence: float,
        class_ids: NDArray[np.int32] | None = None,
    ) -> None:
        """Start before the first frame.

        Args:
            runner: a model that finds objects.
            look: how thoroughly; None looks at the whole of every frame.
            confidence: the lowest one of a detection, a percentage.
            class_ids: what to find; None for everything.
        """
        self._runner = runner
        self._look = look
        self._confidence = confidence
        self._class_ids = class_ids
        self._gate = MotionGate(MotionThresholds())
        self._planner: Planner | None = None

    def look(self, frame: VideoFrame, moving: Floats) -> DetectedFrame:
        """Look at a frame; `moving` are the boxes of what is followed, see `Follower.moving`.

        Raises `ModelError` where the model finds no objects, and what `Runner.run` raises.
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
            raise ModelError(f"{name} finds no objects that could be followed")
        return result
