"""The command `track`, on the clip that the demo plays."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from edge_vision_node.cli.main import main

from tests.pictures import ROOT

CLIP = ROOT / "scripts" / "demo_data" / "footpath.mp4"


def test_objects_are_told_once_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_file = tmp_path / "rows.txt"
    arguments = ["track", str(CLIP), "--json", "--fps", "5", "--labels", "person"]
    arguments += ["--mot", str(rows_file), "--zone", "all:0,0;1,0;1,1;0,1"]
    assert main(arguments) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    starts = [event for event in events if (event["kind"], event["phase"]) == ("object", "start")]
    assert starts
    tracks = [event["track_id"] for event in starts]
    assert len(tracks) == len(set(tracks))
    assert {event["zone"] for event in events if event["kind"] == "zone"} == {"all"}
    rows = [line.split(",") for line in rows_file.read_text().splitlines()]
    assert {int(row[1]) for row in rows} <= set(tracks)
    assert all(len(row) == 10 and row[7:] == ["-1"] * 3 for row in rows)
    frames = [int(row[0]) for row in rows]
    assert frames == sorted(frames)


def test_who_was_not_looked_for_is_written_down_where_he_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, looks = {}, {}
    for look in ("economical", "whole"):
        file = tmp_path / f"{look}.txt"
        arguments = ["track", str(CLIP), "--fps", "5", "--labels", "person", "--look", look]
        assert main([*arguments, "--mot", str(file)]) == 0
        rows[look] = len(file.read_text().splitlines())
        looks[look] = capsys.readouterr().err.split(" looks a frame")[0].rsplit(" ")[-1]
    assert looks["whole"] == "1.0"
    assert float(looks["economical"]) <= 1.0
    assert rows["economical"] > 0.7 * rows["whole"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere.mp4"], 1, "no such file"),
        ([str(Path(__file__))], 1, "cannot be read"),
        ([str(CLIP), "--zone", "porch:0,0;1,1"], 2, "three corners"),
        ([str(CLIP), "--line", "gate:0,0;x,1"], 2, "expected NAME"),
        ([str(CLIP), "--line", "gate:0,0;2,1"], 2, "from 0 to 1"),
        ([str(CLIP), "--fps", "0"], 2, "more than 0"),
        ([str(CLIP), "--confidence", "100"], 2, "between 0 and 100"),
        ([str(CLIP), "--labels", "unicorn"], 1, "no label unicorn"),
    ],
)
def test_what_is_wrong_is_one_clear_line(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", *arguments]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_video_that_is_cut_is_no_video_in_which_nothing_more_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = CLIP.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) * 2 // 5])
    assert main(["track", str(cut), "--fps", "2", "--json"]) == 1
    out, err = capsys.readouterr()
    assert '"kind"' in out  # what was there until then
    assert re.search(r"breaks off after \d+\.\d of \d+\.\d s: it is damaged or cut short", err)
    assert len(err.strip().splitlines()) == 1
