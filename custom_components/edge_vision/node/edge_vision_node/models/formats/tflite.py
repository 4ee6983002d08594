"""TensorFlow Lite files: FlatBuffers of TensorFlow's `schema.fbs`, with TFLite Support metadata."""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ...errors import ModelError
from ..labels import parse, read_notes
from ..names import MAX_LABEL_BYTES
from .model_file import ModelFile, Tensor, require_sane

_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    5: "string",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
    17: "int4",
}
_CUSTOM = 32  # BuiltinOperator.CUSTOM
_MAX_ITEMS = 200_000
_MAX_BLOB_BYTES = 16 * 1024 * 1024  # for metadata; weights are not read
_MAX_PACKED = 64
_NOTES = ("metadata.json", "temp_meta.txt", "metadata.yaml")
_MAX_SIDES = 16
_MAX_TEXT_BYTES = 16 * 1024
_NORMALIZATION = 1  # ProcessUnitOptions.NormalizationOptions


@dataclass(frozen=True)
class _Table:
    """A FlatBuffers table with fields by number; missing fields are 0 or None."""

    data: mmap.mmap | bytes
    at: int

    def _field(self, number: int) -> int | None:
        vtable = self.at - _i32(self.data, self.at)
        slot = 4 + 2 * number
        if slot >= _u16(self.data, vtable):
            return None
        offset = _u16(self.data, vtable + slot)
        return self.at + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        at = self._field(number)
        return 0 if at is None else int(struct.unpack_from(kind, self.data, _inside(at))[0])

    def _vector(self, number: int) -> tuple[int, int]:
        """Return (offset of the first element, number of elements)."""
        at = self._field(number)
        if at is None:
            return 0, 0
        start = at + _u32(self.data, at)
        return start + 4, _u32(self.data, start)

    def numbers(self, number: int, kind: str, most: int = _MAX_ITEMS) -> tuple[float, ...]:
        at, count = self._vector(number)
        if count > most:
            raise IndexError
        return struct.unpack_from(f"<{count}{kind}", self.data, at) if count else ()

    def require(self, number: int) -> tuple[int, int]:
        """Return the start and end of a blob. Raises `IndexError` if they are out of range."""
        at, count = self._vector(number)
        if at + count > len(self.data):
            raise IndexError
        return at, at + count

    def blob(self, number: int) -> bytes:
        begin, end = self.require(number)
        if end - begin > _MAX_BLOB_BYTES:
            raise IndexError
        return self.data[begin:end]

    def text(self, number: int) -> str:
        begin, end = self.require(number)
        if end - begin > _MAX_TEXT_BYTES:  # many tensors can share one
            raise IndexError
        return self.data[begin:end].decode("utf-8", "replace")

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return None if at is None else _Table(self.data, at + _u32(self.data, at))

    def tables(self, number: int) -> list[_Table]:
        at, count = self._vector(number)
        if count > _MAX_ITEMS:
            raise IndexError
        places = range(at, at + 4 * count, 4)
        return [_Table(self.data, place + _u32(self.data, place)) for place in places]


