"""The supported inference engines, and what each of them can do on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec

from ..errors import EngineMissingError
from ..protocol import AcceleratorInfo, EngineInfo
from ..system import System, this_system
from .base import Engine, EngineFiles, Session, default_threads
from .hailort import HailoEngine
from .litert import LiteRtEngine
from .ncnn import NcnnEngine
from .onnxruntime import OnnxRuntimeEngine
from .openvino import OpenVinoEngine
from .packages import has_package

__all__ = [
    "ENGINES",
    "Engine",
    "EngineFiles",
    "Session",
    "default_accelerator",
    "default_threads",
    "describe_engines",
    "get_engine",
    "is_exclusive",
    "is_installed",
    "why_unavailable",
]

# In order of preference: the first one that works here is the default.
ENGINES: dict[str, Engine] = {
    engine.id: engine
    for engine in (
        OnnxRuntimeEngine(),
        OpenVinoEngine(),
        LiteRtEngine(),
        NcnnEngine(),
        HailoEngine(),
    )
}


# Only one process at a time can use these: the libraries for the Edge TPU and Hailo claim the
# device, and a delegate set by the user may do the same.
_EXCLUSIVE = ("edgetpu:", "hailo:", "delegate")


def is_exclusive(accelerator: str) -> bool:
    """Return whether only one process at a time can use an accelerator."""
    return accelerator.startswith(_EXCLUSIVE)


def get_engine(engine_id: str) -> Engine:
    """Return an engine. Raises `EngineMissingError` if there is none with this ID."""
    try:
        return ENGINES[engine_id]
    except KeyError:
        known = ", ".join(ENGINES)
        raise EngineMissingError(
            f"Unknown engine {engine_id!r}; this node supports {known}"
        ) from None


def default_accelerator(
    accelerators: Iterable[AcceleratorInfo], roles: Iterable[str]
) -> str | None:
    """Return the best accelerator that the model has a file for, or None if there is none.

    Args:
        accelerators: the accelerators of an engine, best first.
        roles: roles of the files of the model for that engine. An Edge TPU needs a file compiled
            for it, which does not run on anything else.
    """
    compiled, plain = "edgetpu" in roles, any(role != "edgetpu" for role in roles)
    for item in accelerators:
        if compiled if item.id.startswith("edgetpu:") else plain:
            return item.id
    return None


@cache
def describe_engines() -> tuple[EngineInfo, ...]:
    """Return what every engine can do here. Imports their packages, so the first call is slow."""
    return tuple(describe_engine(engine_id) for engine_id in ENGINES)


def is_installed(engine_id: str) -> bool:
    """Return whether the package of an engine is installed, without importing it."""
    return any(find_spec(module) for module in get_engine(engine_id).modules)


def describe_engine(engine_id: str) -> EngineInfo:
    """Return what one engine can do here. Imports its package, which may crash the process."""
    engine = get_engine(engine_id)
    try:
        return EngineInfo(
            id=engine.id,
            name=engine.name,
            version=engine.version(),
            accelerators=engine.accelerators(),
        )
    except EngineMissingError as err:
        return EngineInfo(id=engine.id, name=engine.name, missing=str(err))


def why_unavailable(engines: Iterable[str], system: System | None = None) -> str | None:
    """Return why none of these engines is available, or None if one is or can be installed."""
    system = system or this_system()
    wanted = list(engines)
    if any(is_installed(engine) or has_package(engine, system) for engine in wanted):
        return None
    names = " or ".join(ENGINES[engine].name for engine in wanted)
    return f"it needs {names}, which cannot be installed on this system ({system.text})"
