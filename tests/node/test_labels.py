"""Label files written by people and tools, and archives created on their systems."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.errors import ModelError
from edge_vision_node.library.inspection.candidate import Candidate
from edge_vision_node.library.inspection.clues import find_picture
from edge_vision_node.library.inspection.recognise import recognise
from edge_vision_node.library.unpack import open_archive
from edge_vision_node.models.formats.reading import read_model_file
from edge_vision_node.models.labels import parse, read_labels, read_notes
from edge_vision_node.models.names import MAX_LABELS, MAX_NAME, clean, numbered

from tests.onnx_files import Tensor, answering

from .tflite_files import one_operation

PICTURE: list[Tensor] = [("images", (1, 3, 96, 96), "float32")]
NUMBERED = "".join(f"{i} thing {chr(97 + i % 26)}{i}\n" for i in range(80))


def model(classes: int, metadata: dict[str, str] | None = None) -> bytes:
    """A YOLOv8 with this number of classes."""
    return answering(PICTURE, {"output0": np.zeros((1, 4 + classes, 189), np.float32)}, metadata)


# --- Label files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "classes", "labels"),
    [
        ("plain", b"cat\ndog\nbird\n", 3, "cat dog bird"),
        ("crlf", b"cat\r\ndog\r\nbird\r\n", 3, "cat dog bird"),
        ("old mac", b"cat\rdog\rbird", 3, "cat dog bird"),
        ("blank between", b"cat\n\ndog\n\nbird\n", 3, "cat dog bird"),
        ("numbers before", b"0 cat\n1 dog\n2 bird\n", 3, "cat dog bird"),
        ("from one", b"1 cat\n2 dog\n3 bird\n", 3, "cat dog bird"),
        ("colon", b"0: cat\n1: dog\n2: bird\n", 3, "cat dog bird"),
        ("points", b"0. cat\n1. dog\n2. bird\n", 3, "cat dog bird"),
        ("tab", b"0\tcat\n1\tdog\n2\tbird\n", 3, "cat dog bird"),
        ("comma", b"0,cat\n1,dog\n2,bird\n", 3, "cat dog bird"),
        ("headed", b"id,name\n0,cat\n1,dog\n2,bird\n", 3, "cat dog bird"),
        ("behind", b"cat,0\ndog,1\nbird,2\n", 3, "cat dog bird"),
        ("in disorder", b"2 bird\n0 cat\n1 dog\n", 3, "cat dog bird"),
        ("trailing commas", b"cat,\ndog,\nbird,\n", 3, "cat dog bird"),
        ("quoted", b'"cat",\n"dog",\n"bird"\n', 3, "cat dog bird"),
        ("dashes", b"- cat\n- dog\n- bird\n", 3, "cat dog bird"),
        ("sparse", b"10 cat\n20 dog\n30 bird\n", 3, "cat dog bird"),
        ("coins", b"1 euro\n2 euro\n5 euro\n", 3, ["1 euro", "2 euro", "5 euro"]),
        ("two kinds of coins", b"1 cent\n2 cent\n1 euro\n", 3, ["1 cent", "2 cent", "1 euro"]),
        ("coins, more or less", b"1 euro coin\n2 euro coins\n5 euro note\n", 3, None),
        ("spaced", b"0 - cat\n1 - dog\n2 - bird\n", 3, "cat dog bird"),
        ("bars", b"0 | cat\n1 | dog\n2 | bird\n", 3, "cat dog bird"),
        ("behind a colon", b"cat: 0\ndog: 1\nbird: 2\n", 3, "cat dog bird"),
        ("twice the same", b"0 cat\n1 cat\n2 dog\n", 3, ["cat", "cat", "dog"]),
        ("quoted numbers", b"'0': 'cat',\n'1': 'dog',\n'2': 'bird',\n", 3, "cat dog bird"),
        ("numbers, quoted", b'0: "cat"\n1: "dog"\n2: "bird"\n', 3, "cat dog bird"),
        ("backticks", b"`cat`,\n`dog`,\n`bird`\n", 3, "cat dog bird"),
        ("one line", b"cat, dog, bird\n", 3, "cat dog bird"),
        ("one line of one", b"tench, Tinca tinca, fish\n", 1, ["tench, Tinca tinca, fish"]),
        ("one line, quoted", b'"cat", "dog", "bird",\n', 3, "cat dog bird"),
        ("one, with a comma", b"cat,\n", 1, "cat"),
        ("a program", b"CLASSES = ('cat', 'dog',\n  'bird')\n", 3, "cat dog bird"),
        ("a list", b"[cat, dog, bird]", 3, "cat dog bird"),
        ("commented", b"# animals\n0: cat\n# more\n1: dog # good\n2: bird\n", 3, "cat dog bird"),
        ("all with a sign", b"# cat\n# dog\n# bird\n", 3, ["# cat", "# dog", "# bird"]),
        ("t.csv", b"name,id\ncat,0\ndog,1\nbird,2\n", 3, "cat dog bird"),
        ("t.csv", b"Index;Label;Colour\n2;bird;x\n0;cat;y\n1;dog;z\n", 3, "cat dog bird"),
        ("t.csv", b'"0","cat"\n"1","dog"\n"2","bird"\n', 3, "cat dog bird"),
        ("utf-16 unmarked, kanji", "猫\n犬\n鳥\n".encode("utf-16-le"), 3, "猫 犬 鳥"),
        ("items.json", b'[{"name": "cat"}, {"name": "dog"}, {"name": "bird"}]', 3, "cat dog bird"),
        ("ids.json", b'{"label2id": {"cat": 0, "dog": 1, "bird": 2}}', 3, "cat dog bird"),
        ("deep.json", b'{"model": {"names": ["cat", "dog", "bird"]}}', 3, "cat dog bird"),
        ("keras.json", b'{"0": ["n1", "cat"], "1": ["n2", "dog"]}', 2, "cat dog"),
        ("numbers only", b"1\n2\n5\n10\n", 4, "1 2 5 10"),
        ("years", b"1990\n2000\n2010\n", 3, "1990 2000 2010"),
        (
            "numbers behind are theirs",
            b"zone 1\nzone 2\nzone 3\n",
            3,
            ["zone 1", "zone 2", "zone 3"],
        ),
        ("utf-8 mark", b"\xef\xbb\xbfcat\ndog\nbird", 3, "cat dog bird"),
        ("utf-16", "cat\ndog\nbird\n".encode("utf-16"), 3, "cat dog bird"),
        ("utf-16 big", b"\xfe\xff" + "cat\ndog\nbird".encode("utf-16-be"), 3, "cat dog bird"),
        ("utf-16 unmarked", "cat\r\ndog\r\nbird".encode("utf-16-le"), 3, "cat dog bird"),
        ("utf-32", "cat\ndog\nbird".encode("utf-32"), 3, "cat dog bird"),
        ("latin-1", "Vögel\nKühe\nKäse\n".encode("latin-1"), 3, "Vögel Kühe Käse"),
        ("cp1252", b"caf\xe9\n\x80uro\nx\n", 3, "café €uro x"),
        ("other scripts", "狗\n猫\n鳥\n".encode(), 3, "狗 猫 鳥"),
        ("data.yaml", b"names:\n  0: cat\n  1: dog\n  2: bird\n", 3, "cat dog bird"),
        ("data.yaml", b"path: x\nnc: 3\nnames: [cat, dog, bird]\n", 3, "cat dog bird"),
        ("data.yaml", b"nc: 3\nnames:\n- no\n- 'yes'\n- 007\n", 3, "no yes 007"),
        ("yaml in .txt", b"train: a\nnames:\n  0: cat\n  1: dog\n  2: bird\n", 3, "cat dog bird"),
        ("list.json", b'["cat", "dog", "bird"]', 3, "cat dog bird"),
        ("dict.json", b'{"0": "cat", "2": "bird", "1": "dog"}', 3, "cat dog bird"),
        ("turned.json", b'{"cat": 0, "bird": 2, "dog": 1}', 3, "cat dog bird"),
        ("inside.json", b'{"version": 1, "labels": ["cat", "dog", "bird"]}', 3, "cat dog bird"),
        ("config.json", b'{"id2label": {"0": "cat", "1": "dog", "2": "bird"}}', 3, "cat dog bird"),
        (
            "coco.json",
            b'{"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}',
            2,
            "cat dog",
        ),
        ("a Python dict", b"{0: 'cat', 1: 'dog', 2: 'bird'}", 3, "cat dog bird"),
        (
            "map.pbtxt",
            b"item {\n id: 1\n name: 'n01'\n display_name: \"cat\"\n}\nitem { name: 'dog' id: 2 }",
            2,
            "cat dog",
        ),
        ("few of many", b"0 person\n2 car\n16 dog\n", 80, {0: "person", 2: "car", 16: "dog"}),
        ("few of many", b"0: person\n16: dog\n", 80, {0: "person", 1: "class 1", 16: "dog"}),
        ("all of eighty", NUMBERED.encode(), 80, {0: "thing a0", 79: "thing b79"}),
    ],
)
def test_labels_are_as_they_are_meant(
    tmp_path: Path,
    name: str,
    content: bytes,
    classes: int,
    labels: str | list[str] | dict[int, str] | None,
) -> None:
    (tmp_path / "m.onnx").write_bytes(model(classes))
    (tmp_path / name).write_bytes(content)
    read = read_model_file(tmp_path / "m.onnx")
    guess = recognise(read, find_picture(read, {}), (), read_labels(tmp_path / name))
    assert len(guess.labels) == classes
    if isinstance(labels, dict):
        assert {i: guess.labels[i] for i in labels} == labels
    elif labels is None:  # the numbers stay
        assert guess.labels == tuple(content.decode().splitlines())
    else:
        wanted = labels.split() if isinstance(labels, str) else labels
        assert list(guess.labels) == wanted


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("l.txt", b"", "contains no labels"),
        ("l.txt", b"\n\n \n", "contains no labels"),
        ("l.txt", bytes(range(256)) * 20, "is not a text file"),
        ("l.txt", b"\xff\xfea", "labels l.txt are damaged"),
        ("l.txt", b"x\n" * (MAX_LABELS + 1), "more than"),
        ("l.txt", b"x" * (1024 * 1024 + 1), "has more than 1048576 bytes"),
        ("l.yaml", b"names: [a, b", "labels l.yaml cannot be read"),
        ("l.yaml", b"a: " * 200_000, "labels l.yaml cannot be read"),
        ("l.yaml", b"a: b", "contains no labels"),
        ("l.yaml", b"nc: 3", "contains no labels"),
        ("l.txt", b"cat\0\ndog\0\nbird\0\n", "is not a text file"),
        ("l.txt", b"<!DOCTYPE html>\n<html>", "is a web page"),
        ("l.json", b'{"a": {"b": 1}}', "contains no labels"),
        ("l.json", b"[" * 100_000, "contains no labels"),
        ("l.pbtxt", b"item {", "contains no labels"),
    ],
)
def test_what_is_no_list_of_labels_says_so(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        read_labels(tmp_path / name)


def test_a_quoted_text_longer_than_any_name_is_read() -> None:
    assert parse("l.txt", b'"' * 200_001)


def test_a_file_says_by_its_first_bytes_what_it_is(tmp_path: Path) -> None:
    packed(tmp_path / "a.zip", {"best.onnx": model(3), "labels.txt": LABELS})
    (tmp_path / "renamed.onnx").write_bytes((tmp_path / "a.zip").read_bytes())
    assert look(tmp_path, tmp_path / "renamed.onnx").labels
    (tmp_path / "page.onnx").write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(ModelError, match="is a web page"):
        read_model_file(tmp_path / "page.onnx")
    packed(tmp_path / "torch.zip", {"best.pt": b"PK", "labels.txt": LABELS})
    with pytest.raises(ModelError, match="PyTorch checkpoint"):
        Candidate(tmp_path / "candidate", tmp_path / "torch.zip", None)


def test_aliases_of_yaml_do_not_multiply() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
    )
    with pytest.raises(ModelError, match="contains no labels"):
        parse("l.yaml", f"{bomb}names: [*y, *y]\n".encode())
    assert read_notes(bomb.encode()) == {"a": "['x', 'x']"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("  a \n b\t c ", "a b c"),
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("a\u202eb\u2066c\ufeff", "abc"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("a\ud800b", "ab"),
        ("👩‍🚒", "👩‍🚒"),
        ("x" * 5000, "x" * (MAX_NAME - 1) + "…"),
        ("\n\u200e", ""),
    ],
)
def test_names_can_be_shown_anywhere(name: str, shown: str) -> None:
    assert clean(name) == shown


def test_blank_names_get_their_number() -> None:
    assert numbered(["", "cat", " \t", "\u200e"]) == ("class 0", "cat", "class 2", "class 3")


def test_what_metadata_leaves_blank_gets_its_number(tmp_path: Path) -> None:
    names = "{0: '', 1: ' ', 2: 'x'}"
    (tmp_path / "m.onnx").write_bytes(model(3, {"names": names, "task": "detect"}))
    read = read_model_file(tmp_path / "m.onnx")
    guess = recognise(read, find_picture(read, read.metadata), ())
    assert guess.labels == ("class 0", "class 1", "x")


# --- Archives -------------------------------------------------------------------------------------

LABELS = b"cat\ndog\nbird\n"
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(80)


def look(tmp_path: Path, path: Path) -> Candidate:
    folder = tmp_path / "candidate"
    folder.mkdir()
    return Candidate(folder, path, None)


def packed(path: Path, members: dict[str, bytes], compression: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # with the backslashes of another system
            file.writestr(info, content, compression)
    return path


@pytest.mark.parametrize(
    "members",
    [
        {"best.onnx": b"", "labels.txt": LABELS},
        {
            "best.onnx": b"",
            "labels.txt": LABELS,
            "__MACOSX/._best.onnx": APPLE,
            "__MACOSX/._labels.txt": APPLE,
            ".DS_Store": APPLE,
            "._labels.txt": APPLE,
        },
        {"README.txt": b"This is\nmy model\n", "best.onnx": b"", "labels.txt": LABELS},
        {"LICENSE.txt": b"Apache", "a/best.onnx": b"", "a/classes.txt": LABELS},
        {"Thumbs.db": b"x", "desktop.ini": b"x", "BEST.ONNX": b"", "LABELS.TXT": LABELS},
        {"export\\best.onnx": b"", "export\\labels.txt": LABELS},
        {"best/weights/best.onnx": b"", "best/data.yaml": b"names: [cat, dog, bird]\n"},
        {"m/best.onnx": b"", "m/notes.md": b"# Hello\n", "m/coco.names": LABELS},
        {"m/best.onnx": b"", "m/README.txt": b"one\n", "n/README.txt": b"two\n", "l.txt": LABELS},
        {"best.onnx": b"", "config.json": b'{"a": 1}', "best.json": b'["cat", "dog", "bird"]'},
        {"best.onnx": b"", "metadata.yaml": b"task: detect\nnames:\n  0: cat\n  1: dog\n  2: bird"},
        {"best.onnx": b"", "train.py": b"import os\n", "labels.txt": LABELS},
        {"best.onnx": b"", "MIT-LICENSE.txt": b"a\nb\n", "Read Me.txt": b"a\n", "my.txt": LABELS},
        {"license_plate.onnx": b"", "license_plates.txt": LABELS, "Model License.txt": b"a\n"},
        {"best.onnx": b"", "labels.txt": LABELS, **{f"{i}.txt": b"0 .5 .5 1 1" for i in range(80)}},
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_archives_of_all_systems_are_read(
    tmp_path: Path, members: dict[str, bytes], kind: str
) -> None:
    members = {
        name: model(3) if name.lower().endswith(".onnx") else content
        for name, content in members.items()
    }
    path = tmp_path / f"mine.{kind}"
    if kind == "zip":
        packed(path, members)
    else:
        with tarfile.open(path, "w:gz" if kind == "tgz" else "w") as file:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    candidate = look(tmp_path, path)
    guess = recognise(
        candidate.content,
        find_picture(candidate.content, candidate.content.metadata),
        (),
        candidate.labels,
    )
    assert guess.labels == ("cat", "dog", "bird")
    assert [item.name for item in candidate.folder.iterdir()] == [
        next(iter(candidate.content.roles.values())).name
    ]


def test_a_folder_is_read_as_an_archive_is(tmp_path: Path) -> None:
    folder = tmp_path / "best_openvino_model"
    folder.mkdir()
    (folder / "best.onnx").write_bytes(model(3))
    (folder / ".DS_Store").write_bytes(APPLE)
    (folder / "README.txt").write_text("Hello\n")
    (folder / "metadata.yaml").write_text("names:\n  0: cat\n  1: dog\n  2: bird\ntask: detect\n")
    candidate = look(tmp_path, folder)
    assert candidate.content.metadata["task"] == "detect"
    assert candidate.labels == ()


def test_prose_beside_a_model_with_labels_of_its_own_is_left_alone(tmp_path: Path) -> None:
    named = model(3, {"names": "{0: 'cat', 1: 'dog', 2: 'bird'}", "task": "detect"})
    members = {"best.onnx": named, "about this.txt": b"one\ntwo\nthree\n"}
    assert look(tmp_path, packed(tmp_path / "m.zip", members)).labels == ()


def locked(path: Path) -> None:
    packed(path, {"best.onnx": model(3)})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # of the local header
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("best.onnx", model(3))
        with file.open("labels.bin", "w", force_zip64=True) as member:
            for _ in range(600):
                member.write(bytes(1024 * 1024))


def liar(path: Path) -> None:
    packed(path, {"best.onnx": model(3), "labels.txt": LABELS * 100})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1300), struct.pack("<I", 13)))


def bad_checksum(path: Path) -> None:
    info = tarfile.TarInfo("a.onnx")
    info.size = 512
    data = bytearray(gzip.compress(info.tobuf() + bytes(512)))
    data[-8] ^= 0xFF
    path.write_bytes(data)


def huge_header(path: Path) -> None:
    """A tar with a header for a long name of 8 GiB of compressed zeros."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 2**30
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(16):
            file.write(bytes(1024 * 1024))


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("m.zip", locked, "protected with a password"),
        ("m.zip", bomb, "unpacks to|too much"),
        ("m.zip", liar, "damaged|larger than declared"),
        ("m.zip", lambda p: p.write_bytes(b"PK\x03\x04 cut"), "damaged or cut short"),
        ("m.zip", lambda p: packed(p, {}), "contains nothing"),
        ("m.zip", lambda p: packed(p, {"x.zip": b"PK"}), "contains another archive, x.zip"),
        ("m.zip", lambda p: packed(p, {"__MACOSX/._a.onnx": APPLE}), "contains nothing"),
        ("m.zip", lambda p: packed(p, {"a.onnx": b"x", "b.onnx": b"x"}), "a.onnx, b.onnx"),
        ("m.zip", lambda p: packed(p, {"../a.onnx": b"x"}), "outside its folder"),
        ("m.zip", lambda p: packed(p, {"..\\a.onnx": b"x"}), "outside its folder"),
        ("m.zip", lambda p: packed(p, {"C:\\a.onnx": b"x"}), "outside its folder"),
        ("m.zip", lambda p: packed(p, {"a.onnx": b"x"}, compression=14), "ordinary .zip"),
        ("m.7z", lambda p: p.write_bytes(b"7z\xbc\xaf'\x1c" + bytes(50)), "pack the files as .zip"),
        ("m.rar", lambda p: p.write_bytes(b"Rar!\x1a\x07" + bytes(50)), "pack the files as .zip"),
        ("m.dat", lambda p: p.write_bytes(b"\xfd7zXZ\0" + bytes(50)), "pack the files as .zip"),
        (
            "m.gz",
            lambda p: p.write_bytes(gzip.compress(b"x" * 99)),
            "gzip file that is not a .tar",
        ),
        ("m.tgz", huge_header, "a header that is too large"),
        ("m.tgz", bad_checksum, "damaged or cut short"),
        ("m.zip", lambda p: packed(p, {"a.onnx": model(3), ".": b"x"}), "outside its folder"),
    ],
)
def test_archives_errors_are_told_as_what_they_are(
    tmp_path: Path, name: str, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(ModelError, match=reason):
        look(tmp_path, tmp_path / name)


def test_a_table_of_contents_that_fills_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "m.zip", {"a.onnx": b"x"})
    monkeypatch.setattr("edge_vision_node.library.unpack._MAX_TABLE_BYTES", 40)
    with pytest.raises(ModelError, match="too many members"), open_archive(path):
        pass


def test_what_ultralytics_appends_to_a_tflite_file_are_no_labels(tmp_path: Path) -> None:
    notes = {"task": "detect", "names": {"0": "cat", "1": "dog"}, "imgsz": [96, 96]}
    for name, text in (("metadata.json", json.dumps(notes)), ("temp_meta.txt", repr(notes))):
        path = tmp_path / f"{name}.tflite"
        one_operation(path, "RESHAPE")
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(name, text)
        read = read_model_file(path)
        assert read.labels == ()
        assert (read.metadata["task"], read.metadata["imgsz"]) == ("detect", "[96, 96]")
        assert "cat" in read.metadata["names"]
