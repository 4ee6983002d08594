"""The pictures of events in the media browser."""

from __future__ import annotations

from typing import override

from homeassistant.components.media_player.const import MediaClass, MediaType
from homeassistant.components.media_player.errors import BrowseError
from homeassistant.components.media_source import (
    BrowseMediaSource,
    MediaSource,
    MediaSourceItem,
    PlayMedia,
    Unresolvable,
)
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from .client import NodeError
from .const import DOMAIN, MANUFACTURER
from .evidence import evidence_path, find_hub
from .hub import EdgeVisionHub
from .node.edge_vision_node.protocol import Command, LoggedEvent, Results, ResultsRequest

# The node gives so many at once; more than a browser can show are of no use.
_PAGE = 1000
_MOST = 3000
_JPEG = "image/jpeg"


async def async_get_media_source(hass: HomeAssistant) -> EdgeVisionMediaSource:
    """Return the source."""
    return EdgeVisionMediaSource(hass)


class EdgeVisionMediaSource(MediaSource):
    """Camera by camera, the events that have a picture."""

    name: str | None = MANUFACTURER

    def __init__(self, hass: HomeAssistant) -> None:
        """Serve the pictures of all nodes."""
        super().__init__(DOMAIN)
        self._hass = hass

    @override
    async def async_resolve_media(self, item: MediaSourceItem) -> PlayMedia:
        """Return where a picture is."""
        pipeline_id, _, event_id = (item.identifier or "").partition("/")
        if not event_id or find_hub(self._hass, pipeline_id) is None:
            raise Unresolvable(f"There is no picture {item.identifier}")
        return PlayMedia(evidence_path(pipeline_id, event_id), _JPEG)

    @override
    async def async_browse_media(self, item: MediaSourceItem) -> BrowseMediaSource:
        """Return cameras, or the pictures of one."""
        if not item.identifier:
            return self._root()
        if (hub := find_hub(self._hass, item.identifier)) is None:
            raise BrowseError("This camera is not there any more")
        pipeline = hub.pipelines[item.identifier]
        try:
            found = await _events(hub, item.identifier)
        except NodeError as err:
            raise BrowseError(f"The pictures cannot be listed: {err}") from err
        folder = _folder(item.identifier, pipeline.settings.name)
        folder.children = [_picture(logged) for logged in found]
        return folder

    def _root(self) -> BrowseMediaSource:
        root = _folder(None, MANUFACTURER)
        root.children = []
        for entry in self._hass.config_entries.async_loaded_entries(DOMAIN):
            hub: EdgeVisionHub = entry.runtime_data
            root.children += [
                _folder(pipeline_id, pipeline.settings.name)
                for pipeline_id, pipeline in hub.pipelines.items()
            ]
        return root


async def _events(hub: EdgeVisionHub, pipeline_id: str) -> list[LoggedEvent]:
    """Return a camera's events that have a picture, newest first. Raises `NodeError`."""
    found: list[LoggedEvent] = []
    before: int | None = None
    while len(found) < _MOST:
        request = ResultsRequest(
            pipeline_id=pipeline_id, limit=_PAGE, before=before, with_picture=True
        )
        page = (await hub.async_request(Command.RESULTS, request, Results)).events
        if not page:
            break
        found += page
        before = page[-1].seq
    return found


def _folder(identifier: str | None, title: str) -> BrowseMediaSource:
    return BrowseMediaSource(
        domain=DOMAIN,
        identifier=identifier,
        media_class=MediaClass.DIRECTORY,
        media_content_type=MediaType.IMAGE,
        title=title,
        can_play=False,
        can_expand=True,
        children_media_class=MediaClass.IMAGE,
    )


def _picture(logged: LoggedEvent) -> BrowseMediaSource:
    event = logged.event
    moment = dt_util.parse_datetime(event.captured_at)
    when = dt_util.as_local(moment).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
    where = f" ({', '.join(event.zones)})" if event.zones else ""
    identifier = f"{event.pipeline_id}/{event.event_id}"
    return BrowseMediaSource(
        domain=DOMAIN,
        identifier=identifier,
        media_class=MediaClass.IMAGE,
        media_content_type=_JPEG,
        title=f"{when} {event.label}{where}",
        can_play=True,
        can_expand=False,
        thumbnail=evidence_path(event.pipeline_id, event.event_id),
    )
