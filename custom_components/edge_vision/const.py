"""Constants shared by several modules of the integration."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

DOMAIN: Final = "edge_vision"
MANUFACTURER: Final = "Edge Vision"
NODE_LOGGER: Final = "custom_components.edge_vision.node"

# Data folder of the local node in the configuration folder of Home Assistant.
DATA_DIR: Final = "edge_vision"

EVENT_DETECTION: Final = "edge_vision_detection"
SERVICE_DETECT: Final = "detect"

# Data of a config entry (one per node).
CONF_NODE_TYPE: Final = "node_type"
CONF_ENGINE: Final = "engine"
CONF_FURTHER_ENGINES: Final = "further_engines"
NODE_TYPE_LOCAL: Final = "local"

# Data of a `pipeline` subentry (one per camera and purpose).
SUBENTRY_PIPELINE: Final = "pipeline"
CONF_ACCELERATOR: Final = "accelerator"
CONF_ALLOW_FALLBACK: Final = "allow_fallback"
CONF_CAMERA: Final = "camera"
CONF_VIDEO_ADDRESS: Final = "video_address"
CONF_CONFIDENCE: Final = "confidence"
CONF_LABELS: Final = "labels"
CONF_MODEL: Final = "model"
CONF_ONLY_ON_REQUEST: Final = "only_on_request"
CONF_PATTERN: Final = "pattern"
CONF_SCAN_INTERVAL: Final = "scan_interval"
CONF_SOURCE: Final = "source"
CONF_FPS: Final = "fps"
CONF_LOOK: Final = "look"
CONF_SENSITIVITY: Final = "sensitivity"
CONF_KEY_FRAMES_ONLY: Final = "key_frames_only"
CONF_HARDWARE_DECODING: Final = "hardware_decoding"
CONF_TRANSPORT: Final = "transport"
CONF_COOLDOWN: Final = "cooldown"
CONF_ZONES: Final = "zones"
CONF_LINES: Final = "lines"
CONF_PRIVACY_MASKS: Final = "privacy_masks"
# Width by height of the picture that these were drawn on.
CONF_AREAS_ASPECT: Final = "areas_aspect"
CONF_MOTION_MASKS: Final = "motion_masks"
CONF_MOTION: Final = "motion"
CONF_LIMITS: Final = "limits"

AUTO: Final = "auto"
PATTERN_FULL_EDGE: Final = "full_edge"

DEFAULT_CONFIDENCE: Final = 50.0  # percent
MIN_CONFIDENCE: Final = 10
MAX_CONFIDENCE: Final = 95
DEFAULT_SCAN_INTERVAL: Final = 10  # seconds
MIN_SCAN_INTERVAL: Final = 1
MAX_SCAN_INTERVAL: Final = 3600
DEFAULT_FPS: Final = 5
MIN_FPS: Final = 1
MAX_FPS: Final = 30
MAX_COOLDOWN: Final = 3600  # seconds

# If a node ends this often within this time, a repair issue is created.
CRASH_LOOP_EXITS: Final = 5
CRASH_LOOP_MINUTES: Final = 5


class PipelineProblem(StrEnum):
    """The problems of a pipeline. "Nothing detected" is not a problem."""

    NODE_UNAVAILABLE = "node_unavailable"
    CAMERA_UNAVAILABLE = "camera_unavailable"
    NO_STREAM = "no_stream"
    PICTURE_UNREADABLE = "picture_unreadable"
    MODEL_FAILED = "model_failed"
    MODEL_LOADING = "model_loading"
    SETTINGS_REFUSED = "settings_refused"


class PictureSource(StrEnum):
    """The source of pictures of a pipeline; "auto": live video if the camera has a stream."""

    AUTO = "auto"
    LIVE = "live"
    STILLS = "stills"


class Issue(StrEnum):
    """Repair issues and their translation keys. `issue_id` returns their IDs."""

    ACCELERATOR_FALLBACK = "accelerator_fallback"
    CAMERA_MISSING = "camera_missing"
    ENGINE_NOT_INSTALLED = "engine_not_installed"
    LOG_MENDED = "log_mended"
    LOG_NEWER = "log_newer"
    MODEL_FAILED = "model_failed"
    MODEL_QUARANTINED = "model_quarantined"
    NODE_CRASH_LOOP = "node_crash_loop"
    SETTINGS_DAMAGED = "settings_damaged"
    STILLS_INSTEAD = "stills_instead"
    STORAGE_FAILED = "storage_failed"
    VIDEO_NOT_INSTALLED = "video_not_installed"
    VERSION_MISMATCH = "version_mismatch"


def issue_id(issue: Issue, owner: str) -> str:
    """Return the ID of an issue for a config entry or a subentry with the ID `owner`."""
    return f"{issue}_{owner}"
