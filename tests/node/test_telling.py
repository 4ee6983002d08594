"""Events are written and pushed in one place, and what fails there is a state, not a lost task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from edge_vision_node.node import Node
from edge_vision_node.pipelines.background import Background
from edge_vision_node.pipelines.telling import Teller
from edge_vision_node.protocol import NodeEvent
from edge_vision_node.storage.archive import Archive

from .test_results import event


@dataclass
class Told:
    """A teller with its archive; `errors` are those that the status showed, one after the other."""

    archive: Archive
    background: Background
    teller: Teller
    errors: list[str | None] = field(default_factory=list)
    heard: list[tuple[int | None, str]] = field(default_factory=list)

    def hear(self, seq: int | None, item: NodeEvent) -> None:
        self.heard.append((seq, item.label))


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    archive = Archive(tmp_path, lambda: None)
    background = Background(lambda: them.errors.append(background.error))
    them = Told(archive, background, Teller(archive, background))
    them.teller.listen_events(them.hear)
    yield them
    await background.settled()
    await archive.close()


async def test_a_listener_that_fails_silences_no_other_and_shows_until_it_works(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def hear(_seq: int | None, _event: NodeEvent) -> None:
        if broken:
            raise LookupError("nobody is there")

    stop = told.teller.listen_events(hear)
    later: list[str] = []
    told.teller.listen_events(lambda _seq, item: later.append(item.label))
    for label in ("cat", "dog"):
        await told.teller.tell([event(label)])
    assert told.heard == [(1, "cat"), (2, "dog")]
    assert later == ["cat", "dog"]
    assert told.errors == ["Events cannot be pushed: LookupError: nobody is there"]
    assert "nobody is there" in caplog.text
    broken = False
    await told.teller.tell([event("bird")])
    assert told.errors[1:] == [None]
    stop()


async def test_an_event_that_cannot_be_written_is_pushed_without_a_number(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> list[int]:
        raise RuntimeError("no such column")

    with monkeypatch.context() as patched:
        patched.setattr(told.archive, "append", fail)
        await told.teller.tell([event("cat")])
    assert told.heard == [(None, "cat")]
    assert told.errors == ["Events cannot be kept: RuntimeError: no such column"]
    await told.teller.tell([event("dog")])
    assert told.heard[1:] == [(1, "dog")]
    assert told.errors[1:] == [None]


async def test_an_event_is_pushed_although_its_look_is_cancelled(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, going, go_on = told.archive.append, asyncio.Event(), asyncio.Event()

    async def slow(*args: object) -> list[int]:
        going.set()
        await go_on.wait()
        return await append(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(told.archive, "append", slow)
    look = asyncio.create_task(told.teller.tell([event("cat")]))
    await going.wait()
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    go_on.set()
    await told.background.settled()
    assert told.heard == [(1, "cat")]


async def test_no_task_fails_unseen(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    lost: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: lost.append(context))

    async def fail() -> None:
        raise ValueError("a picture without pixels")

    told.background.spawn(fail(), "A picture cannot be kept")
    await told.background.settled()
    assert told.background.error == "A picture cannot be kept: ValueError: a picture without pixels"
    going = asyncio.Event()

    async def change() -> None:
        going.set()
        await asyncio.sleep(0.01)
        raise ValueError("half a change")

    asked = asyncio.create_task(told.background.finish(change()))
    await going.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await told.background.settled()
    await asyncio.sleep(0)
    assert "half a change" in caplog.text
    with pytest.raises(ValueError, match="half a change"):
        await told.background.finish(change())
    assert lost == []


async def test_a_status_that_cannot_be_pushed_is_not_pushed_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "edge_vision_node.pipelines.background")
    node = Node(tmp_path)
    tried: list[str | None] = []

    def fail(status: object) -> None:
        tried.append(getattr(status, "storage_error", None))
        raise OSError("gone")

    node.listen_status(fail)
    node.changed()
    for _ in range(4):
        await node.background.settled()
    assert tried == [None, "The status cannot be pushed: OSError: gone"]
    await node.close()
