"""A SIMULATION of Hailo's package for tests: processes import it instead of the real one.

It follows the documentation of `VDevice`, `InferModel`, `ConfiguredInferModel` and their bindings
strictly: undocumented behavior is an error here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

__version__ = "imitation"

UINT8, FLOAT32 = "UINT8", "FLOAT32"
DTYPES = {UINT8: np.uint8, FLOAT32: np.float32}


class ImitatedStream:
    """An input or output of an InferModel."""

    def __init__(self, name: str, shape: tuple[int, ...], *, is_nms: bool = False) -> None:
        self.name = name
        self.shape = shape
        self.is_nms = is_nms
        self.kind = UINT8

    def set_format_type(self, kind: str) -> None:
        self.kind = kind


class ImitatedBinding:
    def __init__(self, stream: ImitatedStream, buffer: Any = None) -> None:
        self.stream = stream
        self.buffer = buffer

    def set_buffer(self, buffer: np.ndarray) -> None:
        assert buffer.shape == self.stream.shape and buffer.flags.c_contiguous
        assert buffer.dtype == DTYPES[self.stream.kind]
        self.buffer = buffer

    def get_buffer(self) -> Any:
        if not self.stream.is_nms:
            return self.buffer
        return [  # as documented for NMS by class: y1, x1, y2, x2, score
            np.array([[0.1, 0.2, 0.3, 0.4, 0.9]], np.float32),
            np.empty((0, 5), np.float32),
            np.array([[0.5, 0.6, 0.7, 0.8, 0.5], [0, 0, 1, 1, 0.4]], np.float32),
        ]


class ImitatedBindings:
    def __init__(self, model: ImitatedModel, buffers: dict[str, np.ndarray]) -> None:
        self.inputs = {item.name: ImitatedBinding(item) for item in model.inputs}
        self.outputs = {
            item.name: ImitatedBinding(item, buffers[item.name]) for item in model.outputs
        }

    def input(self, name: str) -> ImitatedBinding:
        return self.inputs[name]

    def output(self, name: str) -> ImitatedBinding:
        return self.outputs[name]


class ImitatedConfigured:
    def __init__(self, model: ImitatedModel) -> None:
        self.model = model

    def create_bindings(self, *, output_buffers: dict[str, np.ndarray]) -> ImitatedBindings:
        for item in self.model.outputs:
            assert output_buffers[item.name].dtype == DTYPES[item.kind]
        return ImitatedBindings(self.model, output_buffers)

    def run(self, bindings: list[ImitatedBindings], timeout_ms: int) -> None:
        assert timeout_ms > 0
        if not self.model.device.open:
            raise RuntimeError("HAILO_STREAM_ABORT")
        (one,) = bindings
        image = one.input("net/input_layer1").buffer
        if not self.model.outputs[0].is_nms:
            one.output("net/conv1").buffer[:] = image.mean()


class ImitatedModel:
    def __init__(self, device: ImitatedDevice, path: str) -> None:
        if Path(path).stem not in ("nms", "plain"):
            raise RuntimeError("HAILO_INVALID_HEF")
        self.device = device
        self.inputs = [ImitatedStream("net/input_layer1", (32, 48, 3))]
        self.outputs = [
            ImitatedStream("net/nms", (3, 5, 100), is_nms=True)
            if "nms" in path
            else ImitatedStream("net/conv1", (4, 6, 8))
        ]

    def input(self, name: str) -> ImitatedStream:
        return next(item for item in self.inputs if item.name == name)

    def configure(self) -> ImitatedConfigured:
        return ImitatedConfigured(self)


class ImitatedDevice:
    """`VDevice`."""

    busy = False

    def __init__(self, params: Any, *, device_ids: list[str]) -> None:
        assert params.scheduling_algorithm == "ROUND_ROBIN" and device_ids == ["0001:01:00.0"]
        if self.busy:
            raise RuntimeError("HAILO_OUT_OF_PHYSICAL_DEVICES")
        self.open = True

    @staticmethod
    def create_params() -> SimpleNamespace:
        return SimpleNamespace(scheduling_algorithm=None)

    def create_infer_model(self, path: str) -> ImitatedModel:
        return ImitatedModel(self, path)

    def release(self) -> None:
        self.open = False


VDevice = ImitatedDevice
Device = SimpleNamespace(scan=lambda: ["0001:01:00.0"])
FormatType = SimpleNamespace(UINT8=UINT8, FLOAT32=FLOAT32)
HailoSchedulingAlgorithm = SimpleNamespace(ROUND_ROBIN="ROUND_ROBIN")
