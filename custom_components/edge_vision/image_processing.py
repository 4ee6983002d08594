"""The pipeline as an `image_processing` entity: what the newest look showed, by task."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, override

from homeassistant.components.image_processing import (
    FaceInformation,
    ImageProcessingEntity,
    ImageProcessingEntityDescription,
    ImageProcessingFaceEntity,
)
from homeassistant.const import MAX_LENGTH_STATE_STATE
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import PipelineEntity, async_add_pipeline_entities
from .node.edge_vision_node.protocol import DetectedObject, Look, Task
from .runtime.event_data import class_data, object_data
from .runtime.pipeline import PipelineRuntime
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

# Home Assistant drops all attributes of a state that has more than 16 KiB of them.
_MAX_OBJECTS_BYTES = 12 * 1024
_MAX_FACES = 20


def _description(translation_key: str) -> ImageProcessingEntityDescription:
    # One key for all tasks: a pipeline keeps its entity when its model is changed.
    return ImageProcessingEntityDescription(key="detection", translation_key=translation_key)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: EdgeVisionConfigEntry,
    _async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add one entity per pipeline."""
    await async_add_pipeline_entities(entry, _make)


def _make(runtime: EntryRuntime, pipeline: PipelineRuntime) -> list[LookEntity]:
    kind, description = _KINDS.get(pipeline.task, _KINDS[Task.DETECTION])
    return [kind(runtime, pipeline, description)]


class LookEntity(PipelineEntity, ImageProcessingEntity):
    """Base class for all tasks."""

    _object_name: str | None = ""

    _unrecorded_attributes = frozenset({"objects", "classes", "faces", "inference_ms"})

    @property
    @override
    def camera_entity(self) -> str | None:
        """Return the entity ID of the camera, or None without one."""
        return self.pipeline.settings.camera

    @property
    @override
    def confidence(self) -> float | None:
        """Return the minimum confidence in percent."""
        return self.pipeline.settings.confidence

    @property
    @override
    def state(self) -> str | int | None:
        """Return the result of the looks; None means "not looked", never "nothing there"."""
        return None if (look := self.pipeline.look) is None else self._state(look)

    def _state(self, look: Look) -> str | int | None:
        # The length of a state is limited, and some labels are lists of synonyms.
        return look.answer[:MAX_LENGTH_STATE_STATE] if look.answer else None

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return the newest result, and the model and engine that made it."""
        pipeline = self.pipeline
        attributes: dict[str, Any] = {
            "last_detection": pipeline.last_detection_at,
            "pattern": pipeline.settings.pattern,
        }
        if (look := pipeline.look) is None:
            return attributes
        return attributes | {
            **self._shown(look),
            "model": look.model,
            "engine": look.engine,
            "accelerator": look.accelerator,
            "inference_ms": look.inference_ms,
        }

    def _shown(self, look: Look) -> dict[str, Any]:
        there = {label: item.count for label, item in look.presence.items() if item.count}
        return {"objects": _described(look.objects), "summary": there}

    @override
    async def async_update(self) -> None:
        """Look once, for the action `image_processing.scan`.

        The action has no way to hand on an error, and the entity's state tells of it.
        """
        try:
            await self.runtime.pipelines.async_scan(self.pipeline)
        except HomeAssistantError as err:
            _LOGGER.warning("%s was not scanned: %s", self.entity_id, err)


def _count(look: Look) -> int:
    """Return the number of objects as occupancy and count sensors show it.

    In stills that is not what the newest look shows: an object that one look missed is still there.
    """
    return sum(item.count for item in look.presence.values())


class DetectionEntity(LookEntity):
    """The number of objects; the newest result is in the attributes."""

    @override
    def _state(self, look: Look) -> int:
        return _count(look)


class ClassificationEntity(LookEntity):
    """What the camera shows as a whole: a label of the model, or "none" of them."""

    @override
    def _shown(self, look: Look) -> dict[str, Any]:
        return {"classes": [class_data(item) for item in look.classes]}


class PoseEntity(LookEntity):
    """The posture of the body with the highest confidence; keypoints are in the attributes."""


class FaceEntity(LookEntity, ImageProcessingFaceEntity):
    """The number of faces; each is also fired as Home Assistant's `image_processing.detect_face`.

    The node leaves out the faces below the lowest confidence. Home Assistant is told of none
    here, for then its state is the number of faces instead of the name of the surest one, and
    whose faces they are is not known.
    """

    def __init__(
        self,
        runtime: EntryRuntime,
        pipeline: PipelineRuntime,
        description: ImageProcessingEntityDescription,
    ) -> None:
        """Initialize the entity."""
        ImageProcessingFaceEntity.__init__(self)
        LookEntity.__init__(self, runtime, pipeline, description)
        self._processed: Look | None = None

    @property
    @override
    def confidence(self) -> None:
        """Return None: the node already filtered."""
        return

    @override
    def _state(self, look: Look) -> int:
        return self.total_faces

    @callback
    @override
    def _async_pipeline_changed(self) -> None:
        look = self.pipeline.look
        if look is not self._processed:
            self._processed = look
            objects = look.objects if look else ()
            faces = [FaceInformation(confidence=item.confidence) for item in objects]
            self.async_process_faces(faces, _count(look) if look else 0)
            self.faces = faces[:_MAX_FACES]
        super()._async_pipeline_changed()


_KINDS: dict[str, tuple[type[LookEntity], ImageProcessingEntityDescription]] = {
    Task.DETECTION: (DetectionEntity, _description("detection")),
    Task.CLASSIFICATION: (ClassificationEntity, _description("classification")),
    Task.POSE: (PoseEntity, _description("pose")),
    Task.FACE: (FaceEntity, _description("face")),
}


def _described(objects: Iterable[DetectedObject]) -> list[dict[str, Any]]:
    """Return as many objects, the most confident first, as a state can hold."""
    described: list[dict[str, Any]] = []
    size = 0
    for item in sorted(objects, key=lambda item: item.confidence, reverse=True):
        entry = {"track_id": None, "zones": [], **object_data(item)}
        size += len(json.dumps(entry))
        if size > _MAX_OBJECTS_BYTES:
            break
        described.append(entry)
    return described
