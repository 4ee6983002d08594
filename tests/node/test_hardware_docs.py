"""The documents match the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from edge_vision_node.cli.hardware import figures
from edge_vision_node.cli.main import main
from edge_vision_node.hardware import devices
from edge_vision_node.hardware.profiles import PROFILES

from tests.pictures import NODE_FOLDER, ROOT

HARDWARE = (ROOT / "docs" / "hardware.md").read_text("utf-8")
NODE = (NODE_FOLDER / "README.md").read_text("utf-8")
ESP32 = (ROOT / "docs" / "esp32.md").read_text("utf-8")


def test_the_table_of_boards_is_that_of_the_profiles() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in HARDWARE.partition("| board |")[2].partition("\n\n")[0].splitlines()[2:]
    ]
    assert len(rows) == len(PROFILES)
    for (name, *told, best_for), profile in zip(rows, PROFILES.values(), strict=True):
        assert (name, best_for) == (profile.name, profile.best_for)
        assert (", ".join(item for item in told if item) or "no figures") == figures(profile)


def test_how_to_pass_a_device_is_told_in_the_same_words() -> None:
    source = Path(devices.__file__).read_text("utf-8")
    flags = re.findall(r'"(--(?:gpus|runtime|volume|device) [^"{]+)"', source)
    assert len(flags) == 4
    for flag in flags:
        assert flag in HARDWARE


@pytest.mark.parametrize("text", [HARDWARE, ESP32, NODE], ids=["hardware", "esp32", "node"])
def test_the_commands_can_be_typed_as_they_are_told(text: str) -> None:
    """The node is not on a package index, so commands are for a clone or for a wheel."""
    assert not re.search(r"pip install \W*edge-vision-node", text)
    commands = re.findall(r"^ {4}(scripts/node|edge-vision-node) (\w+)", text, re.MULTILINE)
    assert commands
    if "edge_vision_node-" not in text:  # the text does not explain how to get the wheel
        assert {program for program, _ in commands} == {"scripts/node"}
    for _, command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0


def test_the_mqtt_discovery_message_is_complete() -> None:
    message = json.loads(ESP32.partition("```json\n")[2].partition("```")[0])
    assert message["device"]["identifiers"]
    assert message["origin"]["name"]
    for name, component in message["components"].items():
        assert component["unique_id"], name
        assert component["expire_after"], "an answer must not outlive the chip"
    for topic in (message["availability_topic"], message["state_topic"]):
        assert f"`{topic}`" in ESP32
