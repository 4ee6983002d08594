"""Run the built files in both engines and require that they say the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ncnn
import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

F32 = npt.NDArray[np.float32]
Run = Callable[[F32], tuple[F32, F32]]

# Both compute in float32 from float16 weights that were rounded alike; what is left is the
# order of summation, and half precision where a processor's ncnn uses it.
BOX_TOLERANCE = 0.1
LOGIT_TOLERANCE = 0.3
TIMED_RUNS = 30


class EnginesDisagree(Exception):
    """The two engines' outputs differ by more than rounding."""


def compare_engines(folder: Path, picture: Path, size: int) -> Iterator[str]:
    """Yield a line of report per check; raise `EnginesDisagree`."""
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


def _onnxruntime(folder: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", options, providers=["CPUExecutionProvider"]
    )

    def run(tensor: F32) -> tuple[F32, F32]:
        boxes, logits = session.run(["boxes", "logits"], {"image": tensor})
        return boxes[0], logits[0]

    return run


def _ncnn(folder: Path) -> Run:
    net = ncnn.Net()
    net.opt.num_threads = 2
    if net.load_param(str(folder / "model.ncnn.param")) != 0:
        raise EnginesDisagree("ncnn cannot read model.ncnn.param")
    if net.load_model(str(folder / "model.ncnn.bin")) != 0:
        raise EnginesDisagree("ncnn cannot read model.ncnn.bin")

    def run(tensor: F32) -> tuple[F32, F32]:
        # An ncnn.Mat borrows the array's memory: the array has to outlive the extraction.
        planes = np.ascontiguousarray(tensor[0].transpose(2, 0, 1))
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(planes))
        return np.array(extractor.extract("out0")[1]), np.array(extractor.extract("out1")[1])

    return run


def _median_ms(run: Run, tensor: F32) -> float:
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        run(tensor)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
