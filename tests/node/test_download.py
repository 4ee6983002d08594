"""Downloads over a failing network: a real local server that misbehaves as requested."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from edge_vision_node.errors import DownloadError, ModelError, StorageError
from edge_vision_node.library import unpack as unpack_module
from edge_vision_node.library.download import Download, DownloadLimits, download, require_space
from edge_vision_node.library.unpack import open_archive

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = DownloadLimits(connect_s=2, silence_s=0.5, total_s=10, attempts=4, pause_s=0.01)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture(autouse=True)
def allow_loopback(socket_enabled: None) -> None:
    """The test plugin of Home Assistant forbids sockets unless a test requests them."""


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve a handler locally and return the address of its file."""
    runners = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_get("/{name:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/model.onnx"

    yield start
    for runner in runners:
        await runner.cleanup()


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def wanted(url: str, **changes: object) -> Download:
    values: dict[str, object] = {"sha256": SHA256, "size": len(CONTENT), "plain_http": True}
    return Download(url=url, **{**values, **changes})  # type: ignore[arg-type]  # a test's shorthand


def ranged(request: web.Request, content: bytes = CONTENT, tag: str = '"1"') -> web.Response:
    """Respond like a correct server."""
    begin = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    headers = {"ETag": tag, "Accept-Ranges": "bytes"}
    if begin is None or request.headers.get("If-Range", tag) != tag:
        return web.Response(body=content, headers=headers)
    at = int(begin[1])
    if at >= len(content):
        return web.Response(status=416)
    headers["Content-Range"] = f"bytes {at}-{len(content) - 1}/{len(content)}"
    return web.Response(status=206, body=content[at:], headers=headers)


async def cut(request: web.Request, answer: web.Response, after: int) -> web.StreamResponse:
    """Send the start of a response, then drop the connection."""
    body = answer.body
    assert isinstance(body, bytes)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[:after])
    await asyncio.sleep(0.05)
    assert request.transport is not None
    request.transport.abort()
    return response


async def test_a_file_arrives_whole_and_progress_is_told(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return ranged(request)

    steps: list[tuple[int, int | None]] = []
    fetched = await download(
        wanted(await serve(handler)),
        tmp_path / "model.onnx",
        lambda done, total: steps.append((done, total)),
        QUICK,
    )
    assert (tmp_path / "model.onnx").read_bytes() == CONTENT
    assert (fetched.sha256, fetched.size) == (SHA256, len(CONTENT))
    assert steps[0] == (0, len(CONTENT))
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert left_in(tmp_path) == ["model.onnx"]


async def test_a_broken_connection_is_taken_up_where_it_broke(serve: Serve, tmp_path: Path) -> None:
    asked: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range"))
        answer = ranged(request)
        return await cut(request, answer, 200_000) if len(asked) < 3 else answer

    await download(wanted(await serve(handler)), tmp_path / "m", None, QUICK)
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert asked == [None, "bytes=200000-", "bytes=400000-"]


async def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    serve: Serve, tmp_path: Path
) -> None:
    """Halves of two different files would be neither of them."""
    other = os.urandom(len(CONTENT))
    answers = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers += 1
        if answers == 1:
            return await cut(request, ranged(request, other, '"old"'), 200_000)
        assert request.headers["If-Range"] == '"old"'
        return ranged(request, CONTENT, '"new"')

    unpinned = wanted(await serve(handler), sha256=None, size=None)
    fetched = await download(unpinned, tmp_path / "m", None, QUICK)
    assert fetched.sha256 == SHA256


async def test_a_server_that_knows_no_ranges_is_read_again(serve: Serve, tmp_path: Path) -> None:
    answers = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers += 1
        whole = web.Response(body=CONTENT)
        return await cut(request, whole, 300_000) if answers == 1 else whole

    await download(wanted(await serve(handler)), tmp_path / "m", None, QUICK)
    assert (tmp_path / "m").read_bytes() == CONTENT


