"""Convert an ONNX model to ncnn with pnnx, and halve its weights.

Format of the files: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

NCNN_FILES = ("model.ncnn.param", "model.ncnn.bin")
_FLOAT32, _FLOAT16 = 0, 0x01306B47  # marker before the weights of a layer
# Layers with a kernel → parameters with the number of weights, and whether biases follow.
_KERNELS = {
    "Convolution": ("6", "5"),
    "ConvolutionDepthWise": ("6", "5"),
    "Deconvolution": ("6", "5"),
    "InnerProduct": ("2", "1"),
}


class ConversionFailed(Exception):
    """pnnx did not convert a model as expected."""


def run_pnnx(model: bytes, shape: list[int], scratch: Path, *, half_weights: bool) -> None:
    """Convert ONNX in a new folder `scratch`; pnnx writes nine files, including `NCNN_FILES`."""
    scratch.mkdir()
    (scratch / "model.onnx").write_bytes(model)
    pnnx = next(Path(sys.prefix).glob("lib/python*/site-packages/pnnx/pnnx"))
    sides = ",".join(map(str, shape))
    done = subprocess.run(
        [pnnx, "model.onnx", f"inputshape=[{sides}]f32", f"fp16={int(half_weights)}"],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,  # its output is part of the message
    )
    if done.returncode != 0:
        raise ConversionFailed(f"pnnx: {done.returncode}:\n{done.stdout}{done.stderr}")


def write_ncnn(model: onnx.ModelProto, folder: Path, scratch: Path) -> None:
    """Write `NCNN_FILES` into a folder; weights are stored as float16, biases as float32.

    pnnx can halve the weights, too, but replaces those below 2^-14 with zero. MoveNet has many of
    them: the scores of its keypoints would be wrong by up to 0.16.
    """
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    data = model.SerializeToString(deterministic=True)
    run_pnnx(data, shape, scratch, half_weights=False)
    param, weights = NCNN_FILES
    shutil.copyfile(scratch / param, folder / param)
    halved = _halved((scratch / param).read_text(), (scratch / weights).read_bytes())
    (folder / weights).write_bytes(halved)


def _halved(param: str, weights: bytes) -> bytes:
    """Return the weights with kernels converted to float16."""
    parts: list[bytes] = []
    offset = 0

    def take(size: int) -> bytes:
        nonlocal offset
        offset += size
        return weights[offset - size : offset]

    for line in param.splitlines()[2:]:
        kind, _, bottoms, tops, *rest = line.split()
        values = dict(item.split("=", 1) for item in rest[int(bottoms) + int(tops) :])
        if kind in _KERNELS:
            size, has_bias = _KERNELS[kind]
            if take(4) != _FLOAT32.to_bytes(4):
                raise ConversionFailed(f"the weights of a {kind} are not float32")
            kernel = np.frombuffer(take(4 * int(values[size])), "<f4").astype("<f2").tobytes()
            parts += [_FLOAT16.to_bytes(4, "little"), kernel, bytes(-len(kernel) % 4)]
            parts.append(take(4 * int(values["0"])) if values.get(has_bias) == "1" else b"")
        elif kind == "PReLU":
            parts.append(take(4 * int(values["0"])))
    if offset != len(weights):
        raise ConversionFailed(f"{len(weights) - offset} bytes of the weights are unused")
    return b"".join(parts)
