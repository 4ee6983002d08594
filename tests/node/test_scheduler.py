"""The lane: fair, newest first, and no job forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from edge_vision_node.errors import SupersededError
from edge_vision_node.scheduler import Lane


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane("test")
    yield lane
    await lane.close()


class Gate:
    """A job that holds the lane until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.running = threading.Event()

    def __call__(self) -> None:
        self.running.set()
        assert self.open.wait(10)


async def hold(lane: Lane) -> tuple[Gate, asyncio.Task[None]]:
    gate = Gate()
    task = asyncio.create_task(lane.run("gate", gate))
    await asyncio.to_thread(gate.running.wait, 10)
    return gate, task


async def test_returns_what_the_job_returns_and_raises_what_it_raises(lane: Lane) -> None:
    assert await lane.run("a", lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await lane.run("a", lambda: 1 // 0)
    assert await lane.run("a", lambda: 43) == 43


async def test_a_newer_frame_takes_the_place_of_an_older_one(lane: Lane) -> None:
    gate, held = await hold(lane)
    ran: list[str] = []
    old = asyncio.create_task(lane.run("door", lambda: ran.append("old")))
    await asyncio.sleep(0)
    new = asyncio.create_task(lane.run("door", lambda: ran.append("new")))
    await asyncio.sleep(0)
    gate.open.set()
    with pytest.raises(SupersededError):
        await old
    await new
    await held
    assert ran == ["new"]


async def test_a_busy_camera_does_not_hold_up_the_others(lane: Lane) -> None:
    gate, held = await hold(lane)
    ran: list[str] = []
    tasks = []
    for user in ("busy", "calm", "busy", "busy", "third"):
        tasks.append(asyncio.create_task(lane.run(user, lambda user=user: ran.append(user))))
        await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(held, *tasks, return_exceptions=True)
    assert ran == ["busy", "calm", "third"]


async def test_jobs_run_one_at_a_time(lane: Lane) -> None:
    inside = 0
    most = 0

    def job() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.002)
        inside -= 1

    await asyncio.gather(*(lane.run(str(i), job) for i in range(20)))
    assert most == 1


async def test_a_job_that_nobody_waits_for_is_not_run(lane: Lane) -> None:
    gate, held = await hold(lane)
    ran: list[str] = []
    task = asyncio.create_task(lane.run("door", lambda: ran.append("door")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.open.set()
    await held
    await lane.run("other", lambda: None)
    assert ran == []


async def test_closing_cancels_what_waits() -> None:
    lane = Lane("test")
    gate, held = await hold(lane)
    waiting = asyncio.create_task(lane.run("door", lambda: None))
    await asyncio.sleep(0)
    gate.open.set()
    await lane.close()
    results = await asyncio.gather(held, waiting, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError) or results[1] is None
