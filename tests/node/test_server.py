"""The node as a process, spoken to as a hub speaks to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import sys
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
import pytest
from edge_vision_node import protocol
from edge_vision_node.server.commands import HANDLERS
from edge_vision_node.storage.event_log import ResultLog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines import ENGINE, ENGINES, HERE

from .conftest import SECRET, NodeProcess, StartNode, node_environment
from .test_log_recovery import damage, pages

DOOR = {"pipeline_id": "door", "name": "Door", "labels": ["person"], "confidence": 40.0}


def test_every_command_has_a_handler() -> None:
    assert set(HANDLERS) == set(protocol.Command)


async def test_says_when_it_is_ready_and_how_it_greets(node: NodeProcess) -> None:
    assert node.ready["pid"] == node.process.pid
    async with node.connect() as hub:
        assert hub.hello["type"] == "hello"
        assert hub.hello["node_id"] == (node.data / "node_id").read_text()
        assert hub.hello["schema_min"] <= 1 <= hub.hello["schema_max"]


async def test_only_its_own_user_may_connect_to_the_socket(node: NodeProcess) -> None:
    assert stat.S_IMODE(node.socket.stat().st_mode) == 0o600


async def test_a_wrong_token_is_refused_and_learns_nothing(node: NodeProcess) -> None:
    with pytest.raises(AssertionError, match="auth_failed"):
        async with node.connect(token="guess"):
            pass
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(node.socket))) as session,
        session.ws_connect("http://node/ws") as socket,
    ):
        await socket.receive()
        await socket.send_str(json.dumps({"id": 1, "type": "info"}))  # before it is let in
        answer = json.loads((await socket.receive()).data)
        assert answer["code"] == "bad_message"
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_hub_of_another_schema_is_told_which_ones_fit(node: NodeProcess) -> None:
    with pytest.raises(AssertionError, match="schema_mismatch"):
        async with node.connect(schema=99):
            pass


async def test_describes_itself(node: NodeProcess) -> None:
    async with node.connect() as hub:
        info = protocol.read(protocol.NodeInfo, await hub.ask("info"))
        assert info.default_engine == ("onnxruntime" if "onnxruntime" in HERE else ENGINE)
        assert info.default_model == info.models[0].id
        assert info.hardware.cores >= 1
        assert await hub.ask("ping") == {}


@pytest.mark.parametrize("engine", ENGINES)
async def test_tests_itself(node: NodeProcess, engine: str) -> None:
    async with node.connect() as hub:
        result = protocol.read(protocol.SelfTest, await hub.ask("self_test", engine=engine))
        assert result.passed
        assert (result.engine, result.accelerator) == (engine, "cpu")
        assert result.inference_ms > 0


async def test_a_look_becomes_objects_presence_events_and_a_picture(
    node: NodeProcess, street: bytes, blank: bytes
) -> None:
    async with node.connect() as hub:
        status = await hub.configured(DOOR)
        assert status["pipelines"][0]["state"] == "ready"
        assert (await hub.ask("picture", pipeline_id="door"))["code"] == "no_picture"
        await hub.ask("subscribe")

        look = protocol.read(protocol.Look, await hub.look("door", street))
        people = len(look.objects)
        assert people >= 2
        assert {item.label for item in look.objects} == {"person"}
        assert look.presence["person"].count == people
        assert look.picture_at == look.captured_at == "2026-11-01T12:00:00+00:00"
        (start,) = await hub.events(1)
        event = protocol.read(protocol.NodeEvent, start["event"])
        assert (event.kind, event.phase, event.count) == ("object", "start", people)
        assert event.confidence == look.objects[0].confidence
        assert event.box == look.objects[0].box

        picture = await hub.last_picture("door")
        assert picture["at"] == look.picture_at
        assert picture["picture"][:2] == b"\xff\xd8"

        assert (await hub.look("door", blank))["presence"]["person"]["present"] is True
        last = await hub.look("door", blank, captured_at="2026-11-01T14:00:20+02:00")
        assert last["presence"]["person"] == {"present": False, "count": 0, "confidence": None}
        assert last["picture_at"] == look.picture_at  # it still shows the last event's
        end = (await hub.events(2))[1]
        assert (end["event"]["phase"], end["event"]["count"]) == ("end", 0)
        assert end["event"]["captured_at"] == "2026-11-01T12:00:20+00:00"
        assert end["seq"] == start["seq"] + 1


async def test_a_scan_answers_with_an_event_for_each_object(
    node: NodeProcess, street: bytes, blank: bytes
) -> None:
    async with node.connect() as hub:
        await hub.configured(DOOR)
        await hub.ask("subscribe")
        look = await hub.look("door", street, scan=True)
        people = len(look["objects"])
        events = [m["event"] for m in await hub.events(1 + people)]
        assert [e["kind"] for e in events] == ["object"] + ["scan"] * people
        assert {e["phase"] for e in events[1:]} == {"instant"}
        assert [e["box"] for e in events[1:]] == [o["box"] for o in look["objects"]]


async def test_the_threshold_and_the_labels_of_a_pipeline_hold(
    node: NodeProcess, street: bytes
) -> None:
    async with node.connect() as hub:
        cats = {**DOOR, "pipeline_id": "cats", "labels": ["cat"]}
        strict = {**DOOR, "pipeline_id": "strict", "confidence": 99.9}
        await hub.configured(DOOR, cats, strict)
        assert len((await hub.look("door", street))["objects"]) >= 2
        assert (await hub.look("cats", street))["objects"] == []
        assert (await hub.look("strict", street))["objects"] == []


async def test_a_new_threshold_keeps_who_is_present(node: NodeProcess, street: bytes) -> None:
    async with node.connect() as hub:
        await hub.configured(DOOR)
        await hub.ask("subscribe")
        await hub.look("door", street)
        await hub.configured({**DOOR, "confidence": 41.0})
        await hub.look("door", street)
        await hub.ask("ping")
        assert [m["event"]["phase"] for m in hub.pushed if m["type"] == "event"] == ["start"]


async def test_one_pipeline_that_cannot_load_does_not_take_the_others_along(
    node: NodeProcess, street: bytes
) -> None:
    async with node.connect() as hub:
        wrong = [
            {**DOOR, "pipeline_id": "no-model", "model": "nonsense"},
            {**DOOR, "pipeline_id": "no-engine", "engine": "nonsense"},
            {**DOOR, "pipeline_id": "no-place", "accelerator": "edgetpu:0"},
            {**DOOR, "pipeline_id": "no-label", "labels": ["unicorn"]},
        ]
        status = await hub.configured(*wrong, DOOR)
        codes = {p["pipeline_id"]: p["error_code"] for p in status["pipelines"]}
        assert codes == {
            "no-model": "unknown_model",
            "no-engine": "engine_missing",
            "no-place": "unknown_accelerator",
            "no-label": "model_failed",
            "door": None,
        }
        assert (await hub.look("no-model", street))["code"] == "unknown_model"
        assert len((await hub.look("door", street))["objects"]) >= 2


BAD_CONFIGS = {
    "word": {"video": {"url": "rtsp://127.0.0.1:9/x", "look": "ultra"}},
    "transport": {"video": {"url": "rtsp://127.0.0.1:9/x", "transport": "x;y"}},
    "fps": {"video": {"url": "rtsp://127.0.0.1:9/x", "fps": 0}},
    "type": {"labels": "person"},
    "number": {"confidence": 10**400},
    "missing": {"video": {}},
    "zone": {"zones": [{"name": "z", "points": [{"x": 1}]}]},
    "mask": {"privacy_masks": [[{"x": 0, "y": 0}, {"x": 1, "y": 1}]]},
    "far": {"zones": [{"name": "z", "points": [{"x": x, "y": 1e300} for x in range(3)]}]},
    "text": {"name": "\ud800"},
}


async def test_what_is_wrong_with_one_pipeline_is_said_of_that_one(
    node: NodeProcess, street: bytes
) -> None:
    async with node.connect() as hub:
        # It was all right before.
        await hub.configured(DOOR, {**DOOR, "pipeline_id": "word"})
        bad = [{**DOOR, "pipeline_id": key, **more} for key, more in BAD_CONFIGS.items()]
        status = await hub.configured(*bad, DOOR)
        found = {item["pipeline_id"]: item for item in status["pipelines"]}
        assert found.keys() == {"door", *BAD_CONFIGS}
        assert found["door"]["state"] == "ready"
        for key in BAD_CONFIGS:
            assert (found[key]["state"], found[key]["error_code"]) == ("failed", "bad_message")
            assert found[key]["error"]
        assert "thoroughness" in (await hub.look("word", street))["message"]
        assert len((await hub.look("door", street))["objects"]) >= 2
        # And is all right again.
        status = await hub.configured(DOOR, {**DOOR, "pipeline_id": "word"})
        assert {item["state"] for item in status["pipelines"]} == {"ready"}


async def test_nobody_else_may_read_what_is_kept(
    start_node: StartNode, tmp_path: Path, street: bytes
) -> None:
    # As an older version, or somebody else, made it.
    folder = tmp_path / "data" / "evidence"
    folder.mkdir(parents=True, mode=0o755)
    (folder / "old.jpg").write_bytes(b"x")
    for path in (tmp_path / "data", folder, folder / "old.jpg"):
        path.chmod(0o777)
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured(DOOR)
        await hub.look("door", street)
        await hub.last_picture("door")
    kept = [node.data, *node.data.rglob("*"), node.socket]
    assert {path.name for path in kept} >= {"results.db", "old.jpg", "door.jpg", "node_id"}
    assert [path for path in kept if path.lstat().st_mode & 0o077] == []


async def test_what_cannot_be_looked_at_is_an_error_not_an_empty_answer(
    node: NodeProcess, street: bytes
) -> None:
    async with node.connect() as hub:
        await hub.configured(DOOR)
        assert (await hub.look("door", b"camera offline"))["code"] == "bad_picture"
        assert (await hub.look("door", b""))["code"] == "bad_picture"
        assert (await hub.look("door", street[:5000]))["code"] == "bad_picture"
        assert (await hub.look("gone", street))["code"] == "unknown_pipeline"
        assert (await hub.look("door", street, captured_at="noon"))["code"] == "bad_message"
        assert (await hub.look("door", street, captured_at="2026-11-01T12:00:00"))[
            "code"
        ] == "bad_message"
        status = await hub.ask("status")
        assert status["pipelines"][0]["failures"] == 3
        assert status["pipelines"][0]["presence"] == {}


async def test_a_failed_look_does_not_count_as_one_without_the_object(
    node: NodeProcess, street: bytes
) -> None:
    async with node.connect() as hub:
        await hub.configured(DOOR)
        await hub.look("door", street)
        for _ in range(4):
            await hub.look("door", b"rubbish")
        assert (await hub.ask("status"))["pipelines"][0]["presence"]["person"]["present"] is True


async def test_detect_keeps_nothing_and_can_draw(node: NodeProcess, street: bytes) -> None:
    async with node.connect() as hub:
        await hub.ask("subscribe")
        result = await hub.ask("detect", street, annotate=True, confidence=40.0)
        assert len(result["objects"]) >= 2
        assert result["picture"][:2] == b"\xff\xd8"
        assert (await hub.ask("detect", b"rubbish"))["code"] == "bad_picture"
        assert (await hub.ask("results"))["events"] == []


async def test_a_hub_gets_what_it_missed_once_and_in_order(
    start_node: StartNode, street: bytes, blank: bytes
) -> None:
    node = await start_node()
    config = [{**DOOR, "looks_to_clear": 1}]
    async with node.connect() as hub:
        await hub.configured(*config)
        for picture in (street, blank, street, blank):
            await hub.look("door", picture)
    async with node.connect() as hub:
        assert (await hub.ask("subscribe", after=1))["seq"] == 4
        await hub.configured(*config)
        await hub.look("door", street)
        assert [m["seq"] for m in await hub.events(4)] == [2, 3, 4, 5]
        assert (await hub.ask("subscribe", after=0))["code"] == "bad_message"


async def test_after_being_killed_it_knows_who_was_there_and_has_the_picture(
    start_node: StartNode, street: bytes, blank: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured(DOOR)
        look = await hub.look("door", street)
        await hub.last_picture("door")
    node.process.kill()
    await node.process.wait()

    node = await start_node()
    async with node.connect() as hub:
        status = await hub.configured(DOOR)
        assert status["pipelines"][0]["picture_at"] == look["picture_at"]
        await hub.ask("subscribe")
        assert "picture" in await hub.last_picture("door")
        await hub.look("door", street)
        await hub.look("door", blank)
        await hub.look("door", blank)
        (event,) = await hub.events(1)
        assert event["event"]["phase"] == "end"  # and no second start


async def test_a_full_disk_is_said_and_silences_nothing(
    start_node: StartNode, street: bytes, tmp_path: Path
) -> None:
    (tmp_path / "data" / "results.db").mkdir(parents=True)  # a log that can never be opened
    node = await start_node()
    async with node.connect() as hub:
        await hub.ask("subscribe")
        status = await hub.configured(DOOR)
        assert "cannot be opened" in status["storage_error"]
        look = await hub.look("door", street)
        assert len(look["objects"]) >= 2
        (event,) = await hub.events(1)
        assert (event["seq"], event["event"]["phase"]) == (None, "start")


async def test_rows_that_make_no_sense_keep_no_camera_down(
    start_node: StartNode, street: bytes, blank: bytes
) -> None:
    config = [{**DOOR, "looks_to_clear": 1}]
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured(*config)
        for picture in (street, blank, street):
            await hub.look("door", picture)
    node.process.kill()
    await node.process.wait()
    with closing(sqlite3.connect(node.data / "results.db")) as db, db:
        db.execute("UPDATE events SET event = substr(event, 1, 40) WHERE seq != 2")
        db.execute("INSERT OR REPLACE INTO followed VALUES ('door', '[[[{')")

    node = await start_node()
    async with node.connect() as hub:
        status = await hub.configured(*config)
        assert status["pipelines"][0]["state"] == "ready"
        assert status["storage_error"] is None
        assert (await hub.ask("subscribe", after=0))["seq"] == 3
        await hub.look("door", blank)
        assert [m["seq"] for m in await hub.events(2)] == [2, 4]
        assert hub.pushed[-1]["event"]["phase"] == "end"  # who was there has gone
        assert [m["seq"] for m in (await hub.ask("results"))["events"]] == [4, 2]


async def test_a_hub_of_another_log_is_told_all_of_this_one(
    node: NodeProcess, street: bytes, blank: bytes
) -> None:
    async with node.connect() as hub:
        await hub.configured({**DOOR, "looks_to_clear": 1})
        for picture in (street, blank, street):
            await hub.look("door", picture)
    async with node.connect() as hub:
        answer = await hub.ask("subscribe", after=2, log="another")
        events = await hub.events(3)
        assert [m["seq"] for m in events] == [1, 2, 3]
        assert {m["log"] for m in events} == {answer["log"]}
    # One that knows this log, and one of a version that knows of no logs.
    for more in ({"log": answer["log"]}, {}):
        async with node.connect() as hub:
            assert (await hub.ask("subscribe", after=2, **more))["log"] == answer["log"]
            assert [m["seq"] for m in await hub.events(1)] == [3]


async def test_a_log_that_is_damaged_is_mended_and_that_is_told(
    start_node: StartNode, street: bytes, blank: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured({**DOOR, "looks_to_clear": 1})
        for picture in (street, blank):
            await hub.look("door", picture)
        log = (await hub.ask("subscribe"))["log"]
    node.process.send_signal(signal.SIGTERM)
    await node.process.wait()
    damage(node.data / "results.db", pages(node.data / "results.db")["events_by_pipeline"])
    node = await start_node()
    async with node.connect() as hub:
        status = await hub.configured({**DOOR, "looks_to_clear": 1})
        assert "2 events could be read" in status["storage_notice"]
        assert status["storage_error"] is None
        assert await hub.ask("subscribe", after=2, log=log) == {"seq": 2, "log": log}
        await hub.look("door", street)
        assert [m["seq"] for m in await hub.events(1)] == [3]


# --- Hostile peers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "bad_message"),
        ("[]", "bad_message"),
        ('{"type": "info"}', "bad_message"),
        ('{"id": true, "type": "info"}', "bad_message"),
        ('{"id": 1}', "unknown_command"),
        ('{"id": 1, "type": "format_disk"}', "unknown_command"),
        ('{"id": 1, "type": ["info"]}', "unknown_command"),
        ('{"id": 1, "type": "look"}', "bad_message"),
        ('{"id": 1, "type": "configure"}', "bad_message"),
        (
            '{"id": 1, "type": "configure", "pipelines": [{"pipeline_id": "../x", "name": ""}]}',
            "bad_message",
        ),
        ('{"id": 1, "type": "picture", "pipeline_id": "../../node_id"}', "unknown_pipeline"),
        ('{"id": 1, "type": "results", "limit": "many"}', "bad_message"),
        ('{"id": 1, "type": "subscribe", "after": 1e3}', "bad_message"),
        ('{"id": 1, "type": "ping", "x": [' + "{}," * 30_000 + "{}]}", "bad_message"),
        ('{"id": 1, "type": "ping", "x": [' + "0," * 200_000 + "0,0]}", "bad_message"),
    ],
)
async def test_a_message_that_makes_no_sense_is_answered(
    node: NodeProcess, text: str, code: str
) -> None:
    async with node.connect() as hub:
        await hub.socket.send_str(text)
        message, _ = await hub.receive()
        assert (message["type"], message["code"]) == ("error", code)
        assert await hub.ask("ping") == {}


_WORDS = st.sampled_from([*protocol.Command, "id", "type", "pipelines", "door", "x" * 2000])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=8,
)
_COMMANDS = st.fixed_dictionaries(
    {"id": st.integers(), "type": st.sampled_from([*protocol.Command])},
    optional=dict.fromkeys(
        [
            "pipelines",
            "pipeline_id",
            "captured_at",
            "labels",
            "confidence",
            "after",
            "limit",
            "model",
            "engine",
            "scan",
            "annotate",
        ],
        _VALUES,
    ),
)
_FRAMES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60),
        st.builds(json.dumps, _VALUES),
        st.builds(json.dumps, _COMMANDS),
        st.builds(
            lambda header, body: protocol.encode_binary(json.loads(json.dumps(header)), body),
            st.dictionaries(st.sampled_from(["id", "type", "pipeline_id"]), st.integers() | _WORDS),
            st.binary(max_size=60),
        ),
    ),
    min_size=1,
    max_size=12,
)


async def test_no_message_ends_the_node(node: NodeProcess, street: bytes) -> None:
    """Whatever comes in, the node lives, and the next hub is served as ever."""

    async def attack(frames: list[str | bytes]) -> None:
        async with node.connect() as hub:
            for frame in frames:
                try:
                    if isinstance(frame, str):
                        await hub.socket.send_str(frame)
                    else:
                        await hub.socket.send_bytes(frame)
                except (ConnectionError, UnicodeEncodeError):
                    break

    loop = asyncio.get_running_loop()

    @settings(max_examples=120, suppress_health_check=list(HealthCheck), database=None)
    @given(_FRAMES)
    def fuzz(frames: list[str | bytes]) -> None:
        asyncio.run_coroutine_threadsafe(attack(frames), loop).result(60)

    await asyncio.to_thread(fuzz)
    assert node.process.returncode is None
    async with node.connect() as hub:
        await hub.configured(DOOR)
        assert len((await hub.look("door", street))["objects"]) >= 2


async def test_a_message_beyond_the_limit_ends_that_connection_only(node: NodeProcess) -> None:
    async with node.connect() as hub:
        with suppress(ConnectionError):  # it may hang up before it has read everything
            await hub.socket.send_bytes(bytes(protocol.MAX_MESSAGE_BYTES + 1))
        message = await hub.socket.receive(20)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    async with node.connect() as hub:
        assert await hub.ask("ping") == {}


# --- How it starts and ends ---------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ends_cleanly_on_a_signal(node: NodeProcess, street: bytes, number: int) -> None:
    async with node.connect() as hub:
        await hub.configured(DOOR)
        await hub.look("door", street)
        node.process.send_signal(number)
        assert await asyncio.wait_for(node.process.wait(), 20) == 0
    assert not node.socket.exists()
    assert not (node.data / "results.db-wal").exists()  # folded in
    assert len(ResultLog(node.data / "results.db").newest()) == 1


async def test_ends_when_its_parent_is_gone(node: NodeProcess) -> None:
    assert node.process.stdin is not None
    node.process.stdin.close()
    assert await asyncio.wait_for(node.process.wait(), 20) == 0
    assert not node.socket.exists()


_PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), flush=True)
time.sleep(600)
"""


