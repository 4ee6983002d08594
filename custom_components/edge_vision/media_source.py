"""The pictures of events in the media browser."""

from __future__ import annotations

from typing import NamedTuple, override

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

from .api.client import NodeRequestError
from .const import DOMAIN, MANUFACTURER
from .node.edge_vision_node.protocol import Command, LoggedEvent, Results, ResultsRequest
from .runtime.event_data import moment_of
from .runtime.event_words import event_message, text
from .runtime.runtime import EntryRuntime, find_runtime
from .views import async_evidence, evidence_path, is_event_id

# Page size: easy to browse, and fast for the node.
_PAGE = 200
_JPEG = "image/jpeg"


class _Location(NamedTuple):
    """A parsed identifier: a camera, one of its events, or the events before a number."""

    pipeline_id: str
    event_id: str | None = None
    before: int | None = None


async def async_get_media_source(hass: HomeAssistant) -> EdgeVisionMediaSource:
    """Return the media source."""
    return EdgeVisionMediaSource(hass)


class EdgeVisionMediaSource(MediaSource):
    """The events with a picture, sorted by camera."""

    name: str | None = MANUFACTURER

    def __init__(self, hass: HomeAssistant) -> None:
        """Initialize the media source."""
        super().__init__(DOMAIN)
        self._hass = hass

    @override
    async def async_resolve_media(self, item: MediaSourceItem) -> PlayMedia:
        """Return the location of a picture. Raises `Unresolvable` if there is none."""
        place = _place(item.identifier)
        if place is None or place.event_id is None:
            raise Unresolvable("This is no picture of Edge Vision")
        if (runtime := find_runtime(self._hass, place.pipeline_id)) is None:
            raise Unresolvable("The camera of this picture is not there")
        try:
            await async_evidence(runtime, place.pipeline_id, place.event_id)
        except NodeRequestError as err:
            raise Unresolvable(f"The picture cannot be shown: {err}") from err
        return PlayMedia(evidence_path(place.pipeline_id, place.event_id), _JPEG)

    @override
    async def async_browse_media(self, item: MediaSourceItem) -> BrowseMediaSource:
        """Return cameras, or the pictures of one, newest first and page by page."""
        if not item.identifier:
            return self._root()
        place = _place(item.identifier)
        if place is None or place.event_id is not None:
            raise BrowseError("There is nothing to browse here")
        if (runtime := find_runtime(self._hass, place.pipeline_id)) is None:
            raise BrowseError("This camera is not there any more")
        request = ResultsRequest(
            pipeline_id=place.pipeline_id, limit=_PAGE, before=place.before, with_picture=True
        )
        try:
            found = (await runtime.node.async_request(Command.RESULTS, request, Results)).events
        except NodeRequestError as err:
            raise BrowseError(f"The pictures cannot be listed: {err}") from err
        folder = _folder(item.identifier, runtime.pipelines[place.pipeline_id].settings.name)
        folder.children = [
            _picture(place.pipeline_id, logged, self._hass)
            for logged in found
            if is_event_id(logged.event.event_id)
        ]
        if len(found) == _PAGE:
            older = f"{place.pipeline_id}/older/{found[-1].seq}"
            folder.children.append(_folder(older, text(self._hass, "older_pictures", "…")))
        return folder

    def _root(self) -> BrowseMediaSource:
        root = _folder(None, MANUFACTURER)
        root.children = []
        for entry in self._hass.config_entries.async_loaded_entries(DOMAIN):
            runtime: EntryRuntime = entry.runtime_data
            root.children += [
                _folder(pipeline_id, pipeline.settings.name)
                for pipeline_id, pipeline in runtime.pipelines.items()
            ]
        return root


def _place(identifier: str | None) -> _Location | None:
    """Return a parsed identifier, or None if it is invalid."""
    match (identifier or "").split("/"):
        case [pipeline_id] if pipeline_id:
            return _Location(pipeline_id)
        case [pipeline_id, event_id] if is_event_id(event_id):
            return _Location(pipeline_id, event_id=event_id)
        case [pipeline_id, "older", before] if before.isascii() and before.isdigit():
            return _Location(pipeline_id, before=int(before[:18]))
    return None


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


def _picture(pipeline_id: str, logged: LoggedEvent, hass: HomeAssistant) -> BrowseMediaSource:
    event = logged.event
    moment = moment_of(event.captured_at)
    when = dt_util.as_local(moment).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
    return BrowseMediaSource(
        domain=DOMAIN,
        identifier=f"{pipeline_id}/{event.event_id}",
        media_class=MediaClass.IMAGE,
        media_content_type=_JPEG,
        title=f"{when} {event_message(hass, event)}",
        can_play=True,
        can_expand=False,
        thumbnail=evidence_path(pipeline_id, event.event_id),
    )
