"""OpenVINO: Intel's processors, GPUs and NPUs. Reads ONNX, TensorFlow Lite and its own format."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, InferenceError, ModelError
from ..protocol import AcceleratorInfo
from .base import CPU, EngineFiles, Session, cannot_use, with_cache

_PREFIX = "openvino:"
# A GPU is the fastest; an NPU saves power.
_ORDER = ("GPU", "NPU", "CPU")


def _package() -> ModuleType:
    # On import, the conversion tool of OpenVINO forks a process that sends statistics over the
    # network, and stores an ID in the user's home folder. Nothing may leave this device, so the
    # package for this is blocked; OpenVINO works without it.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # blocks its import
    try:
        return import_module("openvino")
    except Exception as err:  # a broken native library raises more than ImportError
        raise cannot_use(OpenVinoEngine(), err) from err


class OpenVinoEngine:
    """OpenVINO, https://docs.openvino.ai."""

    id = "openvino"
    modules: tuple[str, ...] = ("openvino",)
    name = "OpenVINO"

    def version(self) -> str:
        """Return the version of the package."""
        return str(_package().__version__).partition("-")[0]

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the devices with a plug-in of OpenVINO and a driver."""
        core = _package().Core()
        devices = sorted(core.available_devices, key=_rank)
        return tuple(
            CPU
            if device == "CPU"
            else AcceleratorInfo(
                id=_PREFIX + device, name=str(core.get_property(device, "FULL_DEVICE_NAME"))
            )
            for device in devices
        )

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a model; in OpenVINO's own format, its weights are in a separate file."""
        package = _package()
        core = package.Core()
        device = "CPU" if accelerator == CPU.id else accelerator.removeprefix(_PREFIX)
        if device not in core.available_devices:
            raise AcceleratorError(
                f"OpenVINO has no accelerator {accelerator!r} on this device; it has"
                f" {', '.join(item.id for item in self.accelerators())}"
            )
        weights = str(files.path("weights")) if "weights" in files.paths else ""
        try:
            model = core.read_model(str(files.path("model")), weights)
        except RuntimeError as err:
            raise ModelError(f"OpenVINO cannot load {files.model}: {_reason(err)}") from err
        compiled = with_cache(
            files.cache,
            (self.id, self.version()),
            device,
            lambda cache: _compile(core, model, device, threads, cache, files.model),
        )
        return _OpenVinoSession(compiled, _scales(model, files), files)


def _rank(device: str) -> tuple[int, str]:
    kind = device.partition(".")[0]
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), device)


def _compile(
    core: Any, model: Any, device: str, threads: int, cache: Path | None, name: str
) -> Any:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings |= {
            # By default, processors with bfloat16 use it. Measured on one with AVX-512 (but not
            # AMX), the default model then takes 1.5 times as long, and its boxes are inaccurate.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads have to wait for other work on their core: two nodes, or a node and
            # another OpenVINO program, are pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
    if cache is not None:
        settings["CACHE_DIR"] = str(cache)
    try:
        compiled = core.compile_model(model, device, settings)
        runs_on = compiled.get_property("EXECUTION_DEVICES")
    except RuntimeError as err:
        raise AcceleratorError(f"OpenVINO's {device} cannot run {name}: {_reason(err)}") from err
    if not all(str(item).partition(".")[0] == device.partition(".")[0] for item in runs_on):
        raise AcceleratorError(
            f"OpenVINO would run {name} on {', '.join(runs_on)}, not on {device}"
        )
    return compiled


def _reason(err: RuntimeError) -> str:
    """Return the last line of OpenVINO's message; the others refer to its source code."""
    return str(err).strip().splitlines()[-1].strip()


# --- Quantized outputs ----------------------------------------------------------------------------

_Scale = Callable[[NDArray[Any]], NDArray[np.float32]]
# Operations allowed between the quantization of an output and the output itself.
_PASSING = ("Convert", "Transpose", "Reshape", "Squeeze", "Unsqueeze")


def _plain(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)  # a copy, because the engine reuses its memory


def _real(
    values: NDArray[Any], *, low: float, factor: float, real_low: float
) -> NDArray[np.float32]:
    floats = values.astype(np.float32)
    floats -= low
    floats *= factor
    floats += real_low
    return floats


def _scales(model: Any, files: EngineFiles) -> dict[str, _Scale]:
    """Return output → function that converts its numbers to real units.

    The last FakeQuantize before an integer output maps the range of real values to the integers.
    """
    scales: dict[str, _Scale] = {}
    for result in model.get_results():
        source = result.input_value(0)
        names = source.get_names()
        if not source.get_element_type().is_integral():
            continue
        node = source.get_node()
        while node.get_type_name() in _PASSING:
            node = node.input_value(0).get_node()
        if node.get_type_name() != "FakeQuantize":
            continue  # real integers, such as a count or an index
        ends = [node.input_value(i).get_node() for i in range(1, 5)]
        real_low, real_high, low, high = (float(end.data.ravel()[0]) for end in ends)
        scale = partial(
            _real, low=low, factor=(real_high - real_low) / (high - low), real_low=real_low
        )
        scales.update(dict.fromkeys(names & set(files.outputs), scale))
    return scales


class _OpenVinoSession:
    batches = False

    def __init__(self, compiled: Any, scales: dict[str, _Scale], files: EngineFiles) -> None:
        self._request: Any = compiled.create_infer_request()
        self._input = files.inputs[0]
        self._constants = files.constant_inputs()
        try:
            wanted = np.dtype(compiled.input(self._input).get_element_type().to_dtype())
            self._outputs = [
                (compiled.output(name), scales.get(name, _plain)) for name in files.outputs
            ]
        except RuntimeError:
            names = [", ".join(port.get_names()) for port in (*compiled.inputs, *compiled.outputs)]
            raise ModelError(
                f"{files.model} does not have all of the inputs and outputs"
                f" {', '.join((*files.inputs, *files.outputs))}; the file has {'; '.join(names)}"
            ) from None
        if wanted not in (np.dtype(files.dtype), np.float32, np.float16):
            raise ModelError(f"{files.model} needs {wanted}, but its manifest says {files.dtype}")
        self._dtype = wanted

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        inputs = {self._input: tensor.astype(self._dtype, copy=False), **self._constants}
        try:
            # The picture is not copied; it is not modified during inference.
            self._request.infer(inputs, share_inputs=True, share_outputs=True)
        except RuntimeError as err:
            raise InferenceError(f"OpenVINO failed: {_reason(err)}") from err
        return tuple(scale(self._request.get_tensor(port).data) for port, scale in self._outputs)

    def close(self) -> None:
        self._request = None
