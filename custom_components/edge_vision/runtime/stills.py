"""Still pictures from cameras, as an answer or as one kind of error."""

from __future__ import annotations

import asyncio
from typing import Final

from homeassistant.components.camera import async_get_image
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from ..node.edge_vision_node.protocol import MAX_PICTURE_BYTES
from .exif import UPRIGHT, with_orientation
from .stream_addresses import async_get_camera, async_get_orientation

CAMERA_TIMEOUT_S: Final = 10


class PictureTooLarge(HomeAssistantError):
    """The camera's picture is larger than what a node takes."""


async def async_get_still(hass: HomeAssistant, camera: str) -> bytes:
    """Return what a camera shows now, encoded as it comes.

    It says how it has to be turned, where the user has said so of the camera's stream. Pictures
    that Home Assistant makes of that stream are turned already.

    Raises `HomeAssistantError` where there is no picture, `PictureTooLarge` where it is too large.
    """
    try:
        content = (await async_get_image(hass, camera, CAMERA_TIMEOUT_S)).content
    except Exception as err:
        # The camera component turns a cancellation into an error; cancel again.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError from None
        if isinstance(err, HomeAssistantError):
            raise
        # Camera integrations raise any exception.
        raise HomeAssistantError(f"{type(err).__name__}: {err}") from err
    if len(content) > MAX_PICTURE_BYTES:
        raise PictureTooLarge(f"the picture is larger than {MAX_PICTURE_BYTES // 2**20} MiB")
    orientation, entity = async_get_orientation(hass, camera), async_get_camera(hass, camera)
    if orientation == UPRIGHT or entity is None or entity.use_stream_for_stills:
        return content
    return with_orientation(content, orientation)
