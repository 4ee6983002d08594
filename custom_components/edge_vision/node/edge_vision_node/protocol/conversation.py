"""The parts of a conversation: greeting, commands, and error codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCHEMA_MIN = 1
SCHEMA_MAX = 1
WEBSOCKET_PATH = "/ws"


class ErrorCode(StrEnum):
    """The reason why a command failed; the message contains the details."""

    AUTH_FAILED = "auth_failed"
    BAD_MESSAGE = "bad_message"
    BAD_PICTURE = "bad_picture"
    BUSY = "busy"
    CAMERA_UNAVAILABLE = "camera_unavailable"
    DOWNLOAD_FAILED = "download_failed"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_MISSING = "engine_missing"
    FRAME_GONE = "frame_gone"
    INFERENCE_FAILED = "inference_failed"
    INTERNAL = "internal"
    MODEL_FAILED = "model_failed"
    MODEL_LOADING = "model_loading"
    MODEL_QUARANTINED = "model_quarantined"
    NO_PICTURE = "no_picture"
    SCHEMA_MISMATCH = "schema_mismatch"
    STORAGE_FAILED = "storage_failed"
    SUPERSEDED = "superseded"
    UNKNOWN_ACCELERATOR = "unknown_accelerator"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PIPELINE = "unknown_pipeline"


class Command(StrEnum):
    """The commands of a hub. Those that contain or return a picture are binary."""

    ALLOW_MODEL = "allow_model"
    BENCHMARK = "benchmark"
    CATALOGUE = "catalogue"
    CONFIGURE = "configure"
    DETECT = "detect"
    EVIDENCE = "evidence"
    FORGET = "forget"
    INFO = "info"
    INSPECT_MODEL = "inspect_model"
    INSTALL_MODEL = "install_model"
    LIVE = "live"
    LOOK = "look"
    OUTLINE = "outline"
    PEEK = "peek"
    PICTURE = "picture"
    PING = "ping"
    REMOVE_MODEL = "remove_model"
    RESULTS = "results"
    SCAN = "scan"
    SELF_TEST = "self_test"
    STATUS = "status"
    SUBSCRIBE = "subscribe"
    UPLOAD = "upload"


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """The first message of a node on a connection."""

    node_id: str
    version: str
    schema_min: int
    schema_max: int
    features: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """The parameters or the result of a command without any."""
