"""Where a camera's live video is, for a node that reads it itself."""

from __future__ import annotations

import asyncio
import logging

from homeassistant.components.camera import async_get_stream_source
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from .node_log import redact

_LOGGER = logging.getLogger(__name__)

_TIMEOUT_S = 10
_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://")


async def async_get_stream_address(hass: HomeAssistant, camera: str) -> str | None:
    """Return the address of a camera's stream; None where there is none that a node can read.

    It may hold a password: never log or show it.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            address = await async_get_stream_source(hass, camera)
    except (HomeAssistantError, TimeoutError) as err:
        _LOGGER.debug("%s has no stream: %s", camera, redact(str(err)))
        return None
    except Exception as err:  # noqa: BLE001 - cameras come from everywhere, and so do exceptions
        _LOGGER.debug("%s has no stream: %s", camera, redact(f"{type(err).__name__}: {err}"))
        return None
    # Home Assistant's own pictures of a camera have an address, too; go2rtc's have a scheme of
    # their own. Neither is for others to read.
    return address if address and address.lower().startswith(_SCHEMES) else None
