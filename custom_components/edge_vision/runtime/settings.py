"""What the user has chosen for a pipeline, read from its subentry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from homeassistant.config_entries import ConfigEntry, ConfigSubentry

from ..const import (
    AUTO,
    CONF_ACCELERATOR,
    CONF_ALLOW_FALLBACK,
    CONF_AREAS_ASPECT,
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_COOLDOWN,
    CONF_ENGINE,
    CONF_FPS,
    CONF_HARDWARE_DECODING,
    CONF_KEY_FRAMES_ONLY,
    CONF_LABELS,
    CONF_LIMITS,
    CONF_LINES,
    CONF_LOOK,
    CONF_MODEL,
    CONF_MOTION,
    CONF_MOTION_MASKS,
    CONF_ONLY_ON_REQUEST,
    CONF_PATTERN,
    CONF_PRIVACY_MASKS,
    CONF_SCAN_INTERVAL,
    CONF_SENSITIVITY,
    CONF_SOURCE,
    CONF_TRANSPORT,
    CONF_VIDEO_ADDRESS,
    CONF_ZONES,
    DEFAULT_CONFIDENCE,
    DEFAULT_FPS,
    DEFAULT_SCAN_INTERVAL,
    PATTERN_FULL_EDGE,
    SUBENTRY_PIPELINE,
    PictureSource,
)
from ..node.edge_vision_node.protocol import (
    SENSITIVITIES,
    Line,
    MotionThresholds,
    ObjectLimits,
    PipelineConfig,
    Point,
    Sensitivity,
    Thoroughness,
    Video,
    Zone,
    read,
)
from .damaged_settings import UNREADABLE, damage, usable
from .stream_addresses import StreamOptions

# One still may miss an object that is there; a look on request clears presence after one miss.
_LOOKS_TO_CLEAR = 2
_LOOKS_TO_CLEAR_ON_REQUEST = 1


@dataclass(frozen=True, kw_only=True)
class Areas:
    """What the user has drawn into a camera's picture."""

    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    privacy_masks: tuple[tuple[Point, ...], ...] = ()
    motion_masks: tuple[tuple[Point, ...], ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a subentry's data."""
        return cls(
            zones=tuple(read(Zone, item) for item in data.get(CONF_ZONES, ())),
            lines=tuple(read(Line, item) for item in data.get(CONF_LINES, ())),
            privacy_masks=_polygons(data.get(CONF_PRIVACY_MASKS, ())),
            motion_masks=_polygons(data.get(CONF_MOTION_MASKS, ())),
        )


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """How live video is looked at; the fields are those of the node's `Video`."""

    fps: float = DEFAULT_FPS
    look: str = Thoroughness.BALANCED
    sensitivity: str = Sensitivity.MEDIUM
    motion: MotionThresholds | None = None
    key_frames_only: bool = False
    hardware_decoding: bool = False
    transport: str = AUTO


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """A pipeline as the user wants it. `model`, `engine`, `accelerator`: None is "automatic".

    `video_address`: where live video is in the place of the camera's own, as the machine that looks
    sees it; it may hold a password. Without a `camera` there is that, and no stills.
    """

    name: str
    camera: str | None
    video_address: str | None
    model: str | None
    engine: str | None
    accelerator: str | None
    allow_fallback: bool
    pattern: str
    labels: tuple[str, ...]
    confidence: float
    limits: Mapping[str, ObjectLimits]
    only_on_request: bool
    scan_interval_s: float
    source: PictureSource
    cooldown_s: float
    video: VideoSettings
    areas: Areas

    @classmethod
    def of(cls, subentry: ConfigSubentry) -> Self:
        """Read a subentry."""
        data = subentry.data
        return cls(
            name=subentry.title,
            camera=data.get(CONF_CAMERA),
            video_address=data.get(CONF_VIDEO_ADDRESS),
            model=chosen(data, CONF_MODEL),
            engine=chosen(data, CONF_ENGINE),
            accelerator=chosen(data, CONF_ACCELERATOR),
            allow_fallback=bool(data.get(CONF_ALLOW_FALLBACK, False)),
            pattern=data.get(CONF_PATTERN, PATTERN_FULL_EDGE),
            labels=tuple(data.get(CONF_LABELS, ())),
            confidence=float(data.get(CONF_CONFIDENCE, DEFAULT_CONFIDENCE)),
            limits={
                label: read(ObjectLimits, item)
                for label, item in data.get(CONF_LIMITS, {}).items()
                if label in data.get(CONF_LABELS, ())
            },
            only_on_request=bool(data.get(CONF_ONLY_ON_REQUEST, False)),
            scan_interval_s=float(data.get(CONF_SCAN_INTERVAL, DEFAULT_SCAN_INTERVAL)),
            # Cameras that were added before there was live video go on as they were.
            source=PictureSource(data.get(CONF_SOURCE, PictureSource.STILLS)),
            cooldown_s=float(data.get(CONF_COOLDOWN, 0)),
            video=VideoSettings(
                fps=float(data.get(CONF_FPS, DEFAULT_FPS)),
                look=data.get(CONF_LOOK, Thoroughness.BALANCED),
                sensitivity=data.get(CONF_SENSITIVITY, Sensitivity.MEDIUM),
                motion=thresholds(data) if data.get(CONF_MOTION) else None,
                key_frames_only=bool(data.get(CONF_KEY_FRAMES_ONLY, False)),
                hardware_decoding=bool(data.get(CONF_HARDWARE_DECODING, False)),
                transport=data.get(CONF_TRANSPORT, AUTO),
            ),
            areas=Areas.of(data),
        )

    @property
    def may_be_live(self) -> bool:
        """Return whether live video is wanted where there is any."""
        return _may_be_live(self.source, only_on_request=self.only_on_request)

    @property
    def video_source(self) -> tuple[object, ...]:
        """Return what live video depends on; another source is tried anew."""
        return self.may_be_live, self.source, self.video_address, self.video

    @property
    def asked_for_stream(self) -> str | None:
        """Return the camera that tells where live video is; None where the user has."""
        return None if self.video_address else self.camera

    def video_at(self, stream: str, options: StreamOptions) -> Video:
        """Return how the node is to look at live video; `options` is what the camera says."""
        video = self.video
        return options.video(
            stream,
            video.transport,
            fps=video.fps,
            key_frames_only=video.key_frames_only,
            hardware_decoding=video.hardware_decoding,
            look=video.look,
            sensitivity=video.sensitivity,
            motion=video.motion,
            motion_masks=self.areas.motion_masks,
        )

    def config(
        self,
        pipeline_id: str,
        place: tuple[str | None, str | None],
        stream: str | None = None,
        options: StreamOptions | None = None,
        *,
        camera: str,
        privacy_masks: tuple[tuple[Point, ...], ...],
        mask_aspects: tuple[float, ...],
    ) -> PipelineConfig:
        """Return the configuration for the node, to run on this engine and accelerator.

        `stream` is the address of the live video that it is to watch, None where it gets stills,
        and `options` how that is read;
        `camera` is the same for as long as the camera is; `privacy_masks` are all of that camera,
        and `mask_aspects` are those of the pictures that they were drawn on.
        """
        areas, (engine, accelerator) = self.areas, place
        return PipelineConfig(
            pipeline_id=pipeline_id,
            name=self.name,
            camera=camera,
            model=self.model,
            engine=engine,
            accelerator=accelerator,
            labels=self.labels,
            confidence=self.confidence,
            limits=dict(self.limits),
            looks_to_clear=_LOOKS_TO_CLEAR_ON_REQUEST if self.only_on_request else _LOOKS_TO_CLEAR,
            pattern=self.pattern,
            allow_fallback=self.allow_fallback,
            video=None if stream is None else self.video_at(stream, options or StreamOptions()),
            zones=areas.zones,
            lines=areas.lines,
            cooldown_s=self.cooldown_s,
            privacy_masks=privacy_masks,
            mask_aspects=mask_aspects,
        )


@dataclass(frozen=True, kw_only=True)
class CameraMasks:
    """The privacy masks of a camera in one subentry.

    `aspect`: width by height of the picture that they were drawn on; None if it is not known.
    """

    camera: str | None
    video_address: str | None
    masks: tuple[tuple[Point, ...], ...]
    aspect: float | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a subentry's data."""
        return cls(
            camera=data.get(CONF_CAMERA),
            video_address=data.get(CONF_VIDEO_ADDRESS),
            masks=_polygons(data.get(CONF_PRIVACY_MASKS, ())),
            aspect=data.get(CONF_AREAS_ASPECT),
        )


def camera_masks(data: Mapping[str, Any]) -> CameraMasks:
    """Return the masks in a subentry's data, whatever else of it is damaged."""
    keys = (CONF_CAMERA, CONF_VIDEO_ADDRESS, CONF_PRIVACY_MASKS, CONF_AREAS_ASPECT)
    return CameraMasks.of(usable({key: data[key] for key in keys if key in data}))


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A subentry whose settings cannot be used; its privacy masks hold all the same."""

    reason: str


def pipeline_settings(
    entry: ConfigEntry[Any],
) -> tuple[dict[str, PipelineSettings], dict[str, Damaged]]:
    """Return the settings of all pipelines of an entry by their ids, and those that are damaged."""
    usual: dict[str, PipelineSettings] = {}
    damaged: dict[str, Damaged] = {}
    for subentry in entry.get_subentries_of_type(SUBENTRY_PIPELINE):
        key, reason = subentry.subentry_id, ", ".join(damage(subentry.data))
        if not reason:
            try:
                usual[key] = PipelineSettings.of(subentry)
            except UNREADABLE as err:
                reason = f"{type(err).__name__}: {err}"
        if reason:
            damaged[key] = Damaged(reason=reason)
    return usual, damaged


def may_be_live(data: Mapping[str, Any]) -> bool:
    """Return whether a subentry's data wants live video where there is any."""
    source = PictureSource(data.get(CONF_SOURCE, PictureSource.STILLS))
    return _may_be_live(source, only_on_request=bool(data.get(CONF_ONLY_ON_REQUEST, False)))


def _may_be_live(source: PictureSource, *, only_on_request: bool) -> bool:
    return source is not PictureSource.STILLS and not only_on_request


def thresholds(data: Mapping[str, Any]) -> MotionThresholds:
    """Return what counts as movement: what the word means, and the numbers given besides."""
    word = SENSITIVITIES[Sensitivity(data.get(CONF_SENSITIVITY, Sensitivity.MEDIUM))]
    return replace(word, **data.get(CONF_MOTION, {}))


def _polygons(items: Iterable[Iterable[Any]]) -> tuple[tuple[Point, ...], ...]:
    return tuple(tuple(read(Point, point) for point in item) for item in items)


def chosen(data: Mapping[str, Any], key: str) -> str | None:
    """Return a choice of a subentry's data; None where it is "automatic"."""
    value = data.get(key, AUTO)
    return None if value == AUTO else str(value)
