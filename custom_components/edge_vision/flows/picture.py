"""Pictures inside a flow: available at a signed address while the flow is open."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from aiohttp import web
from homeassistant.components.http.auth import async_sign_path
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView
from homeassistant.util.hass_dict import HassKey

from ..markdown import Markdown

_PATH: Final = "/api/edge_vision/flow_picture"
_SHOWN_FOR: Final = timedelta(hours=1)
_DATA: HassKey[dict[str, bytes]] = HassKey("edge_vision_flow_pictures")


class FlowPicture:
    """The current picture of a flow."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Start without a picture."""
        self._pictures = hass.data[_DATA]
        self._hass = hass
        self._key: str | None = None

    @callback
    def show(self, jpeg: bytes) -> Markdown:
        """Replace the picture and return it as Markdown."""
        self.remove()
        self._key = secrets.token_urlsafe(16)
        self._pictures[self._key] = jpeg
        address = async_sign_path(self._hass, f"{_PATH}/{self._key}", _SHOWN_FOR)
        return Markdown(f"![]({address})")

    @callback
    def remove(self) -> None:
        """Remove the picture."""
        if self._key is not None:
            self._pictures.pop(self._key, None)
            self._key = None


@callback
def async_setup_flow_pictures(hass: HomeAssistant) -> None:
    """Serve the pictures of flows."""
    hass.data[_DATA] = {}
    hass.http.register_view(FlowPictureView)


class FlowPictureView(HomeAssistantView):
    """A JPEG by its key."""

    url: str | None = f"{_PATH}/{{key}}"
    name: str | None = "api:edge_vision:flow_picture"

    async def get(self, request: web.Request, key: str) -> web.Response:
        """Return the picture; 404 once its flow has ended."""
        if (jpeg := request.app[KEY_HASS].data[_DATA].get(key)) is None:
            raise web.HTTPNotFound
        return web.Response(
            body=jpeg,
            content_type="image/jpeg",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )
