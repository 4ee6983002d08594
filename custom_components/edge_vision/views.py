"""Pictures of events over HTTP, requested from the node one by one."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web
from homeassistant.auth.models import User
from homeassistant.auth.permissions.const import POLICY_READ
from homeassistant.components.http.const import KEY_HASS_USER
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import Unauthorized
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView

from .api.client import NodeCommandError, NodeRequestError
from .const import DOMAIN
from .node.edge_vision_node.protocol import Command, ErrorCode, EvidenceRequest, Picture
from .runtime.runtime import EntryRuntime, find_runtime

_URL: Final = "/api/edge_vision/evidence"
_JPEG_START: Final = b"\xff\xd8\xff"
_EVENT_ID: Final = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")


@callback
def evidence_path(pipeline_id: str, event_id: str) -> str:
    """Return the path of the picture of an event, which requires authentication."""
    return f"{_URL}/{pipeline_id}/{event_id}"


def is_event_id(text: str) -> bool:
    """Return whether a text is a valid ID of an event: a ULID, not a path."""
    return _EVENT_ID.fullmatch(text) is not None


async def async_evidence(
    runtime: EntryRuntime, pipeline_id: str, event_id: str, *, clean: bool = False
) -> tuple[Picture, bytes]:
    """Return the picture of an event, with boxes or clean. Raises `NodeRequestError`."""
    wanted = EvidenceRequest(event_id=event_id, clean=clean, pipeline_id=pipeline_id)
    return await runtime.node.async_request_picture(Command.EVIDENCE, wanted, Picture)


@callback
def _may_see(hass: HomeAssistant, user: User, pipeline_id: str) -> bool:
    """Return whether a user can see the pictures of a camera: read access to its image entity."""
    entity_id = er.async_get(hass).async_get_entity_id(
        Platform.IMAGE, DOMAIN, f"{pipeline_id}_last_detection"
    )
    if entity_id is None:
        return user.is_admin
    return user.permissions.check_entity(entity_id, POLICY_READ)


class EvidenceView(HomeAssistantView):
    """The picture of an event with boxes, or without them (`?clean=1`)."""

    url: str | None = f"{_URL}/{{pipeline_id}}/{{event_id}}"
    name: str | None = "api:edge_vision:evidence"

    async def get(self, request: web.Request, pipeline_id: str, event_id: str) -> web.Response:
        """Return the picture, 404 if there is none, or 503 if the node is unavailable."""
        hass = request.app[KEY_HASS]
        runtime = find_runtime(hass, pipeline_id)
        if runtime is None or not is_event_id(event_id):
            raise web.HTTPNotFound
        if not _may_see(hass, request[KEY_HASS_USER], pipeline_id):
            raise Unauthorized
        try:
            _, jpeg = await async_evidence(
                runtime, pipeline_id, event_id, clean="clean" in request.query
            )
        except NodeCommandError as err:
            if err.code == ErrorCode.NO_PICTURE:
                raise web.HTTPNotFound from err
            raise web.HTTPServiceUnavailable from err
        except NodeRequestError as err:
            raise web.HTTPServiceUnavailable from err
        if not jpeg.startswith(_JPEG_START):
            raise web.HTTPServiceUnavailable
        return web.Response(
            body=jpeg,
            # Do not trust the content type of the node: a document would have the origin of Home
            # Assistant.
            content_type="image/jpeg",
            headers={"Cache-Control": "private, max-age=60", "X-Content-Type-Options": "nosniff"},
        )
