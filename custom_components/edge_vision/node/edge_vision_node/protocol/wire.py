"""Conversion of messages to text and bytes, and validation of received ones."""

from __future__ import annotations

import json
import math
import struct
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any

# The maximum size of a picture from a camera is 32 MiB.
MAX_PICTURE_BYTES = 32 * 1024 * 1024
# The JSON of a message, either a text frame or the header of a picture. Labels make it large:
# `models.store.MAX_LABEL_CHARS` keeps those of all models together well below this.
MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_MESSAGE_BYTES = MAX_PICTURE_BYTES + MAX_HEADER_BYTES
MAX_INTEGER = 2**63 - 1
_MOST_NESTED = 20
# For a command: hundreds of cameras with a hundred corners of areas each.
_MOST_OBJECTS, _MOST_PARTS = 30_000, 200_000
_LENGTH = struct.Struct(">I")
_T = typing.TypeVar("_T")


class ProtocolError(ValueError):
    """A message that violates the protocol; the text contains the location."""


def encode_text(message: Mapping[str, Any]) -> str:
    """Return a text frame.

    Raises `ProtocolError` for a message that the receiver would reject, because it is too large or
    contains values that JSON does not support. The error is therefore reported by the sender.
    """
    try:
        text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as err:
        raise ProtocolError(f"cannot be said in JSON: {err}") from None
    size = len(text)
    if not text.isascii():
        # File names may contain bytes that are not text; they must not close a connection.
        encoded = text.encode("utf-8", "replace")
        text, size = encoded.decode(), len(encoded)
    if size > MAX_HEADER_BYTES:
        raise ProtocolError(f"{_mib(size)} of text; the maximum is {_mib(MAX_HEADER_BYTES)}")
    return text


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def decode_text(text: str, *, few: bool = False) -> dict[str, Any]:
    """Return the JSON object in a text frame. Raises `ProtocolError`.

    The content is validated by `read`, so that errors can name the invalid field. `few`: the number
    of parts is limited, so that reading is fast.
    """
    if len(text) > MAX_HEADER_BYTES:
        raise ProtocolError(f"{_mib(len(text))} of text; the maximum is {_mib(MAX_HEADER_BYTES)}")
    if few and (text.count("{") > _MOST_OBJECTS or text.count(",") > _MOST_PARTS):
        raise ProtocolError("it has more parts than any command needs")
    try:
        message = json.loads(text, parse_constant=_no_constant)
    except ValueError as err:
        raise ProtocolError(f"not JSON: {err}") from None
    except RecursionError:
        raise ProtocolError("not JSON: nested too deeply") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message


def encode_binary(header: Mapping[str, Any], picture: bytes | memoryview) -> bytes:
    """Return a binary frame. Raises `ProtocolError` as `encode_text` does."""
    head = encode_text(header).encode()
    return b"".join((_LENGTH.pack(len(head)), head, picture))


def decode_binary(frame: bytes, *, few: bool = False) -> tuple[dict[str, Any], memoryview]:
    """Return header and picture of a binary frame, as `decode_text`. Raises `ProtocolError`."""
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
    return decode_text(head, few=few), view[end:]


def write(message: Any) -> dict[str, Any]:
    """Return a dataclass of this package as a JSON object."""
    return asdict(message)


def read(cls: type[_T], data: object) -> _T:
    """Build `cls`, a dataclass of this package, from untrusted JSON.

    Raises `ProtocolError` with the name of the field that is missing or has the wrong type.
    """
    value: _T = _read(cls, data, cls.__name__)
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(kind: Any, data: object, where: str) -> Any:
    if kind is Any:
        _check(data, where, _MOST_NESTED)
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
        return {
            _read(str, key, where): _read(args[1], item, f"{where}.{_shown(key)}")
            for key, item in data.items()
        }
    # bool is an int in Python, but `true` is not a number in a message
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        _check_plain(data, where)
        return float(data)
    if not isinstance(data, kind) or (kind is not bool and isinstance(data, bool)):
        raise ProtocolError(f"{where}: {kind.__name__} was expected")
    _check_plain(data, where)
    return data


def _check(data: object, where: str, depth: int) -> None:
    """Reject invalid values in a field of type Any."""
    if not isinstance(data, list | tuple | dict):
        _check_plain(data, where)
        return
    if depth == 0:
        raise ProtocolError(f"{where}: nested too deeply")
    if isinstance(data, dict):
        for key in data:
            _check_plain(key, where)
    for item in data.values() if isinstance(data, dict) else data:
        _check(item, where, depth - 1)


def _check_plain(data: object, where: str) -> None:
    """Reject numbers that are not finite or too large, and texts that are not Unicode."""
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ProtocolError(f"{where}: not a finite number")
    elif isinstance(data, int):
        if abs(data) > MAX_INTEGER:
            raise ProtocolError(f"{where}: too large a number")
    elif isinstance(data, str) and not data.isascii():
        try:
            data.encode()
        except UnicodeEncodeError:
            raise ProtocolError(f"{where}: a text that is not Unicode") from None


def _shown(key: object) -> str:
    return ascii(key)[1:-1][:40]


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
