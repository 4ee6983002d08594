"""Addresses and options of the cameras' live video, which the node reads itself."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from homeassistant.components.camera import Camera, async_get_stream_source
from homeassistant.components.camera.const import DATA_COMPONENT
from homeassistant.components.camera.const import DOMAIN as CAMERA_DOMAIN
from homeassistant.components.stream import (
    CONF_RTSP_TRANSPORT,
    CONF_USE_WALLCLOCK_AS_TIMESTAMPS,
    Orientation,
)
from homeassistant.const import CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util.hass_dict import HassKey

from ..const import AUTO, DOMAIN
from ..node.edge_vision_node.protocol import TRANSPORTS, Video, redact
from .exif import UPRIGHT

_LOGGER = logging.getLogger(__name__)

_TIMEOUT_S = 10
# The address of a stream may change, and with some cameras it expires.
RESOLVE_AGAIN_AFTER_S = 60.0
# A camera that was there not so long ago is away for a moment, not without a stream.
HOLD_S = 600.0
_ONCE_S = 1.0
_FINGERPRINTS: Final[HassKey[dict[str, str]]] = HassKey(f"{DOMAIN}_fingerprints")
SCHEMES: Final = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://")


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
    except Exception as err:  # noqa: BLE001 - camera integrations raise any exception
        _LOGGER.debug("%s has no stream: %s", camera, redact(f"{type(err).__name__}: {err}"))
        return None
    # Home Assistant's own pictures of a camera have an address, too; go2rtc's have a scheme of
    # their own. Neither is for others to read.
    return lower_scheme(address) if address and address.lower().startswith(SCHEMES) else None


# Home Assistant's numbers are not quite those of Exif: a turn to the left is 6 here and 8 there.
_EXIF: Final = {Orientation.ROTATE_LEFT: 8, Orientation.ROTATE_RIGHT: 6}
_ORIENTATION: Final = "orientation"
# The default of Home Assistant, which nodes try first, too.
_USUAL_TRANSPORT: Final = "tcp"


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How Home Assistant reads a camera's stream; the fields are those of the node's `Video`."""

    transport: str = AUTO
    verify_certificate: bool = False
    wallclock: bool = False
    orientation: int = UPRIGHT

    def video(self, address: str, transport: str, **choices: Any) -> Video:
        """Return how a node is to read an address, by this and what the user has chosen."""
        known = self if transport == AUTO else replace(self, transport=transport)
        return Video(url=address, **vars(known), **choices)


@callback
def async_get_camera(hass: HomeAssistant, camera: str) -> Camera | None:
    """Return a camera's entity, also of one that is switched off."""
    component = hass.data.get(DATA_COMPONENT)
    return None if component is None else component.get_entity(camera)


@callback
def async_get_orientation(hass: HomeAssistant, camera: str) -> int:
    """Return how the user wants a camera's stream turned, by the numbers of Exif."""
    item = er.async_get(hass).async_get(camera)
    options: Mapping[str, Any] = item.options.get(CAMERA_DOMAIN, {}) if item is not None else {}
    try:
        orientation = Orientation(options.get(_ORIENTATION, UPRIGHT))
    except ValueError:
        return UPRIGHT
    return _EXIF.get(orientation, int(orientation))


@callback
def async_get_stream_options(hass: HomeAssistant, camera: str) -> StreamOptions:
    """Return how Home Assistant reads a camera's stream."""
    entity = async_get_camera(hass, camera)
    said: dict[str, Any] = {} if entity is None else entity.stream_options
    transport = said.get(CONF_RTSP_TRANSPORT)
    return StreamOptions(
        transport=transport if transport in TRANSPORTS and transport != _USUAL_TRANSPORT else AUTO,
        # Home Assistant asks for a certificate that is trusted only where an integration says so.
        verify_certificate=bool(said.get(CONF_VERIFY_SSL)),
        wallclock=bool(said.get(CONF_USE_WALLCLOCK_AS_TIMESTAMPS)),
        orientation=async_get_orientation(hass, camera),
    )


