"""ONNX Runtime: the default engine where it has wheels (glibc Linux, macOS, Windows)."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, EngineMissingError, InferenceError, ModelError
from ..protocol import AcceleratorInfo
from .base import CPU, EngineFiles, Session

_PROVIDERS = {"cpu": "CPUExecutionProvider"}


def _package() -> ModuleType:
    # From 1.32 on the package reports its use to its maker, beginning when it is imported, unless
    # this is set before. Nothing leaves this device unasked, so it is not a default to override.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return import_module("onnxruntime")
    except Exception as err:  # a broken native library raises more than ImportError
        raise EngineMissingError(f"ONNX Runtime cannot be used here: {err}") from err


class OnnxRuntimeEngine:
    """ONNX Runtime, https://onnxruntime.ai/docs/api/python/."""

    id = "onnxruntime"
    name = "ONNX Runtime"

    def version(self) -> str:
        """Return the package's version."""
        return str(_package().__version__)

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the CPU; other execution providers are not offered yet."""
        _package()
        return (CPU,)

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load an ONNX file."""
        onnxruntime = _package()
        if accelerator not in _PROVIDERS:
            raise AcceleratorError(f"ONNX Runtime has no accelerator {accelerator!r} here")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning worker threads would take the cores from whatever else the device does.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                str(files.paths["model"]), options, providers=[_PROVIDERS[accelerator]]
            )
        except Exception as err:
            raise ModelError(f"ONNX Runtime cannot load {files.model_id}: {err}") from err
        return _OnnxSession(session, files)


class _OnnxSession:
    def __init__(self, session: Any, files: EngineFiles) -> None:
        self._session = session
        (self._input,) = files.inputs
        self._outputs = list(files.outputs)

    def infer(self, tensor: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        try:
            return tuple(self._session.run(self._outputs, {self._input: tensor}))
        except Exception as err:
            raise InferenceError(f"ONNX Runtime failed: {err}") from err

    def close(self) -> None:
        self._session = None
