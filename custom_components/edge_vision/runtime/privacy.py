"""Privacy masks: what is drawn for a camera holds for every pipeline, entry and action.

A camera is the same whether it is known by its entity or by the address of its video.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple, Self

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_send

from ..const import DOMAIN, SUBENTRY_PIPELINE
from ..node.edge_vision_node.protocol import MAX_ASPECTS, Point
from .settings import CameraMasks, camera_masks
from .stream_addresses import StreamAddresses, fingerprint, known_fingerprints

# Sent when the masks of a camera may have changed, or it became known which camera an address is.
SIGNAL_MASKS_CHANGED = f"{DOMAIN}_masks_changed"
# Finer than the node distinguishes shapes.
_ASPECT_DIGITS = 3


class Masks(NamedTuple):
    """What must not be seen of a camera.

    `aspects`: width by height of the pictures that the polygons were drawn on, as far as known.
    """

    polygons: tuple[tuple[Point, ...], ...] = ()
    aspects: tuple[float, ...] = ()


class PrivacyMasks:
    """The masks of all pipelines of all entries, also of those that are damaged or not loaded."""

    def __init__(self, masks: dict[str, CameraMasks], fingerprints: dict[str, str]) -> None:
        """Initialize. `fingerprints` are those of the cameras' addresses, by entity id."""
        self._masks = masks
        self._fingerprints = fingerprints

    @classmethod
    def async_get(cls, hass: HomeAssistant) -> Self:
        """Return the masks as they are now."""
        masks = {
            subentry.subentry_id: camera_masks(subentry.data)
            for entry in hass.config_entries.async_entries(DOMAIN)
            for subentry in entry.get_subentries_of_type(SUBENTRY_PIPELINE)
        }
        return cls(masks, known_fingerprints(hass))

    def of(
        self, camera: str | None, address: str | None = None, *, except_for: str | None = None
    ) -> Masks:
        """Return what must not be seen of a camera.

        `except_for` is a pipeline whose masks are left out.
        """
        names = self._names_of(camera, address)
        others = {
            key: self._names_of(item.camera, item.video_address)
            for key, item in self._masks.items()
        }
        masks: dict[tuple[Point, ...], None] = {}
        aspects: set[float] = set()
        # One pipeline may know a camera by its entity, another by its address, a third by both.
        while same := [key for key, known in others.items() if names & known]:
            for key in same:
                names |= others.pop(key)
                if key != except_for:
                    masks |= dict.fromkeys(self._masks[key].masks)
                    if self._masks[key].masks and (aspect := self._masks[key].aspect):
                        aspects.add(round(aspect, _ASPECT_DIGITS))
        return Masks(tuple(masks), tuple(sorted(aspects)[:MAX_ASPECTS]))

    def cameras_to_ask(self, cameras: Iterable[str]) -> set[str]:
        """Return the cameras whose addresses tell which masks hold.

        `cameras` are those to be looked at.
        """
        every = self._masks.values()
        to_ask: set[str] = set()
        if any(item.video_address for item in every):
            to_ask |= {item.camera for item in every if item.camera and item.masks}
        if any(item.video_address and item.masks for item in every):
            to_ask |= set(cameras)
        return to_ask

    def _names_of(self, camera: str | None, address: str | None) -> set[str]:
        """Return what a camera is known by: its entity, and fingerprints of addresses."""
        own = self._fingerprints.get(camera) if camera else None
        typed = fingerprint(address) if address else None
        return {name for name in (camera, own, typed) if name}


async def async_masks_for(
    hass: HomeAssistant,
    streams: StreamAddresses,
    camera: str | None,
    address: str | None = None,
    *,
    except_for: str | None = None,
) -> Masks:
    """Return what must not be seen of a camera, which need not be any pipeline's.

    Cameras are asked for their addresses where only these tell which camera a mask is for.
    """
    cameras = PrivacyMasks.async_get(hass).cameras_to_ask([camera] if camera else [])
    unknown = [item for item in cameras if streams.known(item) is None]
    await asyncio.gather(*(streams.get(item) for item in unknown))
    return PrivacyMasks.async_get(hass).of(camera, address, except_for=except_for)


@callback
def async_masks_changed(hass: HomeAssistant) -> None:
    """Have every entry compare the masks that its node has with those that hold now."""
    async_dispatcher_send(hass, SIGNAL_MASKS_CHANGED)