def read(path: Path) -> ModelFile:
    """Read a TensorFlow Lite file. Raises `ModelError`."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _read(path, data)
    except (struct.error, IndexError, ValueError, RecursionError) as err:
        raise ModelError(
            f"{path.name} is damaged or cut short: it is not a complete TensorFlow Lite file"
        ) from err


def _read(path: Path, data: mmap.mmap) -> ModelFile:
    model = _Table(data, _u32(data, 0))
    subgraphs = model.tables(2)
    if not subgraphs:
        raise ModelError(f"{path.name} contains no graph")
    buffers = model.tables(4)
    for buffer in buffers:
        buffer.require(0)
        if buffer.number(1, "<Q") + buffer.number(2, "<Q") > len(data):
            raise IndexError
    tensors = subgraphs[0].tables(0)
    for tensor in tensors:
        require_sane(tensor.text(3) or "of a layer", _sides(tensor))
    inputs = [tensors[int(i)] for i in subgraphs[0].numbers(1, "i")]
    outputs = [tensors[int(i)] for i in subgraphs[0].numbers(2, "i")]
    custom = {
        code.text(1)
        for code in model.tables(1)
        if max(code.number(0, "<b"), code.number(3, "<i")) == _CUSTOM
    }
    metadata = {"description": model.text(3)} if model.text(3) else {}
    normalised = None
    for item in model.tables(6):
        if item.text(0) == "TFLITE_METADATA":
            blob = buffers[item.number(1, "<I")].blob(0)
            normalised = _read_metadata(blob, metadata)
    labels = _read_packed(path, metadata)
    return ModelFile(
        format="TensorFlow Lite",
        engine="litert",
        roles={"model": path},
        inputs=tuple(_tensor(item) for item in inputs),
        outputs=tuple(_tensor(item) for item in outputs),
        metadata=metadata,
        labels=labels,
        custom_operators=tuple(sorted(custom)),
        quantised=_quantization(inputs[0]) if inputs else None,
        normalised=normalised,
    )


def _sides(tensor: _Table) -> tuple[int | None, ...]:
    return tuple(None if side < 0 else int(side) for side in tensor.numbers(0, "i", _MAX_SIDES))


def _tensor(tensor: _Table) -> Tensor:
    dtype = _DTYPES.get(tensor.number(1, "<b"), "unknown")
    return Tensor(name=tensor.text(3), shape=_sides(tensor), dtype=dtype)


def _quantization(tensor: _Table) -> tuple[float, int] | None:
    table = tensor.table(4)
    if table is None:
        return None
    scales, zeros = table.numbers(2, "f"), table.numbers(3, "q")
    if not scales or not math.isfinite(scales[0]) or scales[0] <= 0:
        return None
    return float(scales[0]), int(zeros[0]) if zeros else 0


def _read_metadata(
    blob: bytes, metadata: dict[str, str]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Add name and license to `metadata`; return mean and standard deviation of the picture."""
    root = _Table(blob, _u32(blob, 0))
    for number, key in ((0, "name"), (2, "version"), (4, "author"), (5, "license")):
        if text := root.text(number):
            metadata[key] = text
    for subgraph in root.tables(3)[:1]:
        for tensor in subgraph.tables(2)[:1]:
            for unit in tensor.tables(4):
                options = unit.table(1)
                if unit.number(0, "<B") == _NORMALIZATION and options is not None:
                    return options.numbers(0, "f"), options.numbers(1, "f")
    return None


def _read_packed(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    """Return the labels that TFLite Support appends to a model as a zip archive.

    Ultralytics appends its own metadata there instead; it is added to `metadata`.
    """
    labels: tuple[str, ...] = ()
    if not zipfile.is_zipfile(path):
        return labels
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist()[:_MAX_PACKED]:
                name = member.filename.lower()
                if member.file_size > MAX_LABEL_BYTES or member.flag_bits & 1:
                    continue
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    continue
                if name.endswith(_NOTES):
                    with archive.open(member) as file:
                        notes = read_notes(file.read(MAX_LABEL_BYTES))
                    metadata.update({k: v for k, v in notes.items() if k not in metadata})
                elif name.endswith(".txt") and not labels:
                    with archive.open(member) as file:
                        labels = parse(member.filename, file.read(MAX_LABEL_BYTES))[0]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as err:
        raise ModelError(f"The labels inside {path.name} cannot be read: {err}") from err
    return labels


def _inside(at: int) -> int:
    if at < 0:
        raise IndexError
    return at


def _u16(data: mmap.mmap | bytes, at: int) -> int:
    return int(struct.unpack_from("<H", data, _inside(at))[0])


def _u32(data: mmap.mmap | bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, _inside(at))[0])


def _i32(data: mmap.mmap | bytes, at: int) -> int:
    return int(struct.unpack_from("<i", data, _inside(at))[0])
