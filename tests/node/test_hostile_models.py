"""Malicious files are rejected in limited time and memory."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.errors import ModelError
from edge_vision_node.models.formats.checks import check_external
from edge_vision_node.models.formats.reading import MAX_ENDS, read_model_file

from tests.onnx_files import Tensor, answering, field

PICTURE: list[Tensor] = [("images", (1, 3, 8, 8), "float32")]
WHOLE = answering(PICTURE, {"out": np.zeros((1, 3), np.float32)})


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def tag(number: int, payload: bytes) -> bytes:
    """A field whose tag may have more than 32 bits."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def external(*locations: str) -> bytes:
    """A constant with its data in files."""
    places = b"".join(
        field(13, field(1, b"location") + field(2, name.encode())) for name in locations
    )
    return field(1, 3) + field(2, 1) + field(8, b"w") + places + field(14, 1)


# Engines that truncate a tag to 32 bits read the constant; others read an unknown field.
HIDDEN = tag(5 | 1 << 29, external("../../secrets"))
ONNX: dict[str, tuple[bytes, str]] = {
    "a tag beyond 32 bits": (WHOLE + tag(7 | 1 << 29, HIDDEN), "damaged"),
    "a tag beyond 32 bits in the graph": (WHOLE + field(7, HIDDEN), "damaged"),
    "field zero": (WHOLE + varint(2) + b"\0", "damaged"),
    "a tag of ten bytes": (WHOLE + b"\xba" + b"\x80" * 8 + b"\x01\0", "damaged"),
    "a number beyond 64 bits": (WHOLE + field(1, 0)[:1] + b"\xff" * 9 + b"\x7f", "damaged"),
    "a number without an end": (WHOLE + b"\x08" + b"\xff" * 20, "damaged"),
    "a group": (WHOLE + varint(7 << 3 | 3), "damaged"),
    "a length beyond its end": (WHOLE + varint(7 << 3 | 2) + varint(2**40), "damaged"),
    "many metadata": (
        WHOLE + field(14, field(1, b"k") + field(2, b"x" * 1_000_000)) * 40,
        "too much text",
    ),
    "many parts": (WHOLE + field(7, field(1, b"")) * 15_000, "too many parts"),
    "many outputs": (
        answering(PICTURE, {f"o{i}": np.zeros(1, np.float32) for i in range(MAX_ENDS + 1)}),
        "inputs and outputs",
    ),
}


@pytest.mark.parametrize("name", ONNX)
def test_an_onnx_file_that_is_made_to_hurt_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, reason = ONNX[name]
    monkeypatch.setattr("edge_vision_node.models.formats.onnx._MAX_FIELDS", 20_000)
    (tmp_path / "m.onnx").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=reason):
            read_model_file(tmp_path / "m.onnx")
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("places", [("w.bin", "../secrets"), ("../secrets", "w.bin")])
def test_of_several_places_for_weights_all_are_checked(
    tmp_path: Path, places: tuple[str, str]
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    (tmp_path / "m.onnx").write_bytes(WHOLE + field(7, field(5, external(*places))))
    content = read_model_file(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="outside its folder"):
        check_external(content, tmp_path, {"w.bin"})


def test_weights_in_the_defaults_of_a_function_are_checked(tmp_path: Path) -> None:
    attribute = field(1, b"w") + field(5, external("../secrets"))
    (tmp_path / "m.onnx").write_bytes(WHOLE + field(25, field(11, attribute)))
    assert read_model_file(tmp_path / "m.onnx").external == ("../secrets",)


def tensors_that_share(path: Path) -> None:
    """A TensorFlow Lite file with many tensors that share a huge name and a huge shape."""
    count, shared = 100_000, 8 * 2**20
    # root table → model at 8: fields version, operator codes, subgraphs
    head = struct.pack("<I4s", 20, b"TFL3")
    vtable = struct.pack("<HHHHH", 10, 8, 0, 0, 4) + bytes(2)
    model = struct.pack("<iI", 12, 4)
    graphs = struct.pack("<II", 1, 4 + 12)
    graph_vtable = struct.pack("<HHH", 6, 8, 4) + bytes(2)
    body = head + vtable + model + graphs + bytes(4) + graph_vtable
    graph = struct.pack("<iI", 8, 4)
    body += graph
    at = len(body)
    tensor_at = at + 4 + 4 * count
    body += struct.pack("<I", count)
    body += b"".join(struct.pack("<I", tensor_at + 12 - (at + 4 + 4 * i)) for i in range(count))
    tensor_vtable = struct.pack("<HHHHHH", 12, 12, 4, 0, 0, 8)
    tensor = struct.pack("<iII", 12, 8, 4)
    body += tensor_vtable + tensor + struct.pack("<I", shared) + bytes(shared)
    path.write_bytes(body)


def many_lines(path: Path) -> None:
    path.with_suffix(".bin").write_bytes(b"x")
    path.write_bytes(b"7767517\n3000000 1\n" + b"a\n" * 3_000_000)


def many_tags(path: Path) -> None:
    path.with_suffix(".bin").write_bytes(b"x")
    path.write_bytes(b"<?xml version='1.0'?><net>" + b"<a/>" * 1_500_000 + b"</net>")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("m.tflite", tensors_that_share, "damaged"),
        ("m.param", many_lines, "too many layers"),
        ("m.xml", many_tags, "too many layers"),
    ],
)
def test_other_files_that_are_made_to_hurt_are_refused(
    tmp_path: Path, name: str, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=reason):
            read_model_file(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()
