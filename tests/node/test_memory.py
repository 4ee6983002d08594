"""What is there at a camera goes on, or ends once, whatever changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import Detections
from edge_vision_node.pipelines.handover import (
    Held,
    HeldAnswer,
    Situation,
    hand_over,
    keep,
    recall,
    scene_config,
)
from edge_vision_node.pipelines.memory import Memory
from edge_vision_node.protocol import (
    Box,
    Kind,
    NodeEvent,
    Phase,
    PipelineConfig,
    Point,
    ProtocolError,
    Task,
    Video,
    Zone,
)
from edge_vision_node.rules.answer import AnswerRule, AnswerState
from edge_vision_node.rules.presence import PresenceRule, Present
from edge_vision_node.rules.scene import Answer, Rule, RuleEvent, Scene, SceneObject
from edge_vision_node.rules.scene_rules import SceneRules
from edge_vision_node.storage.archive import Archive, History
from edge_vision_node.storage.event_log import ResultLog
from edge_vision_node.tracking.follower import Follower
from ulid_transform import ulid_now

from .test_results import event

LABELS = ("person", "car", "dog")
BOX = Box(x_min=0.1, y_min=0.2, x_max=0.3, y_max=0.4)
EVERYWHERE = Zone(
    name="Everywhere",
    points=tuple(Point(x=x, y=y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))),
)
PORCH = PipelineConfig(pipeline_id="porch", name="Porch", camera="A", zones=(EVERYWHERE,))
LIVE = replace(PORCH, video=Video(url="rtsp://camera/a"))
NOTHING_LOGGED = History({}, None, None)


def looking(config: PipelineConfig, task: str = Task.DETECTION, model: str = "m") -> Situation:
    labels = ("red", "green") if task == Task.CLASSIFICATION else LABELS
    return Situation(config=config, task=task, model=model, labels=labels)


def seen(*objects: tuple[str, float]) -> Detections:
    boxes = [[x, 0.1, x + 0.1, 0.5] for _, x in objects]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(objects), 0.95, np.float32),
        np.array([LABELS.index(label) for label, _ in objects], np.int32),
    )


def following(*objects: tuple[str, float]) -> dict[str, Any]:
    """Return the scene of a camera at which these were seen for some time."""
    follower = Follower(scene_config(LIVE), LABELS)
    for number in range(10):
        follower.step(seen(*objects), number / 5)
    snapshot: dict[str, Any] = json.loads(json.dumps(follower.snapshot()))
    return snapshot


TWO_PEOPLE_AND_A_CAR = following(("person", 0.1), ("person", 0.4), ("car", 0.7))
SHOWN = {"person": Present(count=2, confidence=80.0), "dog": Present(count=1)}
ANSWER = HeldAnswer(state=AnswerState(label="red", confidence=90.0), model="m")

BEFORE = {
    "nothing": Held(),
    "stills": Held(camera="A", present=SHOWN),
    "live video": Held(camera="A", live=True, scene=TWO_PEOPLE_AND_A_CAR),
    # After live video, of which the people go on, a dog has come.
    "both": Held(camera="A", present=SHOWN, scene=following(("person", 0.1), ("person", 0.4))),
}
NOW = {
    "stills": looking(PORCH),
    "stills at another camera": looking(replace(PORCH, camera="B")),
    "stills with another model": looking(PORCH, model="other"),
    "stills without people": looking(replace(PORCH, labels=("car", "dog"))),
    "stills with answers": looking(PORCH, Task.CLASSIFICATION),
    "live video": looking(LIVE),
    "live video at another camera": looking(replace(LIVE, camera="B")),
    "live video with another model": replace(looking(LIVE), model="other", labels=("human",)),
    "live video without people": looking(replace(LIVE, labels=("car", "dog"))),
    "live video with answers": looking(LIVE, Task.CLASSIFICATION),
}


def ids_in(scene: Mapping[str, Any]) -> set[int]:
    return {item["track_id"] for item in scene.get("rules", {}).get("objects", ())}


def labels_of(scene: Mapping[str, Any]) -> set[str]:
    return {item["label"] for item in scene.get("rules", {}).get("objects", ())}


def open_in(held: Held) -> set[str | int]:
    """Return what has begun and not ended: objects by number, and labels shown by stills alone."""
    return ids_in(held.scene) | (set(held.present) - labels_of(held.scene))


def ends(events: list[RuleEvent]) -> Counter[str | int]:
    assert all(event.phase == Phase.END for event in events)
    return Counter(
        event.item.track_id if event.item else event.label
        for event in events
        if event.kind == Kind.OBJECT
    )


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("now", NOW)
def test_everything_goes_on_or_ends_once(before: str, now: str) -> None:
    held, ended = hand_over(BEFORE[before], NOW[now], 5.0)
    assert set(ends(ended).values()) <= {1}
    assert not set(ends(ended)) & open_in(held)
    assert set(ends(ended)) | open_in(held) == open_in(BEFORE[before])
    # Who leaves the scene leaves its zones.
    zones = [e.item.track_id for e in ended if e.kind == Kind.ZONE and e.item]
    assert set(zones) == {number for number in ends(ended) if isinstance(number, int)}
    # Done once, it is done.
    again, more = hand_over(held, NOW[now], 6.0)
    assert (more, open_in(again)) == ([], open_in(held))
    # A number means one object for ever.
    if BEFORE[before].scene:
        assert held.scene["next_id"] == BEFORE[before].scene["next_id"]


GOES_ON = {
    ("stills", "stills"): {"person", "dog"},
    ("stills", "stills with another model"): {"person", "dog"},
    ("stills", "stills without people"): {"dog"},
    ("live video", "stills"): {1, 2, 3},
    ("live video", "stills with another model"): {1, 2, 3},
    ("live video", "stills without people"): {3},
    ("live video", "live video"): {1, 2, 3},
    # The follower ends who is not wanted, with the first frame.
    ("live video", "live video without people"): {1, 2, 3},
    ("both", "stills"): {1, 2, "dog"},
    ("both", "stills with another model"): {1, 2, "dog"},
    ("both", "stills without people"): {"dog"},
    ("both", "live video"): {1, 2},
    ("both", "live video without people"): {1, 2},
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("now", NOW)
def test_what_goes_on(before: str, now: str) -> None:
    held, _ = hand_over(BEFORE[before], NOW[now], 5.0)
    assert open_in(held) == GOES_ON.get((before, now), set())


def test_stills_show_what_was_followed_until_they_do_not() -> None:
    held, _ = hand_over(BEFORE["live video"], NOW["stills"], 5.0)
    assert held.present == {"person": Present(count=2), "car": Present(count=1)}
    # More of them, as stills have shown since, are not forgotten over a restart.
    three = replace(held, present={**held.present, "person": Present(count=3)})
    again, _ = hand_over(three, NOW["stills"], 6.0)
    assert again.present["person"].count == 3


def test_totals_go_on_at_the_same_camera_only() -> None:
    crossed = {"line": "Gate", "label": "person", "direction": "in", "total": 7}
    scene = {**TWO_PEOPLE_AND_A_CAR}
    scene["rules"] = {**scene["rules"], "lines": [crossed]}
    before = Held(camera="A", live=True, scene=scene)
    for name, now in NOW.items():
        held, _ = hand_over(before, now, 5.0)
        kept = [*held.scene["rules"].get("lines", ())]
        assert kept == ([] if "another camera" in name else [crossed]), name


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        (looking(PORCH, Task.CLASSIFICATION), True),
        (looking(LIVE, Task.CLASSIFICATION), True),
        (looking(PORCH, Task.CLASSIFICATION, "other"), False),
        (looking(replace(PORCH, labels=("green",)), Task.CLASSIFICATION), False),
        # A posture is none of the model's labels.
        (looking(replace(PORCH, labels=("person",)), Task.POSE), True),
    ],
)
def test_an_answer_is_that_of_one_model(now: Situation, goes_on: bool) -> None:
    held, _ = hand_over(Held(camera="A", answer=ANSWER), now, 5.0)
    assert held.answer == (ANSWER if goes_on else None)


# --- Writing and reading -------------------------------------------------------------------------


@pytest.mark.parametrize("before", BEFORE)
def test_what_is_written_is_read(before: str) -> None:
    held = replace(BEFORE[before], answer=ANSWER, pictures=[[1, "A" * 26]])
    newest = ulid_now()
    for known in (newest, None):  # None: the event is too old to be in the log
        assert recall(keep(held, newest), History({"cat": 1}, None, known), PORCH) == held


def test_what_an_earlier_version_wrote_is_taken_over() -> None:
    said = replace(event("red", "instant", kind="classification"), model="m")
    logged = History({"person": 2, "cat": 1}, said, ulid_now())
    # It has only looked at stills.
    held = recall(None, logged, replace(PORCH, labels=("person",)))
    assert held.present == {"person": Present(count=2)}
    assert held.answer == HeldAnswer(
        state=AnswerState(label="red", confidence=said.confidence), model="m"
    )
    # It has followed, and each object is in what it wrote.
    live = recall(json.dumps({**TWO_PEOPLE_AND_A_CAR, "camera": "A"}), logged, LIVE)
    assert (live.camera, live.live, live.present) == ("A", True, {})
    assert ids_in(live.scene) == {1, 2, 3}
    # Stills after that.
    text = json.dumps({**TWO_PEOPLE_AND_A_CAR, "camera": "A", "left": True})
    left = recall(text, logged, PORCH)
    assert not left.live
    assert left.present == {"person": Present(count=2), "cat": Present(count=1)}


def test_of_a_row_that_is_damaged_the_log_says_what_stills_showed() -> None:
    logged = History({"person": 2}, None, None)
    assert recall("[[[{", logged, PORCH).present == {"person": Present(count=2)}
    # Live video has told of each object, and which these were is not known any more.
    assert recall("[[[{", logged, LIVE) == Held(live=True)


def test_what_an_earlier_version_did_in_between_counts() -> None:
    # It keeps what it does not know, and that is old by now.
    written = keep(Held(camera="A", present=SHOWN, answer=ANSWER), "A" * 26)
    held = recall(written, History({"car": 1}, None, "B" * 26), PORCH)
    assert held.present == {"car": Present(count=1)}
    assert held.answer is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"camera": 3, "left": 1, "present": 7, "as_of": null}', "x" * 100]
    + [json.dumps({"rules": odd, "as_of": None}) for odd in (None, 3, {"objects": [{}]})],
)
def test_what_makes_no_sense_costs_only_itself(text: str) -> None:
    held = recall(text, NOTHING_LOGGED, PORCH)
    for now in NOW.values():
        after, ended = hand_over(held, now, 5.0)
        assert (after.present, ended) == ({}, [])
        follower = Follower(scene_config(LIVE), LABELS)
        assert follower.restore(after.scene, 5.0) == []
        assert follower.objects == []


@pytest.mark.parametrize(
    ("rule", "again"),
    [
        (PresenceRule((), 2), PresenceRule((), 2)),
        (AnswerRule(2), AnswerRule(2)),
        (SceneRules(scene_config(LIVE)), SceneRules(scene_config(LIVE))),
    ],
    ids=["presence", "answer", "scene"],
)
def test_a_rule_goes_on_from_its_state(rule: Rule, again: Rule) -> None:
    person = SceneObject(track_id=1, label="person", confidence=80.0, box=BOX)
    scenes = [
        Scene(at=at, objects=(person,), answer=Answer("red", 90.0), embedding=(0.6, 0.8))
        for at in (1.0, 2.0, 3.0)
    ]
    assert [event.phase for event in rule.step(scenes[0])] in ([Phase.START], [Phase.INSTANT])
    rule.step(scenes[1])
    assert again.restore(json.loads(json.dumps(rule.state())), 2.0) == []
    assert again.step(scenes[2]) == []
    assert json.dumps(again.state()) == json.dumps({**rule.state(), **_stays_longer(again)})
    with pytest.raises(ProtocolError):
        again.restore({"labels": 3, "label": 3, "objects": 3}, 3.0)


def _stays_longer(rule: Rule) -> dict[str, Any]:
    """Return of a state what time alone changes."""
    return {key: value for key, value in rule.state().items() if key == "zones"}


# --- The owner -----------------------------------------------------------------------------------


@dataclass
class Told:
    """A memory in an archive, and what it has told."""

    memory: Memory
    archive: Archive

    async def look(self, now: Situation, *labels: str, answer: str | None = None) -> list[str]:
        """Look at a still; return what is told of it."""
        await self.memory.enter(now, 5.0)
        items = [SceneObject(label=label, confidence=80.0, box=BOX) for label in labels]
        said = Answer(answer, 90.0) if answer else None
        return await self.tell(self.memory.step(Scene(at=5.0, objects=items, answer=said)))

    async def follow(self, now: Situation, *objects: tuple[str, float]) -> list[str]:
        """Look at some frames; return what is told of them."""
        told: list[str] = []
        for number in range(8):
            at = 10.0 + number / 5
            await self.memory.enter(now, at)
            assert self.memory.follower is not None
            told += await self.tell(self.memory.follower.step(seen(*objects), at))
        return told

    async def tell(self, events: list[RuleEvent]) -> list[str]:
        events = [*self.memory.take_ended(), *events]
        written: list[NodeEvent] = [
            event(item.label, item.phase, item.count, pipeline_id="porch", kind=item.kind)
            for item in events
        ]
        if events:
            await self.archive.append(written, self.memory.record(written))
        return [f"{item.kind} {item.phase} {item.label}" for item in events]


async def start(folder: Path, config: PipelineConfig = PORCH) -> Told:
    archive = Archive(folder, lambda: None)
    memory = Memory("porch", archive)
    await memory.load(config)
    return Told(memory, archive)


async def test_over_restarts_and_changes_everything_is_told_once(tmp_path: Path) -> None:
    no_zones = replace(PORCH, zones=())
    stills = looking(no_zones)
    live = looking(replace(no_zones, video=LIVE.video))
    it = await start(tmp_path)
    assert it.memory.presence(no_zones) == {}
    assert await it.look(stills, "dog") == ["object start dog"]
    await it.archive.close()
    it = await start(tmp_path)
    assert it.memory.presence(no_zones)["dog"].count == 1
    assert await it.look(stills, "dog") == []
    # What stills have shown ends, and is followed from now on.
    assert await it.follow(live, ("dog", 0.1), ("person", 0.6)) == [
        "object end dog",
        "object start dog",
        "object start person",
    ]
    await it.archive.close()
    it = await start(tmp_path, live.config)
    assert it.memory.presence(live.config) == {}
    assert await it.follow(live, ("dog", 0.1), ("person", 0.6)) == []
    assert await it.look(stills, "dog", "person", "person") == ["object update person"]
    await it.archive.close()
    it = await start(tmp_path)
    presence = it.memory.presence(no_zones)
    assert {label: item.count for label, item in presence.items()} == {"dog": 1, "person": 2}
    assert await it.look(stills, "person", "person") == []
    assert await it.look(stills, "person", "person") == ["object end dog"]
    # The one who was followed goes on in live video; the other one was only seen.
    assert await it.follow(live, ("person", 0.6)) == []
    assert await it.look(looking(no_zones, Task.CLASSIFICATION), answer="red") == [
        "object end person",
        "classification instant red",
    ]
    await it.archive.close()
    it = await start(tmp_path)
    assert await it.look(looking(no_zones, Task.CLASSIFICATION), answer="red") == []
    assert it.memory.answer == "red"
    await it.archive.close()


async def test_ends_that_were_not_told_are_told_after_a_restart(tmp_path: Path) -> None:
    it = await start(tmp_path)
    await it.look(looking(PORCH), "dog")
    await it.memory.enter(looking(replace(PORCH, camera="B")), 6.0)
    # The node stops before the look is done.
    assert it.memory.record() is None
    await it.archive.close()
    it = await start(tmp_path)
    assert await it.look(looking(replace(PORCH, camera="B"))) == ["object end dog"]
    await it.archive.close()


async def test_an_earlier_version_reads_what_this_one_writes(tmp_path: Path) -> None:
    it = await start(tmp_path, LIVE)
    await it.follow(looking(LIVE), ("person", 0.1), ("car", 0.6))
    await it.archive.close()
    log = ResultLog(tmp_path / "results.db")
    text = log.held("porch")
    log.close()
    assert text is not None
    # As the version before restores a follower, whatever else is in it.
    before = json.loads(text)
    follower = Follower(scene_config(LIVE), LABELS)
    assert follower.restore(before, 50.0) == []
    assert sorted(item.label for item in follower.objects) == ["car", "person"]
    assert before["version"] == 2
    assert "left" not in before
