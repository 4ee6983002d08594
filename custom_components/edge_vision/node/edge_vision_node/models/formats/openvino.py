"""OpenVINO's intermediate representation: an XML graph with a file of weights."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from ...errors import ModelError
from .model_file import ModelFile, Tensor, require_sane, sibling

_MAX_BYTES = 32 * 1024 * 1024
_MAX_TAGS = 1_000_000
_DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "u8": "uint8",
    "i8": "int8",
    "i32": "int32",
    "i64": "int64",
    "fp32": "float32",
    "fp16": "float16",
}


def read(path: Path) -> ModelFile:
    """Read an .xml file with its .bin next to it. Raises `ModelError`."""
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path.name} is too large for an OpenVINO graph")
    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        # Entities can refer to other files or expand a billion times; no graph needs them.
        raise ModelError(f"{path.name} declares XML entities, which no model needs")
    if data.count(b"<") > _MAX_TAGS:
        raise ModelError(f"{path.name} has too many layers")
    try:
        root = ET.fromstring(data)  # noqa: S314 - entities are rejected above
        inputs = [_tensor(x, "output") for x in root.iterfind("layers/layer[@type='Parameter']")]
        outputs = [_tensor(x, "input") for x in root.iterfind("layers/layer[@type='Result']")]
    except (ET.ParseError, ValueError, RecursionError) as err:
        raise ModelError(
            f"{path.name} is damaged or cut short: it is not a complete OpenVINO graph"
        ) from err
    if root.tag != "net" or not inputs:
        raise ModelError(f"{path.name} is an XML file, but not an OpenVINO graph")
    weights = sibling(path, ".bin")
    if not weights.is_file():
        raise ModelError(f"{path.name} needs its weights, {weights.name}, next to it")
    metadata = {x.tag: x.get("value", "") for x in root.iterfind("rt_info/model_info/*")}
    labels = metadata.pop("labels", "")
    return ModelFile(
        format="OpenVINO IR",
        engine="openvino",
        roles={"model": path, "weights": weights},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        metadata={key: value for key, value in metadata.items() if value},
        labels=tuple(labels.split()),
    )


def _tensor(layer: ET.Element, side: str) -> Tensor:
    port = layer.find(f"{side}/port")
    sides: list[int | None] = []
    names, precision = "", ""
    if port is not None:
        sides = [None if (n := int(x.text or "-1")) < 0 else n for x in port.iterfind("dim")]
        names, precision = port.get("names", ""), port.get("precision", "")
    data = layer.find("data")
    if not precision and data is not None:
        precision = data.get("element_type", "")
    name = names.split(",")[0] or layer.get("name", "")
    require_sane(name, tuple(sides))
    dtype = _DTYPES.get(precision.lower(), precision.lower() or "unknown")
    return Tensor(name=name, shape=tuple(sides), dtype=dtype)
