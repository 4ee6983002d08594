"""ONNX Runtime: the default engine if it has wheels (Linux with glibc, macOS, Windows)."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AcceleratorError, InferenceError, ModelError
from ..protocol import AcceleratorInfo
from .base import CPU, EngineFiles, Session, cannot_use, with_cache
from .onnx_providers import (
    CPU_PROVIDER,
    Target,
    find_targets,
    keeps_context,
    on_processor,
    options_for,
    others_for,
)

_LOGGER = logging.getLogger(__name__)

# Names of ONNX Runtime exceptions caused by the file, not by the accelerator.
_FILE_ERRORS = ("InvalidProtobuf", "InvalidGraph", "NoModel", "NoSuchFile")
_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .{1,500}? failed:\s*)?"
)
_LOG_ERRORS = 3
# Errors of a session are raised. Its log would quote names in the model, including line breaks.
_LOG_NOTHING = 4
# The session method that returns which provider runs which operations.
_ASSIGNMENT = "get_provider_graph_assignment_info"


def _package() -> ModuleType:
    # From 1.32 on, the package sends usage data to its publisher as soon as it is imported, unless
    # this is set. Nothing may leave this device unasked, so users cannot override it.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        package = import_module("onnxruntime")
        package.set_default_logger_severity(_LOG_ERRORS)
    except Exception as err:  # a broken native library raises more than ImportError
        raise cannot_use(OnnxRuntimeEngine(), err) from err
    return package


class OnnxRuntimeEngine:
    """ONNX Runtime, https://onnxruntime.ai/docs/api/python/."""

    id = "onnxruntime"
    modules: tuple[str, ...] = ("onnxruntime",)
    name = "ONNX Runtime"

    def version(self) -> str:
        """Return the version of the package."""
        return str(_package().__version__)

    def accelerators(self) -> tuple[AcceleratorInfo, ...]:
        """Return the devices of all installed execution providers."""
        targets = find_targets(_package())
        infos = [AcceleratorInfo(id=item.id, name=item.name) for item in targets]
        better = sum(not on_processor(item) for item in targets)
        return (*infos[:better], CPU, *infos[better:])

    def load(self, files: EngineFiles, accelerator: str, threads: int) -> Session:
        """Load an ONNX file. Raises `AcceleratorError` if it would run on another device."""
        package = _package()
        if accelerator == CPU.id:
            return _OnnxSession(_load_on_cpu(package, files, threads), files, None)
        targets = find_targets(package)
        target = next((item for item in targets if item.id == accelerator), None)
        if target is None:
            known = ", ".join(item.id for item in self.accelerators())
            raise AcceleratorError(
                f"ONNX Runtime has no accelerator {accelerator!r} on this device; it has {known}"
            )
        session, check = with_cache(
            files.cache,
            (self.id, package.__version__),
            target.id,
            lambda cache: _load_on(package, files, target, threads, cache),
        )
        return _OnnxSession(session, files, check)


def _options(package: ModuleType, threads: int) -> Any:
    options = package.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning worker threads would block the cores for everything else on this device.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _LOG_NOTHING
    return options


def _in_words(err: Exception) -> str:
    """Return the engine's message about a file without codes and paths, and what to do."""
    text = _PREFIX.sub("", " ".join(str(err).split()))
    return (
        f"{text[:300].rstrip('. ')}; export the model again, for an older opset or another format"
    )


def _load_on_cpu(package: ModuleType, files: EngineFiles, threads: int) -> Any:
    try:
        return package.InferenceSession(
            str(files.path("model")), _options(package, threads), providers=[CPU_PROVIDER]
        )
    except ModelError:
        raise
    except Exception as err:
        raise ModelError(f"ONNX Runtime cannot load {files.model}: {_in_words(err)}") from err


