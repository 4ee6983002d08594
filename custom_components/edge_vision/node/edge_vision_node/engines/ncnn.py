"""ncnn: has wheels for musl, so it is the default on Home Assistant OS. CPU and Vulkan."""

from __future__ import annotations

import os
from enum import IntEnum
from importlib import import_module
from importlib.metadata import version as package_version
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, InferenceError, ModelError
from ..protocol import AcceleratorInfo
from .base import CPU, EngineFiles, Session, cannot_use, native_output_off

_PREFIX = "vulkan:"
# Vulkan drivers that run on the processor, no matter what kind of device they report.
_EMULATORS = ("llvmpipe", "lavapipe", "swiftshader", "softpipe")
# Twice as many threads are used if a picture then takes at most this share of the time.
_TRIALS, _WORTH_IT = 3, 0.85


def _package() -> ModuleType:
    # By default, the OpenMP threads of the wheel spin while they wait. If another process needs a
    # core, each barrier then costs a time slice: 2000 ms instead of 30 ms per picture, measured
    # with one busy process on two cores. The variable is read when the library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return import_module("ncnn")
    except Exception as err:  # a broken native library raises more than ImportError
        raise cannot_use(NcnnEngine(), err) from err


class _Kind(IntEnum):
    """Kinds of Vulkan devices, as numbered by ncnn."""

    DISCRETE = 0
    INTEGRATED = 1
    VIRTUAL = 2
    PROCESSOR = 3


def _vulkan_devices(package: ModuleType) -> list[tuple[AcceleratorInfo, int]]:
    """Return the Vulkan devices with their kind; emulators are marked as such."""
    if not hasattr(package, "get_gpu_count"):  # a build without Vulkan
        return []
    with native_output_off():  # hides "vkCreateInstance failed" on systems without a GPU
        count = package.get_gpu_count()
    devices = []
    for number in range(count):
        gpu = package.get_gpu_info(number)
        name, kind = str(gpu.device_name()), int(gpu.type())
        emulated = kind == _Kind.PROCESSOR or any(word in name.lower() for word in _EMULATORS)
        if emulated:
            name = f"{name}: emulates a GPU on the processor"
        info = AcceleratorInfo(id=f"{_PREFIX}{number}", name=name, emulated=emulated)
        devices.append((info, _Kind.PROCESSOR if emulated else kind))
    return devices


class NcnnEngine:
    """ncnn, https://github.com/Tencent/ncnn."""

    id = "ncnn"
    modules: tuple[str, ...] = ("ncnn",)
    name = "ncnn"

    def version(self) -> str:
        """Return the package's version."""
        _package()
        return package_version("ncnn")

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the CPU and the Vulkan devices.

        Only a discrete graphics card comes before the CPU: integrated GPUs are often slower.
        """
        devices = _vulkan_devices(_package())
        cards = [info for info, kind in devices if kind == _Kind.DISCRETE]
        others = [info for info, kind in devices if kind != _Kind.DISCRETE]
        return (*cards, CPU, *others)

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a .param and .bin pair."""
        ncnn = _package()
        # Searching for GPUs takes memory, which is not needed to run on the CPU.
        known_ids = [] if accelerator == CPU.id else [item.id for item in self.accelerators()]
        if accelerator != CPU.id and accelerator not in known_ids:
            known = ", ".join(known_ids)
            raise AcceleratorError(
                f"ncnn has no accelerator {accelerator!r} on this device; it has {known}"
            )
        return _NcnnSession(ncnn, files, accelerator, threads)


def _net(package: ModuleType, files: EngineFiles, accelerator: str, threads: int) -> Any:
    """Return a loaded network. The number of threads cannot be changed later."""
    net = package.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = accelerator != CPU.id
    if accelerator != CPU.id:
        net.set_vulkan_device(int(accelerator.removeprefix(_PREFIX)))
    for load, role in ((net.load_param, "param"), (net.load_model, "bin")):
        if load(str(files.path(role))) != 0:
            raise ModelError(f"ncnn cannot load {files.path(role).name} of {files.model}")
    # Without a working device, `load_param` turns Vulkan off and reports success.
    if accelerator != CPU.id and not net.opt.use_vulkan_compute:
        raise AcceleratorError(
            f"ncnn would run {files.model} on the CPU, not on {accelerator}: its Vulkan"
            " driver does not work here"
        )
    return net


class _NcnnSession:
    batches = False

    def __init__(
        self, package: ModuleType, files: EngineFiles, accelerator: str, threads: int
    ) -> None:
        self._package = package
        self._files = files
        self._input = files.inputs[0]
        self._outputs = files.outputs
        self._net = _net(package, files, accelerator, 1)
        self._more_threads = [2**n for n in range(1, threads.bit_length())]
        if accelerator != CPU.id:
            self._more_threads = []

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        if self._more_threads:
            counts, self._more_threads = self._more_threads, []
            self._choose_threads(counts, tensor)
        return self._infer(tensor)

    def _choose_threads(self, counts: list[int], tensor: NDArray[Any]) -> None:
        """Use more than one thread if this is faster, measured with a warm model.

        Threads sleep and wait for each other after each layer. On two virtual cores, two threads
        took eight times as long as one for a small model, and 1.5 times as long for the default
        model.
        """
        chosen, chosen_s = self._net, self._seconds(tensor)
        for count in counts:
            self._net = _net(self._package, self._files, CPU.id, count)
            took_s = self._seconds(tensor)
            if took_s < _WORTH_IT * chosen_s:
                chosen, chosen_s, self._net = self._net, took_s, chosen
            self._net.clear()
        self._net = chosen

    def _seconds(self, tensor: NDArray[Any]) -> float:
        self._infer(tensor)
        times = []
        for _ in range(_TRIALS):
            started = perf_counter()
            self._infer(tensor)
            times.append(perf_counter() - started)
        return min(times)

    def _infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        # ncnn has no batch dimension: remove it from the input, and add it to the outputs.
        extractor = self._net.create_extractor()
        # Copy the input: a graph that starts with arithmetic modifies it in place, which crashes
        # the process if the memory does not belong to ncnn.
        if extractor.input(self._input, self._package.Mat(tensor[0]).clone()) != 0:
            raise InferenceError(f"ncnn has no input {self._input!r}")
        outputs = []
        for name in self._outputs:
            status, mat = extractor.extract(name)
            if status != 0:
                raise InferenceError(f"ncnn failed with status {status} at output {name!r}")
            outputs.append(np.array(mat, dtype=np.float32)[np.newaxis])
        return tuple(outputs)

    def close(self) -> None:
        self._net.clear()
