"""ncnn's graphs: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure."""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelError
from .model_file import ModelFile, Tensor, sibling

_MAX_BYTES = 8 * 1024 * 1024
_MAX_LAYERS = 20_000


def read(path: Path) -> ModelFile:
    """Read a .param file with its .bin next to it. Raises `ModelError`.

    The text names inputs and outputs, mostly without their shapes.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path.name} is too large for an ncnn graph")
    weights = sibling(path, ".bin")
    if not weights.is_file():
        raise ModelError(f"{path.name} needs its weights, {weights.name}, next to it")
    text = path.read_text("utf-8", "replace")
    if text.count("\n") > 2 * _MAX_LAYERS:
        raise ModelError(f"{path.name} has too many layers")
    lines = text.split("\n")
    try:
        layers = int(lines[1].split()[0])
        rows = [line.split() for line in lines[2:] if line.strip()]
        if layers != len(rows) or layers > _MAX_LAYERS:
            raise ValueError
        made, used, inputs = [], set(), []
        for kind, name, takes, gives, *rest in rows:
            bottoms, tops = int(takes), int(gives)
            blobs = rest[: bottoms + tops]
            used.update(blobs[:bottoms])
            made += blobs[bottoms:]
            if kind == "Input":
                values = dict(item.split("=", 1) for item in rest[bottoms + tops :])
                inputs.append(_input(blobs[bottoms] if tops else name, values))
    except (ValueError, IndexError) as err:
        raise ModelError(
            f"{path.name} is damaged or cut short: it is not a complete ncnn graph"
        ) from err
    return ModelFile(
        format="ncnn",
        engine="ncnn",
        roles={"param": path, "bin": weights},
        inputs=tuple(inputs),
        outputs=tuple(
            Tensor(name=name, shape=(), dtype="float32") for name in made if name not in used
        ),
    )


def _input(name: str, values: dict[str, str]) -> Tensor:
    sides = [
        int(values.get(key, "0")) or None for key in ("2", "1", "0")
    ]  # channels, height, width
    return Tensor(name=name, shape=(1, *sides), dtype="float32")