async def test_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "token").write_text(SECRET)
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PARENT, sys.executable, "-P", "-m", "edge_vision_node", "serve"),
        *("--parent-stdin", "--token-file", str(run / "token")),
        *("--socket", str(run / "s"), "--data", str(tmp_path / "data")),
        stdout=asyncio.subprocess.PIPE,
        env=node_environment(),
    )
    assert parent.stdout is not None
    pid = json.loads(await parent.stdout.readline())["ready"]["pid"]
    parent.kill()
    await parent.wait()
    with suppress(ProcessLookupError):
        for _ in range(400):
            os.kill(pid, 0)
            await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the node outlived its parent")
    assert not run.exists()  # nor does the token stay


async def test_two_nodes_cannot_share_a_data_folder(
    start_node: StartNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_vision_node.errors import NodeError
    from edge_vision_node.server import serve

    await start_node()
    monkeypatch.setattr(serve, "_LOCK_WAIT_S", 0.2)
    with pytest.raises(NodeError, match="Another node is using"):
        serve.serve(serve.ServeOptions(data=tmp_path / "data", socket=tmp_path / "other"))


async def test_the_data_survives_a_node_that_is_killed_while_it_works(
    start_node: StartNode, street: bytes, blank: bytes
) -> None:
    node = await start_node()
    async with node.connect() as hub:
        await hub.configured({**DOOR, "looks_to_clear": 1})
        await hub.ask("subscribe")

        async def work() -> None:
            while True:
                for picture in (street, blank):
                    await hub.send(
                        {
                            "type": "look",
                            "pipeline_id": "door",
                            "captured_at": "2026-11-01T12:00:00+00:00",
                        },
                        picture,
                    )
                    await asyncio.sleep(0.02)

        task = asyncio.create_task(work())
        events = await hub.events(6)
        node.process.kill()
        await node.process.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    database = sqlite3.connect(node.data / "results.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    kept = {item.seq: item.event for item in ResultLog(node.data / "results.db").newest()}
    for message in events:  # what the hub was told is in the log
        assert kept[message["seq"]].event_id == message["event"]["event_id"]
