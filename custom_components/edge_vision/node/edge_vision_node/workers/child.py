"""The child's side of a worker: `python -m edge_vision_node.workers.child FD`."""

from __future__ import annotations

import logging
import os
import queue
import statistics
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..engines import default_threads, describe_engine, get_engine
from ..errors import ModelError, NodeError
from ..frames.decode import decode
from ..imaging.messages import Pixels
from ..inference.preprocess import Preprocessor
from ..inference.runner import Prepared, Runner
from ..inference.timing import p95, time_stills
from ..models.formats.model_file import require_answer
from ..models.manifest import load_model
from ..processes.child import Link, begin
from ..processes.messages import BEGAN, Began
from ..protocol import ErrorCode, read
from .messages import (
    CropDetections,
    CropsResult,
    Described,
    Load,
    Loaded,
    Measure,
    Measured,
    Order,
    Probe,
    Probed,
    ProbedColumn,
    ProbedOutput,
    Run,
    RunCrops,
    RunResult,
    Unload,
)

_LOGGER = logging.getLogger(__name__)

_MOST_PEAKS = 8
# One picture is decoded while the one before it runs. More would only get stale.
_WAITING = 1

# The content of an order: a decoded picture, parts of one, a file, or why it cannot be decoded.
_Input = Prepared | list[Prepared] | NodeError | bytes | None


def main() -> None:
    """Serve the node until it closes the connection."""
    Child(begin()).serve()


