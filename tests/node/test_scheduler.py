"""The scheduler: fair, newest first, and no job forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from edge_vision_node.errors import SupersededError
from edge_vision_node.workers.scheduler import Scheduler


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    await scheduler.close()


def job(result: object, ran: list[object]) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        ran.append(result)
        return result

    return run


class Gate:
    """Jobs that hold the scheduler until they are let through."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.full = asyncio.Event()
        self.running = 0

    async def __call__(self) -> None:
        self.running += 1
        if self.running == 2:
            self.full.set()
        await self.open.wait()


async def hold(scheduler: Scheduler) -> tuple[Gate, list[asyncio.Task[None]]]:
    """Take up all there is, so that everything else has to wait."""
    gate = Gate()
    tasks = [asyncio.create_task(scheduler.run(f"gate {i}", gate)) for i in range(2)]
    await gate.full.wait()
    return gate, tasks


async def test_returns_what_the_job_returns_and_raises_what_it_raises(
    scheduler: Scheduler,
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    assert await scheduler.run("a", job(42, [])) == 42
    with pytest.raises(ZeroDivisionError):
        await scheduler.run("a", fail)
    assert await scheduler.run("a", job(43, [])) == 43


async def test_a_newer_frame_takes_the_place_of_an_older_one(scheduler: Scheduler) -> None:
    gate, held = await hold(scheduler)
    ran: list[object] = []
    old = asyncio.create_task(scheduler.run("door", job("old", ran)))
    await asyncio.sleep(0)
    new = asyncio.create_task(scheduler.run("door", job("new", ran)))
    await asyncio.sleep(0)
    gate.open.set()
    with pytest.raises(SupersededError):
        await old
    assert await new == "new"
    await asyncio.gather(*held)
    assert ran == ["new"]


async def test_a_busy_camera_does_not_hold_up_the_others(scheduler: Scheduler) -> None:
    gate, held = await hold(scheduler)
    ran: list[object] = []
    tasks = []
    for user in ("busy", "calm", "busy", "busy", "third"):
        tasks.append(asyncio.create_task(scheduler.run(user, job(user, ran))))
        await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*held, *tasks, return_exceptions=True)
    assert ran == ["busy", "calm", "third"]


async def test_two_jobs_at_most_are_under_way(scheduler: Scheduler) -> None:
    inside = most = 0

    async def run() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    await asyncio.gather(*(scheduler.run(str(i), run) for i in range(20)))
    assert most == 2


async def test_a_job_that_nobody_waits_for_is_not_run(scheduler: Scheduler) -> None:
    gate, held = await hold(scheduler)
    ran: list[object] = []
    task = asyncio.create_task(scheduler.run("door", job("door", ran)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.open.set()
    await asyncio.gather(*held)
    await scheduler.run("other", job("other", ran))
    assert ran == ["other"]


async def test_closing_ends_what_runs_and_what_waits() -> None:
    scheduler = Scheduler()
    _, held = await hold(scheduler)
    waiting = asyncio.create_task(scheduler.run("door", job("door", [])))
    await asyncio.sleep(0)
    await scheduler.close()
    results = await asyncio.gather(*held, waiting, return_exceptions=True)
    assert all(isinstance(result, SupersededError) for result in results)
    with pytest.raises(SupersededError):
        await scheduler.run("late", job("late", []))


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("jobs", [1, 2, 5])
async def test_closing_leaves_nobody_waiting_however_far_a_job_has_come(
    steps: int, jobs: int
) -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    scheduler = Scheduler()
    callers = [asyncio.create_task(scheduler.run(str(i), work)) for i in range(jobs)]
    for _ in range(steps):
        await asyncio.sleep(0)
    await scheduler.close()
    for result in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(result, SupersededError)


async def test_closing_that_is_cancelled_answers_all_the_same() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(0.05)

    scheduler = Scheduler()
    _, held = await hold(scheduler)
    waiting = asyncio.create_task(scheduler.run("door", stubborn))
    await asyncio.sleep(0)
    closing = asyncio.create_task(scheduler.close())
    await asyncio.sleep(0)
    closing.cancel()
    results = await asyncio.gather(*held, waiting, return_exceptions=True)
    assert all(isinstance(result, SupersededError) for result in results)
    with pytest.raises(asyncio.CancelledError):
        await closing
