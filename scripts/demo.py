"""Demonstrate Edge Vision: a real Home Assistant, a camera that plays a clip, and detections."""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from demo_camera import ClipCamera, ClipError
from ha_client import Answers, HaClient, HaError, HaSocket
from ha_instance import USER, HomeAssistant, free_port

CLIP = Path(__file__).parent / "demo_data" / "footpath.mp4"
CAMERA_NAME = "Footpath"
CAMERA = "camera.footpath"
DETECTION = "edge_vision_detection"


@dataclass(frozen=True)
class Settings:
    """The options of the demo."""

    clip: Path
    port: int
    events: int | None
    timeout_s: float | None


def say(text: str) -> None:
    """Print a message immediately."""
    print(text, flush=True)


async def add_camera(client: HaClient, camera: ClipCamera) -> None:
    """Add the clip as an `mjpeg` camera."""
    answers: Answers = {
        "user": {
            "name": CAMERA_NAME,
            "mjpeg_url": camera.stream_url,
            "still_image_url": camera.url,
        }
    }
    await client.config_flow("mjpeg", answers)


async def add_edge_vision(client: HaClient) -> str:
    """Add Edge Vision and a pipeline for the camera through their flows.

    Return the ID of the config entry.
    """
    pipeline: Answers = {
        "settings": {
            "camera": CAMERA,
            "name": CAMERA_NAME,
        }
    }
    created = await client.config_flow("edge_vision", {}, show_self_test)
    # The flow continues with the first camera.
    await client.continue_flow(created["next_flow"], pipeline)
    return str(created["result"]["entry_id"])


def show_self_test(step: str, shown: Mapping[str, str]) -> None:
    """Print the result of the test that the config flow shows before it creates the entry."""
    if step == "confirm":
        text = (
            f"Edge Vision found {shown['found']} in its test picture with {shown['model']}, "
            f"{shown['place']}, in {shown['inference_ms']} ms."
        )
        say(re.sub(r"\\(.)", r"\1", text))  # the text is Markdown


def line(event: dict[str, Any]) -> str:
    """Return an event as a line of text."""
    data = event["data"]
    track = data["track_id"] or ""
    moment = datetime.fromisoformat(event["time_fired"]).astimezone().strftime("%H:%M:%S")
    return (
        f"{moment}  {CAMERA_NAME}  {data['phase']:<7} {data['label']:<8} {track:<4} "
        f"count {data['count']}  "
        f"confidence {data['confidence']:5.1f} %  latency {data['latency_ms']:4.0f} ms"
    )


async def watch(socket: HaSocket, wanted: int | None) -> None:
    """Print events as they arrive, until the wanted number is reached."""
    seen = 0
    while wanted is None or seen < wanted:
        event = await socket.events.get()
        if event is None:
            raise HaError("Home Assistant closed the connection")
        seen += 1
        say(line(event))


async def run(settings: Settings) -> None:
    """Start everything, print events, and stop everything. Raises `HaError` and `TimeoutError`."""
    began = time.monotonic()
    home = HomeAssistant(port=free_port(settings.port), password=secrets.token_urlsafe(9))
    camera = ClipCamera(settings.clip)
    say("Starting Home Assistant …")
    async with asyncio.timeout(settings.timeout_s), camera, home, home.client.websocket() as socket:
        await add_camera(home.client, camera)
        await socket.subscribe(DETECTION)
        await add_edge_vision(home.client)
        say(f"  Home Assistant  {home.base}")
        say(f"  User            {USER}")
        say(f"  Password        {home.password}")
        say(f"Ready after {time.monotonic() - began:.0f} s. Press Ctrl-C to stop. Detections:")
        await watch(socket, settings.events)


async def main(settings: Settings) -> int:
    """Run until the end or a signal, and return the exit code."""
    task = asyncio.ensure_future(run(settings))
    loop = asyncio.get_running_loop()
    signals: list[int] = []

    def stop(number: int) -> None:
        signals.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        say("Stopped.")
        return 128 + signals[0]
    except TimeoutError as err:
        return failed(err, f"not finished within {settings.timeout_s:.0f} s")
    except (ClipError, HaError, aiohttp.ClientError, OSError) as err:
        return failed(err, str(err))
    return 0


def failed(err: Exception, reason: str) -> int:
    """Report a failure with the log of Home Assistant, and return the exit code."""
    notes = "\n".join(getattr(err, "__notes__", ()))
    print(f"{notes}\n\ndemo: error: {reason}", file=sys.stderr)
    return 1


def parse() -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--events", type=int, metavar="N", help="stop after N detection events")
    parser.add_argument(
        "--timeout", type=float, metavar="S", help="stop with exit code 1 after this time"
    )
    parser.add_argument("--port", type=int, default=8123, help="default: 8123, or a free one")
    parser.add_argument("--clip", type=Path, default=CLIP, help="another video to play")
    arguments = parser.parse_args()
    if not arguments.clip.is_file():
        parser.error(f"there is no {arguments.clip}")
    return Settings(arguments.clip, arguments.port, arguments.events, arguments.timeout)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
