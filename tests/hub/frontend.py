"""What a browser makes of a form, and sends: Home Assistant's own frontend, in a few lines.

A form comes over HTTP as a list of fields. The frontend (`step-flow-form`, `ha-form` and their
`computeInitialHaFormData`) fills it in with what is suggested, or with defaults; keeps what is in
sections, unfolded or not; and drops empty values when it sends, but those of sections it sends.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Self

from homeassistant.setup import async_setup_component

from custom_components.edge_vision.const import DOMAIN, SUBENTRY_PIPELINE
from tests.hub.conftest import Home

_CONFIG = "/api/config/config_entries"
_FIX = "/api/repairs/issues/fix"
_EMPTY = (None, "")

type Form = dict[str, Any]
type Fields = list[dict[str, Any]]


def opened(fields: Fields) -> Form:
    """Return what a form holds when it opens."""
    form: Form = {}
    for field in fields:
        suggested = (field.get("description") or {}).get("suggested_value")
        if suggested is not None:
            form[field["name"]] = copy.deepcopy(suggested)
        elif "default" in field:
            form[field["name"]] = copy.deepcopy(field["default"])
        elif field.get("type") == "expandable":
            inner = opened(field["schema"])
            if field.get("required") or inner:
                form[field["name"]] = inner
        elif field.get("required"):
            value = _first(field["selector"])
            if value is not None:
                form[field["name"]] = value
    return form


def _first(selector: dict[str, Any]) -> Any:
    """Return what the frontend takes for a required field of which it knows nothing."""
    ((kind, config),) = selector.items()
    if kind == "boolean":
        return False
    if kind == "number":
        return config.get("min", 0)
    if kind == "select":
        options = config["options"]
        if not options:
            return None
        first = options[0] if isinstance(options[0], str) else options[0]["value"]
        return [first] if config.get("multiple") else first
    if kind in ("text", "entity"):
        return [] if config.get("multiple") else ""
    assert kind == "file", f"what the frontend takes for {kind} is not known here"
    return ""


def may_be_sent(fields: Fields, form: Form) -> bool:
    """Return whether the frontend sends it; otherwise it asks for what is missing."""
    for field in fields:
        value = form.get(field["name"])
        if field.get("type") == "expandable":
            if value is None:
                if field.get("required"):
                    return False
            elif not may_be_sent(field["schema"], value):
                return False
        elif field.get("required") and value in _EMPTY:
            return False
    return True


def sent(form: Form) -> Form:
    """Return what the frontend sends of it: emptiness is left out, but not that of sections."""
    return {key: value for key, value in form.items() if value is None or value != ""}


def cleared(fields: Fields, form: Form, *, required: bool = False) -> Iterator[tuple[str, Form]]:
    """Yield a form with each of its fields cleared as its element clears it, in turn."""
    for field in fields:
        name = field["name"]
        if field.get("type") == "expandable":
            for inner, changed in cleared(field["schema"], form.get(name, {}), required=required):
                yield f"{name}.{inner}", {**form, name: changed}
        elif required or not field.get("required"):
            yield name, _clear(field, form)


def all_cleared(fields: Fields, form: Form) -> Form:
    """Return a form of which everything that may be empty was cleared."""
    result = dict(form)
    for field in fields:
        if field.get("type") == "expandable":
            result[field["name"]] = all_cleared(field["schema"], form.get(field["name"], {}))
        elif not field.get("required"):
            result = _clear(field, result)
    return result


def _clear(field: dict[str, Any], form: Form) -> Form:
    ((kind, config),) = field["selector"].items()
    rest = {key: value for key, value in form.items() if key != field["name"]}
    if kind == "boolean":
        return form  # it has two states, and none is empty
    if config.get("multiple"):
        return {**rest, field["name"]: []}
    if kind == "file" or (kind == "text" and field.get("required")):
        return {**rest, field["name"]: ""}
    return rest  # undefined


def numbers(fields: Fields) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the number fields: where they are, and their limits."""
    for field in fields:
        if field.get("type") == "expandable":
            for path, config in numbers(field["schema"]):
                yield (field["name"], *path), config
        elif "number" in field["selector"]:
            yield (field["name"],), field["selector"]["number"]


class Refused(AssertionError):
    """Home Assistant refused what was sent by the schema alone, in the words of a developer."""