async def test_a_server_that_goes_on_at_another_place_is_not_believed(
    serve: Serve, tmp_path: Path
) -> None:
    answers = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers += 1
        if answers == 1:
            return await cut(request, ranged(request), 200_000)
        if "Range" not in request.headers:
            return ranged(request)
        headers = {"Content-Range": f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return web.Response(status=206, body=CONTENT[100:], headers=headers)

    await download(wanted(await serve(handler)), tmp_path / "m", None, QUICK)
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert answers == 3


async def fails(serve: Serve, tmp_path: Path, handler: Handler, **changes: object) -> str:
    """Return why a download failed, after checking that no files are left."""
    limits = changes.pop("limits", QUICK)
    assert isinstance(limits, DownloadLimits)
    with pytest.raises(DownloadError) as caught:
        await download(wanted(await serve(handler), **changes), tmp_path / "m", None, limits)
    assert left_in(tmp_path) == []
    return str(caught.value)


async def test_a_lost_network_is_a_clear_error_and_leaves_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await cut(request, ranged(request), 1000)

    reason = await fails(serve, tmp_path, handler)
    assert reason.startswith("Downloading from 127.0.0.1 failed")
    assert "after 4 attempts; check the network and try again" in reason


async def test_nobody_listening_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"from 127\.0\.0\.1 failed .* check the network"):
        await download(wanted("http://127.0.0.1:9/m"), tmp_path / "m", None, QUICK)
    assert left_in(tmp_path) == []


async def test_a_silent_server_is_given_up(serve: Serve, tmp_path: Path) -> None:
    over = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    limits = DownloadLimits(silence_s=0.2, attempts=2, pause_s=0.01)
    assert "after 2 attempts" in await fails(serve, tmp_path, handler, limits=limits)
    over.set()


