"""Pipelines of every task over the node's protocol, with real models of a few hundred bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.engines import ENGINE
from tests.small_models import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    add_classification,
    add_face,
    add_pose,
    painted,
)

from .conftest import Connection, StartNode


async def configure(hub: Connection, model: str, **more: Any) -> dict[str, Any]:
    config = {"pipeline_id": "porch", "name": "Porch", "model": model, "engine": ENGINE}
    status = await hub.configured(config | more)
    (pipeline,) = status["pipelines"]
    assert pipeline["state"] == "ready", pipeline["error"]
    return status


def told(events: list[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    return [
        (event["kind"], event["phase"], event["label"], event["count"])
        for event in (message["event"] for message in events)
    ]


async def test_a_classification_holds_until_another_is_certain(
    start_node: StartNode, tmp_path: Path
) -> None:
    model = add_classification(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model, looks_to_clear=2)
        await hub.ask("subscribe")

        look = await hub.look("porch", painted(RED))
        assert look["task"] == "classification"
        assert look["answer"] == "red"
        assert look["objects"] == []
        assert look["presence"] == {}
        (best,) = look["classes"]
        assert best["label"] == "red"
        assert best["confidence"] > 99
        assert look["last_detection_at"]

        assert (await hub.look("porch", painted(GREEN)))["answer"] == "red"
        look = await hub.look("porch", painted(GREEN))
        assert (look["answer"], look["classes"][0]["label"]) == ("green", "green")
        assert (await hub.look("porch", painted(BLACK)))["answer"] == "green"
        look = await hub.look("porch", painted(BLACK))
        assert (look["answer"], look["classes"]) == ("none", [])

        events = await hub.events(3)
        assert told(events) == [
            ("classification", "instant", "red", 1),
            ("classification", "instant", "green", 1),
            ("classification", "instant", "none", 0),
        ]
        confidences = [message["event"]["confidence"] for message in events]
        assert confidences[0] > 99
        assert confidences[2] == 0
        # The picture is of the newest answer that was one.
        assert (await hub.last_picture("porch"))["content_type"] == "image/jpeg"


async def test_a_classification_outlives_a_restart(start_node: StartNode, tmp_path: Path) -> None:
    model = add_classification(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model)
        await hub.look("porch", painted(RED))
    node.process.kill()
    await node.process.wait()

    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model)
        await hub.ask("subscribe")
        assert (await hub.look("porch", painted(GREEN)))["answer"] == "red"
        assert (await hub.look("porch", painted(GREEN)))["answer"] == "green"
        assert told(await hub.events(1)) == [("classification", "instant", "green", 1)]


async def test_only_the_labels_that_matter_are_answers(
    start_node: StartNode, tmp_path: Path
) -> None:
    model = add_classification(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model, labels=["green", "blue"], looks_to_clear=1)
        look = await hub.look("porch", painted(RED))
        assert (look["answer"], look["classes"]) == ("none", [])
        assert (await hub.look("porch", painted(BLUE)))["answer"] == "blue"
        # Another choice of labels, and what held is no longer of interest.
        await configure(hub, model, labels=["green"], looks_to_clear=3)
        assert (await hub.look("porch", painted(BLUE)))["answer"] == "none"


async def test_a_scan_of_a_classification_says_what_this_look_showed(
    start_node: StartNode, tmp_path: Path
) -> None:
    model = add_classification(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model, looks_to_clear=2)
        await hub.ask("subscribe")
        await hub.look("porch", painted(RED))
        await hub.look("porch", painted(BLUE), scan=True)
        await hub.look("porch", painted(BLACK), scan=True)
        await hub.look("porch", painted(BLACK))
        assert told(await hub.events(3)) == [
            ("classification", "instant", "red", 1),
            ("scan", "instant", "blue", 1),
            ("classification", "instant", "none", 0),
        ]


async def test_a_pose_tells_of_the_body_and_of_its_posture(
    start_node: StartNode, tmp_path: Path
) -> None:
    model = add_pose(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model, looks_to_clear=1)
        await hub.ask("subscribe")
        postures = []
        for colour in (BLACK, RED, GREEN, BLUE, BLACK):
            look = await hub.look("porch", painted(colour))
            assert look["task"] == "pose"
            postures.append((look["answer"], [item["posture"] for item in look["objects"]]))
        assert postures == [
            ("none", []),
            ("standing", ["standing"]),
            ("sitting", ["sitting"]),
            ("lying", ["lying"]),
            ("none", []),
        ]
        look = await hub.look("porch", painted(BLUE), scan=True)
        (person,) = look["objects"]
        assert len(person["keypoints"]) == 17
        assert look["presence"]["person"]["count"] == 1
        events = await hub.events(10)
        assert told(events) == [
            ("object", "start", "person", 1),
            ("classification", "instant", "standing", 1),
            ("classification", "instant", "sitting", 1),
            ("classification", "instant", "lying", 1),
            ("object", "end", "person", 0),
            ("classification", "instant", "none", 0),
            ("object", "start", "person", 1),
            ("classification", "instant", "lying", 1),
            ("scan", "instant", "person", 1),
            ("scan", "instant", "lying", 1),
        ]
        assert events[1]["event"]["box"] is not None
        assert events[5]["event"]["box"] is None


async def test_a_posture_is_kept_when_only_the_labels_change(
    start_node: StartNode, tmp_path: Path
) -> None:
    model = add_pose(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model)
        await hub.look("porch", painted(RED))
        await configure(hub, model, labels=["person"], looks_to_clear=3)
        assert (await hub.look("porch", painted(BLUE)))["answer"] == "standing"


async def test_another_model_takes_up_nothing_of_the_one_before(
    start_node: StartNode, tmp_path: Path
) -> None:
    models = tmp_path / "data" / "models"
    colours, bodies = add_classification(models), add_pose(models)
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, colours)
        await hub.look("porch", painted(RED))
        await configure(hub, bodies)
        assert (await hub.look("porch", painted(BLUE)))["answer"] == "lying"
    node.process.kill()
    await node.process.wait()
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, colours)
        assert (await hub.look("porch", painted(GREEN)))["answer"] == "green"


async def test_faces_come_and_go_as_objects_do(start_node: StartNode, tmp_path: Path) -> None:
    model = add_face(tmp_path / "data" / "models")
    node = await start_node()
    async with node.connect() as hub:
        await configure(hub, model, looks_to_clear=1)
        await hub.ask("subscribe")
        look = await hub.look("porch", painted(GREEN))
        assert (look["task"], look["answer"], look["classes"]) == ("face", None, [])
        assert [item["label"] for item in look["objects"]] == ["face", "face"]
        await hub.look("porch", painted(RED))
        await hub.look("porch", painted(BLUE))
        assert told(await hub.events(3)) == [
            ("object", "start", "face", 2),
            ("object", "update", "face", 1),
            ("object", "end", "face", 0),
        ]


async def test_detect_answers_for_every_task(start_node: StartNode, tmp_path: Path) -> None:
    models = tmp_path / "data" / "models"
    colours, bodies = add_classification(models), add_pose(models)
    node = await start_node()
    async with node.connect() as hub:
        found = await hub.ask("detect", painted(BLUE), model=colours)
        assert (found["task"], found["classes"][0]["label"]) == ("classification", "blue")
        assert (await hub.ask("detect", painted(BLUE), model=colours, labels=["red"]))[
            "classes"
        ] == []
        found = await hub.ask("detect", painted(GREEN), model=bodies)
        assert (found["task"], found["objects"][0]["posture"]) == ("pose", "sitting")
