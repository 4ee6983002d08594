"""ncnn: the engine with wheels for musl, so the default on Home Assistant OS. CPU and Vulkan."""

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
# Drivers of Vulkan that draw on the processor, whatever kind of device they say they are.
_EMULATORS = ("llvmpipe", "lavapipe", "swiftshader", "softpipe")
# Twice as many threads are worth it where a picture then takes this share of the time.
_TRIALS, _WORTH_IT = 3, 0.85


def _package() -> ModuleType:
    # The wheel's OpenMP threads spin while they wait. As soon as something else wants a core, each
    # barrier then costs a time slice: 2000 ms instead of 30 ms a picture, measured beside one busy
    # process on two cores. Read once, when the library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return import_module("ncnn")
    except Exception as err:  # a broken native library raises more than ImportError
        raise cannot_use(NcnnEngine(), err) from err


class _Kind(IntEnum):
    """Kinds of Vulkan devices as ncnn numbers them."""

    DISCRETE = 0
    INTEGRATED = 1
    VIRTUAL = 2
    PROCESSOR = 3


def _vulkan_devices(package: ModuleType) -> list[tuple[AcceleratorInfo, int]]:
    """Return what Vulkan offers; a program that draws on the processor is called that."""
    if not hasattr(package, "get_gpu_count"):  # a build without Vulkan
        return []
    with native_output_off():  # "vkCreateInstance failed" where there is no GPU: no news
        count = package.get_gpu_count()
    devices = []
    for number in range(count):
        gpu = package.get_gpu_info(number)
        name, kind = str(gpu.device_name()), int(gpu.type())
        emulated = kind == _Kind.PROCESSOR or any(word in name.lower() for word in _EMULATORS)
        if emulated:
            name = f"{name}: no GPU, a program that imitates one on the processor"
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
        """Return the CPU and the devices of Vulkan.

        Only a graphics card of its own goes before the CPU: the small GPUs that share a chip with
        it are often slower than it.
        """
        devices = _vulkan_devices(_package())
        cards = [info for info, kind in devices if kind == _Kind.DISCRETE]
        others = [info for info, kind in devices if kind != _Kind.DISCRETE]
        return (*cards, CPU, *others)

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a .param and .bin pair."""
        ncnn = _package()
        # Looking for GPUs takes memory that a CPU has no use for.
        known_ids = [] if accelerator == CPU.id else [item.id for item in self.accelerators()]
        if accelerator != CPU.id and accelerator not in known_ids:
            known = ", ".join(known_ids)
            raise AcceleratorError(
                f"ncnn has no accelerator {accelerator!r} on this device; it has {known}"
            )
        return _NcnnSession(ncnn, files, accelerator, threads)


def _net(package: ModuleType, files: EngineFiles, accelerator: str, threads: int) -> Any:
    """Return a loaded network; how many threads it has is settled then."""
    net = package.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = accelerator != CPU.id
    if accelerator != CPU.id:
        net.set_vulkan_device(int(accelerator.removeprefix(_PREFIX)))
    for load, role in ((net.load_param, "param"), (net.load_model, "bin")):
        if load(str(files.path(role))) != 0:
            raise ModelError(f"ncnn cannot load {files.path(role).name} of {files.model_id}")
    # Without a working device, `load_param` turns Vulkan off and reports success.
    if accelerator != CPU.id and not net.opt.use_vulkan_compute:
        raise AcceleratorError(
            f"ncnn would run {files.model_id} on the CPU, not on {accelerator}: its Vulkan"
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
        """Take more threads than one where they are worth it, when the model is warmed up.

        After each layer they wait for each other, asleep: on two virtual cores a small model took
        eight times as long with two threads as with one, and the default model half as long again.
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
        # ncnn knows no batch: [1, C, H, W] goes in as [C, H, W], and outputs get theirs back.
        extractor = self._net.create_extractor()
        # A copy: a graph that begins with arithmetic does it in place, and in memory that is not
        # its own ncnn's process dies of that.
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
