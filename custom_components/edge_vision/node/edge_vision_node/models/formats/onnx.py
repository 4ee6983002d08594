"""ONNX files: the protobuf messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from ...errors import ModelError
from .model_file import ModelFile, Tensor, require_sane

# The graph of a picture model has a few thousand nodes; files with more fields are malicious.
_MAX_FIELDS = 2_000_000
_MAX_DEPTH = 16
_MAX_TEXT = 1024 * 1024
_MAX_TEXTS = 32 * 1024 * 1024
# Field 1 with the first wire type, and the largest 32-bit number.
_LEAST_TAG, _MOST_TAG = 8, 2**32 - 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


def looks_like(head: bytes) -> bool:
    """Return whether bytes start like an ONNX file: with its IR version, then its producer."""
    return (
        len(head) > 4 and head[0] == 0x08 and 1 <= head[1] <= 32 and head[2] in (0x12, 0x1A, 0x3A)
    )


def read(path: Path) -> ModelFile:
    """Read an ONNX file. Raises `ModelError`."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = _Reader(path.name)
    reader.model(memoryview(mapped))
    if not reader.found_graph:
        raise ModelError(f"{path.name} is not an ONNX model: it contains no graph")
    inputs = tuple(item for item in reader.inputs if item.name not in reader.initializers)
    return ModelFile(
        format="ONNX",
        engine="onnxruntime",
        roles={"model": path},
        inputs=inputs,
        outputs=tuple(reader.outputs),
        metadata=reader.metadata,
        custom_operators=tuple(sorted(reader.foreign_domains)),
        external=tuple(sorted(reader.external)),
    )


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._fields = 0
        self._text_bytes = 0
        self.found_graph = False
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.initializers: set[str] = set()
        self.external: set[str] = set()
        self.metadata: dict[str, str] = {}
        self.foreign_domains: set[str] = set()

    def model(self, view: memoryview) -> None:
        for number, value in self._walk(view):
            if number == 2:
                self.metadata["producer"] = self._text(value)
            elif number == 7:
                self.found_graph = True
                self._graph(self._bytes(value), 0)
            elif number == 14:
                key, text = self._pair(self._bytes(value))
                self.metadata[key] = text
            elif number == 20:  # training: two graphs
                for inner, graph in self._walk(self._bytes(value)):
                    if inner in (1, 2):
                        self._graph(self._bytes(graph), 1)
            elif number == 25:  # functions
                for inner, part in self._walk(self._bytes(value)):
                    if inner == 7:
                        self._node(self._bytes(part), 1)
                    elif inner == 11:
                        self._attribute(self._bytes(part), 1)

    def _graph(self, view: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ModelError(f"{self._name} nests its graphs too deeply")
        for number, value in self._walk(view):
            if number == 1:
                self._node(self._bytes(value), depth)
            elif number == 5:
                self.initializers.add(self._tensor(self._bytes(value)))
            elif number == 15:
                self._sparse(self._bytes(value))
            elif number in (11, 12):
                tensor = self._value_info(self._bytes(value))
                if depth == 0:
                    (self.inputs if number == 11 else self.outputs).append(tensor)

    def _node(self, view: memoryview, depth: int) -> None:
        for number, value in self._walk(view):
            if number == 5:
                self._attribute(self._bytes(value), depth)
            elif number == 7:
                domain = self._text(value)
                if domain not in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft"):
                    self.foreign_domains.add(domain)

    def _attribute(self, view: memoryview, depth: int) -> None:
        for number, value in self._walk(view):
            if number in (5, 10):
                self._tensor(self._bytes(value))
            elif number in (6, 11):
                self._graph(self._bytes(value), depth + 1)
            elif number in (22, 23):
                self._sparse(self._bytes(value))

    def _sparse(self, view: memoryview) -> None:
        for number, value in self._walk(view):
            if number in (1, 2):
                self._tensor(self._bytes(value))

    def _tensor(self, view: memoryview) -> str:
        """Record where the data of a tensor is stored, and return its name."""
        name, dims, locations, external = "", [], {""}, False
        for number, value in self._walk(view):
            if number == 1:
                dims += [value] if isinstance(value, int) else self._packed(value)
            elif number == 8:
                name = self._text(value)
            elif number == 13:
                key, text = self._pair(self._bytes(value))
                if key == "location":
                    locations.add(text)
                external = True
            elif number == 14:
                external = external or value == _EXTERNAL
        require_sane(name or "a constant", tuple(dims))
        if external:
            # If there are several, engines choose differently, so all have to be valid.
            self.external |= locations - {""} or {""}
        return name

    def _value_info(self, view: memoryview) -> Tensor:
        name, dtype, shape, batch = "", "unknown", [], None
        for number, value in self._walk(view):
            if number == 1:
                name = self._text(value)
            elif number == 2:
                for kind, tensor_type in self._walk(self._bytes(value)):
                    if kind != 1:
                        continue  # a sequence or map: not relevant for picture models
                    for part, item in self._walk(self._bytes(tensor_type)):
                        if part == 1:
                            dtype = _DTYPES.get(item, "unknown") if isinstance(item, int) else dtype
                        elif part == 2:
                            sides = [
                                self._side(self._bytes(side))
                                for field, side in self._walk(self._bytes(item))
                                if field == 1
                            ]
                            shape = [side for side, _ in sides]
                            batch = sides[0][1] if sides else None
        require_sane(name, tuple(shape))
        return Tensor(name=name, shape=tuple(shape), dtype=dtype, batch=batch)

    def _side(self, view: memoryview) -> tuple[int | None, str | None]:
        """Return the length or the name of a side; a file may contain neither."""
        for number, value in self._walk(view):
            if number == 1 and isinstance(value, int):
                return value if value > 0 else None, None
            if number == 2:
                return None, self._text(value)
        return None, None

    def _pair(self, view: memoryview) -> tuple[str, str]:
        parts = {number: self._text(value) for number, value in self._walk(view)}
        return parts.get(1, ""), parts.get(2, "")

    # --- Protobuf's wire format --------------------------------------------------------------

    def _walk(self, view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yield (field number, value) of a message; groups and invalid fields raise an error."""
        at, end = 0, len(view)
        while at < end:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise ModelError(f"{self._name} has too many parts")
            tag, at = self._varint(view, at)
            if not _LEAST_TAG <= tag <= _MOST_TAG:
                # Engines truncate it to 32 bits and would read a different field than this check.
                raise self._damaged()
            kind = tag & 7
            if kind == _VARINT:
                value, at = self._varint(view, at)
                # int64 is written as its two's complement
                yield tag >> 3, value - 2**64 if value >= 2**63 else value
                continue
            if kind == _BYTES:
                length, at = self._varint(view, at)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise self._damaged()
            if length > end - at:
                raise self._damaged()
            yield tag >> 3, view[at : at + length]
            at += length

    def _varint(self, view: memoryview, at: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(view):
                raise self._damaged()
            byte = view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 2**64:
                    raise self._damaged()
                return value, at
        raise self._damaged()

    def _packed(self, view: memoryview) -> list[int]:
        values: list[int] = []
        at = 0
        while at < len(view) and len(values) <= 8:
            value, at = self._varint(view, at)
            values.append(value - 2**64 if value >= 2**63 else value)
        return values

    def _bytes(self, value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            raise self._damaged()
        return value

    def _text(self, value: int | memoryview) -> str:
        view = self._bytes(value)
        self._text_bytes += len(view)
        if len(view) > _MAX_TEXT or self._text_bytes > _MAX_TEXTS:
            raise ModelError(f"{self._name} has too much text")
        return str(view, "utf-8", "replace")

    def _damaged(self) -> ModelError:
        return ModelError(f"{self._name} is damaged or cut short: it is not a complete ONNX file")