class Child:
    """Executes orders one after the other, and decodes the next picture meanwhile."""

    def __init__(self, link: Link) -> None:
        """Start without a model."""
        self._link = link
        self._runners: dict[str, Runner] = {}
        self._orders: queue.Queue[tuple[dict[str, Any], _Input]]
        self._orders = queue.Queue(_WAITING)

    def serve(self) -> None:
        """Execute orders until the node closes the connection."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        while True:
            header, prepared = self._orders.get()
            self._link.push(BEGAN, Began(order=header["id"]))
            try:
                answer = self._execute(header, prepared)
            except NodeError as err:
                self._link.refuse(header, err.code, str(err))
            except MemoryError:
                self._link.refuse(
                    header, ErrorCode.MODEL_FAILED, "It needs more memory than allowed"
                )
            except Exception as err:
                _LOGGER.exception("Command %s failed", header.get("type"))
                self._link.refuse(header, ErrorCode.INTERNAL, f"{type(err).__name__}: {err}")
            else:
                self._link.answer(header, answer)

    def _receive(self) -> None:
        """Read orders and decode their pictures; end the process when the node is gone."""
        for header, picture in self._link.orders():
            try:
                prepared = self._prepare(header, picture)
            except NodeError as err:
                prepared = err
            except Exception as err:  # the thread must go on
                _LOGGER.exception("Command %s cannot be prepared", header.get("type"))
                prepared = NodeError(f"{type(err).__name__}: {err}")
            self._orders.put((header, prepared))
        # Nobody needs what the other thread is doing.
        os._exit(0)

    def _prepare(self, header: dict[str, Any], picture: memoryview) -> _Input:
        if header["type"] in (Order.PROBE, Order.MEASURE):
            return bytes(picture)
        if (runner := self._runners.get(header.get("key", ""))) is None:
            return None
        if header["type"] == Order.RUN:
            if header["pixels"] is not None:
                return runner.prepare_still(picture, read(Pixels, header["pixels"]))
            return runner.prepare(picture, sound=True)
        if header["type"] == Order.RUN_CROPS:
            return runner.prepare_crops(picture, header["placements"])
        return None

    def _execute(self, header: dict[str, Any], prepared: _Input) -> Any:
        order = Order(header["type"])
        if order is Order.DESCRIBE:
            return Described(engine=describe_engine(header["engine"]))
        if order is Order.LOAD:
            return self._load(read(Load, header))
        if order is Order.UNLOAD:
            if (runner := self._runners.pop(read(Unload, header).key, None)) is not None:
                runner.close()
            return Unload(key=header["key"])
        if isinstance(prepared, bytes):
            if order is Order.PROBE:
                return _probe(read(Probe, header), prepared)
            return self._measure(read(Measure, header), prepared)
        if isinstance(prepared, NodeError):
            raise prepared
        if prepared is None:
            raise ModelError("The model is not loaded")
        runner = self._runners[header["key"]]
        if isinstance(prepared, list):
            return _run_crops(runner, prepared, read(RunCrops, header))
        request = read(Run, header)
        class_ids = np.array(request.class_ids, dtype=np.int32) if request.class_ids else None
        result, inference_ms = runner.run(prepared, request.confidence, class_ids)
        return RunResult(
            width=prepared.width,
            height=prepared.height,
            decode_ms=round(prepared.decode_ms, 2),
            inference_ms=round(inference_ms, 2),
            findings=runner.findings(result, request.confidence),
        )

    def _load(self, order: Load) -> Loaded:
        if order.key not in self._runners:
            model = load_model(Path(order.folder))
            if order.detector is not None:
                model = replace(model, detector=load_model(Path(order.detector)))
            self._runners[order.key] = Runner(
                model,
                order.engine,
                order.accelerator,
                order.threads,
                Path(order.cache) if order.cache else None,
            )
        runner = self._runners[order.key]
        return Loaded(
            engine_version=runner.engine_version,
            accelerator=runner.accelerator,
            load_ms=round(runner.load_ms, 1),
        )

    def _measure(self, order: Measure, picture: bytes) -> Measured:
        if (runner := self._runners.get(order.key)) is None:
            raise ModelError("The model is not loaded")
        times = time_stills(runner, picture, order.seconds, order.least)
        return Measured(
            runs=len(times.engine_ms),
            median_ms=round(statistics.median(times.engine_ms), 2),
            p95_ms=round(p95(times.engine_ms), 2),
            still_ms=round(statistics.median(times.still_ms), 2),
        )


def _run_crops(runner: Runner, parts: list[Prepared], order: RunCrops) -> CropsResult:
    class_ids = np.array(order.class_ids, dtype=np.int32) if order.class_ids else None
    crops = []
    results, total_ms = runner.run_all(parts, order.confidence, class_ids)
    for result in results:
        if not isinstance(result, Detections):
            raise ModelError(f"{runner.model.manifest.name} finds no objects")
        crops.append(CropDetections.of(result))
    return CropsResult(inference_ms=round(total_ms, 2), crops=tuple(crops))


def _probe(order: Probe, picture: bytes) -> Probed:
    model = load_model(Path(order.folder))
    preprocess = Preprocessor(model.manifest.input, model.engine(order.engine))
    session = get_engine(order.engine).load(
        model.files(order.engine), order.accelerator, default_threads()
    )
    tensor, _ = preprocess(decode(picture, preprocess.size, sound=True))
    outputs = session.infer(tensor)
    require_answer(sum(output.size for output in outputs))  # the file may leave its shapes open
    return Probed(outputs=tuple(map(_describe_output, outputs)))


def _describe_output(output: NDArray[np.float32]) -> ProbedOutput:
    finite = bool(np.isfinite(output).all())
    values = np.nan_to_num(output.astype(np.float64), posinf=0, neginf=0)
    peaks: list[float] = []
    lows: list[float] = []
    beyond = 0.0
    columns: list[ProbedColumn] = []
    table = values.reshape([side for side in output.shape if side != 1])
    if table.ndim == 2 and output.size:
        channels = table if table.shape[0] <= table.shape[1] else table.T
        peaks = channels[:_MOST_PEAKS].max(axis=1).tolist()
        lows = channels[:_MOST_PEAKS].min(axis=1).tolist()
        beyond = float(channels[5:].sum(axis=0).mean())
    if output.ndim >= 2 and output.size:
        rows = values.reshape(-1, output.shape[-1])[:, :_MOST_PEAKS]
        rows = rows[(rows != 0).any(axis=1)]
        columns = [
            ProbedColumn(low=float(column.min()), peak=float(column.max()), whole=_is_whole(column))
            for column in (rows.T if len(rows) else ())
        ]
    return ProbedOutput(
        shape=output.shape,
        minimum=float(values.min()) if output.size else 0.0,
        maximum=float(values.max()) if output.size else 0.0,
        total=float(values.sum()),
        finite=finite,
        peaks=tuple(peaks),
        lows=tuple(lows),
        beyond=beyond,
        columns=tuple(columns),
        whole=_is_whole(values),
    )


def _is_whole(numbers: NDArray[np.float64]) -> bool:
    return bool((numbers == np.round(numbers)).all())


if __name__ == "__main__":
    main()
