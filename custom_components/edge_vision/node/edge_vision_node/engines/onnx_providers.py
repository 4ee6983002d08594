"""The execution providers of ONNX Runtime: which ones are installed, their devices and options.

The options are documented at https://onnxruntime.ai/docs/execution-providers/.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from ..hardware.devices import find_all
from ..hardware.host import Host

_LOGGER = logging.getLogger(__name__)

CPU_PROVIDER = "CPUExecutionProvider"

Options = Callable[["Target", int, Path | None], dict[str, str]]


@dataclass(frozen=True)
class Target:
    """A device that an execution provider runs models on.

    Attributes:
        id: ID of the accelerator in the node, such as `cuda:0`.
        name: name to display.
        provider: name in ONNX Runtime, such as `CUDAExecutionProvider`.
        device: its number among the devices of the provider, or its name in the provider.
        ep_device: handle of ONNX Runtime, or None if a built-in provider has none.
    """

    id: str
    name: str
    provider: str
    device: str
    ep_device: Any = None


@dataclass(frozen=True)
class _Provider:
    """A supported provider; better ones come first in `_PROVIDERS`."""

    name: str
    id: str
    title: str
    options: Options
    others: tuple[str, ...] = ()
    keeps_context: bool = False


# --- Options of each provider ---------------------------------------------------------------------


def _tensorrt(target: Target, _threads: int, cache: Path | None) -> dict[str, str]:
    options = {"device_id": target.device, "trt_fp16_enable": "1"}
    if cache is not None:  # building an engine takes minutes on a Jetson
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return options


def _tensorrt_rtx(_target: Target, _threads: int, cache: Path | None) -> dict[str, str]:
    return {"nv_runtime_cache_path": str(cache)} if cache else {}


def _cuda(target: Target, _threads: int, _cache: Path | None) -> dict[str, str]:
    # Growing by powers of two wastes memory, which is scarce on small boards.
    return {"device_id": target.device, "arena_extend_strategy": "kSameAsRequested"}


def _migraphx(target: Target, _threads: int, cache: Path | None) -> dict[str, str]:
    options = {"device_id": target.device}
    return options | ({"migraphx_model_cache_dir": str(cache)} if cache else {})


def _coreml(_target: Target, _threads: int, cache: Path | None) -> dict[str, str]:
    # An ML Program can use the Neural Engine and the GPU; the system distributes the work.
    options = {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"}
    return options | ({"ModelCacheDirectory": str(cache)} if cache else {})


def _qnn(_target: Target, _threads: int, _cache: Path | None) -> dict[str, str]:
    return {
        "backend_type": "htp",
        "htp_performance_mode": "sustained_high_performance",
        "htp_graph_finalization_optimization_mode": "3",
        "enable_htp_fp16_precision": "1",
    }


def _openvino(target: Target, threads: int, cache: Path | None) -> dict[str, str]:
    if target.ep_device is None:  # built into the package onnxruntime-openvino
        options = {"device_type": target.device}
        if target.device == "CPU":
            options |= {"num_of_threads": str(threads), "precision": "FP32"}
        return options | ({"cache_dir": str(cache)} if cache else {})
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if target.device == "CPU":
        # See openvino.py for the reasons.
        settings |= {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
    if cache is not None:
        settings["CACHE_DIR"] = str(cache)
    return {"load_config": json.dumps({target.device: settings})}


def _none(_target: Target, _threads: int, _cache: Path | None) -> dict[str, str]:
    return {}


_CUDA = "CUDAExecutionProvider"
_PROVIDERS = (
    _Provider("TensorrtExecutionProvider", "tensorrt", "TensorRT", _tensorrt, others=(_CUDA,)),
    _Provider("NvTensorRTRTXExecutionProvider", "tensorrt_rtx", "TensorRT for RTX", _tensorrt_rtx),
    _Provider(_CUDA, "cuda", "CUDA", _cuda),
    _Provider("MIGraphXExecutionProvider", "migraphx", "MIGraphX", _migraphx),
    _Provider("CoreMLExecutionProvider", "coreml", "Core ML", _coreml),
    _Provider("QNNExecutionProvider", "qnn", "Qualcomm QNN", _qnn, keeps_context=True),
    _Provider("OpenVINOExecutionProvider", "openvino", "OpenVINO", _openvino),
    _Provider("WebGpuExecutionProvider", "webgpu", "WebGPU", _none),
)
_BY_NAME = {provider.name: provider for provider in _PROVIDERS}


def options_for(target: Target, threads: int, cache: Path | None) -> dict[str, str]:
    """Return the options of the provider of a target; unknown providers get none."""
    provider = _BY_NAME.get(target.provider)
    return provider.options(target, threads, cache) if provider else {}


def others_for(target: Target) -> tuple[str, ...]:
    """Return the providers for operations that the provider of a target does not support."""
    provider = _BY_NAME.get(target.provider)
    return (*(provider.others if provider else ()), CPU_PROVIDER)


def keeps_context(target: Target) -> bool:
    """Return whether compiled models are cached as "EP context" files of ONNX Runtime."""
    provider = _BY_NAME.get(target.provider)
    return provider is not None and provider.keeps_context


# --- Plug-in providers in separate packages -------------------------------------------------------

_PLUGIN_PREFIX = "onnxruntime-ep-"  # the name recommended by ONNX Runtime
_OTHER_PLUGINS = ("onnxruntime-qnn", "nxrt-ep-cpu")


def plugin_packages() -> list[str]:
    """Return the names of installed distributions with a plug-in provider, sorted."""
    names = {(item.name or "").lower().replace("_", "-") for item in distributions()}
    return sorted(
        name for name in names if name.startswith(_PLUGIN_PREFIX) or name in _OTHER_PLUGINS
    )


@cache
def register_plugins(package: ModuleType) -> tuple[str, ...]:
    """Register the installed plug-in providers with ONNX Runtime once, and return their packages.

    If one cannot be loaded, this is logged and its devices are not available.
    """
    registered = []
    for name in plugin_packages():
        try:
            plugin = import_module(name.replace("-", "_"))
            ep_name = plugin.get_ep_name() if hasattr(plugin, "get_ep_name") else name
            package.register_execution_provider_library(ep_name, plugin.get_library_path())
        except Exception as err:  # noqa: BLE001 - other packages may raise anything
            _LOGGER.warning("The execution provider in %s cannot be loaded: %s", name, err)
        else:
            registered.append(name)
    return tuple(registered)


# --- Available devices ----------------------------------------------------------------------------


def find_targets(package: ModuleType, host: Host | None = None) -> list[Target]:
    """Return the devices of all providers except the CPU provider, best first.

    Devices that are only another way to use the processor come last.
    """
    targets = [*_from_ep_devices(package), *_built_in(package, host or Host())]
    ranks = {provider.name: rank for rank, provider in enumerate(_PROVIDERS)}
    return sorted(
        targets, key=lambda item: (on_processor(item), ranks.get(item.provider, len(ranks)))
    )


def on_processor(target: Target) -> bool:
    """Return whether a target is the processor itself."""
    if target.ep_device is None:
        return target.device == "CPU"
    return bool(target.ep_device.device.type.name == "CPU")


def _from_ep_devices(package: ModuleType) -> Iterator[Target]:
    if not hasattr(package, "get_ep_devices"):  # before ONNX Runtime 1.23
        return
    register_plugins(package)
    numbers: Counter[str] = Counter()
    for item in package.get_ep_devices():
        provider, kind = item.ep_name, item.device.type.name
        # ".AUTO" and similar choose a device themselves, without reporting which one was used.
        if provider == CPU_PROVIDER or "." in provider:
            continue
        if provider == "QNNExecutionProvider" and kind == "CPU":
            continue  # a simulator
        known = _BY_NAME.get(provider)
        number = numbers[provider]
        numbers[provider] += 1
        metadata = dict(item.ep_metadata)
        device = metadata.get("ov_device") or str(number)
        described = metadata.get("FULL_DEVICE_NAME") or f"{item.device.vendor} {kind}".strip()
        title = known.title if known else provider
        yield Target(
            id=_target_id(known.id if known else provider, device),
            name=f"{title}: {described}",
            provider=provider,
            device=device,
            ep_device=item,
        )


def _built_in(package: ModuleType, host: Host) -> Iterator[Target]:
    """Yield targets of providers in this build of ONNX Runtime that it does not enumerate."""
    enumerated = set()
    if hasattr(package, "get_ep_devices"):
        enumerated = {item.ep_name for item in package.get_ep_devices()}
    present = [item for item in find_all(host) if item.missing is None]
    for provider in _PROVIDERS:
        if provider.name not in package.get_available_providers() or provider.name in enumerated:
            continue
        if provider.id == "openvino":
            state = import_module("onnxruntime.capi._pybind_state")
            for device in state.get_available_openvino_device_ids():
                name = f"{provider.title}: {device}"
                yield Target(f"openvino:{device}", name, provider.name, device)
            continue
        start = provider.id if provider.id in ("coreml", "qnn") else f"{provider.id}:"
        devices = [item.name for item in present if ("onnxruntime", start) in item.places]
        for number, name in enumerate(devices):
            yield Target(
                id=_target_id(provider.id, str(number)),
                name=f"{provider.title}: {name}",
                provider=provider.name,
                device=str(number),
            )


def _target_id(provider: str, device: str) -> str:
    return provider if provider in ("coreml", "qnn") else f"{provider}:{device}"
