"""Stills in the place of live video: what was followed goes on in them, and ends once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from edge_vision_node.protocol import Kind, Look, LookRequest, Phase, PipelineConfig

from tests.live_camera import MjpegCamera, mjpeg_camera
from tests.node.test_live import EMPTY, STREET, Watcher, pipeline, until, watcher
from tests.small_models import RED, add_classification, painted

pytestmark = pytest.mark.usefixtures("socket_enabled")


class Porch:
    """A node that has followed people at camera A."""

    def __init__(self, it: Watcher, stream: MjpegCamera) -> None:
        self.it, self._stream = it, stream

    def config(self, camera: str = "A", **changes: Any) -> PipelineConfig:
        return replace(pipeline(self._stream, **changes), camera=camera)

    async def follow(self, **changes: Any) -> None:
        """Watch until all are told."""
        await self.it.watch(self.config(**changes))
        await until(lambda: len(self.starts) >= 3)
        await self.it.frames(5)

    @property
    def starts(self) -> set[int | None]:
        return {track for phase, track in self.it.phases(Kind.OBJECT) if phase == Phase.START}

    async def stills(self, picture: bytes, times: int = 6, **changes: Any) -> Look:
        """Look at stills."""
        await self.it.watch(self.config(video=None, **changes))
        for _ in range(times):
            at = datetime.now(UTC).isoformat()
            request = LookRequest(pipeline_id="porch", captured_at=at)
            look = await self.it.node.pipelines.look(request, memoryview(picture))
        return look

    @property
    def ends(self) -> list[int | None]:
        """Return the tracks that have ended, as often as they have."""
        return [track for phase, track in self.it.phases(Kind.OBJECT) if phase == Phase.END]


@asynccontextmanager
async def porch(folder: Path) -> AsyncIterator[Porch]:
    async with mjpeg_camera(STREET) as stream, watcher(folder) as it:
        yield Porch(it, stream)


async def test_who_is_there_goes_on_and_ends_once(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        await at.follow()
        before, followed = list(at.it.events), at.starts
        look = await at.stills(STREET)
        assert look.presence["person"].present
        assert [item for item in at.it.events if item not in before] == []
        look = await at.stills(EMPTY)
        assert not look.presence["person"].present
        assert sorted(at.ends, key=str) == sorted(followed, key=str)


async def test_after_another_camera_it_is_no_other_one_again(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        await at.it.watch(at.config("A"))
        await until(lambda: at.it.looks)
        await at.follow(camera="B")
        at.it.events.clear()
        await at.stills(STREET, camera="B")
        assert at.it.events == []


async def test_with_another_camera_and_other_labels_all_ends(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        await at.follow(labels=())
        followed = at.starts
        await at.stills(STREET, labels=())
        await at.stills(EMPTY, camera="B", labels=("dog",))
        assert sorted(at.ends, key=str) == sorted(followed, key=str)


async def test_a_model_that_finds_no_objects_ends_what_was_followed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    model = add_classification(tmp_path / "models")
    async with porch(tmp_path) as at:
        await at.follow(labels=())
        followed = at.starts
        look = await at.stills(painted(RED), labels=(), model=model)
        assert sorted(at.ends, key=str) == sorted(followed, key=str)
        assert not any(item.present for item in look.presence.values())


async def test_live_video_that_a_model_without_objects_looks_at_ends_what_was_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "models").mkdir()
    model = add_classification(tmp_path / "models")
    async with porch(tmp_path) as at:
        await at.follow(labels=())
        followed = at.starts
        at.it.looks.clear()
        await at.it.watch(at.config(labels=(), model=model))
        await until(lambda: at.it.looks)
        assert sorted(at.ends, key=str) == sorted(followed, key=str)
        # And the other way round: the answer is none of what is followed.
        at.it.events.clear()
        await at.follow(labels=())
        assert at.ends == []
        assert not at.starts & followed


async def test_who_comes_besides_is_told(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        await at.follow()
        followed = len(at.starts)
        await at.stills(STREET, times=1)
        # As if one of them had not been there before.
        memory = at.it.node.pipelines.get("porch").memory
        memory._presence.restore({"labels": {"person": {"count": followed - 1}}})
        at.it.events.clear()
        await at.stills(STREET)
        told = [(event.phase, event.count) for event in at.it.events]
        assert told == [(Phase.UPDATE, followed)]