def fingerprint(address: str) -> str:
    """Return a hash that identifies an address without revealing it."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


@callback
def known_fingerprints(hass: HomeAssistant) -> dict[str, str]:
    """Return the fingerprints of the newest addresses of all cameras, by entity id."""
    return hass.data.setdefault(_FINGERPRINTS, {})


def lower_scheme(address: str) -> str:
    """Return an address with its scheme in lower case."""
    scheme, mark, rest = address.partition("://")
    return f"{scheme.lower()}{mark}{rest}" if mark else address


@dataclass
class _Known:
    """What is known of a camera; times are monotonic, in seconds."""

    address: str | None
    asked_at: float
    there_at: float
    doubted: bool = False


class StreamAddresses:
    """The addresses of the cameras' streams, asked for once and when there is reason to.

    Some cameras give another address each time, with a token in it: asked for each pipeline by
    itself, one camera would be read as if it were many, and read anew after every change.
    """

    def __init__(self, hass: HomeAssistant) -> None:
        """Initialize the cache."""
        self._hass = hass
        self._known: dict[str, _Known] = {}
        # Shared by all entries, and stored, so that it is known which camera an address is of.
        self.fingerprints = known_fingerprints(hass)
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Of cameras whose integration may be away for a moment.
        self._options: dict[str, StreamOptions] = {}

    async def get(self, camera: str) -> str | None:
        """Return a camera's address; None where it has none, and had none for a while."""
        async with self._asking[camera]:  # everyone waiting gets the same answer
            return await self._get(camera)

    async def _get(self, camera: str) -> str | None:
        now, known = time.monotonic(), self._known.get(camera)
        if known is not None:
            if known.address is None:
                self.doubt(camera)
            if not known.doubted:
                return known.address
        address = await async_get_stream_address(self._hass, camera)
        there_at = now
        if address is None and known is not None:
            there_at = known.there_at
            if now - there_at < HOLD_S:
                address = known.address
        self._known[camera] = _Known(address, now, there_at)
        if address is not None:
            self.fingerprints[camera] = fingerprint(address)
        return address

    @callback
    def options(self, camera: str | None, address: str | None = None) -> StreamOptions:
        """Return how a camera is read: one that is known by its entity, or only by an address."""
        if camera is None and address is not None:
            typed = fingerprint(address)
            camera = next((key for key, own in self.fingerprints.items() if own == typed), None)
        if camera is None:
            return StreamOptions()
        if async_get_camera(self._hass, camera) is None and camera in self._options:
            orientation = async_get_orientation(self._hass, camera)
            return replace(self._options[camera], orientation=orientation)
        self._options[camera] = async_get_stream_options(self._hass, camera)
        return self._options[camera]

    @callback
    def known(self, camera: str) -> str | None:
        """Return the fingerprint of the newest address that a camera had, also if it has none."""
        return self.fingerprints.get(camera)

    @callback
    def forget(self, camera: str) -> None:
        """Forget a camera that was removed."""
        self._known.pop(camera, None)
        self._options.pop(camera, None)

    @callback
    def doubt(self, camera: str, *, at_once: bool = False) -> bool:
        """Ask anew the next time, but not too often; return whether that will be done.

        `at_once`: there is reason to; but all pipelines of a camera have the same one.
        """
        if (known := self._known.get(camera)) is None:
            return True
        age_s = time.monotonic() - known.asked_at
        if (at_once and known.address is None) or age_s >= (
            _ONCE_S if at_once else RESOLVE_AGAIN_AFTER_S
        ):
            known.doubted = True
        return known.doubted

    @callback
    def note_live(self, camera: str) -> None:
        """Note that there is video at a camera's address."""
        if (known := self._known.get(camera)) is not None:
            known.there_at = time.monotonic()
