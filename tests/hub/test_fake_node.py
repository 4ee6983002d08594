"""The fake node of these tests answers as the real one does: the same talk with both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from homeassistant.core import HomeAssistant

from custom_components.edge_vision.api.client import NodeClient, NodeCommandError
from custom_components.edge_vision.local_node.node_log import NodeLog
from custom_components.edge_vision.local_node.node_process import NodeProcess
from custom_components.edge_vision.node.edge_vision_node.protocol import (
    AllowModel,
    Benchmark,
    BenchmarkRequest,
    Command,
    Configure,
    Detected,
    DetectRequest,
    EvidenceRequest,
    Forget,
    LiveRequest,
    Look,
    LookRequest,
    NodeEvent,
    NodeInfo,
    NodeStatus,
    Nothing,
    OutlineRequest,
    PeekRequest,
    Picture,
    PictureRequest,
    PipelineConfig,
    PipelineState,
    Point,
    RemoveModel,
    Results,
    ResultsRequest,
    ScanRequest,
    Subscribe,
    Subscribed,
    Video,
    Zone,
)
from tests.hub.conftest import BLANK, STREET, until
from tests.hub.fake_link import TOKEN, FakeServer
from tests.hub.fake_node import FakeNode
from tests.live_camera import mjpeg_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

NOW = "2026-11-30T12:00:00+00:00"
EVERYWHERE = tuple(Point(x=x, y=y) for x, y in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
PIPELINE = PipelineConfig(
    pipeline_id="01A", name="Porch", camera="porch", labels=("person",), confidence=40.0
)

type Connect = Callable[[NodeClient], Any]


@asynccontextmanager
async def real_node(hass: HomeAssistant) -> AsyncIterator[Connect]:
    process = await NodeProcess.start(hass, Path(hass.config.config_dir) / "data", NodeLog())
    try:
        yield lambda client: client.connect(process.socket, process.token)
    finally:
        await process.stop()


@asynccontextmanager
async def fake_node(_: HomeAssistant) -> AsyncIterator[Connect]:
    server = FakeServer(FakeNode())
    socket = await server.start()
    try:
        yield lambda client: client.connect(socket, TOKEN)
    finally:
        await server.stop()


@dataclass
class Talk:
    """What was answered, step by step, without what differs between two nodes."""

    client: NodeClient
    said: list[tuple[str, Any]] = field(default_factory=list)

    def note(self, step: str, what: Any) -> None:
        self.said.append((step, what))

    async def ask(
        self,
        step: str,
        command: Command,
        params: object | None,
        answer: type[Any],
        picture: bytes | None = None,
        *,
        brings_picture: bool = False,
    ) -> Any:
        """Note the shape of an answer, or the code of an error."""
        try:
            if brings_picture:
                result, jpeg = await self.client.request_picture(
                    command, params, answer, picture=picture, timeout_s=60
                )
                assert jpeg.startswith(b"\xff\xd8")
            else:
                result = await self.client.request(
                    command, params, answer, picture=picture, timeout_s=60
                )
        except NodeCommandError as err:
            self.note(step, f"error {err.code}")
            return None
        self.note(step, shape(result))
        return result

    async def raw(self, step: str, command: str, message: Any) -> None:
        """Note the code of the error that something senseless is answered with."""
        with pytest.raises(NodeCommandError) as caught:
            await self.client._exchange(command, message, None, 60)  # type: ignore[arg-type]
        self.note(step, f"error {caught.value.code}")


def shape(value: Any) -> Any:
    """Return the fields of an answer and their types; of a list the first item stands for all."""
    if is_dataclass(value) and not isinstance(value, type):
        return shape(asdict(value))
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in _OF_THE_MACHINE}
    if isinstance(value, list | tuple):
        return [shape(value[0])] if value else []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


# Known of one machine and not of another, or only after a while.
_OF_THE_MACHINE = {"temperature_c", "board_profile", "board", "missing", "memory_bytes"}
_OF_THE_MACHINE |= {"frames_per_second"}


async def talk(hass: HomeAssistant, connect: Connect) -> list[tuple[str, Any]]:
    """Say the same to a node, whichever it is."""
    events: list[tuple[int | None, NodeEvent, str | None]] = []
    looks: list[Look] = []
    client = NodeClient(on_event=lambda *event: events.append(event), on_look=looks.append)
    async with client, mjpeg_camera(STREET) as camera:
        await connect(client)
        talk = Talk(client)
        await _what_it_is(talk)
        await _stills(talk, events)
        await _refusals(talk)
        await _live(talk, camera.address, events, looks)
        await _later(talk, connect, events)
    return talk.said


async def _what_it_is(talk: Talk) -> None:
    info = await talk.ask("info", Command.INFO, None, NodeInfo)
    talk.note("default model", info.default_model)
    talk.note("labels", info.models[0].labels)
    talk.note("engines of the model", info.models[0].engines)
    wanted = (
        PIPELINE,
        PipelineConfig(pipeline_id="01B", name="B", model="nope"),
        PipelineConfig(pipeline_id="01C", name="C", labels=("unicorn",)),
        PipelineConfig(pipeline_id="01D", name="D", accelerator="cuda:7"),
        PipelineConfig(pipeline_id="01E", name="E", accelerator="cuda:7", allow_fallback=True),
        PipelineConfig(pipeline_id="01F", name="F", privacy_masks=(EVERYWHERE[:2],)),
        PipelineConfig(pipeline_id="01G", name="G", engine="ncnn", accelerator="cpu"),
    )
    await talk.client.request(
        Command.CONFIGURE, Configure(pipelines=wanted), NodeStatus, timeout_s=60
    )
    status = await _settled(talk.client)
    talk.note("status", shape(status))
    for item in sorted(status.pipelines, key=lambda item: item.pipeline_id):
        place = item.model, item.model_version, item.engine, item.accelerator
        fell_back = item.fallback_from is not None
        talk.note(item.pipeline_id, (item.state, item.error_code, *place, fell_back))
    await talk.ask("ping", Command.PING, None, Nothing)
    await talk.ask("allow", Command.ALLOW_MODEL, AllowModel(model="nope"), NodeStatus)
    await talk.ask("benchmark", Command.BENCHMARK, BenchmarkRequest(seconds=0.05), Benchmark)


async def _settled(client: NodeClient) -> NodeStatus:
    while True:
        status = await client.request(Command.STATUS, None, NodeStatus, timeout_s=60)
        if all(item.state != PipelineState.LOADING for item in status.pipelines):
            return status
        await asyncio.sleep(0.05)


async def _stills(talk: Talk, events: list[Any]) -> None:
    await talk.ask("subscribe", Command.SUBSCRIBE, Subscribe(), Subscribed)
    await talk.ask("subscribe twice", Command.SUBSCRIBE, Subscribe(), Subscribed)
    for name, picture in (("nobody", BLANK), ("street", STREET), ("gone?", BLANK), ("gone", BLANK)):
        request = LookRequest(pipeline_id="01A", captured_at=NOW, scan=name == "street")
        look = await talk.ask(name, Command.LOOK, request, Look, picture)
        presence = {label: (item.present, item.count) for label, item in look.presence.items()}
        talk.note(f"{name}: presence", presence)
        talk.note(f"{name}: objects", [item.label for item in look.objects])
    found = await talk.ask("results", Command.RESULTS, ResultsRequest(limit=5), Results)
    await until(lambda: len(events) >= len(found.events))
    for seq, event, log in events:
        talk.note(f"event {seq}", (log is not None, _told(event), event.evidence is not None))
    (evidence,) = {event.evidence for _, event, _ in events if event.evidence}
    assert evidence == events[0][1].event_id
    for clean in (False, True):
        await talk.ask(
            f"evidence {clean}",
            Command.EVIDENCE,
            EvidenceRequest(event_id=evidence, clean=clean, pipeline_id="01A"),
            Picture,
            brings_picture=True,
        )
    for name, wanted in (
        ("with picture", ResultsRequest(with_picture=True)),
        ("before", ResultsRequest(before=3)),
        ("of another", ResultsRequest(pipeline_id="01B")),
        ("one", ResultsRequest(limit=0)),
    ):
        answer = await talk.client.request(Command.RESULTS, wanted, Results)
        talk.note(f"results {name}", [item.seq for item in answer.events])
    await talk.ask(
        "picture", Command.PICTURE, PictureRequest(pipeline_id="01A"), Picture, brings_picture=True
    )


def _told(event: NodeEvent) -> tuple[Any, ...]:
    box = event.box is not None
    return event.kind, event.phase, event.label, event.count, box, event.zone, event.zones


async def _refusals(talk: Talk) -> None:
    await talk.raw("no such command", "fly", None)
    await talk.raw(
        "a look without a picture", "look", LookRequest(pipeline_id="01A", captured_at=NOW)
    )
    await talk.raw("pipelines that are none", "configure", None)
    await talk.raw("parameters are missing", "picture", None)
    look = partial(LookRequest, captured_at=NOW)
    nowhere = PeekRequest(video=Video(url="http://127.0.0.1:1/x"))
    bad_mask = DetectRequest(privacy_masks=(EVERYWHERE[:2],))
    late = LookRequest(pipeline_id="01A", captured_at="noon")
    for name, command, params, answer, picture in (
        ("unknown pipeline", Command.LOOK, look(pipeline_id="x"), Look, STREET),
        ("unknown model", Command.LOOK, look(pipeline_id="01B"), Look, STREET),
        ("rubbish", Command.LOOK, look(pipeline_id="01A"), Look, b"rubbish"),
        ("no time", Command.LOOK, late, Look, STREET),
        ("no live", Command.LIVE, LiveRequest(pipeline_id="01A"), Picture, None),
        ("no scan", Command.SCAN, ScanRequest(pipeline_id="01A"), Look, None),
        ("no picture", Command.PICTURE, PictureRequest(pipeline_id="01B"), Picture, None),
        ("no evidence", Command.EVIDENCE, EvidenceRequest(event_id="0" * 26), Picture, None),
        ("not removed", Command.FORGET, Forget(pipeline_id="01A"), Nothing, None),
        ("removed", Command.FORGET, Forget(pipeline_id="01Z"), Nothing, None),
        ("remove", Command.REMOVE_MODEL, RemoveModel(model="nope"), Nothing, None),
        ("model", Command.DETECT, DetectRequest(model="nope"), Detected, STREET),
        ("label", Command.DETECT, DetectRequest(labels=("unicorn",)), Detected, STREET),
        ("mask", Command.DETECT, bad_mask, Detected, STREET),
        ("detect", Command.DETECT, DetectRequest(labels=("person",)), Detected, STREET),
        ("hidden", Command.DETECT, DetectRequest(privacy_masks=(EVERYWHERE,)), Detected, STREET),
        ("detect rubbish", Command.DETECT, DetectRequest(), Detected, b"\xff\xd8\xffrubbish"),
        ("outline rubbish", Command.OUTLINE, OutlineRequest(), Picture, b"rubbish"),
        ("no video", Command.PEEK, nowhere, Picture, None),
    ):
        await talk.ask(name, command, params, answer, picture)
    for name, command, drawn, answer_kind in (
        ("annotated", Command.DETECT, DetectRequest(annotate=True), Detected),
        ("outline", Command.OUTLINE, OutlineRequest(privacy_masks=(EVERYWHERE,)), Picture),
    ):
        await talk.ask(name, command, drawn, answer_kind, STREET, brings_picture=True)


async def _live(talk: Talk, address: str, events: list[Any], looks: list[Look]) -> None:
    events.clear()
    zone = Zone(name="Porch", points=EVERYWHERE)
    config = PipelineConfig(
        pipeline_id="01L",
        name="Live",
        camera="garden",
        labels=("person",),
        confidence=40.0,
        video=Video(url=address, fps=10.0),
        zones=(zone,),
    )
    await talk.client.request(
        Command.CONFIGURE, Configure(pipelines=(config,)), NodeStatus, timeout_s=60
    )

    def followed(look: Look) -> bool:
        return len(look.objects) == 3 and all(item.zones for item in look.objects)

    await until(lambda: any(map(followed, looks)))
    await until(lambda: len(events) >= 6)
    look = next(filter(followed, looks))
    talk.note("live look", shape(look))
    talk.note("live presence", look.presence["person"].count)
    talk.note("live zones", look.zones["Porch"]["person"].present)
    talk.note("live events", sorted((e.kind, e.phase, e.zone or "") for _, e, _ in events))
    assert len({event.track_id for _, event, _ in events}) == 3
    live = LiveRequest(pipeline_id="01L")
    await talk.ask("live", Command.LIVE, live, Picture, brings_picture=True)
    await talk.ask("scan", Command.SCAN, ScanRequest(pipeline_id="01L"), Look)
    peek = PeekRequest(video=Video(url=address))
    await talk.ask("peek", Command.PEEK, peek, Picture, brings_picture=True)
    status = await talk.client.request(Command.STATUS, None, NodeStatus)
    talk.note("source", shape(status.pipelines[0].source))
    late = LookRequest(pipeline_id="01L", captured_at=NOW)
    await talk.ask("a still comes late", Command.LOOK, late, Look, STREET)


async def _later(talk: Talk, connect: Connect, events: list[Any]) -> None:
    """Connect a second hub that has heard the first three events of this log."""
    newest, log = max(seq for seq, _, _ in events), events[-1][2]
    missed: list[int | None] = []
    async with NodeClient(on_event=lambda seq, event, log: missed.append(seq)) as second:
        await connect(second)
        answer = await second.request(Command.SUBSCRIBE, Subscribe(after=3, log=log), Subscribed)
        talk.note("subscribed", answer.log == log)
        await until(lambda: newest in missed)
        talk.note("missed", missed[: newest - 3] == list(range(4, newest + 1)))
    everything: list[int | None] = []
    async with NodeClient(on_event=lambda seq, event, log: everything.append(seq)) as third:
        await connect(third)
        await third.request(Command.SUBSCRIBE, Subscribe(after=3, log="another"), Subscribed)
        await until(lambda: newest in everything)
        talk.note("of another log", everything[:newest] == list(range(1, newest + 1)))


@pytest.mark.real_node
async def test_the_fake_node_answers_as_the_real_one(hass: HomeAssistant) -> None:
    async with real_node(hass) as connect:
        real = await talk(hass, connect)
    async with fake_node(hass) as connect:
        fake = await talk(hass, connect)
    assert [step for step, _ in fake] == [step for step, _ in real]
    differing = {
        step: {"real": said, "fake": fake_said}
        for (step, said), (_, fake_said) in zip(real, fake, strict=True)
        if said != fake_said
    }
    assert differing == {}, json.dumps(differing, indent=1, default=str)
