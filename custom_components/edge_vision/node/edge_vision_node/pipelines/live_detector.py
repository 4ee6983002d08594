"""Runs a pipeline's model on frames of live video: on parts of them, or on whole pictures."""

from __future__ import annotations

from ..cameras.messages import CameraFrame
from ..cameras.stream import Watcher
from ..detections import Detections
from ..inference.merge import merge
from ..inference.planner import Plan
from ..protocol import Box
from ..tracking.follower import Follower
from ..workers.lane import Lane, ModelSite, PreparedCrops
from ..workers.messages import CropsResult
from .loading import Loader
from .pipeline import Pipeline
from .stills import Stills

# In pixels, of a picture of a whole frame.
PICTURE_WIDTH = 1280


class LiveDetector:
    """Finds what can be followed.

    Both ways return detections in coordinates of the frame, where the model ran, and the
    milliseconds that took; both raise `NodeError`.
    """

    def __init__(
        self, pipeline: Pipeline, watcher: Watcher, loader: Loader, stills: Stills
    ) -> None:
        """Initialize for the frames of one camera."""
        self._pipeline = pipeline
        self._watcher = watcher
        self._loader = loader
        self._stills = stills

    async def in_parts(
        self, place: ModelSite, frame: CameraFrame, plan: Plan, follower: Follower
    ) -> tuple[Detections, ModelSite, float]:
        """Run the model on parts of a frame, or on the whole of it."""
        if not len(plan.boxes):
            return Detections.none(), place, 0.0
        spec = place.model.manifest.input
        batch = await self._watcher.crops(
            frame.number,
            tuple(Box(x_min=p[0], y_min=p[1], x_max=p[2], y_max=p[3]) for p in plan.boxes.tolist()),
            (spec.width, spec.height),
            resize=spec.resize,
            pad=spec.pad,
        )
        placements = tuple(
            (item.scale_x, item.scale_y, item.offset_x, item.offset_y)
            for item in batch.cropped.placements
        )
        crops = PreparedCrops(batch.pixels.data.cast("B"), placements)

        async def work(lane: Lane, place: ModelSite) -> CropsResult:
            return await lane.run_crops(
                self._pipeline.config.pipeline_id,
                place,
                crops,
                follower.confidence,
                self._pipeline.class_ids,
            )

        place, result = await self._loader.run_in(self._pipeline, work)
        found = [item.detections for item in result.crops]
        return merge(found, plan.boxes), place, result.inference_ms

    async def in_picture(
        self, frame: CameraFrame, follower: Follower
    ) -> tuple[Detections, ModelSite, float]:
        """Run a model on a whole picture, in which it looks for its own parts."""
        _, jpeg = await self._watcher.picture(frame.number, PICTURE_WIDTH)
        place, result = await self._stills.run(
            self._pipeline, memoryview(jpeg), lowest=follower.confidence
        )
        objects, manifest = result.findings.objects, place.model.manifest
        found = Detections.of_objects(objects, place.model.labels, len(manifest.keypoints))
        return found, place, result.inference_ms
