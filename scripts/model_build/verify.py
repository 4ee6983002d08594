"""Run the built files in both engines and require the same results."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ncnn
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from PIL import Image

F32 = npt.NDArray[np.float32]
Run = Callable[[F32], Sequence[F32]]

# Both engines compute in float32 with the same rounded float16 weights. Differences come from the
# order of summation, and from half precision if ncnn uses it on this processor.
BOX_TOLERANCE = 0.1
LOGIT_TOLERANCE = 0.3
TIMED_RUNS = 30
# These weights were float16 before, so only the order of summation differs.
NETWORK_TOLERANCE = 0.002


class EnginesDisagree(Exception):
    """The outputs of the two engines differ by more than rounding."""


def compare_engines(folder: Path, picture: Path, size: int) -> Iterator[str]:
    """Yield a line for each check. Raises `EnginesDisagree`."""
    with Image.open(picture) as image:
        pixels = np.asarray(
            image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32
        )
    tensor = ((pixels - 127.5) / 127.5)[None]
    runs = {"onnxruntime": _onnxruntime(folder), "ncnn": _ncnn(folder)}
    results = {name: run(tensor) for name, run in runs.items()}
    for index, (what, limit) in enumerate((("boxes", BOX_TOLERANCE), ("logits", LOGIT_TOLERANCE))):
        one, other = results["onnxruntime"][index], results["ncnn"][index]
        difference = float(np.abs(one - other).max())
        if one.shape != other.shape or not difference <= limit:
            raise EnginesDisagree(f"{what} differ by {difference:.4f}, more than {limit}")
        yield f"{what} {one.shape}: engines differ by at most {difference:.4f}"
    for name, run in runs.items():
        yield f"{name}: {_median_ms(run, tensor):.1f} ms on 2 threads"


def compare_network(model: onnx.ModelProto, folder: Path, picture: Path) -> Iterator[str]:
    """Yield a line for each output of a model in the catalog. Raises `EnginesDisagree`.

    The limit is a share of the largest number in the output.
    """
    wanted = json.loads((folder / "model.json").read_text("utf-8"))["input"]
    size = (wanted["width"], wanted["height"])
    with Image.open(picture) as image:
        small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    mean, scale = (np.array(wanted[key], np.float32) for key in ("mean", "scale"))
    tensor = ((np.asarray(small, np.float32) - mean) * scale)[None]
    outputs = [output.name for output in model.graph.output]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ones = session.run(outputs, {"image": np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))})
    others = _ncnn(folder, len(outputs))(tensor)
    for name, one, other in zip(outputs, ones, others, strict=True):
        share = float(np.abs(one.ravel() - other.ravel()).max() / np.abs(one).max())
        if not share <= NETWORK_TOLERANCE:
            raise EnginesDisagree(f"{folder.name}: {name} differs by {share:.5f} of its range")
        yield f"{folder.name}, {name} {one.shape}: engines differ by {share:.6f} of its range"


def _onnxruntime(folder: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", options, providers=["CPUExecutionProvider"]
    )

    def run(tensor: F32) -> Sequence[F32]:
        boxes, logits = session.run(["boxes", "logits"], {"image": tensor})
        return boxes[0], logits[0]

    return run


def _ncnn(folder: Path, outputs: int = 2) -> Run:
    net = ncnn.Net()
    net.opt.num_threads = 2
    if net.load_param(str(folder / "model.ncnn.param")) != 0:
        raise EnginesDisagree("ncnn cannot read model.ncnn.param")
    if net.load_model(str(folder / "model.ncnn.bin")) != 0:
        raise EnginesDisagree("ncnn cannot read model.ncnn.bin")

    def run(tensor: F32) -> Sequence[F32]:
        # An ncnn.Mat uses the memory of the array, which has to exist during the extraction.
        planes = np.ascontiguousarray(tensor[0].transpose(2, 0, 1))
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(planes))
        return [np.array(extractor.extract(f"out{i}")[1]) for i in range(outputs)]

    return run


def _median_ms(run: Run, tensor: F32) -> float:
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        run(tensor)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
