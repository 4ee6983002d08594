"""LiteRT (TensorFlow Lite's successor): .tflite models on the CPU, Edge TPUs and delegates.

The support for Edge TPUs is based on the documentation of libedgetpu, and the support for NPUs of
Qualcomm on that of the QNN delegate (docs.qualcomm.com, 80-63442-10, "External Delegate Options").
NEITHER WAS TESTED ON HARDWARE.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version as package_version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, InferenceError, ModelError
from ..hardware.devices import Found, find_all
from ..hardware.host import Host
from ..protocol import AcceleratorInfo
from .base import CPU, EngineFiles, Session, cannot_use, native_output_off

_LOGGER = logging.getLogger(__name__)

# The same interpreter under its new and its old name, which ends at Python 3.11. The package
# `pycoral` is not used: the one on package indexes is not from Google.
_PACKAGES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)
_EDGE_TPU = "edgetpu:"
_EDGE_TPU_LIBRARY = "libedgetpu.so.1"
_QNN = "qnn"
_QNN_LIBRARY = "libQnnTFLiteDelegate.so"
# Functions that make a library a delegate (external_delegate_interface.h).
_DELEGATE_FUNCTIONS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
_EDGE_TPU_OPERATION = "edgetpu-custom-op"
_UNKNOWN_OPERATION = re.compile(r"unresolved custom op: ([^\s.]+)")

# Any other delegate: a shared library, and its options as "key=value;key=value".
DELEGATE = AcceleratorInfo(id="delegate", name="Delegate")
DELEGATE_VARIABLE = "EDGE_VISION_LITERT_DELEGATE"
DELEGATE_OPTIONS_VARIABLE = "EDGE_VISION_LITERT_DELEGATE_OPTIONS"


@dataclass(frozen=True)
class _Library:
    path: str
    options: dict[str, str]


def _package() -> tuple[ModuleType, str]:
    """Return the module of the interpreter and its distribution."""
    reasons: list[Exception] = []
    for module, distribution in _PACKAGES:
        try:
            return import_module(module), distribution
        except Exception as err:  # noqa: BLE001 - a broken native library raises more than ImportError
            reasons.append(err)
    # A broken package is more informative than a missing one.
    broken = [err for err in reasons if not isinstance(err, ModuleNotFoundError)]
    raise cannot_use(LiteRtEngine(), (broken or reasons)[0])


def _external() -> _Library | None:
    path = os.environ.get(DELEGATE_VARIABLE)
    if not path:
        return None
    pairs = (
        item.partition("=") for item in os.environ.get(DELEGATE_OPTIONS_VARIABLE, "").split(";")
    )
    return _Library(path, {key.strip(): value.strip() for key, _, value in pairs if key.strip()})


def _found(start: str) -> list[Found]:
    """Return the accelerators whose IDs start with `start`."""
    return [item for item in find_all(Host()) if (LiteRtEngine.id, start) in item.places]


def _qualcomm() -> list[AcceleratorInfo]:
    """Return Qualcomm's NPU if its delegate is installed."""
    if not Host().has_library(f"{_QNN_LIBRARY}*"):
        return []
    ready = [item for item in _found(_QNN) if item.missing is None]
    return [AcceleratorInfo(id=_QNN, name=f"{item.name} (not tested)") for item in ready]


class LiteRtEngine:
    """LiteRT, https://ai.google.dev/edge/litert."""

    id = "litert"
    modules: tuple[str, ...] = ("ai_edge_litert", "tflite_runtime")
    name = "LiteRT"

    def version(self) -> str:
        """Return the version of the package."""
        return package_version(_package()[1])

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return Edge TPUs that are ready, the delegate set by the user, the CPU, and the rest.

        Qualcomm's NPU is untested, so it is never the default.
        """
        _package()
        ready = [item for item in _found(_EDGE_TPU) if item.missing is None]
        infos = [
            AcceleratorInfo(id=f"{_EDGE_TPU}{number}", name=item.name)
            for number, item in enumerate(ready)
        ]
        if (library := _external()) is not None:
            infos.append(
                AcceleratorInfo(id=DELEGATE.id, name=f"{DELEGATE.name} {Path(library.path).name}")
            )
        return (*infos, CPU, *_qualcomm())

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a .tflite file; an Edge TPU uses the file compiled for it."""
        module, _ = _package()
        if accelerator == CPU.id:
            return _LiteRtSession(module, files, files.path("model"), None, threads)
        if accelerator == DELEGATE.id:
            library = _external()
            if library is None:
                raise AcceleratorError(
                    f"LiteRT has no delegate: set {DELEGATE_VARIABLE} to the path of its library"
                )
            return _LiteRtSession(module, files, files.path("model"), library, threads)
        if accelerator.startswith(_EDGE_TPU):
            device = _edge_tpu(accelerator.removeprefix(_EDGE_TPU))
            if "edgetpu" not in files.paths:
                raise ModelError(
                    f"{files.model} has no file compiled for the Edge TPU; choose another model"
                    " or run it on the CPU"
                )
            library = _Library(_EDGE_TPU_LIBRARY, {"device": device})
            return _LiteRtSession(module, files, files.path("edgetpu"), library, threads)
        if accelerator == _QNN and _qualcomm():
            library = _Library(_QNN_LIBRARY, {"backend_type": "htp"})
            return _LiteRtSession(module, files, files.path("model"), library, threads)
        raise AcceleratorError(
            f"LiteRT has no accelerator {accelerator!r} on this device; it has"
            f" {', '.join(item.id for item in self.accelerators())}"
        )


