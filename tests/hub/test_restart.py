"""A node that dies, hangs, or does not come back: Home Assistant goes on, and so does it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import CoreState
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import (
    async_capture_events,
    async_mock_service,
)

from custom_components.edge_vision.api.client import NodeClient
from custom_components.edge_vision.const import DOMAIN, EVENT_DETECTION, Issue, issue_id
from custom_components.edge_vision.local_node import node_process, supervisor
from custom_components.edge_vision.runtime import still_loop
from custom_components.edge_vision.runtime.node import EntryNode
from custom_components.edge_vision.runtime.pipelines import Pipelines
from tests.hub.conftest import BLANK, STREET, Cameras, Home, pipeline, processes_of, until

pytestmark = pytest.mark.usefixtures("run_folders")

OCCUPANCY = "binary_sensor.front_door_person"
COUNT = "sensor.front_door_person_count"
DETECTION = "image_processing.front_door"
STATUS = "sensor.front_door_status"
OF_THE_NODE = (
    OCCUPANCY,
    COUNT,
    DETECTION,
    "image.front_door_last_detection",
)


@pytest.mark.real_node
async def test_a_node_killed_while_it_looks(
    home: Home,
    cameras: Cameras,
    warnings: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    pid = home.local_node.pid
    registered = home.entity_ids()
    caplog.clear()

    # It holds still, so that it is certain to die over a picture that it has been given.
    os.kill(pid, signal.SIGSTOP)
    scanning = home.hass.async_create_task(home.scan())
    asked = cameras.porch.asked
    await asyncio.sleep(0.1)
    assert not scanning.done()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: home.state(OCCUPANCY) == "unavailable", timeout_s=2)
    await scanning
    for entity_id in OF_THE_NODE:
        assert home.state(entity_id) == "unavailable"
    assert home.state(STATUS) == "node_unavailable"
    assert home.state("switch.front_door_detection") == "on"
    assert home.entity_ids() == registered
    assert home.hass.services.has_service(DOMAIN, "detect")

    await home.until_state(OCCUPANCY, "on")
    assert cameras.porch.asked >= asked
    assert home.local_node.pid != pid
    assert home.local_node.restarts == 1
    assert "SIGKILL" in home.local_node.last_exit
    assert home.state(STATUS) == "on_request"
    # One line for the node; the scan that somebody waited for has its own.
    node_lines = [line for line in warnings() if "was not scanned" not in line]
    assert len(node_lines) == 1
    assert node_lines[0].startswith("WARNING")
    assert "SIGKILL" in node_lines[0]


async def test_presence_outlives_the_node(home: Home, cameras: Cameras) -> None:
    cameras.porch.picture = STREET
    await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    await until(lambda: home.runtime.last_seq)  # the event that it began has been taken in
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    seen = home.states_of(OCCUPANCY)
    home.kill_node()
    await home.until_state(OCCUPANCY, "unavailable")
    await home.until_state(OCCUPANCY, "on")
    assert "off" not in seen
    assert fired == []

    cameras.porch.picture = BLANK
    home.kill_node()
    await home.until_state(OCCUPANCY, "unavailable")
    await home.until_state(OCCUPANCY, "off")
    await until(lambda: fired)
    # It went while nobody looked, and that is told, once.
    assert [event.data["phase"] for event in fired] == ["end"]


async def test_events_that_were_missed_come_once(
    home: Home, cameras: Cameras, hass_storage: dict[str, Any]
) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    await until(lambda: home.runtime.last_seq)
    fired = async_capture_events(home.hass, EVENT_DETECTION)

    # As if Home Assistant had gone down before it had taken in the last event.
    last = home.runtime.last_seq
    home.runtime._inbox.seq = last - 1
    home.kill_node()
    await until(lambda: fired)
    assert [event.data["phase"] for event in fired] == ["start"]
    assert fired[0].data["replayed"] is True
    assert home.runtime.last_seq == last

    await home.hass.config_entries.async_reload(entry.entry_id)
    stored = hass_storage[f"{DOMAIN}.{entry.entry_id}"]["data"]
    assert (stored["node_id"], stored["seq"]) == (home.runtime.node.greeting.node_id, last)
    await home.until_state(OCCUPANCY, "on")
    assert home.runtime.last_seq == last
    assert len(fired) == 1


@pytest.mark.real_node
async def test_what_was_fired_is_on_disk_at_once_for_home_assistant_may_be_killed(
    home: Home, cameras: Cameras, hass_storage: dict[str, Any]
) -> None:
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "off")
    key = f"{DOMAIN}.{entry.entry_id}"
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    # Again and again, so that nothing but the event itself can have had it saved.
    for picture in (STREET, BLANK, STREET):
        cameras.porch.picture = picture
        told = len(fired)
        await home.scan()
        await until(lambda told=told: len(fired) > told)
        assert fired[-1].data["replayed"] is False
        seq = home.runtime.last_seq

        def kept(seq: int = seq) -> bool:
            return key in hass_storage and hass_storage[key]["data"]["seq"] >= seq

        await until(kept, timeout_s=2.0)


@pytest.mark.parametrize("meanwhile", ["nothing", "killed", "unloaded"])
async def test_what_happens_while_home_assistant_starts_reaches_its_automations_once(
    home: Home, cameras: Cameras, meanwhile: str
) -> None:
    hass = home.hass
    calls = async_mock_service(hass, "test", "done")
    cameras.porch.picture = STREET
    hass.set_state(CoreState.not_running)
    detected = {"trigger": "event", "event_type": EVENT_DETECTION}
    action = {"action": "test.done", "data": {"late": "{{ trigger.event.data.replayed }}"}}
    made = {"alias": "Tell me", "triggers": detected, "actions": action}
    assert await async_setup_component(hass, "automation", {"automation": made})
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")  # states do not wait
    await until(lambda: home.runtime._inbox._held)
    runtime, before = home.runtime, home.runtime.last_seq
    if meanwhile == "killed":
        home.kill_node()
        await home.until_state(OCCUPANCY, "unavailable")
        await home.until_state(OCCUPANCY, "on")
        await until(lambda: len(home.runtime._inbox._held) > 1)
    elif meanwhile == "unloaded":
        assert await hass.config_entries.async_unload(entry.entry_id)
    assert (calls, runtime.last_seq) == ([], before)
    await hass.async_start()
    await hass.async_block_till_done()
    if meanwhile == "unloaded":
        assert calls == []
        assert await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: calls)
    await asyncio.sleep(0.1)
    assert [call.data["late"] for call in calls] == [True]
    assert home.runtime.last_seq == before + 1


@pytest.mark.real_node
async def test_a_result_log_that_was_lost_does_not_silence_the_node(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    before = home.runtime._inbox.log
    assert before is not None
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    home.lose_result_log()
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    assert await home.hass.config_entries.async_setup(entry.entry_id)
    # Its numbers are those that the other log had given: they are news all the same.
    await until(lambda: fired, timeout_s=15)
    assert home.runtime._inbox.log not in (None, before)
    assert home.runtime.last_seq == len(fired) == 1


def damage_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'events_by_time'"
        ).fetchone()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xde\xad" * 2048
    path.write_bytes(content)


@pytest.mark.real_node
async def test_a_log_that_was_damaged_is_told_and_costs_no_event(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    seq, log = home.runtime.last_seq, home.runtime._inbox.log
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    path = Path(home.hass.config.path("edge_vision", "results.db"))
    damage_index(path)
    fired = async_capture_events(home.hass, EVENT_DETECTION)
    cameras.porch.picture = BLANK
    assert await home.hass.config_entries.async_setup(entry.entry_id)
    issue = ir.async_get(home.hass).async_get_issue(
        DOMAIN, issue_id(Issue.LOG_MENDED, entry.entry_id)
    )
    assert f"{seq} events could be read" in issue.translation_placeholders["what"]
    await home.until_state(OCCUPANCY, "off")
    await until(lambda: fired)
    assert [event.data["phase"] for event in fired] == ["end"]
    assert (home.runtime.last_seq, home.runtime._inbox.log) == (seq + 1, log)


@pytest.mark.parametrize(
    "kept",
    [
        [],
        {"version": 1},
        {"version": 9, "minor_version": 1, "key": "x", "data": {}},
        {"version": 1, "key": "x", "data": [1]},
        {"version": 1, "key": "x", "data": {"off": 5, "known": {}, "removed": [[]], "seq": "3"}},
        {"version": 1, "key": "x", "data": {"addresses": [1], "log": 7, "seq": True}},
    ],
)
async def test_whatever_was_kept_the_cameras_look(
    home: Home, cameras: Cameras, hass_storage: dict[str, Any], kept: Any
) -> None:
    entry = await home.add(pipeline())
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    hass_storage[f"{DOMAIN}.{entry.entry_id}"] = kept
    assert await home.hass.config_entries.async_setup(entry.entry_id)
    await home.until_state(DETECTION, "0")


@pytest.mark.real_node
async def test_a_crash_loop_is_a_repair_issue(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_LONGEST_S", 0.02)
    running = supervisor.SupervisorState.RUNNING
    entry = await home.add(pipeline())
    issue = issue_id(Issue.NODE_CRASH_LOOP, entry.entry_id)
    for exits in range(5):
        assert ir.async_get(home.hass).async_get_issue(DOMAIN, issue) is None, exits
        await until(lambda: home.local_node.state is running)
        home.kill_node()
        await until(lambda: home.local_node.state is not running)
    await until(lambda: ir.async_get(home.hass).async_get_issue(DOMAIN, issue))
    raised = ir.async_get(home.hass).async_get_issue(DOMAIN, issue)
    assert raised.is_fixable
    assert "SIGKILL" in raised.translation_placeholders["error"]
    await until(lambda: home.runtime.node.connected)  # it is still tried

    # Once it has run for long enough, the matter is settled.
    monkeypatch.setattr(supervisor, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(supervisor, "STABLE_AFTER_S", 0.1)
    home.kill_node()  # so that the next watch has the new times
    await until(lambda: not ir.async_get(home.hass).async_get_issue(DOMAIN, issue))


@pytest.mark.real_node
async def test_waits_grow_between_starts_that_fail(
    home: Home, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.02)
    await home.add(pipeline())
    monkeypatch.setattr(node_process, "NODE_FOLDER", Path("/nowhere"))
    waits: list[float] = []
    count_exit = supervisor.LocalNode._count_exit

    def note(self: supervisor.LocalNode, reason: str) -> float:
        waits.append(count_exit(self, reason))
        return waits[-1]

    monkeypatch.setattr(supervisor.LocalNode, "_count_exit", note)
    home.kill_node()
    await until(lambda: len(waits) >= 5)
    for i in range(4):
        assert waits[i + 1] > waits[i] * 1.2
    assert home.local_node.state is supervisor.SupervisorState.RESTARTING
    # The same failure over and over is not a line each time.
    assert len([line for line in warnings() if "cannot be started again" in line]) == 1

    monkeypatch.undo()
    await home.until_state(DETECTION, "0")


@pytest.mark.real_node
@pytest.mark.parametrize("how", ["ping", "looks"])
async def test_a_node_that_hangs_is_killed_and_comes_back(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    await home.add(pipeline(only_on_request=False, scan_interval=1))
    await home.until_state(DETECTION, "0")
    pid = home.local_node.pid
    if how == "ping":
        monkeypatch.setattr(supervisor, "PING_EVERY_S", 0.2)
        monkeypatch.setattr(supervisor, "PING_TIMEOUT_S", 0.2)
        # The watch over this run has begun with the longer times.
        pid = home.kill_node()
        await home.until_state(DETECTION, "unavailable")
        await home.until_state(DETECTION, "0")
        pid = home.local_node.pid
    else:
        # An engine that is stuck answers pings all the same; only its looks do not come back.
        real = EntryNode.async_request

        async def impatient(self, command, params, answer, *, picture=None, timeout_s=30.0):
            timeout_s = 0.2 if command == "look" and self.link.pid == pid else timeout_s
            return await real(self, command, params, answer, picture=picture, timeout_s=timeout_s)

        monkeypatch.setattr(EntryNode, "async_request", impatient)
        monkeypatch.setattr(still_loop, "RETRY_FIRST_S", 0.1)
    os.kill(pid, signal.SIGSTOP)
    await home.until_state(DETECTION, "unavailable")
    if how == "ping":
        monkeypatch.undo()
    await home.until_state(DETECTION, "0")
    assert home.local_node.pid != pid
    assert pid not in processes_of(Path(home.hass.config.config_dir))


@pytest.mark.real_node
async def test_a_node_that_hangs_while_the_entry_is_unloaded_is_killed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_process, "TERMINATE_TIMEOUT_S", 0.3)
    entry = await home.add(pipeline())
    os.kill(home.local_node.pid, signal.SIGSTOP)
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    assert processes_of(Path(home.hass.config.config_dir)) == []


@pytest.mark.real_node
async def test_unload_while_the_node_is_down_leaves_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.1)
    entry = await home.add(pipeline())
    home.kill_node()
    await until(lambda: not home.runtime.node.connected)
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    await asyncio.sleep(0.25)
    assert processes_of(Path(home.hass.config.config_dir)) == []


@pytest.mark.real_node
async def test_unload_while_the_node_is_being_started_again_leaves_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    entry = await home.add(pipeline())
    old = home.kill_node()
    folder = Path(home.hass.config.config_dir)
    await until(lambda: set(processes_of(folder)) - {old})
    assert not home.runtime.node.connected
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    assert processes_of(folder) == []


async def test_settings_changed_while_the_node_is_down_hold_when_it_is_back(
    home: Home, cameras: Cameras
) -> None:
    cameras.porch.picture = STREET
    entry = await home.add(pipeline())
    await home.until_state(OCCUPANCY, "on")
    home.kill_node()
    await until(lambda: not home.runtime.node.connected)
    (subentry,) = entry.subentries.values()
    home.hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "confidence": 99.0}
    )
    await home.until_state(DETECTION, "0")


async def test_switched_off_while_the_node_is_down_it_does_not_look(
    home: Home, cameras: Cameras
) -> None:
    await home.add(pipeline())
    await home.until_state(DETECTION, "0")
    asked = cameras.porch.asked
    home.kill_node()
    await home.until_state(DETECTION, "unavailable")
    await home.call("switch", "turn_off", "switch.front_door_detection")
    assert home.state(DETECTION) == "unavailable"
    await until(lambda: home.runtime.node.connected)
    await home.until_state(DETECTION, "unknown")
    assert cameras.porch.asked == asked


@pytest.mark.real_node
async def test_the_node_ends_when_home_assistant_is_gone(home: Home) -> None:
    await home.add(pipeline())
    process = home.local_node._session.process._process
    folder = Path(home.hass.config.config_dir)
    process.stdin.close()  # what the kernel does when Home Assistant is killed
    await asyncio.wait_for(process.wait(), 60)
    await until(lambda: home.runtime.node.connected)
    assert len(processes_of(folder)) == 1


@pytest.mark.real_node
async def test_what_the_node_logs_is_logged_and_kept(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "custom_components.edge_vision")
    await home.add(pipeline())
    await until(lambda: any("Loaded ssd_mobilenet" in line for line in home.local_node.log.lines))
    lines = [r for r in caplog.records if r.name == "custom_components.edge_vision.node"]
    assert any("Loaded ssd_mobilenet" in record.getMessage() for record in lines)
    # The token of this run is in none of them.
    token = home.local_node._session.process.token
    assert token not in "\n".join(home.local_node.log.lines)


@pytest.mark.real_node
async def test_credentials_of_the_supervisor_stay_here(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_TOKEN", "not-for-the-node")
    await home.add(pipeline())
    environment = home.node_environment()
    assert b"not-for-the-node" not in environment
    assert b"PYTHONPATH=" in environment


@pytest.mark.real_node
async def test_a_node_that_dies_while_it_is_set_up_says_how(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose engine crashes over a model: in the answer to `configure`."""
    configure = Pipelines.async_configure

    async def killed(self: Pipelines, client: NodeClient) -> None:
        (pid,) = processes_of(Path(home.hass.config.config_dir))
        os.kill(pid, signal.SIGSEGV)
        await configure(self, client)

    monkeypatch.setattr(Pipelines, "async_configure", killed)
    entry = await home.add(pipeline(), expect=ConfigEntryState.SETUP_RETRY)
    error = entry.error_reason_translation_placeholders["error"]
    assert "SIGSEGV" in error
