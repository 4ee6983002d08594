"""A client for a Home Assistant under test: REST, websocket, and flows as in the frontend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import aiohttp

type Json = dict[str, Any]
# Step of a flow → values that differ from the defaults of its form, or the choice from its menu.
type Answers = Mapping[str, Mapping[str, Any]]
# Called with the step and the description placeholders of each form.
type Watcher = Callable[[str, Mapping[str, str]], None]

CONFIG_FLOW = "/api/config/config_entries/flow"
SUBENTRY_FLOW = "/api/config/config_entries/subentries/flow"
_FLOWS = {"config_flow": CONFIG_FLOW, "config_subentries_flow": SUBENTRY_FLOW}
_POLL_S = 0.1
_FLOW_S = 120.0


class HaError(Exception):
    """Home Assistant returned an error or did not respond."""


class FlowError(HaError):
    """A flow ended or stopped unexpectedly."""


class HaClient:
    """The session of a user."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        """Use the instance at `base` (without a trailing slash) with this token."""
        self.base = base
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"}
        self.token = token

    @classmethod
    async def onboard(
        cls, session: aiohttp.ClientSession, base: str, *, name: str, user: str, password: str
    ) -> Self:
        """Create the owner of a new instance and log in."""
        client_id = f"{base}/"
        owner = {"client_id": client_id, "name": name, "language": "en"}
        login = {"username": user, "password": password}
        async with session.post(f"{base}/api/onboarding/users", json={**owner, **login}) as answer:
            code = (await _checked(answer))["auth_code"]
        grant = {"grant_type": "authorization_code", "code": code, "client_id": client_id}
        async with session.post(f"{base}/auth/token", data=grant) as answer:
            client = cls(session, base, (await _checked(answer))["access_token"])
        # That token is only valid for half an hour.
        wanted = {"client_name": name, "lifespan": 1}
        token = await client.command("auth/long_lived_access_token", **wanted)
        return cls(session, base, token)

    # --- REST ------------------------------------------------------------------------------------

    async def get(self, path: str) -> Any:
        """Return the JSON response to a GET request."""
        async with self._session.get(self.base + path, headers=self._headers) as answer:
            return await _checked(answer)

    async def get_bytes(self, path: str) -> bytes:
        """Return the body of the response to a GET request."""
        async with self._session.get(self.base + path, headers=self._headers) as answer:
            if answer.status != 200:
                raise HaError(f"GET {path}: {answer.status} {(await answer.text())[:300]}")
            return await answer.read()

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON response to a POST request."""
        async with self._session.post(
            self.base + path, json=dict(body or {}), headers=self._headers
        ) as answer:
            return await _checked(answer)

    async def delete(self, path: str) -> Any:
        """Return the JSON response to a DELETE request."""
        async with self._session.delete(self.base + path, headers=self._headers) as answer:
            return await _checked(answer)

    async def states(self, domain: str = "") -> dict[str, Json]:
        """Return the states of one domain or of all, by entity ID."""
        return {
            state["entity_id"]: state
            for state in await self.get("/api/states")
            if state["entity_id"].startswith(f"{domain}." if domain else "")
        }

    async def call(
        self, domain: str, action: str, data: Mapping[str, Any], *, response: bool = False
    ) -> Any:
        """Run an action and return its response data, or the states that it changed."""
        path = f"/api/services/{domain}/{action}{'?return_response' if response else ''}"
        answer = await self.post(path, data)
        return answer["service_response"] if response else answer

    # --- Flows -----------------------------------------------------------------------------------

    async def config_flow(
        self, domain: str, answers: Answers, watcher: Watcher | None = None
    ) -> Json:
        """Run a config flow to its end. Raises `FlowError` if it creates nothing."""
        first = await self.post(CONFIG_FLOW, {"handler": domain})
        return await self._steps(CONFIG_FLOW, first, answers, watcher)

    async def subentry_flow(self, entry_id: str, kind: str, answers: Answers) -> Json:
        """Add a subentry of some kind to an entry."""
        first = await self.post(SUBENTRY_FLOW, {"handler": [entry_id, kind]})
        return await self._steps(SUBENTRY_FLOW, first, answers)

    async def continue_flow(self, next_flow: list[str], answers: Answers) -> Json:
        """Run the `next_flow` of a finished flow to its end."""
        kind, flow_id = next_flow
        path = _FLOWS[kind]
        return await self._steps(path, await self.get(f"{path}/{flow_id}"), answers)

    async def _steps(
        self, path: str, result: Json, answers: Answers, watcher: Watcher | None = None
    ) -> Json:
        """Go from step to step as the frontend does: fill in forms, and wait for progress."""
        async with asyncio.timeout(_FLOW_S):
            while result["type"] != "create_entry":
                flow = f"{path}/{result.get('flow_id')}"
                step = result.get("step_id", "")
                shown = result.get("description_placeholders") or {}
                match result["type"]:
                    case "form":
                        if errors := result.get("errors"):
                            raise FlowError(f"step {step!r} shows errors: {errors} {shown}")
                        if watcher is not None:
                            watcher(step, shown)
                        form = _filled_in(result["data_schema"] or [], answers.get(step, {}))
                        result = await self.post(flow, form)
                    case "menu" if step in answers:
                        result = await self.post(flow, answers[step])
                    case "progress":
                        await asyncio.sleep(_POLL_S)
                        result = await self.get(flow)
                    case "progress_done":
                        result = await self.get(flow)
                    case other:
                        raise FlowError(f"{other} {step!r}: {result.get('reason')} {shown}")
        return result

    # --- Websocket -------------------------------------------------------------------------------

    @asynccontextmanager
    async def websocket(self) -> AsyncIterator[HaSocket]:
        """Open the websocket API."""
        async with self._session.ws_connect(
            f"{self.base}/api/websocket", max_msg_size=0, heartbeat=30
        ) as connection:
            await connection.receive_json()
            await connection.send_json({"type": "auth", "access_token": self.token})
            greeting = await connection.receive_json()
            if greeting["type"] != "auth_ok":
                raise HaError(f"websocket: {greeting}")
            socket = HaSocket(connection)
            try:
                yield socket
            finally:
                await socket.close()

    async def command(self, kind: str, **data: Any) -> Any:
        """Send one websocket command on a new connection and return its result."""
        async with self.websocket() as socket:
            return await socket.command(kind, **data)


