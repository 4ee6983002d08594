"""What a node logs: at its level, without credentials, and not without end."""

from __future__ import annotations

import asyncio
import logging

import pytest
from freezegun.api import FrozenDateTimeFactory

from custom_components.edge_vision.local_node.node_log import LAST_MOMENTS_S, NodeLog
from custom_components.edge_vision.local_node.node_process import _lines
from custom_components.edge_vision.node.edge_vision_node.protocol import redact


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("open rtsp://admin:hunter2@192.168.1.9/s failed", ["admin", "hunter2"]),
        ("open rtsp://admin:p@ss/w0rd@cam:554/s?a=b", ["p@ss", "w0rd"]),
        ("open rtsp://admin:it's@cam:554 failed", ["admin", "it's"]),
        ('open rtsp://admin:a "b" c@cam failed', ['"b"', " c@"]),
        ("rtsp://t0psecret@cam/stream", ["t0psecret"]),
        ("GET http://cam/snap?user=bob&password=hunter2&x=1", ["bob", "hunter2"]),
        ("GET http://cam/snap.cgi?loginuse=bob&loginpas=hunter2", ["bob", "hunter2"]),
        ("open rtsp://cam:554/AbCdEf/s?usr=bob failed", ["AbCdEf", "bob"]),
        ("RTSPS://10.0.0.2:7441/AbCdEf: timeout", ["AbCdEf"]),
        ("GET /api?access_token=abc.def-ghi&x=1", ["abc.def-ghi"]),
        ("GET /api?authSig=eyJhbGciOi", ["eyJhbGciOi"]),
        ("Authorization: Bearer abcdef0123456789", ["abcdef0123456789"]),
        ("headers={'Authorization': 'Basic YWRtaW46aHVudGVyMg=='}", ["YWRtaW46aHVudGVyMg=="]),
        ("sent Bearer abcdef0123456789 to it", ["abcdef0123456789"]),
        ('{"token": "abcdef", "x": 1}', ["abcdef"]),
        ("password='hunter2' user=bob", ["hunter2", "bob"]),
        ("Cookie: session=abcdef", ["abcdef"]),
        ("X-Api-Key: abcdef", ["abcdef"]),
    ],
)
def test_credentials_are_removed(line: str, secrets: list[str]) -> None:
    clean = redact(line)
    for secret in secrets:
        assert secret not in clean
    assert "****" in clean


@pytest.mark.parametrize(
    "line",
    [
        "Loaded ssd_mobilenet_v2_coco on onnxruntime cpu",
        "Pipeline 01ABC cannot look: No model 'x'; this node holds: a, b",
        "GET http://cam/snapshot.jpg failed",
        "nothing answers at rtsp://cam:554, or at rtsp://cam:554/",
        "nothing answers at rtsp://cam:554; mail bob@example.org",
        "user pressed the key to pass",
        "The token is wrong",
    ],
)
def test_what_is_no_credential_stays(line: str) -> None:
    assert redact(line) == line


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("DEBUG asyncio: x", logging.DEBUG),
        ("INFO edge_vision_node.node: x", logging.INFO),
        ("WARNING edge_vision_node.node: x", logging.INFO),
        ("ERROR edge_vision_node.node: x", logging.WARNING),
        ("CRITICAL edge_vision_node.node: x", logging.WARNING),
        ("Traceback (most recent call last):", logging.DEBUG),
        ("libfoo: something native", logging.DEBUG),
    ],
)
def test_lines_are_logged_at_their_level(
    line: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    NodeLog().add(line)
    (record,) = caplog.records
    assert record.name == "custom_components.edge_vision.node"
    assert record.levelno == level


def test_credentials_are_in_neither_log_nor_ring(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = NodeLog()
    log.add("WARNING edge_vision_node: rtsp://admin:hunter2@cam/s is gone")
    assert "hunter2" not in caplog.text
    assert log.lines == ["WARNING edge_vision_node: rtsp://****@cam/**** is gone"]


def test_the_ring_keeps_the_newest_and_cuts_long_ones() -> None:
    log = NodeLog()
    for number in range(500):
        log.add(f"INFO x: {number}")
    log.add("INFO x: " + "y" * 5000)
    assert len(log.lines) == 200
    assert log.lines[0] == "INFO x: 301"
    assert len(log.lines[-1]) == 1000


def test_a_new_run_has_no_last_words_yet() -> None:
    log = NodeLog()
    log.add("edge-vision-node: error: The disk is full")
    assert log.start_error == "The disk is full"
    assert log.last_words() == ["edge-vision-node: error: The disk is full"]
    log.begin()
    assert log.start_error is None
    assert log.last_words() == []
    assert len(log.lines) == 1


def test_last_words_are_of_the_last_moments(freezer: FrozenDateTimeFactory) -> None:
    log = NodeLog()
    log.add("WARNING x: a camera was away for a moment")
    log.add("[0 llvmpipe] what a library says at each start")
    freezer.tick(3600)
    log.add("INFO x: daily work")
    assert log.last_words() == []
    log.add("Fatal Python error: Segmentation fault")
    freezer.tick(LAST_MOMENTS_S / 2)
    log.add("ERROR x: the last thing it said")
    for number in range(50):
        log.add(f"INFO x: {number}")
    assert log.last_words() == [
        "Fatal Python error: Segmentation fault",
        "ERROR x: the last thing it said",
    ]
    freezer.tick(LAST_MOMENTS_S + 1)
    assert log.last_words() == []


async def test_however_much_a_node_says_others_have_their_turn() -> None:
    """Not by the clock: what is done for others while so many lines are taken in."""
    stream = asyncio.StreamReader()
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(another())
    stream.feed_data(b"x\n" * 8000)
    stream.feed_eof()
    log = NodeLog()
    async for line in _lines(stream):
        log.add(line)
    task.cancel()
    assert turns >= 8000 / 20
    assert len(log.lines) == 200
