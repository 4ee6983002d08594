"""Where a camera's live video is, for a node that reads it itself."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from homeassistant.components.camera import async_get_stream_source
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError

from .node_log import redact

_LOGGER = logging.getLogger(__name__)

_TIMEOUT_S = 10
# The address of a stream may change, and with some cameras it expires.
RESOLVE_AGAIN_AFTER_S = 60.0
# A camera that was there not so long ago is away for a moment, not without a stream.
HOLD_S = 600.0
_ONCE_S = 1.0
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
    except Exception as err:  # noqa: BLE001 - cameras come from everywhere, and so do exceptions
        _LOGGER.debug("%s has no stream: %s", camera, redact(f"{type(err).__name__}: {err}"))
        return None
    # Home Assistant's own pictures of a camera have an address, too; go2rtc's have a scheme of
    # their own. Neither is for others to read.
    return lower_scheme(address) if address and address.lower().startswith(SCHEMES) else None


def fingerprint(address: str) -> str:
    """Return what tells addresses apart, and says nothing of what is in one."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def lower_scheme(address: str) -> str:
    """Return an address with its scheme as those who read it want it."""
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
        """Know none."""
        self._hass = hass
        self._known: dict[str, _Known] = {}
        # What outlives restarts, so that it is known which camera an address is of.
        self.fingerprints: dict[str, str] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, camera: str) -> str | None:
        """Return a camera's address; None where it has none, and had none for a while."""
        async with self._asking[camera]:  # who waits gets the same answer
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
    def known(self, camera: str) -> str | None:
        """Return the fingerprint of the newest address that a camera had, also if it has none."""
        return self.fingerprints.get(camera)

    @callback
    def forget(self, camera: str) -> None:
        """Know nothing of a camera that is not there any more."""
        self._known.pop(camera, None)

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