class Browser:
    """A flow of ours, over HTTP."""

    def __init__(self, home: Home, client: Any, address: str) -> None:
        self._home = home
        self._client = client
        self._address = address
        self.step: dict[str, Any] = {}
        self.actions: list[str] = []

    @classmethod
    async def _begin(cls, home: Home, client: Any, address: str, **data: Any) -> Self:
        assert await async_setup_component(home.hass, "config", {})
        assert await async_setup_component(home.hass, "repairs", {})
        browser = cls(home, await client(), address)
        browser.step = await browser._post(address, data)
        await browser._follow()
        return browser

    @classmethod
    async def add_integration(cls, home: Home, client: Any) -> Self:
        return await cls._begin(home, client, f"{_CONFIG}/flow", handler=DOMAIN)

    @classmethod
    async def reconfigure(cls, home: Home, client: Any) -> Self:
        entry_id = home.entry.entry_id
        return await cls._begin(home, client, f"{_CONFIG}/flow", handler=DOMAIN, entry_id=entry_id)

    @classmethod
    async def configure(cls, home: Home, client: Any, *options: str) -> Self:
        address = f"{_CONFIG}/options/flow"
        browser = await cls._begin(home, client, address, handler=home.entry.entry_id)
        return await browser.pick(*options)

    @classmethod
    async def add_camera(cls, home: Home, client: Any) -> Self:
        address, handler = f"{_CONFIG}/subentries/flow", [home.entry.entry_id, SUBENTRY_PIPELINE]
        return await cls._begin(home, client, address, handler=handler)

    @classmethod
    async def change_camera(cls, home: Home, client: Any, *options: str) -> Self:
        address, handler = f"{_CONFIG}/subentries/flow", [home.entry.entry_id, SUBENTRY_PIPELINE]
        subentry_id = next(iter(home.entry.subentries))
        browser = await cls._begin(home, client, address, handler=handler, subentry_id=subentry_id)
        return await browser.pick(*options)

    @classmethod
    async def repair(cls, home: Home, client: Any, issue_id: str) -> Self:
        return await cls._begin(home, client, _FIX, handler=DOMAIN, issue_id=issue_id)

    # --- What is shown ---------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """Return the name of what is shown: a step, or how the flow ended."""
        return str(self.step.get("step_id") or self.step.get("reason") or self.step["type"])

    @property
    def fields(self) -> Fields:
        fields: Fields = self.step["data_schema"]
        return fields

    @property
    def form(self) -> Form:
        return opened(self.fields)

    @property
    def told(self) -> dict[str, str]:
        told: dict[str, str] = self.step["description_placeholders"]
        return told

    @property
    def unfolded(self) -> set[str]:
        return {field["name"] for field in self.fields if field.get("expanded")}

    def field(self, *path: str) -> dict[str, Any]:
        fields = self.fields
        for name in path:
            (found,) = (field for field in fields if field["name"] == name)
            fields = found.get("schema", [])
        return found

    def options(self, *path: str) -> dict[str, str]:
        """Return the choices of a field: value → label."""
        options = self.field(*path)["selector"]["select"]["options"]
        return {item["value"]: item["label"] for item in options}

    # --- What is done ----------------------------------------------------------------------------

    async def pick(self, *options: str) -> Self:
        for option in options:
            assert option in self.step["menu_options"], (option, self.step)
            await self._send({"next_step_id": option})
        return self

    async def submit(self, change: Callable[[Form], Form] | None = None, **changes: Any) -> Self:
        """Press the button of the form as it opened, with changes; a section's are a dict."""
        form = self.form
        for key, value in changes.items():
            form[key] = {**form[key], **value} if isinstance(value, dict) else value
        if change is not None:
            form = change(form)
        assert may_be_sent(self.fields, form), f"the frontend does not send {form}"
        return await self._send(sent(form))

    async def _send(self, data: Form) -> Self:
        self.step = await self._post(f"{self._address}/{self.step['flow_id']}", data)
        await self._follow()
        return self

    async def _post(self, address: str, data: Any) -> dict[str, Any]:
        response = await self._client.post(address, json=data)
        answer: dict[str, Any] = await response.json()
        if response.status == HTTPStatus.BAD_REQUEST:
            raise Refused(f"{self.where if self.step else address}: {answer} for {data}")
        assert response.status == HTTPStatus.OK, f"{address}: {response.status} {answer} for {data}"
        return answer

    async def _follow(self) -> None:
        """Wait while something is under way, as long as it takes."""
        while self.step["type"] == "progress":
            if self.step["progress_action"] not in self.actions:
                self.actions.append(self.step["progress_action"])
            await asyncio.sleep(0.02)
            response = await self._client.get(f"{self._address}/{self.step['flow_id']}")
            assert response.status == HTTPStatus.OK
            self.step = await response.json()
