"""Compiled models for Hailo (.hef) with a small `model.json` next to them.

Only Hailo's own library can read a .hef file, so the `model.json` has to describe its tensors, its
input and its head: docs/models.md has an example.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from ...errors import ModelError
from ...protocol import ProtocolError, read
from .model_file import Description, ModelFile, Tensor

MAGIC = b"\x01HEF"
_NAMES = ("model.json", "{stem}.json")
_MAX_BYTES = 1024 * 1024
_KEYS = tuple(item.name for item in fields(Description))


def read_hef(path: Path) -> ModelFile:
    """Read the description of a .hef file. Raises `ModelError`."""
    places = [path.with_name(name.format(stem=path.stem)) for name in _NAMES]
    beside = next((place for place in places if place.is_file() and not place.is_symlink()), None)
    if beside is None:
        raise ModelError(
            f"{path.name} is a Hailo model, which does not describe its outputs: add a model.json"
            " that names its tensors, and pack both as .zip; docs/models.md has an example"
        )
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ModelError(f"{path.name} is damaged: it does not start like a Hailo model")
    described = _read_description(beside)
    picture = described.input
    shape = (1, picture.height, picture.width, 3)
    return ModelFile(
        format="Hailo HEF",
        engine="hailort",
        roles={"model": path},
        inputs=(Tensor(name=described.inputs[0], shape=shape, dtype=described.dtype),),
        outputs=tuple(
            Tensor(name=name, shape=(None,), dtype="float32") for name in described.outputs
        ),
        metadata={"name": described.name, "license": described.license}
        if described.name
        else {"license": described.license},
        labels=described.labels,
        description=described,
        beside=beside,
    )


def _read_description(path: Path) -> Description:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path.name} is too large for a description")
        document = json.loads(path.read_bytes())
        described = read(Description, document)
    except OSError as err:
        raise ModelError(f"{path.name} cannot be read: {err.strerror}") from err
    except (ProtocolError, ValueError, RecursionError) as err:
        raise ModelError(f"{path.name} does not describe a Hailo model: {err}") from err
    if strange := sorted(set(document) - set(_KEYS)):
        raise ModelError(
            f"{path.name} has {', '.join(strange)}; supported keys are {', '.join(_KEYS)}"
        )
    if len(described.inputs) != 1 or not described.outputs:
        raise ModelError(f"{path.name} must name one input and at least one output")
    if described.dtype not in ("uint8", "float32"):
        raise ModelError(f'{path.name} must have the dtype "uint8" or "float32"')
    scaling = (described.input.mean, described.input.scale)
    if any(len(values) != 3 for values in scaling) or 0 in described.input.scale:
        raise ModelError(
            f"{path.name} must have three numbers for mean, and three for scale other than 0"
        )
    return described
