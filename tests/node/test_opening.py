"""What is accepted as video and what is not: playlists, texts, pipes; proxies for cameras."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest
from aiohttp import web
from edge_vision_node.cameras.messages import Source
from edge_vision_node.cameras.stream import Cameras, Watcher
from edge_vision_node.errors import PictureError
from edge_vision_node.frames import opening
from edge_vision_node.frames.video_file import read_video
from edge_vision_node.protocol import SourceState
from PIL import Image

from tests.live_camera import mjpeg_camera
from tests.pictures import SELF_TEST_PICTURE

STREET = SELF_TEST_PICTURE.read_bytes()

# FFmpeg opens all of these, and follows their links or shows their content as a picture.
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
NO_VIDEO = {
    "a.txt": "what nobody is to see\n" * 50,
    "a.nfo": "what nobody is to see\n" * 50,
    "a.ans": "\x1b[31mwhat nobody is to see\n" * 50,
    "a.srt": "1\n00:00:00,000 --> 00:00:09,000\nwhat nobody is to see\n",
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nVIDEO\n#EXT-X-ENDLIST\n",
    "a.m3u": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nVIDEO\n#EXT-X-ENDLIST\n",
    "a.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nVIDEO\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile 'VIDEO'\n",
    "a.avi": "ffconcat version 1.0\nfile 'VIDEO'\n",
    "a.concat": "ffconcat version 1.0\nfile 'VIDEO'\n",
    "a.sdp": SDP,
    "a.svg": '<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
    "empty.mp4": "",
}
CONTAINERS = [
    ("mp4", "mpeg4"),
    ("mkv", "mpeg4"),
    ("avi", "mjpeg"),
    ("mov", "mpeg4"),
    ("ts", "mpeg2video"),
    ("mpg", "mpeg1video"),
    ("flv", "flv1"),
    ("webm", "libvpx"),
    ("gif", "gif"),
    ("h264", "libx264"),
]


def make_video(path: Path, codec: str = "mpeg4") -> Path:
    formats = {"mjpeg": "yuvj420p", "gif": "rgb8"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = formats.get(codec, "yuv420p")
        for _ in range(5):
            frame = av.VideoFrame.from_image(Image.new("RGB", (96, 64), (200, 30, 30)))
            out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("extension", "codec"), CONTAINERS)
def test_videos_are_read(tmp_path: Path, extension: str, codec: str) -> None:
    path = make_video(tmp_path / f"video.{extension}", codec)
    assert next(read_video(str(path))).image.size == (96, 64)
    # Regardless of its name.
    odd = path.rename(tmp_path / f"concat:a|b%03d.{extension}")
    assert next(read_video(str(odd))).image.size == (96, 64)


@pytest.mark.parametrize("name", NO_VIDEO)
def test_playlists_and_texts_are_no_videos(tmp_path: Path, name: str) -> None:
    video = make_video(tmp_path / "video.ts", "mpeg2video")
    path = tmp_path / name
    path.write_text(NO_VIDEO[name].replace("VIDEO", str(video)))
    with pytest.raises(PictureError) as caught:
        list(read_video(str(path)))
    assert str(tmp_path) not in str(caught.value)


def test_only_regular_files_are_videos(tmp_path: Path) -> None:
    pipe, listening = tmp_path / "pipe.mp4", tmp_path / "socket.mp4"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(str(listening))
        for path in (pipe, listening, tmp_path):
            with pytest.raises(PictureError, match="regular files"):
                list(read_video(str(path)))
    for path in (tmp_path / "none.mp4", "concat:/etc/hostname", "subfile,,start,0,end,9,,:/etc/x"):
        with pytest.raises(PictureError, match="no such file"):
            list(read_video(str(path)))
    for address in ("file:///etc/hostname", "ftp://127.0.0.1/x", "data://x", "gopher://x"):
        with pytest.raises(PictureError, match="Only rtsp"):
            list(read_video(address))


# --- Addresses -----------------------------------------------------------------------------------


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def served(files: dict[str, bytes]) -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=files[request.match_info["name"]])

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def watched(*addresses: str) -> AsyncIterator[list[Watcher]]:
    cameras = Cameras()
    try:
        yield [cameras.watch("one", Source(url=address), fps=10) for address in addresses]
    finally:
        await cameras.close()


@pytest.mark.usefixtures("socket_enabled")
async def test_a_playlist_of_an_address_leads_to_addresses_only(tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.ts", "mpeg2video")
    playlist = NO_VIDEO["a.m3u8"]
    files = {
        "good.m3u8": playlist.replace("VIDEO", "video.ts").encode(),
        "video.ts": video.read_bytes(),
        "file.m3u8": playlist.replace("VIDEO", f"file://{video}").encode(),
        "path.m3u8": playlist.replace("VIDEO", str(video)).encode(),
        "list.ffconcat": NO_VIDEO["a.ffconcat"].replace("VIDEO", str(video)).encode(),
        "camera.sdp": SDP.encode(),
        "a.txt": NO_VIDEO["a.txt"].encode(),
    }
    async with served(files) as address:
        bad = [f"{address}/{name}" for name in files if not name.startswith(("good", "video"))]
        async with watched(f"{address}/good.m3u8", *bad) as (good, *others):
            await until(lambda: good.camera.frame)
            for other in others:
                await until(lambda it=other: it.camera.state.state == SourceState.UNAVAILABLE)
                assert other.camera.frame is None
                assert "not send a video that can be read" in (other.camera.state.reason or "")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("192.168.1.20", True),
        ("10.0.0.7", True),
        ("172.20.1.1", True),
        ("169.254.3.4", True),
        ("100.64.1.2", True),
        ("::1", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fd12::34", True),
        ("::ffff:192.168.1.2", True),
        ("localhost", True),
        ("esp32-cam", True),
        ("Porch.local", True),
        ("porch.local.", True),
        ("cam.lan", True),
        ("cam.home.arpa", True),
        ("8.8.8.8", False),
        ("2001:4860:4860::8888", False),
    ],
)
def test_what_is_in_the_local_network(host: str, local: bool) -> None:
    assert opening.is_local(host) is local


def test_a_name_is_where_it_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"cam.example.com": "192.168.1.9", "stream.example.com": "93.184.216.34"}

    def resolve(host: str, _port: object) -> list[tuple[object, ...]]:
        if host not in where:
            raise socket.gaierror
        return [(0, 0, 0, "", (where[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert opening.is_local("cam.example.com")
    assert not opening.is_local("stream.example.com")
    assert not opening.is_local("nowhere.example.com")


@pytest.mark.parametrize(
    ("address", "asked", "used"),
    [
        ("http://192.168.1.20/video", None, False),
        ("rtsps://user:secret@porch.local/live", None, False),
        ("http://8.8.8.8/video", None, True),
        ("http://192.168.1.20/video", "1", True),
    ],
)
def test_a_proxy_is_for_the_world_outside(
    monkeypatch: pytest.MonkeyPatch, address: str, asked: str | None, used: bool
) -> None:
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")
    for name in names:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    if asked:
        monkeypatch.setenv("EDGE_VISION_CAMERA_PROXY", asked)
    opening.leave_proxies(address)
    assert {name in os.environ for name in names} == {used}


@pytest.mark.usefixtures("socket_enabled")
async def test_no_proxy_hears_of_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await stream.read(100))
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, where)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with mjpeg_camera(STREET) as camera:
        async with watched(camera.address) as (it,):
            await until(lambda: it.camera.frame)
        monkeypatch.setenv("EDGE_VISION_CAMERA_PROXY", "1")
        async with watched(camera.address) as (it,):
            await until(lambda: asked)
    server.close()