async def drip(request: web.Request) -> web.StreamResponse:
    """Send data forever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 50_000)
        await asyncio.sleep(0.01)


async def test_an_endless_body_ends_at_the_size_that_is_known(serve: Serve, tmp_path: Path) -> None:
    reason = await fails(serve, tmp_path, drip)
    assert reason == f"The server sends more than the {len(CONTENT)} bytes expected"


async def test_an_endless_body_of_unknown_size_ends_at_the_limit(
    serve: Serve, tmp_path: Path
) -> None:
    limits = DownloadLimits(max_bytes=100_000)
    reason = await fails(serve, tmp_path, drip, limits=limits, size=None, sha256=None)
    assert "more than the 100000 bytes" in reason


async def test_a_server_that_never_comes_to_an_end_is_given_up(
    serve: Serve, tmp_path: Path
) -> None:
    limits = DownloadLimits(total_s=0.3)
    reason = await fails(serve, tmp_path, drip, limits=limits, size=None, sha256=None)
    assert "was not complete after 0.3 s" in reason


async def test_another_file_is_refused(serve: Serve, tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(len(CONTENT)))

    assert "is not the expected file: its SHA-256" in await fails(serve, tmp_path, handler)


async def test_another_size_is_refused_before_the_body_is_read(
    serve: Serve, tmp_path: Path
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=CONTENT + b"x")

    reason = await fails(serve, tmp_path, handler)
    assert reason == f"127.0.0.1 offers {len(CONTENT) + 1} bytes; the file has {len(CONTENT)}"


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, 4)])
async def test_what_may_get_better_is_tried_again_and_nothing_else(
    serve: Serve, tmp_path: Path, status: int, asked: int
) -> None:
    requests = 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.Response(status=status)

    assert f"responded with {status}" in await fails(serve, tmp_path, handler)
    assert requests == asked


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://localhost:1/elsewhere", "redirects to localhost, which is not trusted"),
        ("file:///etc/passwd", "file is not https or http"),
        ("ftp://127.0.0.1/x", "ftp is not https or http"),
        ("/again", "redirects more than 5 times"),
        ("", "redirects without an address"),
    ],
)
async def test_redirects_to_elsewhere_are_refused(
    serve: Serve, tmp_path: Path, location: str, reason: str
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location} if location else {})

    assert reason in await fails(serve, tmp_path, handler)


async def test_a_redirect_within_the_host_is_followed(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] == "model.onnx":
            return web.Response(status=302, headers={"Location": "/there"})
        return ranged(request)

    await download(wanted(await serve(handler)), tmp_path / "m", None, QUICK)
    assert (tmp_path / "m").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/m", "http is not https"),
        ("file:///etc/passwd", "file is not https"),
        ("nonsense", "no scheme is not https"),
        ("https://user:secret@127.0.0.1/m", "contains a password"),
        ("https://[nonsense", "is not an address"),
    ],
)
async def test_only_https_without_credentials_is_fetched(
    tmp_path: Path, url: str, reason: str
) -> None:
    with pytest.raises(DownloadError, match=reason) as caught:
        await download(Download(url=url), tmp_path / "m", None, QUICK)
    assert "secret" not in str(caught.value)


async def test_a_download_that_is_cancelled_leaves_nothing(serve: Serve, tmp_path: Path) -> None:
    task = asyncio.create_task(
        download(wanted(await serve(drip), size=None, sha256=None), tmp_path / "m", None, QUICK)
    )
    await asyncio.sleep(0.2)
    assert left_in(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_in(tmp_path) == []


async def test_a_file_larger_than_the_limit_is_not_even_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the limit is 10"):
        await download(
            wanted("http://127.0.0.1:9/m"), tmp_path / "m", None, DownloadLimits(max_bytes=10)
        )


# --- A full disk ------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"The disk is full: .* MiB are needed"):
        require_space(tmp_path, 10**18)


async def test_a_disk_that_fills_up_is_told_and_nothing_is_left(
    serve: Serve, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return ranged(request)

    # As if another program filled the disk after the check.
    monkeypatch.setattr("edge_vision_node.library.download.require_space", lambda *_: None)
    with pytest.raises(StorageError, match="The disk is full: m cannot be written"):
        await download(wanted(await serve(handler)), small_disk / "m", None, QUICK)
    assert left_in(small_disk) == []


# --- Archives ---------------------------------------------------------------------------------


def zipped(path: Path, *members: tuple[str, bytes], mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return path


def tarred(path: Path, *members: tarfile.TarInfo, data: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            file.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return path


def unpack(path: Path, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    with open_archive(path) as archive:
        archive.extract_these(archive.files, folder)
    return sorted(item.name for item in folder.iterdir())


def test_an_archive_comes_out_flat(tmp_path: Path) -> None:
    packed = zipped(tmp_path / "a.zip", ("model/m.param", b"1"), ("model/m.bin", b"2"))
    assert unpack(packed, tmp_path / "out") == ["m.bin", "m.param"]
    assert (tmp_path / "out" / "m.bin").read_bytes() == b"2"


@pytest.mark.parametrize(
    "name",
    ["../escape", "/etc/escape", "a/../../escape", "..\\escape", "C:\\escape", "a\\..\\..\\b"],
)
def test_no_member_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="outside its folder"):
        unpack(zipped(tmp_path / "a.zip", (name, b"x")), tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
    info = tarfile.TarInfo(name)
    info.size = 1
    with pytest.raises(ModelError, match="outside its folder"):
        unpack(tarred(tmp_path / "a.tgz", info, data=b"x"), tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    link = zipped(tmp_path / "a.zip", ("m.onnx", b"/etc/passwd"), mode=0o120777)
    with pytest.raises(ModelError, match="a link or a device"):
        unpack(link, tmp_path / "out")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("m.onnx")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(ModelError, match="a link or a device"):
            unpack(tarred(tmp_path / "a.tgz", info), tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_bombs_do_not_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "MAX_MODEL_BYTES", 1_000_000)
    monkeypatch.setattr(unpack_module, "_MAX_LISTED_BYTES", 4_000_000)
    zeros = bytes(1_000_001)
    with pytest.raises(ModelError, match="unpacks to"):
        unpack(zipped(tmp_path / "a.zip", ("m.onnx", zeros)), tmp_path / "out")
    info = tarfile.TarInfo("m.onnx")
    info.size = 5_000_000
    with pytest.raises(ModelError, match="is too large when unpacked"):
        unpack(tarred(tmp_path / "a.tgz", info, data=bytes(info.size)), tmp_path / "out")
    many = zipped(tmp_path / "b.zip", *((f"{i}", b"") for i in range(65)))
    with pytest.raises(ModelError, match="65 files"):
        unpack(many, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_a_zip_that_lies_about_its_sizes_is_found_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("m.onnx", bytes(100_000)))
    data = path.read_bytes()
    said = (100_000).to_bytes(4, "little")
    assert data.count(said) == 2  # in the local header and in the table of contents
    path.write_bytes(data.replace(said, (10).to_bytes(4, "little")))
    with pytest.raises(ModelError, match=r"larger than declared|damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_archive_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
