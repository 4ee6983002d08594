"""The action `edge_vision.detect`: analyze one picture."""

from __future__ import annotations

from typing import Final

import voluptuous as vol
from homeassistant.const import ATTR_ENTITY_ID, STATE_UNAVAILABLE, Platform
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import service

from .api.client import COMPILE_TIMEOUT_S, NodeCommandError, NodeRequestError
from .const import (
    CONF_CONFIDENCE,
    CONF_LABELS,
    CONF_MODEL,
    DEFAULT_CONFIDENCE,
    DOMAIN,
    SERVICE_DETECT,
)
from .node.edge_vision_node.protocol import (
    MAX_PICTURE_BYTES,
    Command,
    Detected,
    DetectRequest,
    ErrorCode,
    redact,
)
from .runtime import picture_files
from .runtime.event_data import class_data, object_data
from .runtime.runtime import EdgeVisionConfigEntry, EntryRuntime
from .runtime.stills import PictureTooLarge, async_get_still

ATTR_CONFIG_ENTRY_ID: Final = "config_entry_id"
ATTR_PATH: Final = "path"

_SOURCE = "source"

DETECT_SCHEMA = vol.Schema(
    {
        vol.Exclusive(ATTR_ENTITY_ID, _SOURCE): cv.entity_domain(Platform.CAMERA),
        vol.Exclusive(ATTR_PATH, _SOURCE): cv.string,
        vol.Optional(ATTR_CONFIG_ENTRY_ID): cv.string,
        vol.Optional(CONF_MODEL): cv.string,
        vol.Optional(CONF_LABELS, default=list): vol.All(cv.ensure_list, [cv.string]),
        vol.Optional(CONF_CONFIDENCE, default=DEFAULT_CONFIDENCE): vol.All(
            vol.Coerce(float), vol.Range(min=1, max=99)
        ),
    }
)


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions, independent of config entries."""
    hass.services.async_register(
        DOMAIN,
        SERVICE_DETECT,
        _async_detect,
        schema=DETECT_SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )


def _refused(key: str, **placeholders: str) -> ServiceValidationError:
    """Return an error that the caller can fix."""
    return ServiceValidationError(
        translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders
    )


def _failed(key: str, **placeholders: str) -> HomeAssistantError:
    """Return an error that the caller cannot fix."""
    return HomeAssistantError(
        translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders
    )


async def _async_detect(call: ServiceCall) -> ServiceResponse:
    """Analyze the picture of a camera or a file, and return the result."""
    entry: EdgeVisionConfigEntry = service.async_get_config_entry(
        call.hass, DOMAIN, call.data.get(ATTR_CONFIG_ENTRY_ID)
    )
    runtime = entry.runtime_data
    labels = tuple(label.strip().lower() for label in call.data[CONF_LABELS])
    model = call.data.get(CONF_MODEL)
    labels = _known_labels(runtime, model, labels)
    if ATTR_ENTITY_ID in call.data:
        picture = await _camera_picture(call.hass, call.data[ATTR_ENTITY_ID])
    elif ATTR_PATH in call.data:
        picture = await _file_picture(call.hass, call.data[ATTR_PATH])
    else:
        raise _refused("no_source")
    engine, accelerator = runtime.node.place_for(model, None, None)
    masks = await runtime.async_masks_of(call.data.get(ATTR_ENTITY_ID))
    request = DetectRequest(
        model=model,
        engine=engine,
        accelerator=accelerator,
        labels=labels,
        confidence=call.data[CONF_CONFIDENCE],
        privacy_masks=masks.polygons,
        mask_aspects=masks.aspects,
    )
    try:
        detected = await runtime.node.async_request(
            Command.DETECT, request, Detected, picture=picture, timeout_s=COMPILE_TIMEOUT_S
        )
    except NodeCommandError as err:
        if err.code == ErrorCode.BAD_PICTURE:
            raise _refused("picture_unreadable", reason=str(err)) from err
        raise _failed("detect_failed", reason=str(err)) from err
    except NodeRequestError as err:
        raise _failed("node_unavailable", reason=str(err)) from err
    summary: dict[str, int] = {}
    for item in detected.objects:
        summary[item.label] = summary.get(item.label, 0) + 1
    return {
        "width": detected.width,
        "height": detected.height,
        "task": detected.task,
        "objects": [object_data(item) for item in detected.objects],
        "classes": [class_data(item) for item in detected.classes],
        "embedding": list(detected.embedding),
        "summary": dict(summary),
        "model": detected.model,
        "engine": detected.engine,
        "accelerator": detected.accelerator,
        "inference_ms": detected.inference_ms,
        "decode_ms": detected.decode_ms,
    }


def _known_labels(
    runtime: EntryRuntime, model: str | None, labels: tuple[str, ...]
) -> tuple[str, ...]:
    """Return labels in the spelling of the model.

    Raises an error with the known names if a model is unknown.
    """
    if runtime.node.info is None:
        return labels
    models = {item.id: item for item in runtime.node.info.models}
    wanted = model or runtime.node.info.default_model
    if wanted not in models:
        raise _refused("unknown_model", model=wanted, models=", ".join(sorted(models)) or "-")
    known = {label.lower(): label for label in models[wanted].labels}
    for label in labels:
        if label not in known:
            raise _refused("unknown_label", label=label, model=wanted)
    return tuple(known[label] for label in labels)


async def _camera_picture(hass: HomeAssistant, camera: str) -> bytes:
    state = hass.states.get(camera)
    if state is None:
        raise _refused("camera_not_found", camera=camera)
    if state.state == STATE_UNAVAILABLE:
        raise _failed("camera_no_picture", camera=camera, reason="it is unavailable")
    try:
        return await async_get_still(hass, camera)
    except PictureTooLarge as err:
        raise _too_large(camera) from err
    except HomeAssistantError as err:
        raise _failed("camera_no_picture", camera=camera, reason=redact(str(err))) from err


async def _file_picture(hass: HomeAssistant, name: str) -> bytes:
    """Read a file that users are allowed to read."""
    try:
        picture = await picture_files.async_read(hass, name, MAX_PICTURE_BYTES + 1)
    except picture_files.FileNotAllowed as err:
        raise _refused("path_not_allowed", path=name) from err
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        raise _refused("path_unreadable", path=name, reason=reason) from err
    if len(picture) > MAX_PICTURE_BYTES:
        raise _too_large(name)
    return picture


def _too_large(source: str) -> ServiceValidationError:
    limit_mb = str(MAX_PICTURE_BYTES // 2**20)
    return _refused("picture_too_large", source=source, limit_mb=limit_mb)
