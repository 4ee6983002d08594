"""Settings of a camera that are not as a flow writes them: what can still be used of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from ..const import (
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
    PictureSource,
)
from ..node.edge_vision_node.protocol import (
    TRANSPORTS,
    Line,
    ObjectLimits,
    Point,
    ProtocolError,
    Sensitivity,
    Thoroughness,
    Zone,
    check_aspects,
    read,
)

# What reading settings raises that are damaged.
UNREADABLE: Final = (
    *(ProtocolError, ArithmeticError, AttributeError),
    *(LookupError, TypeError, ValueError),
)
_TEXTS: Final = (
    *(CONF_CAMERA, CONF_VIDEO_ADDRESS, CONF_MODEL, CONF_ENGINE, CONF_ACCELERATOR, CONF_PATTERN),
    *(CONF_SOURCE, CONF_LOOK, CONF_SENSITIVITY, CONF_TRANSPORT),
)
_LISTS: Final = (CONF_LABELS, CONF_ZONES, CONF_LINES, CONF_PRIVACY_MASKS, CONF_MOTION_MASKS)
_SWITCHES: Final = (
    *(CONF_ALLOW_FALLBACK, CONF_ONLY_ON_REQUEST),
    *(CONF_KEY_FRAMES_ONLY, CONF_HARDWARE_DECODING),
)
_NUMBERS: Final = (
    *(CONF_CONFIDENCE, CONF_FPS, CONF_COOLDOWN, CONF_SCAN_INTERVAL),
    CONF_AREAS_ASPECT,
)
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_LISTS, (list, tuple)),
    **dict.fromkeys(_SWITCHES, bool),
    **dict.fromkeys(_NUMBERS, (int, float)),
    **dict.fromkeys((CONF_LIMITS, CONF_MOTION), Mapping),
}
_WORDS: Final[Mapping[str, Collection[str]]] = {
    CONF_SOURCE: tuple(PictureSource),
    CONF_LOOK: tuple(Thoroughness),
    CONF_SENSITIVITY: tuple(Sensitivity),
    CONF_TRANSPORT: TRANSPORTS,
}
# What each item of a list, and each value of a mapping, must read as.
_ITEMS: Final[Mapping[str, Any]] = {
    CONF_LABELS: str,
    CONF_ZONES: Zone,
    CONF_LINES: Line,
    CONF_PRIVACY_MASKS: tuple[Point, ...],
    CONF_MOTION_MASKS: tuple[Point, ...],
    CONF_LIMITS: ObjectLimits,
    CONF_MOTION: float,
}


def usable(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a camera without what cannot be read."""
    return {key: kept for key, value in data.items() if (kept := _usable(key, value)) is not None}


def damage(data: Mapping[str, Any]) -> list[str]:
    """Return which settings cannot be read, or not whole."""
    return [key for key, value in data.items() if value != _usable(key, value)]


def _usable(key: str, value: Any) -> Any:
    """Return what can be used of a value; None where that is nothing."""
    if key in _TYPES and not isinstance(value, _TYPES[key]):
        return None
    if key in _NUMBERS and (isinstance(value, bool) or not math.isfinite(value)):
        return None
    if key in _WORDS and value not in _WORDS[key]:
        return None
    if key == CONF_AREAS_ASPECT:
        try:
            check_aspects((value,))
        except ProtocolError:
            return None
    if (kind := _ITEMS.get(key)) is None:
        return value
    if isinstance(value, Mapping):
        return {name: item for name, item in value.items() if _reads(kind, item)}
    return type(value)(item for item in value if _reads(kind, item))


def _reads(kind: Any, item: Any) -> bool:
    try:
        read(kind, item)
    except UNREADABLE:
        return False
    return True
