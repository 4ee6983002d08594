"""Live video in a real Home Assistant: the delay of events and the cost of cameras.

Usage: python -m tests.bench.live_video [--fps 5 10 15] [--rounds 20] [--cameras 4] [--seconds 20]
    [--source rtsp|mjpeg]

Cameras stream 1280x720 on localhost, H.264 over RTSP or JPEGs over HTTP. For the time to an event,
a camera shows an empty street and then a person. The time is measured from sending the first frame
with the person until its event is on the bus of Home Assistant, and from the frame that triggers
the event, which is the second one unless the model is very confident. For the load, all cameras
play the clip of the demo at 5 frames per second. The lag of the event loop is the delay of a 10 ms
timer in it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import secrets
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from typing import Any

import av
import psutil
from PIL import Image

from tests.bench.home_assistant_load import CLIP, Measured, lag, memory_mb, node_memory_mb, node_of
from tests.live_camera import MjpegCamera, mjpeg_camera
from tests.rtsp_camera import RtspCamera, rtsp_camera

Camera = MjpegCamera | RtspCamera
Source = Callable[[bytes], AbstractAsyncContextManager[Any]]
SOURCES: dict[str, Source] = {"rtsp": rtsp_camera, "mjpeg": mjpeg_camera}

_SIZE = (1280, 720)
_GONE_S = 4.0
_SETTLE_S = 5.0
# Home Assistant reloads an entry half a minute after one of its entities was enabled.
_RELOADED_S = 32.0
_LOAD_FPS = 5


def clip_pictures() -> list[bytes]:
    """Return every frame of the clip of the demo as a JPEG of 1280x720."""
    with av.open(str(CLIP)) as container:
        return [encoded(frame.to_image()) for frame in container.decode(video=0)]


def encoded(image: Image.Image) -> bytes:
    """Return an image as a JPEG of 1280x720."""
    out = io.BytesIO()
    image.resize(_SIZE).save(out, "JPEG", quality=85)
    return out.getvalue()


async def add_source(client: Any, camera: Camera, number: int) -> str:
    """Add a camera to Home Assistant and return its entity."""
    before = await client.states("camera")

    async def new() -> list[str]:
        # Views of cameras added before may appear at the same time.
        now = await client.states("camera")
        return [name for name in now.keys() - before.keys() if not name.endswith("_view")]

    if isinstance(camera, RtspCamera):
        answers = {
            "user": {"stream_source": camera.address},
            "user_confirm": {"confirmed_ok": True},
        }
        await client.config_flow("generic", answers)
    else:
        answers = {"user": {"name": f"Source {number}", "mjpeg_url": camera.address}}
        await client.config_flow("mjpeg", answers)
    async with asyncio.timeout(20):
        while not (found := await new()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return found[0]


async def until_loaded(client: Any, entity_id: str) -> None:
    """Wait until a new camera is loaded: adding it reloads the entry."""
    async with asyncio.timeout(60):
        while True:
            (entry,) = await client.get("/api/config/config_entries/entry?domain=edge_vision")
            if entry["state"] == "loaded" and entity_id in await client.states("image_processing"):
                return
            await asyncio.sleep(0.2)


async def add_camera(client: Any, camera: Camera, number: int, fps: float) -> str:
    """Add a camera and, the first time, Edge Vision; return the entity of the pipeline."""
    source = await add_source(client, camera, number)
    entries = await client.get("/api/config/config_entries/entry?domain=edge_vision")
    if entries:
        entry = entries[0]["entry_id"]
    else:
        entry = (await client.config_flow("edge_vision", {}))["result"]["entry_id"]
    settings = {
        "camera": source,
        "name": f"Camera {number}",
        "detection": {"labels": ["person"]},
        "video": {"fps": fps},
    }
    # A camera without a still in Home Assistant can be saved anyway.
    answers = {"settings": settings, "no_picture": {"next_step_id": "save"}}
    await client.subentry_flow(entry, "pipeline", answers)
    entity_id = f"image_processing.camera_{number}"
    await until_loaded(client, entity_id)
    return entity_id


async def time_to_event(
    source: Source, fps: float, rounds: int, street: bytes, person: bytes
) -> dict[str, Any]:
    """Return the milliseconds from sending the first frame to the event on the bus."""
    home = Measured(password=secrets.token_urlsafe(9))
    took: list[float] = []
    frames: list[int] = []
    inference: list[float] = []
    async with source(street) as camera, home, home.client.websocket() as socket:
        camera.fps = fps
        await add_camera(home.client, camera, 1, fps)
        await socket.subscribe("edge_vision_detection")
        await asyncio.sleep(_SETTLE_S)
        for number in range(rounds):
            # Vary the moment within the interval of a frame.
            await asyncio.sleep(_GONE_S + number % 7 / 7 / fps)
            while not socket.events.empty():
                socket.events.get_nowait()
            camera.show(person)
            async with asyncio.timeout(20):
                while (event := await socket.events.get())["data"]["phase"] != "start":
                    pass
            fired = datetime.fromisoformat(event["time_fired"]).timestamp()
            took.append((fired - camera.shown_at) * 1000)
            captured = datetime.fromisoformat(event["data"]["captured_at"]).timestamp()
            frames.append(1 + round((captured - camera.shown_at) * fps))
            inference.append(event["data"]["inference_ms"])
            camera.show(street)
    told = [ms - (number - 1) * 1000 / fps for ms, number in zip(took, frames, strict=True)]
    return {
        "fps": fps,
        **_quantiles(took),
        "from_the_frame_told": _quantiles(told),
        "inference_ms": round(statistics.median(inference), 1),
        "interval_ms": round(1000 / fps, 1),
        "told_at_frame": dict(sorted({n: frames.count(n) for n in set(frames)}.items())),
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    p95 = values[int(0.95 * (len(values) - 1))]
    return {"p50_ms": round(statistics.median(values), 1), "p95_ms": round(p95, 1)}


async def load(
    source: Source, cameras: int, seconds: float, pictures: list[bytes]
) -> dict[str, Any]:
    """Return the cost of several cameras, with still pictures and with the clip."""
    home = Measured(password=secrets.token_urlsafe(9))
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(source(pictures[0])) for _ in range(cameras)]
        await stack.enter_async_context(home)
        assert home.process is not None
        pid, client = home.process.pid, home.client
        await asyncio.sleep(_SETTLE_S)
        result: dict[str, Any] = {"lag_idle": await lag(client, seconds)}
        for number, stream in enumerate(streams, 1):
            stream.fps = _LOAD_FPS
            await add_camera(client, stream, number, _LOAD_FPS)
        await show_rates(client, cameras)
        await asyncio.sleep(3 * _SETTLE_S)
        result["still_pictures"] = await _costs(pid, client, seconds)
        for stream in streams:
            stream.play(pictures)
        await asyncio.sleep(_SETTLE_S)
        result["playing"] = await _costs(pid, client, seconds)
    return result


async def show_rates(client: Any, cameras: int) -> None:
    """Enable the sensors for the scan rates of the cameras."""
    for number in range(1, cameras + 1):
        await client.command(
            "config/entity_registry/update",
            entity_id=f"sensor.camera_{number}_look_rate",
            disabled_by=None,
        )
    await asyncio.sleep(_RELOADED_S)


async def _costs(pid: int, client: Any, seconds: float) -> dict[str, Any]:
    hub, node = psutil.Process(pid), node_of(pid)
    before = _cpu_s(hub), _cpu_s(node), {child.pid: _cpu_s(child) for child in node.children()}
    began = time.monotonic()
    lagged = await lag(client, seconds)
    took = time.monotonic() - began
    children = [_cpu_s(child) - before[2].get(child.pid, 0.0) for child in node.children()]
    rates = [
        state["state"]
        for entity_id, state in (await client.states("sensor")).items()
        if entity_id.endswith("_look_rate")
    ]
    return {
        "lag": lagged,
        "cpu_home_assistant_percent": round(100 * (_cpu_s(hub) - before[0]) / took, 1),
        "cpu_node_percent": round(100 * (_cpu_s(node) - before[1]) / took, 1),
        "cpu_of_its_processes_percent": [round(100 * item / took, 1) for item in children],
        "home_assistant_mb": round(memory_mb(pid)),
        "node_mb": round(node_memory_mb(pid)),
        "rates": rates,
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the figures."""
    pictures = await asyncio.to_thread(clip_pictures)
    source = SOURCES[options.source]
    result: dict[str, Any] = {"source": options.source, "time_to_event": []}
    empty, person = pictures[options.empty], pictures[options.person]
    for fps in options.fps:
        took = await time_to_event(source, fps, options.rounds, empty, person)
        result["time_to_event"].append(took)
    if options.cameras:
        result["load"] = await load(source, options.cameras, options.seconds, pictures)
    return result


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fps", type=float, nargs="*", default=[5, 10, 15])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--source", choices=SOURCES, default="rtsp")
    parser.add_argument("--empty", type=int, default=140, help="frame of the clip without a person")
    parser.add_argument("--person", type=int, default=48, help="frame of the clip with a person")
    print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
