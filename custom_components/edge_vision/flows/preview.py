"""Pictures of a pipeline for flows, before it is set up and while it is running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from ..api.client import NodeCommandError
from ..const import (
    AUTO,
    CONF_CAMERA,
    CONF_HARDWARE_DECODING,
    CONF_KEY_FRAMES_ONLY,
    CONF_SOURCE,
    CONF_TRANSPORT,
    CONF_VIDEO_ADDRESS,
    PictureSource,
)
from ..local_node.requirements import async_install_video
from ..runtime.runtime import EntryRuntime
from ..runtime.settings import may_be_live
from ..runtime.stills import async_get_still
from ..runtime.stream_addresses import SCHEMES, async_get_stream_address

_DEVICES = ("/dev/video", "/dev/v4l/")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A picture; `single_pictures`: its address returns single pictures instead of video."""

    picture: bytes
    single_pictures: bool = False


async def async_see(hub: EntryRuntime, data: Mapping[str, Any], *, or_still: bool = False) -> bytes:
    """Return the picture for the data of a subentry, as `async_try_to_see` does."""
    return (await async_try_to_see(hub, data, or_still=or_still)).picture


async def async_try_to_see(
    hub: EntryRuntime, data: Mapping[str, Any], *, or_still: bool = False
) -> Seen:
    """Return the picture for the data of a subentry: a frame of live video, or a still.

    `or_still`: return a still if live video cannot be read and the setting is "auto". Raises
    `HomeAssistantError` or `NodeRequestError` with the reason if there is no picture.
    """
    camera: str | None = data.get(CONF_CAMERA)
    if may_be_live(data):
        address = data.get(CONF_VIDEO_ADDRESS)
        if address is None and camera is not None:
            address = await async_get_stream_address(hub.hass, camera)
        if address is not None:
            if (missing := await async_install_video(hub.hass)) is not None:
                raise HomeAssistantError(missing)
            video = hub.pipelines.streams.options(camera, address).video(
                address,
                data.get(CONF_TRANSPORT, AUTO),
                key_frames_only=data.get(CONF_KEY_FRAMES_ONLY, False),
                hardware_decoding=data.get(CONF_HARDWARE_DECODING, False),
            )
            try:
                told, jpeg = await hub.node.async_peek(video)
                return Seen(picture=jpeg, single_pictures=told.single_pictures)
            except NodeCommandError:
                automatic = data.get(CONF_SOURCE) == PictureSource.AUTO
                if not (or_still and automatic and camera is not None):
                    raise
    if camera is None:
        raise HomeAssistantError("there is no camera to ask for a still")
    return Seen(picture=await async_get_still(hub.hass, camera))


def address_error(hass: HomeAssistant, address: str) -> str | None:
    """Return the error key for an invalid video address, or None if it can be tested."""
    if not address.isprintable():
        return "bad_address"
    if address.lower().startswith(SCHEMES):
        return None if _has_host(address) else "bad_address"
    if address.startswith(_DEVICES):
        return "bad_address" if ".." in PurePath(address).parts else None
    if not PurePath(address).is_absolute() or address.startswith("/dev/"):
        return "bad_address"
    return None if hass.config.is_allowed_path(address) else "path_not_allowed"


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
