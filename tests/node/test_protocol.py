"""Messages: what is written can be read, and rubbish is refused with its place."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

import pytest
from edge_vision_node import protocol
from edge_vision_node.protocol import (
    Configure,
    Look,
    NodeEvent,
    NodeInfo,
    NodeStatus,
    PipelineConfig,
    ProtocolError,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    read,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

MESSAGES = [
    item
    for item in vars(protocol).values()
    if isinstance(item, type) and dataclasses.is_dataclass(item)
]

_INTEGERS = st.integers(-protocol.MAX_INTEGER, protocol.MAX_INTEGER)
_JSON = st.recursive(
    st.none() | st.booleans() | _INTEGERS | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


def a_value(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field; "anything" in a message is anything that JSON has."""
    return st.dictionaries(st.text(), _JSON) if kind == dict[str, Any] else st.from_type(kind)


def a_message(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    return st.builds(cls, **{f.name: a_value(hints[f.name]) for f in dataclasses.fields(cls)})


st.register_type_strategy(int, _INTEGERS)
for message in MESSAGES:  # also where one is part of another
    st.register_type_strategy(message, a_message)


@pytest.mark.parametrize("cls", MESSAGES)
@given(data=st.data())
def test_what_is_written_can_be_read(cls: type[Any], data: st.DataObject) -> None:
    message = data.draw(st.from_type(cls))
    try:
        text = encode_text(write(message))
    except ValueError:  # not a number: JSON has none, and none is ever meant
        return
    assert read(cls, decode_text(text)) == message


@pytest.mark.parametrize("cls", [Configure, Look, NodeEvent, NodeInfo, NodeStatus])
@given(data=st.data())
def test_any_json_is_read_or_refused_but_nothing_else(cls: type[Any], data: st.DataObject) -> None:
    keys = [f.name for f in dataclasses.fields(cls)]
    raw = data.draw(_JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(keys, _JSON)))
    try:
        message = read(cls, json.loads(json.dumps(raw)))
    except ProtocolError:
        return
    assert isinstance(message, cls)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({}, "pipeline_id is missing"),
        ({"pipeline_id": 1, "name": "x"}, "pipeline_id: str was expected"),
        ({"pipeline_id": "a", "name": "x", "labels": "person"}, "labels: a list"),
        ({"pipeline_id": "a", "name": "x", "labels": [1]}, r"labels\[0\]: str"),
        ({"pipeline_id": "a", "name": "x", "confidence": True}, "confidence: float"),
        ({"pipeline_id": "a", "name": "x", "confidence": 10**400}, "too large"),
        ({"pipeline_id": "a", "name": "x", "looks_to_clear": 1.5}, "looks_to_clear: int"),
        ([], "an object was expected"),
    ],
)
def test_an_error_names_the_field(raw: object, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        read(PipelineConfig, raw)


def test_a_newer_peer_may_say_more() -> None:
    raw = {"pipeline_id": "a", "name": "x", "tomorrow": 1}
    assert read(PipelineConfig, raw) == PipelineConfig(pipeline_id="a", name="x")


@given(st.dictionaries(st.text(), _INTEGERS), st.binary())
def test_a_binary_frame_comes_back_whole(header: dict[str, int], picture: bytes) -> None:
    got, rest = decode_binary(encode_binary(header, picture))
    assert got == header
    assert bytes(rest) == picture


@given(st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    try:
        header, picture = decode_binary(data)
    except ProtocolError:
        return
    assert encode_text(header)
    assert data.endswith(bytes(picture))


@pytest.mark.parametrize("text", ["", "[]", "nul", '{"a": NaN}', '{"a": Infinity}', "[" * 100_000])
def test_text_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_text(text)


@pytest.mark.parametrize(
    "value",
    [
        "1e999",
        "-1e999",
        "9" * 30,
        "9" * 5000,
        "-9223372036854775808",
        '"\\ud800"',
        '"caf\\udcc3"',
        "[" * 21 + "]" * 21,
        '{"\\udfff": 1}',
    ],
)
@pytest.mark.parametrize("field", ["name", "confidence", "looks_to_clear", "limits", "labels"])
def test_what_no_field_may_hold_is_refused(value: str, field: str) -> None:
    text = f'{{"pipeline_id": "a", "name": "x", "{field}": {value}}}'
    with pytest.raises(ProtocolError):
        read(PipelineConfig, decode_text(text))


@pytest.mark.parametrize(
    "value",
    [float("inf"), float("nan"), 2**63, "\ud800", {"\ud800": 1}, [[float("inf")]]],
)
def test_nor_may_one_that_may_hold_anything(value: object) -> None:
    deep: object = 1
    for _ in range(30):
        deep = [deep]
    for odd in (value, deep):
        with pytest.raises(ProtocolError, match="corrections"):
            read(protocol.InspectModel, {"corrections": {"head": odd}})
    assert read(protocol.InspectModel, {"corrections": {"a": [1, {"b": None}]}})


def test_a_text_that_is_not_unicode_does_not_end_a_connection() -> None:
    text = encode_text({"file": "caf\udcc3.onnx", "label": "caf\u00e9 \U0001f600"})
    assert decode_text(text) == {"file": "caf?.onnx", "label": "caf\u00e9 \U0001f600"}
    assert text.encode()


def test_a_text_is_never_long() -> None:
    with pytest.raises(ProtocolError, match="of text"):
        decode_text('{"a": "' + "x" * protocol.MAX_HEADER_BYTES + '"}')