class HaSocket:
    """An open websocket: commands with results, and a queue of events from the bus."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        """Take over an authenticated connection."""
        self.events: asyncio.Queue[Json | None] = asyncio.Queue()
        self._connection = connection
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._reader = asyncio.create_task(self._read())

    async def command(self, kind: str, **data: Any) -> Any:
        """Send a command and return its result."""
        self._last_id += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._last_id] = future
        await self._connection.send_json({"id": self._last_id, "type": kind, **data})
        answer = await future
        if not answer["success"]:
            raise HaError(f"{kind}: {answer['error']}")
        return answer["result"]

    async def subscribe(self, event_type: str) -> None:
        """Add events of this type to `events`; None in it means that the connection was closed."""
        await self.command("subscribe_events", event_type=event_type)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                data = message.json()
                if data["type"] == "result":
                    self._waiting.pop(data["id"]).set_result(data)
                elif data["type"] == "event":
                    self.events.put_nowait(data["event"])
        finally:
            self.events.put_nowait(None)
            for future in self._waiting.values():
                future.set_exception(HaError("The connection to Home Assistant was closed"))


async def _checked(answer: aiohttp.ClientResponse) -> Any:
    if answer.status >= 400:
        text = (await answer.text())[:500]
        raise HaError(f"{answer.method} {answer.url.path}: {answer.status} {text}")
    return await answer.json()


def _filled_in(schema: list[Json], answers: Mapping[str, Any]) -> Json:
    """Return the input of a form as sent by the frontend: defaults, updated with answers."""
    form: Json = {}
    for field in schema:
        name = field["name"]
        if field.get("type") == "expandable":
            form[name] = _filled_in(field["schema"], answers.get(name, {}))
        elif name in answers:
            form[name] = answers[name]
        elif field.get("default") is not None:
            form[name] = field["default"]
        elif (suggested := (field.get("description") or {}).get("suggested_value")) is not None:
            form[name] = suggested
    if unknown := answers.keys() - form.keys():
        raise FlowError(f"The form has no field {', '.join(sorted(unknown))}")
    return form