def _edge_tpu(number: str) -> str:
    """Return the name of an Edge TPU in libedgetpu.

    Raises `AcceleratorError` with the reason if it cannot be used.
    """
    found = _found(_EDGE_TPU)
    ready = [item for item in found if item.missing is None]
    if number.isdecimal() and int(number) < len(ready):
        return ready[int(number)].address
    reasons = [f"{item.name}: {item.missing}" for item in found if item.missing is not None]
    raise AcceleratorError(
        " ".join(reasons)
        or "No Edge TPU is connected to this device; connect one, or choose another accelerator"
    )


class _LiteRtSession:
    batches = False

    def __init__(
        self,
        module: ModuleType,
        files: EngineFiles,
        path: Path,
        library: _Library | None,
        threads: int,
    ) -> None:
        self._delegate = _load_delegate(module, library) if library is not None else None
        self._interpreter = _load_interpreter(module, files, path, self._delegate, threads)
        inputs = {item["name"]: item for item in self._interpreter.get_input_details()}
        outputs = {item["name"]: item for item in self._interpreter.get_output_details()}
        constants = files.constant_inputs()
        for what, wanted, there in (
            ("input", {*files.inputs, *constants}, inputs.keys()),
            ("output", {*files.outputs}, outputs.keys()),
        ):
            if not wanted <= there:
                raise ModelError(
                    f"{files.model} has no {what} {', '.join(sorted(wanted - there))}; the file"
                    f" has {', '.join(sorted(there))}"
                )
        self._input = inputs[files.inputs[0]]
        self._outputs = [outputs[name] for name in files.outputs]
        for name, value in constants.items():
            shape = inputs[name]["shape"]
            self._interpreter.set_tensor(inputs[name]["index"], np.broadcast_to(value, shape))

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        try:
            self._interpreter.set_tensor(self._input["index"], _as_input(tensor, self._input))
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as err:
            raise InferenceError(f"LiteRT failed: {err}") from err
        return tuple(
            _as_float(self._interpreter.get_tensor(item["index"]), item) for item in self._outputs
        )

    def close(self) -> None:
        # The delegate must exist longer than the interpreter that calls it.
        self._interpreter = None
        self._delegate = None


def _load_delegate(module: ModuleType, library: _Library) -> Any:
    try:
        # If it cannot open a library, the class of the package fails in its destructor and prints a
        # traceback on stderr.
        shared = ctypes.CDLL(library.path)
        for name in _DELEGATE_FUNCTIONS:
            getattr(shared, name)
        return module.load_delegate(library.path, library.options)
    except (OSError, ValueError, AttributeError) as err:
        raise AcceleratorError(
            f"The delegate {library.path} cannot be loaded: {' '.join(str(err).split())}"
        ) from err


def _load_interpreter(
    module: ModuleType, files: EngineFiles, path: Path, delegate: Any, threads: int
) -> Any:
    try:
        interpreter = module.Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_delegates=[delegate] if delegate is not None else None,
        )
        if delegate is not None:
            _check_delegate(interpreter, files.model)
        with native_output_off():  # hides "Created TensorFlow Lite XNNPACK delegate"
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as err:
        raise ModelError(_explain(files.model, str(err))) from err
    return interpreter


def _check_delegate(interpreter: Any, model: str) -> None:
    """Raise `AcceleratorError` if the delegate runs nothing, so that the CPU would run everything.

    The parts taken by a delegate appear as operations of their own before the tensors are allocated
    and the CPU delegate takes its part. There is no public method for this. If the private one does
    not exist, the delegate is not trusted.
    """
    list_operations = getattr(interpreter, "_get_ops_details", None)
    if list_operations is None:
        raise AcceleratorError(
            f"This LiteRT does not report whether the delegate runs any part of {model}; install"
            " a newer version, or choose another accelerator"
        )
    taken = sum(item["op_name"] == "DELEGATE" for item in list_operations())
    if taken == 0:
        raise AcceleratorError(
            f"The delegate cannot run any part of {model}; choose another accelerator or model"
        )
    _LOGGER.info("The delegate runs %d parts of %s, and the CPU the rest", taken, model)


def _explain(model: str, text: str) -> str:
    if _EDGE_TPU_OPERATION in text:
        return (
            f"{model} is compiled for an Edge TPU and runs on nothing else: connect one and"
            " choose it as the accelerator, or use the file of the model for the CPU"
        )
    if match := _UNKNOWN_OPERATION.search(text):
        return (
            f"{model} uses the operation {match[1]!r}, which LiteRT does not have: the model"
            " needs the program or the delegate that it was created for"
        )
    return f"LiteRT cannot load {model}: {' '.join(text.split())}"


# --- Numbers --------------------------------------------------------------------------------------


def _as_input(tensor: NDArray[Any], details: dict[str, Any]) -> NDArray[Any]:
    """Return the picture in the dtype of an input.

    Pixels (uint8) are shifted by 128 for a signed input, as the converter does. Scaled floats are
    quantized with the scale of the input.
    """
    wanted = np.dtype(details["dtype"])
    if tensor.dtype == wanted:
        return tensor
    if tensor.dtype == np.uint8:
        if wanted == np.int8:
            return (tensor ^ 0x80).view(np.int8)
        return tensor.astype(wanted)
    scale, zero = details["quantization"]
    if not scale or wanted.kind not in "iu":
        return tensor.astype(wanted)
    limits = np.iinfo(wanted)
    quantized: NDArray[Any] = np.clip(np.rint(tensor / scale + zero), limits.min, limits.max)
    return quantized.astype(wanted)


def _as_float(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    """Return an output in real units: quantized integers are scaled, other numbers are kept."""
    floats: NDArray[np.float32] = values.astype(np.float32)
    scale, zero = details["quantization"]
    if values.dtype.kind in "iu" and scale:
        floats -= np.float32(zero)
        floats *= np.float32(scale)
    return floats