def _load_on(
    package: ModuleType, files: EngineFiles, target: Target, threads: int, cache: Path | None
) -> tuple[Any, Callable[[], None] | None]:
    """Return a session that runs at least partly on the target.

    Also return a function to call after the first run, if only a run shows whether it does.
    """
    path = files.path("model")
    options = _options(package, threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if cache is not None and keeps_context(target):
        compiled = cache / "model_ctx.onnx"
        if compiled.exists():
            path = compiled
        else:
            options.add_session_config_entry("ep.context_enable", "1")
            options.add_session_config_entry("ep.context_file_path", str(compiled))
    provider_options = options_for(target, threads, cache)
    providers: list[Any] | None = None
    profile: TemporaryDirectory[str] | None = None
    try:
        if not hasattr(package.InferenceSession, _ASSIGNMENT):  # an older version
            profile = TemporaryDirectory(prefix="edge-vision-")
            options.enable_profiling = True
            options.profile_file_prefix = f"{profile.name}/"
        if target.ep_device is not None:
            options.add_provider_for_devices([target.ep_device], provider_options)
        else:
            providers = [(target.provider, provider_options), *others_for(target)]
        # Without this, the Python wrapper falls back to the CPU and only prints a message.
        session = package.InferenceSession(
            str(path), options, providers=providers, enable_fallback=0
        )
    except Exception as err:
        if type(err).__name__ in _FILE_ERRORS:
            raise ModelError(f"ONNX Runtime cannot load {files.model}: {_in_words(err)}") from err
        raise AcceleratorError(f"{target.name} cannot load {files.model}: {err}") from err
    if target.provider not in session.get_providers():
        raise AcceleratorError(
            f"ONNX Runtime would run {files.model} on {', '.join(session.get_providers())}, not"
            f" on {target.name}: its driver or libraries do not work here"
        )
    if profile is None:
        _check_placement(operations_by_provider(session), target, files.model)
        return session, None
    kept = profile  # the folder is deleted with its last reference
    return session, lambda: _check_placement(_profiled(session, kept), target, files.model)


def _check_placement(placed: Mapping[str, int], target: Target, model: str) -> None:
    """Raise `AcceleratorError` if ONNX Runtime silently runs the model on another device.

    It is normal that other providers run the parts that one does not support; this is logged.

    Args:
        placed: provider → number of parts of the model; empty if ONNX Runtime does not report it.
        target: the requested accelerator.
        model: name of the model, for messages.
    """
    if not placed:
        raise AcceleratorError(
            f"This ONNX Runtime does not report whether {target.name} runs any part of {model};"
            " install a newer version, or choose another accelerator"
        )
    mine = placed.get(target.provider, 0)
    if mine == 0:
        raise AcceleratorError(
            f"{target.name} cannot run any part of {model}; choose another accelerator or model"
        )
    total = sum(placed.values())
    if mine < total:
        others = ", ".join(sorted(placed.keys() - {target.provider}))
        _LOGGER.info(
            "%s runs %d of %d parts of %s, and %s the others",
            *(target.name, mine, total, model, others),
        )


def operations_by_provider(session: Any) -> Mapping[str, int]:
    """Return provider → number of operations of the model assigned to it."""
    placed: Counter[str] = Counter()
    for part in getattr(session, _ASSIGNMENT)():
        placed[part.ep_name] += len(part.get_nodes())
    return placed


def _profiled(session: Any, folder: TemporaryDirectory[str]) -> Mapping[str, int]:
    """End profiling and return provider → number of parts run since the session started.

    Operations that a provider compiles into one count as one part.
    """
    with folder:
        try:
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        except (OSError, ValueError) as err:
            _LOGGER.warning("ONNX Runtime's profile cannot be read: %s", err)
            return {}
    runs = [event for event in events if event.get("cat") == "Node"]
    return Counter(
        event["args"]["provider"] for event in runs if event.get("args", {}).get("provider")
    )


class _OnnxSession:
    """A session; `check` is called after its first run, and raises `AcceleratorError`."""

    def __init__(self, session: Any, files: EngineFiles, check: Callable[[], None] | None) -> None:
        self._session = session
        self._check = check
        self._input = files.inputs[0]
        self._outputs = list(files.outputs)
        self._constants = files.constant_inputs()
        types = {item.name: item.type for item in session.get_inputs()}
        for what, wanted, there in (
            ("input", {*files.inputs, *self._constants}, types.keys()),
            ("output", {*files.outputs}, {item.name for item in session.get_outputs()}),
        ):
            if not wanted <= there:
                raise ModelError(
                    f"{files.model} has no {what} {', '.join(sorted(wanted - there))}; the file"
                    f" has {', '.join(sorted(there))}"
                )
        self._half = types[self._input] == "tensor(float16)"
        shapes = {item.name: item.shape for item in session.get_inputs()}
        # A batch size with a name, or without a value, is variable.
        self.batches = not isinstance(shapes[self._input][0], int) and not self._constants

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        if self._half:
            tensor = tensor.astype(np.float16)
        try:
            outputs = self._session.run(self._outputs, {self._input: tensor, **self._constants})
        except Exception as err:
            raise InferenceError(f"ONNX Runtime failed: {err}") from err
        if self._check is not None:
            self._check()
            self._check = None
        return tuple(output.astype(np.float32, copy=False) for output in outputs)

    def close(self) -> None:
        self._session = None
