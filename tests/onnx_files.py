"""Handmade ONNX files, so that tests define the tensors of a model. ONNX Runtime can run them.

The encoding is protobuf with the messages of ONNX's onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

_ELEMENT = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7}

# name, shape (None: undefined), dtype
Tensor = tuple[str, Sequence[int | None], str]


def field(number: int, payload: bytes | int) -> bytes:
    """Encode one field of a message: a number, or bytes."""
    if isinstance(payload, int):
        return _varint(number << 3) + _varint(payload)
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def value_info(tensor: Tensor) -> bytes:
    """Encode the declaration of an input or output."""
    name, shape, dtype = tensor
    sides = b"".join(
        field(1, field(2, b"any") if side is None else field(1, side)) for side in shape
    )
    kind = field(1, field(1, _ELEMENT[dtype]) + field(2, sides))
    return field(1, name.encode()) + field(2, kind)


def onnx_file(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    metadata: Mapping[str, str] | None = None,
    fill: float = 0.0,
    producer: str = "tests",
    declared: Sequence[Tensor] | None = None,
) -> bytes:
    """Return a model that returns outputs filled with one number for every picture.

    `declared`: the outputs declared in the file, if they differ from the real ones.
    """
    graph = field(2, b"constant")
    for name, shape, dtype in outputs:
        sides = struct.pack(f"<{len(shape)}q", *(side or 1 for side in shape))
        tensor = field(1, len(shape)) + field(2, 7) + field(8, f"{name} sides".encode())
        graph += field(5, tensor + field(9, sides))
        number = struct.pack("<f" if dtype == "float32" else "<q", 0 if dtype == "int64" else fill)
        value = field(1, 1) + field(2, _ELEMENT[dtype]) + field(9, number)
        attribute = field(1, b"value") + field(5, value) + field(20, 4)
        node = field(1, f"{name} sides".encode()) + field(2, name.encode())
        graph += field(1, node + field(4, b"ConstantOfShape") + field(5, attribute))
    graph += b"".join(field(11, value_info(tensor)) for tensor in inputs)
    graph += b"".join(field(12, value_info(tensor)) for tensor in declared or outputs)
    entries = (metadata or {}).items()
    notes = b"".join(
        field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in entries
    )
    return (
        field(1, 8) + field(2, producer.encode()) + field(7, graph) + field(8, field(2, 13)) + notes
    )


_NUMPY = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7}


def answering(
    inputs: Sequence[Tensor],
    answers: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    declared: Mapping[str, Sequence[int | str]] | None = None,
) -> bytes:
    """Return a model that returns these arrays for every picture.

    `declared`: the shapes of outputs declared in the file, with a text for undefined sides.
    """
    graph = field(2, b"constant")
    for name, array in answers.items():
        tensor = b"".join(field(1, side) for side in array.shape)
        tensor += field(2, _NUMPY[array.dtype.name]) + field(8, f"{name} value".encode())
        graph += field(5, tensor + field(9, array.tobytes()))
        node = field(1, f"{name} value".encode()) + field(2, name.encode())
        graph += field(1, node + field(4, b"Identity"))
    graph += b"".join(field(11, value_info(tensor)) for tensor in inputs)
    for name, array in answers.items():
        sides = b"".join(
            field(1, field(2, side.encode()) if isinstance(side, str) else field(1, side))
            for side in (declared or {}).get(name, array.shape)
        )
        kind = field(1, field(1, _NUMPY[array.dtype.name]) + field(2, sides))
        graph += field(12, field(1, name.encode()) + field(2, kind))
    entries = (metadata or {}).items()
    notes = b"".join(
        field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in entries
    )
    return field(1, 8) + field(2, b"tests") + field(7, graph) + field(8, field(2, 13)) + notes
