"""The worker's side: `python -m edge_vision_node.workers.child FD`. Ends when its node ends."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import queue
import resource
import signal
import socket
import statistics
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bench import p95, time_stills
from ..engines import default_threads, describe_engine, get_engine
from ..errors import ModelError, NodeError
from ..frames.decode import decode
from ..frames.tensor import Preprocessor
from ..models.manifest import load_model
from ..protocol import ErrorCode, decode_binary, encode_binary, read, write
from ..runner import Prepared, Runner
from .messages import (
    Described,
    Load,
    Loaded,
    Measure,
    Measured,
    Order,
    Probe,
    Probed,
    ProbedOutput,
    Run,
    RunResult,
    Unload,
)

_LOGGER = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_MOST_PEAKS = 8
# One picture being decoded while the one before it runs; more would only grow old here.
_WAITING = 1


def main() -> None:
    """Serve the node at the other end of a socket until it hangs up."""
    descriptor, memory_limit = int(sys.argv[1]), int(sys.argv[2])
    logging.basicConfig(level=sys.argv[3], format="%(levelname)s %(name)s: %(message)s")
    faulthandler.enable()  # a native crash leaves the place in the log
    _die_with_parent()
    if memory_limit:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    if "disposable" in sys.argv[4:]:
        _prepare_for_the_worst()
    Child(socket.socket(fileno=descriptor)).serve()


def _die_with_parent() -> None:
    """Have the kernel end this process with its node, however that ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Elsewhere, and if it is gone already, the socket's end tells.


def _prepare_for_the_worst() -> None:
    """Have a model that was never seen before fall alone, and leave no trace."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # not Linux: whoever uses most memory goes first there
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


class Child:
    """Takes orders one after the other; pictures are decoded while the one before them runs."""

    def __init__(self, connection: socket.socket) -> None:
        """Begin with no model."""
        self._connection = connection
        self._runners: dict[str, Runner] = {}
        self._orders: queue.Queue[tuple[dict[str, Any], Prepared | NodeError | bytes | None]]
        self._orders = queue.Queue(_WAITING)

    def serve(self) -> None:
        """Work until the node hangs up."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        while True:
            header, prepared = self._orders.get()
            try:
                answer = self._execute(header, prepared)
            except NodeError as err:
                self._send_error(header, err.code, str(err))
            except MemoryError:
                self._send_error(header, ErrorCode.MODEL_FAILED, "It needs more memory than it may")
            except Exception as err:
                _LOGGER.exception("Order %s failed", header.get("type"))
                self._send_error(header, ErrorCode.INTERNAL, f"{type(err).__name__}: {err}")
            else:
                self._send({"id": header["id"], "type": "result", "result": write(answer)})

    def _receive(self) -> None:
        """Read orders and decode their pictures; end the process when the node is gone."""
        stream = self._connection.makefile("rb")
        while True:
            head = stream.read(4)
            if len(head) < 4:
                # Whatever the other thread does, nobody waits for it any more.
                os._exit(0)
            header, picture = decode_binary(stream.read(int.from_bytes(head)))
            prepared: Prepared | NodeError | bytes | None = None
            if header["type"] in (Order.PROBE, Order.MEASURE):
                prepared = bytes(picture)
            if header["type"] == Order.RUN and header["key"] in self._runners:
                try:
                    prepared = self._runners[header["key"]].prepare(picture)
                except NodeError as err:
                    prepared = err
            self._orders.put((header, prepared))

    def _execute(
        self, header: dict[str, Any], prepared: Prepared | NodeError | bytes | None
    ) -> Any:
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

    def _send_error(self, header: dict[str, Any], code: str, text: str) -> None:
        self._send({"id": header["id"], "type": "error", "code": code, "message": text})

    def _send(self, message: dict[str, Any]) -> None:
        frame = encode_binary(message, b"")
        try:
            self._connection.sendall(len(frame).to_bytes(4) + frame)
        except OSError:
            os._exit(0)


def _probe(order: Probe, picture: bytes) -> Probed:
    model = load_model(Path(order.folder))
    preprocess = Preprocessor(model.manifest.input, model.engine(order.engine))
    session = get_engine(order.engine).load(
        model.files(order.engine), order.accelerator, default_threads()
    )
    tensor, _ = preprocess(decode(picture, preprocess.size))
    return Probed(outputs=tuple(_describe_output(output) for output in session.infer(tensor)))


def _describe_output(output: NDArray[np.float32]) -> ProbedOutput:
    finite = bool(np.isfinite(output).all())
    values = np.nan_to_num(output.astype(np.float64), posinf=0, neginf=0)
    peaks: list[float] = []
    if output.ndim == 3 and output.size:
        table = values[0] if output.shape[1] <= output.shape[2] else values[0].T
        peaks = table[:_MOST_PEAKS].max(axis=1).tolist()
    return ProbedOutput(
        shape=output.shape,
        minimum=float(values.min()) if output.size else 0.0,
        maximum=float(values.max()) if output.size else 0.0,
        total=float(values.sum()),
        finite=finite,
        peaks=tuple(peaks),
    )


if __name__ == "__main__":
    main()
