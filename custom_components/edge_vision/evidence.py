"""The pictures of events over HTTP: the node keeps them, and hands them out one by one."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView

from .client import NodeCommandError, NodeError
from .const import DOMAIN
from .hub import EdgeVisionHub
from .node.edge_vision_node.protocol import Command, ErrorCode, EvidenceRequest, Picture

_URL: Final = "/api/edge_vision/evidence"


@callback
def evidence_path(pipeline_id: str, event_id: str) -> str:
    """Return the path of an event's picture; it is served to whoever is logged in."""
    return f"{_URL}/{pipeline_id}/{event_id}"


@callback
def find_hub(hass: HomeAssistant, pipeline_id: str) -> EdgeVisionHub | None:
    """Return whose pipeline it is, None where there is none, or it is not loaded."""
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        hub: EdgeVisionHub = entry.runtime_data
        if pipeline_id in hub.pipelines:
            return hub
    return None


class EvidenceView(HomeAssistantView):
    """An event's picture, with boxes, or without them (`?clean=1`)."""

    url: str | None = f"{_URL}/{{pipeline_id}}/{{event_id}}"
    name: str | None = "api:edge_vision:evidence"

    async def get(self, request: web.Request, pipeline_id: str, event_id: str) -> web.Response:
        """Return the picture; 404 where there is none, 503 where the node is away."""
        if (hub := find_hub(request.app[KEY_HASS], pipeline_id)) is None:
            raise web.HTTPNotFound
        wanted = EvidenceRequest(
            event_id=event_id, clean="clean" in request.query, pipeline_id=pipeline_id
        )
        try:
            header, jpeg = await hub.async_request_picture(Command.EVIDENCE, wanted, Picture)
        except NodeCommandError as err:
            if err.code == ErrorCode.NO_PICTURE:
                raise web.HTTPNotFound from err
            raise web.HTTPServiceUnavailable from err
        except NodeError as err:
            raise web.HTTPServiceUnavailable from err
        return web.Response(
            body=jpeg,
            content_type=header.content_type,
            headers={"Cache-Control": "private, max-age=60"},
        )
