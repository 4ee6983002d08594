"""The protocol between a hub and a node.

This is the only package that both sides import, so it only uses the standard library.

Transport: one websocket. Text frames are JSON objects. Binary frames consist of a small JSON header
and a picture: four bytes of header length (unsigned, big-endian), the header, the picture.

Conversation::

    node → {"type": "hello", "node_id": …, "version": …, "schema_min": 1, "schema_max": 1, …}
    hub  → {"type": "auth", "token": …, "schema": 1}
    node → {"type": "ready"}                       (or an error, and the connection is closed)
    hub  → {"id": 7, "type": "info"}               (a command; binary if it contains a picture)
    node → {"id": 7, "type": "result", "result": {…}}      (binary if it contains a picture)
         | {"id": 7, "type": "error", "code": "unknown_model", "message": "…"}
    node → {"type": "event", "seq": 12, "log": "…", "event": {…}}   (pushed after ``subscribe``;
           numbers are only valid within one log; null if the node cannot write its log)
    node → {"type": "status", "status": {…}}               (pushed when a pipeline changes state)
    node → {"type": "look", "look": {…}}                   (pushed while live video is watched)

Units: confidence is a percentage (0-100, one decimal), boxes are normalized to the full frame
(0-1, origin top left), times are ISO 8601 in UTC, durations are milliseconds.

All parts of a message are frozen dataclasses. `read` builds one from untrusted JSON and checks
every field; unknown fields are ignored, so that newer versions can add fields.
"""

from __future__ import annotations

from .conversation import (
    SCHEMA_MAX,
    SCHEMA_MIN,
    WEBSOCKET_PATH,
    Command,
    ErrorCode,
    Greeting,
    Nothing,
)
from .device import (
    AcceleratorInfo,
    Benchmark,
    BenchmarkProgress,
    BenchmarkRequest,
    BenchmarkRow,
    BoardProfile,
    CameraLoad,
    DeviceInfo,
    EngineInfo,
    HardwareInfo,
    ModelInfo,
    NodeInfo,
    Recommendation,
)
from .events import (
    Kind,
    LoggedEvent,
    NodeEvent,
    Phase,
    Results,
    ResultsRequest,
    Subscribe,
    Subscribed,
)
from .looks import (
    Detected,
    DetectRequest,
    EvidenceRequest,
    LineTotal,
    LiveRequest,
    Look,
    LookRequest,
    OutlineRequest,
    PeekRequest,
    Picture,
    PictureRequest,
    ScanRequest,
    SelfTest,
    SelfTestRequest,
)
from .models import (
    AllowModel,
    CatalogueAnswer,
    CatalogueModel,
    Inspection,
    InspectModel,
    InstallModel,
    InstallProgress,
    ModelProposal,
    ModelTensor,
    QuarantinedModel,
    RemoveModel,
    UploadChunk,
    Uploaded,
)
from .pipelines import (
    SENSITIVITIES,
    TRANSPORTS,
    Configure,
    Forget,
    MotionThresholds,
    NodeStatus,
    ObjectLimits,
    PipelineConfig,
    PipelineState,
    PipelineStatus,
    Sensitivity,
    SlowedBy,
    SourceState,
    SourceStatus,
    Thoroughness,
    Video,
)
from .redaction import is_secret, redact
from .shapes import (
    MAX_ASPECTS,
    NO_ANSWER,
    TASKS_WITH_OBJECTS,
    Box,
    ClassScore,
    DetectedObject,
    Findings,
    Keypoint,
    LabelPresence,
    Line,
    Point,
    Task,
    Zone,
    check_aspects,
    check_polygons,
)
from .wire import (
    MAX_HEADER_BYTES,
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    MAX_PICTURE_BYTES,
    ProtocolError,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    read,
    write,
)

__all__ = [
    "MAX_ASPECTS",
    "MAX_HEADER_BYTES",
    "MAX_INTEGER",
    "MAX_MESSAGE_BYTES",
    "MAX_PICTURE_BYTES",
    "NO_ANSWER",
    "SCHEMA_MAX",
    "SCHEMA_MIN",
    "SENSITIVITIES",
    "TASKS_WITH_OBJECTS",
    "TRANSPORTS",
    "WEBSOCKET_PATH",
    "AcceleratorInfo",
    "AllowModel",
    "Benchmark",
    "BenchmarkProgress",
    "BenchmarkRequest",
    "BenchmarkRow",
    "BoardProfile",
    "Box",
    "CameraLoad",
    "CatalogueAnswer",
    "CatalogueModel",
    "ClassScore",
    "Command",
    "Configure",
    "DetectRequest",
    "Detected",
    "DetectedObject",
    "DeviceInfo",
    "EngineInfo",
    "ErrorCode",
    "EvidenceRequest",
    "Findings",
    "Forget",
    "Greeting",
    "HardwareInfo",
    "InspectModel",
    "Inspection",
    "InstallModel",
    "InstallProgress",
    "Keypoint",
    "Kind",
    "LabelPresence",
    "Line",
    "LineTotal",
    "LiveRequest",
    "LoggedEvent",
    "Look",
    "LookRequest",
    "ModelInfo",
    "ModelProposal",
    "ModelTensor",
    "MotionThresholds",
    "NodeEvent",
    "NodeInfo",
    "NodeStatus",
    "Nothing",
    "ObjectLimits",
    "OutlineRequest",
    "PeekRequest",
    "Phase",
    "Picture",
    "PictureRequest",
    "PipelineConfig",
    "PipelineState",
    "PipelineStatus",
    "Point",
    "ProtocolError",
    "QuarantinedModel",
    "Recommendation",
    "RemoveModel",
    "Results",
    "ResultsRequest",
    "ScanRequest",
    "SelfTest",
    "SelfTestRequest",
    "Sensitivity",
    "SlowedBy",
    "SourceState",
    "SourceStatus",
    "Subscribe",
    "Subscribed",
    "Task",
    "Thoroughness",
    "UploadChunk",
    "Uploaded",
    "Video",
    "Zone",
    "check_aspects",
    "check_polygons",
    "decode_binary",
    "decode_text",
    "encode_binary",
    "encode_text",
    "is_secret",
    "read",
    "redact",
    "write",
]
