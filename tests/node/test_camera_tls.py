"""Cameras with TLS: read like in Home Assistant, with clear messages about certificates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from edge_vision_node.cameras import tls
from edge_vision_node.cameras.messages import Source
from edge_vision_node.cameras.stream import Cameras, Watcher
from edge_vision_node.protocol import SourceState

from tests.certificates import Certificate, make_certificate
from tests.live_camera import MjpegCamera, mjpeg_camera
from tests.pictures import SELF_TEST_PICTURE
from tests.rtsp_camera import RtspCamera, rtsp_camera

pytestmark = pytest.mark.usefixtures("socket_enabled")

STREET = SELF_TEST_PICTURE.read_bytes()


@asynccontextmanager
async def camera_of(kind: str, made: Certificate) -> AsyncIterator[RtspCamera | MjpegCamera]:
    if kind == "rtsps":
        async with rtsp_camera(STREET, made.server) as rtsp:
            yield rtsp
    else:
        async with mjpeg_camera(STREET, made.server) as mjpeg:
            yield mjpeg


@asynccontextmanager
async def watched(source: Source) -> AsyncIterator[Watcher]:
    cameras = Cameras()
    try:
        yield cameras.watch("camera", source, fps=5)
    finally:
        await cameras.close()


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["rtsps", "https"])
async def test_a_camera_that_signs_itself_is_read(kind: str, tmp_path: Path) -> None:
    async with camera_of(kind, make_certificate(tmp_path)) as camera:
        assert camera.address.startswith(f"{kind}://")
        async with watched(Source(url=camera.address)) as it:
            await until(lambda: it.camera.frame)


@pytest.mark.parametrize("kind", ["rtsps", "https"])
async def test_a_certificate_that_has_to_be_trusted_is_checked_and_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = make_certificate(tmp_path / "trusted", signed=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted.authority))
    async with (
        camera_of(kind, trusted) as camera,
        watched(Source(url=camera.address, verify_certificate=True)) as it,
    ):
        await until(lambda: it.camera.frame)
    async with (
        camera_of(kind, make_certificate(tmp_path / "itself")) as camera,
        watched(Source(url=camera.address, verify_certificate=True)) as it,
    ):
        await until(lambda: it.camera.state.state == SourceState.UNAVAILABLE)
        assert it.camera.frame is None
        reason = it.camera.state.reason or ""
        assert reason.startswith("The camera's certificate is not trusted: ")
        assert camera.credentials.partition(":")[2] not in reason


async def test_what_is_wrong_with_a_certificate_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        "self-signed": make_certificate(tmp_path / "1"),
        "mismatch": make_certificate(tmp_path / "2", signed=True, address="192.0.2.1"),
        "expired": make_certificate(tmp_path / "3", signed=True, expired=True),
    }
    for words, certificate in made.items():
        trusted = certificate.authority if words != "self-signed" else made["expired"].authority
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
        async with mjpeg_camera(STREET, certificate.server) as camera:
            said = await asyncio.to_thread(tls.trouble, camera.address, verify=True)
            assert said is not None
            assert "not trusted" in said
            assert words in said.lower()
            assert await asyncio.to_thread(tls.trouble, camera.address, verify=False) is None
    async with mjpeg_camera(STREET) as camera:
        plain = camera.address.replace("http://", "https://")
        said = await asyncio.to_thread(tls.trouble, plain, verify=False)
        assert said is not None
        assert said.startswith("The camera's encryption cannot be used")
        assert await asyncio.to_thread(tls.trouble, camera.address, verify=True) is None


def test_what_is_trusted_is_what_home_assistant_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    found = tls.trusted_file()
    assert found is not None
    assert "BEGIN CERTIFICATE" in Path(found).read_text(encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", "/mine.pem")
    assert tls.trusted_file() == "/mine.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/ours.pem")
    assert tls.trusted_file() == "/ours.pem"
