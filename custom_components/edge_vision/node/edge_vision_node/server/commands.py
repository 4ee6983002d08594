"""The commands of a hub: what each one reads, does and answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..errors import NodeError
from ..node import Node
from ..protocol import (
    AllowModel,
    BenchmarkRequest,
    Command,
    Configure,
    DetectRequest,
    ErrorCode,
    EvidenceRequest,
    Forget,
    InspectModel,
    InstallModel,
    InstallProgress,
    LiveRequest,
    LookRequest,
    Nothing,
    OutlineRequest,
    PeekRequest,
    PictureRequest,
    PipelineConfig,
    ProtocolError,
    RemoveModel,
    Results,
    ResultsRequest,
    ScanRequest,
    SelfTestRequest,
    Subscribe,
    Subscribed,
    UploadChunk,
    check_aspects,
    check_polygons,
    read,
)

_T = TypeVar("_T")

_MAX_RESULTS = 1000
_PROGRESS_EVERY_S = 0.2

# An answer, and the picture that comes with it.
Answer = tuple[object, bytes | None]


class Caller(Protocol):
    """The connection that a command came from."""

    def send_progress(self, command: int, progress: object) -> None:
        """Report the progress of a command."""

    async def subscribe(self, request: Subscribe) -> Subscribed:
        """Push events, states and looks from now on."""


@dataclass(frozen=True)
class Call:
    """A command that came in.

    Attributes:
        header: the message.
        content: the picture, or part of a file, that came with it.
    """

    node: Node
    caller: Caller
    header: dict[str, Any]
    content: memoryview | None

    def send_progress(self, progress: object) -> None:
        """Report progress to the caller."""
        self.caller.send_progress(self.header["id"], progress)


@dataclass(frozen=True)
class Handler:
    """How a command is answered. `takes_content`: a picture or part of a file comes with it."""

    answer: Callable[[Call], Awaitable[Answer]]
    takes_content: bool = False


class _UnknownCommandError(NodeError):
    code = ErrorCode.UNKNOWN_COMMAND


async def execute(call: Call) -> Answer:
    """Execute a command. Raises `ProtocolError` or `NodeError`."""
    name = call.header.get("type")
    try:
        command = Command(str(name))
    except ValueError:
        raise _UnknownCommandError(f"This node knows no command {name!r}") from None
    handler = HANDLERS[command]
    if handler.takes_content != (call.content is not None):
        kind = "a binary message with a picture" if call.content is None else "a text message"
        raise ProtocolError(f"{command} is {kind}")
    return await handler.answer(call)


# --- Kinds of handlers ---------------------------------------------------------------------------


def _plain(message: type[_T], do: Callable[[Node, _T], Awaitable[object]]) -> Handler:
    """Answer with what `do` returns; `Nothing` if that is None."""

    async def answer(call: Call) -> Answer:
        result = await do(call.node, read(message, call.header))
        return Nothing() if result is None else result, None

    return Handler(answer)


def _picture(
    message: type[_T], do: Callable[[Node, _T], Awaitable[tuple[object, bytes | None]]]
) -> Handler:
    """Answer with what `do` returns, and a picture."""

    async def answer(call: Call) -> Answer:
        return await do(call.node, read(message, call.header))

    return Handler(answer)


def _content(message: type[_T], do: Callable[[Node, _T, memoryview], Awaitable[object]]) -> Handler:
    """Answer with what `do` makes of the bytes that came with the command."""

    async def answer(call: Call) -> Answer:
        assert call.content is not None  # by takes_content
        return await do(call.node, read(message, call.header), call.content), None

    return Handler(answer, takes_content=True)


# --- Handlers of their own -----------------------------------------------------------------------


async def _ping(_node: Node, _message: Nothing) -> None:
    """Answer."""


async def _configure(call: Call) -> Answer:
    wanted, refused = _pipelines(call.header.get("pipelines"))
    return await call.node.configure(wanted, refused), None


def _pipelines(items: object) -> tuple[Configure, dict[str, str]]:
    """Return the pipelines that can be read, and id → why not of the others."""
    if not isinstance(items, list):
        raise ProtocolError("Configure.pipelines: a list was expected")
    configs: list[PipelineConfig] = []
    refused: dict[str, str] = {}
    for item in items:
        try:
            configs.append(read(PipelineConfig, item))
        except ProtocolError as err:
            # Without an id the error could not be shown for any camera.
            pipeline_id = item.get("pipeline_id") if isinstance(item, dict) else None
            if not isinstance(pipeline_id, str):
                raise
            refused[pipeline_id] = str(err)
    return Configure(pipelines=tuple(configs)), refused


async def _detect(call: Call) -> Answer:
    assert call.content is not None  # by takes_content
    request = read(DetectRequest, call.header)
    check_polygons(request.privacy_masks)
    check_aspects(request.mask_aspects)
    return await call.node.detect(request, call.content)


async def _outline(call: Call) -> Answer:
    assert call.content is not None  # by takes_content
    request = read(OutlineRequest, call.header)
    zones = (zone.points for zone in request.zones)
    check_polygons((*zones, *request.privacy_masks, *request.motion_masks))
    return await call.node.previews.outline(request, call.content)


async def _results(node: Node, request: ResultsRequest) -> Results:
    limit = min(max(request.limit, 1), _MAX_RESULTS)
    return Results(events=tuple(await node.archive.results(request, limit)))


async def _install_model(call: Call) -> Answer:
    request = read(InstallModel, call.header)
    sent_at = 0.0

    def listener(progress: InstallProgress) -> None:
        nonlocal sent_at
        done = progress.done_bytes == progress.total_bytes
        if done or time.monotonic() - sent_at >= _PROGRESS_EVERY_S:
            sent_at = time.monotonic()
            call.send_progress(progress)

    return await call.node.install_model(request.model, listener), None


async def _benchmark(call: Call) -> Answer:
    request = read(BenchmarkRequest, call.header)
    return await call.node.benchmark(request, call.send_progress), None


async def _subscribe(call: Call) -> Answer:
    return await call.caller.subscribe(read(Subscribe, call.header)), None


HANDLERS: Mapping[Command, Handler] = {
    Command.ALLOW_MODEL: _plain(AllowModel, lambda node, it: node.allow_model(it.model)),
    Command.BENCHMARK: Handler(_benchmark),
    Command.CATALOGUE: _plain(Nothing, lambda node, _: node.models.catalogue()),
    Command.CONFIGURE: Handler(_configure),
    Command.DETECT: Handler(_detect, takes_content=True),
    Command.EVIDENCE: _picture(EvidenceRequest, lambda node, it: node.pictures.evidence(it)),
    Command.FORGET: _plain(Forget, lambda node, it: node.pipelines.forget(it.pipeline_id)),
    Command.INFO: _plain(Nothing, lambda node, _: node.info()),
    Command.INSPECT_MODEL: _picture(InspectModel, lambda node, it: node.inspect_model(it)),
    Command.INSTALL_MODEL: Handler(_install_model),
    Command.LIVE: _picture(LiveRequest, lambda node, it: node.previews.live_view(it)),
    Command.LOOK: _content(LookRequest, lambda node, it, picture: node.pipelines.look(it, picture)),
    Command.OUTLINE: Handler(_outline, takes_content=True),
    Command.PEEK: _picture(PeekRequest, lambda node, it: node.previews.peek(it.video)),
    Command.PICTURE: _picture(
        PictureRequest, lambda node, it: node.pipelines.last_picture(it.pipeline_id)
    ),
    Command.PING: _plain(Nothing, _ping),
    Command.REMOVE_MODEL: _plain(RemoveModel, lambda node, it: node.remove_model(it.model)),
    Command.RESULTS: _plain(ResultsRequest, _results),
    Command.SCAN: _plain(ScanRequest, lambda node, it: node.pipelines.scan(it.pipeline_id)),
    Command.SELF_TEST: _plain(SelfTestRequest, lambda node, it: node.self_test(it)),
    Command.STATUS: _plain(Nothing, lambda node, _: node.status()),
    Command.SUBSCRIBE: Handler(_subscribe),
    Command.UPLOAD: _content(
        UploadChunk, lambda node, it, part: node.models.upload(it, bytes(part))
    ),
}
