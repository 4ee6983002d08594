"""How messages become text and bytes, and how untrusted ones are read."""

from __future__ import annotations

import json
import struct
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any

# A 32 MiB picture is the most a camera may send, with room for its header.
MAX_PICTURE_BYTES = 32 * 1024 * 1024
MAX_MESSAGE_BYTES = MAX_PICTURE_BYTES + 64 * 1024
MAX_HEADER_BYTES = 64 * 1024
_LENGTH = struct.Struct(">I")
_T = typing.TypeVar("_T")


class ProtocolError(ValueError):
    """A message that does not follow the protocol; the text says where."""


def encode_text(message: Mapping[str, Any]) -> str:
    """Return a text frame."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def decode_text(text: str) -> dict[str, Any]:
    """Return the JSON object in a text frame. Raises `ProtocolError`."""
    try:
        message = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise ProtocolError(f"not JSON: {err}") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message


def encode_binary(header: Mapping[str, Any], picture: bytes | memoryview) -> bytes:
    """Return a binary frame."""
    head = encode_text(header).encode()
    return b"".join((_LENGTH.pack(len(head)), head, picture))


def decode_binary(frame: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return header and picture of a binary frame. Raises `ProtocolError`."""
    if len(frame) < _LENGTH.size:
        raise ProtocolError("binary frame shorter than its header length")
    (length,) = _LENGTH.unpack_from(frame)
    end = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or end > len(frame):
        raise ProtocolError("binary frame with a wrong header length")
    view = memoryview(frame)
    try:
        head = str(view[_LENGTH.size : end], "utf-8")
    except UnicodeDecodeError as err:
        raise ProtocolError(f"header is not UTF-8: {err}") from None
    return decode_text(head), view[end:]


def write(message: Any) -> dict[str, Any]:
    """Return the JSON object of one of this module's dataclasses."""
    return asdict(message)


def read(cls: type[_T], data: object) -> _T:
    """Build `cls`, one of this module's dataclasses, from untrusted JSON.

    Raises `ProtocolError` naming the field that is missing or of the wrong type.
    """
    value: _T = _read(cls, data, cls.__name__)
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(kind: Any, data: object, where: str) -> Any:
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), data, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if data is None and types.NoneType in args:
            return None
        (inner,) = [arg for arg in args if arg is not types.NoneType]
        return _read(inner, data, where)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ProtocolError(f"{where}: a list was expected")
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, dict):
            raise ProtocolError(f"{where}: an object was expected")
        return {str(key): _read(args[1], item, f"{where}.{key}") for key, item in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise ProtocolError(f"{where}: too large a number") from None
    # bool is an int in Python, but `true` is not a number in a message
    if not isinstance(data, kind) or (kind is not bool and isinstance(data, bool)):
        raise ProtocolError(f"{where}: {kind.__name__} was expected")
    return data


def _read_dataclass(cls: type, data: object, where: str) -> Any:
    if not isinstance(data, dict):
        raise ProtocolError(f"{where}: an object was expected")
    hints = _hints(cls)
    values: dict[str, Any] = {}
    for item in fields(cls):
        if item.name in data:
            values[item.name] = _read(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ProtocolError(f"{where}.{item.name} is missing")
    return cls(**values)
