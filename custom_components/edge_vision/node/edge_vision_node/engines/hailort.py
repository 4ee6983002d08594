"""HailoRT: Hailo-8, 8L and 10H. Reads .hef files created by Hailo's compiler.

Based on Hailo's documentation of the InferModel interface (HailoRT 4.17 and newer), and tested with
a simulation only: NOT TESTED ON HARDWARE.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, EngineMissingError, InferenceError, ModelError
from ..protocol import AcceleratorInfo
from .base import EngineFiles, Session

_PREFIX = "hailo:"
_TIMEOUT_MS = 10_000


def _package() -> ModuleType:
    try:
        return import_module("hailo_platform")
    except Exception as err:  # a broken native library raises more than ImportError
        raise EngineMissingError(
            f"HailoRT cannot be used here: {err}; install HailoRT and its Python package"
            " hailo_platform from Hailo"
        ) from err


class HailoEngine:
    """HailoRT, https://hailo.ai/developer-zone/documentation/."""

    id = "hailort"
    modules: tuple[str, ...] = ("hailo_platform",)
    name = "HailoRT (not tested on hardware)"

    def version(self) -> str:
        """Return the version of the package. Raises `EngineMissingError` without a device."""
        package = _package()
        if not _devices(package):
            raise EngineMissingError("HailoRT found no Hailo accelerator on this device")
        try:
            return package_version("hailort")
        except PackageNotFoundError:
            return str(getattr(package, "__version__", "unknown"))

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the devices found by HailoRT."""
        return tuple(
            AcceleratorInfo(id=f"{_PREFIX}{number}", name=f"Hailo {device}")
            for number, device in enumerate(_devices(_package()))
        )

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:  # noqa: ARG002
        """Load a .hef file. The number of threads is ignored: the CPU is not involved."""
        package = _package()
        devices = dict(
            zip((item.id for item in self.accelerators()), _devices(package), strict=True)
        )
        if accelerator not in devices:
            raise AcceleratorError(
                f"HailoRT has no accelerator {accelerator!r} on this device; it has"
                f" {', '.join(devices) or 'none'}"
            )
        return _HailoSession(package, files, devices[accelerator])


def _devices(package: ModuleType) -> list[str]:
    try:
        return [str(device) for device in package.Device.scan()]
    except Exception as err:  # HailoRT's exceptions share no public base
        raise EngineMissingError(f"HailoRT cannot search for accelerators: {err}") from err


class _HailoSession:
    """A model on a device, which other processes can share through the scheduler of HailoRT."""

    batches = False

    def __init__(self, package: ModuleType, files: EngineFiles, device: str) -> None:
        params = package.VDevice.create_params()
        params.scheduling_algorithm = package.HailoSchedulingAlgorithm.ROUND_ROBIN
        try:
            # Keep references to all three: the model does not keep the device open.
            self._device = package.VDevice(params, device_ids=[device])
        except Exception as err:
            raise AcceleratorError(
                f"The Hailo accelerator {device} cannot be opened (does another program use it?):"
                f" {err}"
            ) from err
        try:
            self._model = self._device.create_infer_model(str(files.path("model")))
            self._inputs = {item.name for item in self._model.inputs}
            outputs = {item.name: item for item in self._model.outputs}
            self._check(files, outputs.keys())
            pixels = files.dtype == "uint8"
            kind = package.FormatType.UINT8 if pixels else package.FormatType.FLOAT32
            self._model.input(files.inputs[0]).set_format_type(kind)
            for name in files.outputs:  # HailoRT converts its integers to real units
                outputs[name].set_format_type(package.FormatType.FLOAT32)
            self._configured = self._model.configure()
            self._buffers = {
                name: np.empty(tuple(outputs[name].shape), np.float32) for name in files.outputs
            }
            self._bindings = self._configured.create_bindings(output_buffers=self._buffers)
        except ModelError:
            self._device.release()
            raise
        except Exception as err:
            self._device.release()
            raise ModelError(f"HailoRT cannot load {files.model}: {err}") from err
        self._input = files.inputs[0]
        self._outputs = files.outputs
        self._by_class = {name for name in files.outputs if outputs[name].is_nms}

    def _check(self, files: EngineFiles, outputs: Any) -> None:
        missing = ({files.inputs[0]} - self._inputs) | (set(files.outputs) - set(outputs))
        if missing:
            raise ModelError(
                f"{files.model} has no {', '.join(sorted(missing))}; the file has"
                f" {', '.join((*sorted(self._inputs), *sorted(outputs)))}"
            )

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        try:
            # HailoRT has no batch dimension: remove it from the input, and add it to the outputs.
            self._bindings.input(self._input).set_buffer(np.ascontiguousarray(tensor[0]))
            self._configured.run([self._bindings], _TIMEOUT_MS)
            buffers = {name: self._bindings.output(name).get_buffer() for name in self._outputs}
        except Exception as err:
            raise InferenceError(f"HailoRT failed: {err}") from err
        return tuple(
            _rows(buffers[name])
            if name in self._by_class
            else np.array(buffers[name], np.float32)[np.newaxis]
            for name in self._outputs
        )

    def close(self) -> None:
        self._bindings = self._configured = self._model = None
        self._device.release()


def _rows(by_class: list[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the result of non-maximum suppression on the device in the form of other engines.

    Args:
        by_class: an array [N, 5] of y1, x1, y2, x2 (0-1 of the input) and score for each class.

    Returns:
        [1, N, 6] of x1, y1, x2, y2, score and class.
    """
    rows = [
        np.column_stack((np.asarray(found)[:, [1, 0, 3, 2, 4]], np.full(len(found), number)))
        for number, found in enumerate(by_class)
        if len(found)
    ]
    found: NDArray[np.float32] = np.concatenate([np.empty((0, 6)), *rows]).astype(np.float32)
    return found[np.newaxis]
