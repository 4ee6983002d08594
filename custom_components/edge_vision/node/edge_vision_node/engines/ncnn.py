"""ncnn: the engine with wheels for musl, so the default on Home Assistant OS."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version as package_version
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, EngineMissingError, InferenceError, ModelError
from ..protocol import AcceleratorInfo
from .base import CPU, EngineFiles, Session


def _package() -> ModuleType:
    # The wheel's OpenMP threads spin while they wait. As soon as something else wants a core, each
    # barrier then costs a time slice: 2000 ms instead of 30 ms a picture, measured beside one busy
    # process on two cores. Read once, when the library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return import_module("ncnn")
    except Exception as err:  # a broken native library raises more than ImportError
        raise EngineMissingError(f"ncnn cannot be used here: {err}") from err


class NcnnEngine:
    """ncnn, https://github.com/Tencent/ncnn."""

    id = "ncnn"
    name = "ncnn"

    def version(self) -> str:
        """Return the package's version."""
        _package()
        return package_version("ncnn")

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the CPU; Vulkan devices are not offered yet."""
        _package()
        return (CPU,)

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load a .param and .bin pair."""
        ncnn = _package()
        if accelerator != CPU.id:
            raise AcceleratorError(f"ncnn has no accelerator {accelerator!r} here")
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_vulkan_compute = False
        for load, role in ((net.load_param, "param"), (net.load_model, "bin")):
            if load(str(files.paths[role])) != 0:
                raise ModelError(f"ncnn cannot load {files.paths[role].name} of {files.model_id}")
        return _NcnnSession(ncnn, net, files)


class _NcnnSession:
    def __init__(self, package: ModuleType, net: Any, files: EngineFiles) -> None:
        self._package = package
        self._net = net
        self._input = files.inputs[0]
        self._outputs = files.outputs

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        # ncnn knows no batch: [1, C, H, W] goes in as [C, H, W], and outputs get theirs back.
        extractor = self._net.create_extractor()
        if extractor.input(self._input, self._package.Mat(tensor[0])) != 0:
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
